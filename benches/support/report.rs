//! The table of `cargo bench --bench speed`: one row per figure.

use super::interleave::Comparison;
use super::statistics::Estimate;

/// The limit of a figure.
#[derive(Clone, Copy)]
pub enum Reach {
    AtMost(f64),
    AtLeast(f64),
}

/// The result of a comparison with a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The value is within reach.
    Met,
    /// The value is out of reach, but a part of its interval is not: noise may be the reason.
    Unclear,
    /// The whole interval is out of reach.
    Missed,
}

impl Reach {
    /// Compares an estimate with the limit. Noise alone seldom yields [`Outcome::Missed`]: once in 200 runs if the true
    /// value equals the limit, less often if it is better.
    pub fn outcome(self, Estimate { value, low, high }: Estimate) -> Outcome {
        let best = if matches!(self, Self::AtMost(_)) { low } else { high };
        match (self.includes(value), self.includes(best)) {
            (true, _) => Outcome::Met,
            (false, true) => Outcome::Unclear,
            (false, false) => Outcome::Missed,
        }
    }

    fn includes(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }

    fn text(self, unit: fn(f64) -> String) -> String {
        match self {
            Self::AtMost(limit) => format!("<= {}", unit(limit)),
            Self::AtLeast(limit) => format!(">= {}", unit(limit)),
        }
    }
}

/// Prints the rows and counts those that missed their limit.
pub struct Report {
    missed: usize,
}

impl Report {
    /// Prints the heading.
    pub fn start() -> Self {
        print_row("figure", "ours", "reference", "ratio", "99 % interval", "reach", "met");
        Self { missed: 0 }
    }

    /// Prints the ratio of two measurements. `unit` formats both of them.
    pub fn ratio(&mut self, name: &str, comparison: Comparison, unit: fn(f64) -> String, reach: Reach) {
        let Comparison { ours, reference, ratio } = comparison;
        let met = self.judge(ratio, reach);
        let value = hundredths(ratio.value);
        print_row(name, &unit(ours), &unit(reference), &value, &range(ratio, hundredths), &reach.text(hundredths), met);
    }

    /// Prints a figure without a reference.
    pub fn figure(&mut self, name: &str, figure: Estimate, unit: fn(f64) -> String, reach: Reach) {
        let met = self.judge(figure, reach);
        let interval = if figure.low == figure.high { String::new() } else { range(figure, unit) };
        print_row(name, &unit(figure.value), "", "", &interval, &reach.text(unit), met);
    }

    /// Prints why a figure cannot be measured on this machine.
    pub fn skipped(&self, name: &str, reason: &str) {
        println!("{name:<NAME$}  skipped: {reason}");
    }

    /// Prints the result. Returns whether no row missed its limit.
    pub fn finish(self) -> bool {
        println!("\"unclear\": the figure is out of reach, but its interval is not. Only \"no\" fails `--check`.");
        self.missed == 0
    }

    fn judge(&mut self, estimate: Estimate, reach: Reach) -> &'static str {
        match reach.outcome(estimate) {
            Outcome::Met => "yes",
            Outcome::Unclear => "unclear",
            Outcome::Missed => {
                self.missed += 1;
                "no"
            }
        }
    }
}

/// Width of the first column.
const NAME: usize = 50;

fn print_row(name: &str, ours: &str, reference: &str, ratio: &str, interval: &str, reach: &str, met: &str) {
    println!("{name:<NAME$}  {ours:>13}  {reference:>13}  {ratio:>5}  {interval:>16}  {reach:>10}  {met}");
}

fn range(Estimate { low, high, .. }: Estimate, unit: fn(f64) -> String) -> String {
    format!("{} to {}", unit(low), unit(high))
}

fn hundredths(value: f64) -> String {
    format!("{value:.2}")
}

pub fn nanoseconds(value: f64) -> String {
    format!("{value:.0} ns")
}

pub fn milliseconds(value: f64) -> String {
    format!("{value:.1} ms")
}

pub fn per_second(value: f64) -> String {
    format!("{value:.0} /s")
}

/// Per second of processor time.
pub fn per_cpu_second(value: f64) -> String {
    format!("{value:.0} /CPU s")
}

pub fn mebibytes(value: f64) -> String {
    format!("{value:.0} MiB")
}
