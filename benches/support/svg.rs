//! Curves as an SVG picture: one panel for each, two side by side.

use std::fmt::Write as _;

/// A curve: what goes along, what goes up, and the points.
pub struct Curve {
    pub title: String,
    pub along: &'static str,
    pub up: &'static str,
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 280.0;
/// Room around a panel for words and numbers.
const MARGIN: f64 = 56.0;

/// All curves in one picture.
pub fn picture(curves: &[Curve]) -> String {
    let height = HEIGHT * curves.len().div_ceil(2) as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        2.0 * WIDTH
    );
    for (number, curve) in curves.iter().enumerate() {
        let (column, row) = (number % 2, number / 2);
        let _ = writeln!(svg, "<g transform=\"translate({} {})\">", column as f64 * WIDTH, row as f64 * HEIGHT);
        panel(&mut svg, curve);
        svg.push_str("</g>\n");
    }
    svg + "</svg>\n"
}

fn panel(svg: &mut String, curve: &Curve) {
    let most = |axis: fn(&(f64, f64)) -> f64| curve.points.iter().map(axis).fold(f64::MIN_POSITIVE, f64::max);
    let (most_along, most_up) = (most(|point| point.0), most(|point| point.1));
    let (left, right, top, bottom) = (MARGIN, WIDTH - MARGIN / 2.0, MARGIN, HEIGHT - MARGIN);
    let x = |along: f64| left + (right - left) * along / most_along;
    // From nought: a curve that is flat has to look flat.
    let y = |up: f64| bottom - (bottom - top) * up / (most_up * 1.15);

    let mut text = |x: f64, y: f64, anchor: &str, text: &str| {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(svg, "<text x=\"{x:.0}\" y=\"{y:.0}\" text-anchor=\"{anchor}\">{text}</text>");
    };
    text(WIDTH / 2.0, 20.0, "middle", &curve.title);
    text(right, bottom + 32.0, "end", curve.along);
    text(8.0, top - 8.0, "start", curve.up);
    for part in [0.0, 0.5, 1.0] {
        text(x(most_along * part), bottom + 16.0, "middle", &short(most_along * part));
        text(left - 6.0, y(most_up * part) + 4.0, "end", &short(most_up * part));
    }
    let _ = writeln!(svg, "<path d=\"M{left} {top}V{bottom}H{right}\" fill=\"none\" stroke=\"gray\"/>");
    let line: String = curve.points.iter().map(|(along, up)| format!("{:.1},{:.1} ", x(*along), y(*up))).collect();
    let _ = writeln!(svg, "<polyline points=\"{line}\" fill=\"none\" stroke=\"steelblue\" stroke-width=\"2\"/>");
    for (along, up) in &curve.points {
        let _ = writeln!(svg, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"steelblue\"/>", x(*along), y(*up));
    }
}

/// A number in three digits or so.
pub fn short(number: f64) -> String {
    match number {
        million if million >= 1e6 => format!("{:.1}M", million / 1e6),
        thousand if thousand >= 1e4 => format!("{:.0}k", thousand / 1e3),
        some if some >= 10.0 => format!("{some:.0}"),
        few => format!("{few:.2}").trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}
