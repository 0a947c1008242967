//! The contrast of text against its background (WCAG 2.2, 1.4.3 and 1.4.11), computed from the style sheet and the mails.

use std::collections::HashMap;

const STYLE: &str = include_str!("../../assets/style.css");
const MAIL: &str = include_str!("../../../../src/mail/templates/reset.html");

/// The least contrast of text.
const TEXT: f64 = 4.5;
/// The least contrast of the border of a field.
const BORDER: f64 = 3.0;

/// Each foreground with a background that it is shown on, and the least contrast.
const PAIRS: [(&str, &str, f64); 20] = [
    ("text", "page", TEXT),
    ("text", "card", TEXT),
    ("text", "plain-back", TEXT),
    ("soft", "page", TEXT),
    ("soft", "card", TEXT),
    ("link", "page", TEXT),
    ("link", "card", TEXT),
    // Links in the text of a mail in the outbox.
    ("link", "plain-back", TEXT),
    ("good", "good-back", TEXT),
    ("bad", "bad-back", TEXT),
    ("bad", "card", TEXT),
    ("on-action", "action", TEXT),
    ("on-action", "action-hover", TEXT),
    ("edge", "card", BORDER),
    ("bad", "page", BORDER),
    // The button and the line below the current page.
    ("action", "card", BORDER),
    ("action-hover", "card", BORDER),
    // The outline of the focus.
    ("link", "good-back", BORDER),
    ("link", "bad-back", BORDER),
    ("link", "plain-back", BORDER),
];

/// Returns the relative luminance of a color like `#1d4ed8`.
fn luminance(color: &str) -> f64 {
    let digits = color.strip_prefix('#').filter(|digits| digits.len() == 6).unwrap_or_else(|| panic!("{color}"));
    let channel = |start: usize| {
        let value = f64::from(u8::from_str_radix(&digits[start..start + 2], 16).unwrap()) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
}

fn contrast(one: &str, other: &str) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// Returns the colors that a block `:root { .. }` sets.
fn colors(block: &str) -> HashMap<&str, &str> {
    let lines = block.lines().map(str::trim).take_while(|line| *line != "}");
    let settings = lines.filter_map(|line| line.strip_prefix("--")?.strip_suffix(';')?.split_once(": "));
    settings.collect()
}

#[test]
fn contrast_is_computed_as_wcag_defines_it() {
    assert!((contrast("#000000", "#ffffff") - 21.0).abs() < 1e-9);
    assert!((contrast("#777777", "#ffffff") - 4.478).abs() < 1e-3);
}

#[test]
fn text_has_enough_contrast_in_both_color_schemes() {
    let blocks: Vec<_> = STYLE.split(":root {").skip(1).map(colors).collect();
    assert_eq!(blocks.len(), 2, "light and dark");
    for (scheme, colors) in ["light", "dark"].into_iter().zip(&blocks) {
        for (front, back, least) in PAIRS {
            let found = contrast(colors[front], colors[back]);
            assert!(found >= least, "{scheme}: {front} on {back} has a contrast of {found:.2}, not {least}");
        }
    }
    // An opacity would lower every contrast below it.
    assert!(!STYLE.contains("opacity:"), "the contrast of text with an opacity is unknown");
}

#[test]
fn button_of_the_mail_has_enough_contrast() {
    let (_, button) = MAIL.split_once("background: ").unwrap();
    let (back, rest) = button.split_once("; color: ").unwrap();
    let front = rest.split(';').next().unwrap();
    let found = contrast(front, back);
    assert!(found >= TEXT, "{front} on {back} has a contrast of {found:.2}");
    // Every other text has the colors of the mail program, which fit its light or dark theme.
    assert_eq!(MAIL.matches("color: #").count(), 1);
}
