//! A line for each figure: name, ours, reference, ratio, reach, yes or no.

use super::rounds::Comparison;

/// What a figure has to reach.
#[derive(Clone, Copy)]
pub enum Reach {
    AtMost(f64),
    AtLeast(f64),
}

impl Reach {
    fn is_met(self, figure: f64) -> bool {
        match self {
            Self::AtMost(limit) => figure <= limit,
            Self::AtLeast(limit) => figure >= limit,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtMost(limit) => format!("<= {limit}"),
            Self::AtLeast(limit) => format!(">= {limit}"),
        }
    }
}

/// What is out of reach so far.
#[derive(Default)]
pub struct Report {
    missed: usize,
}

impl Report {
    /// A report whose head is printed.
    pub fn begin() -> Self {
        line("what", "ours", "reference", "ratio", "reach", "");
        Self::default()
    }

    /// A ratio of two things measured in turns. `unit` writes either.
    pub fn ratio(&mut self, name: &str, compared: Comparison, unit: fn(f64) -> String, reach: Reach) {
        let Comparison { ours, reference, ratio } = compared;
        let met = reach.is_met(ratio);
        line(name, &unit(ours), &unit(reference), &format!("{ratio:.2}"), &reach.text(), yes_or_no(met));
        self.missed += usize::from(!met);
    }

    /// A figure that stands for itself.
    pub fn figure(&mut self, name: &str, figure: f64, unit: fn(f64) -> String, reach: Reach) {
        let met = reach.is_met(figure);
        let limit = match reach {
            Reach::AtMost(limit) | Reach::AtLeast(limit) => unit(limit),
        };
        let sign = if matches!(reach, Reach::AtMost(_)) { "<=" } else { ">=" };
        line(name, &unit(figure), "", "", &format!("{sign} {limit}"), yes_or_no(met));
        self.missed += usize::from(!met);
    }

    /// A figure that cannot be measured here, and why.
    pub fn skipped(&self, name: &str, why: &str) {
        println!("{name:<58}  skipped: {why}");
    }

    /// Whether every figure is in reach.
    pub fn is_good(&self) -> bool {
        self.missed == 0
    }
}

fn line(name: &str, ours: &str, reference: &str, ratio: &str, reach: &str, met: &str) {
    println!("{name:<58}  {ours:>12}  {reference:>12}  {ratio:>6}  {reach:>10}  {met}");
}

fn yes_or_no(met: bool) -> &'static str {
    if met { "yes" } else { "no" }
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

pub fn per_core(value: f64) -> String {
    format!("{value:.0} /core s")
}

pub fn mebibytes(value: f64) -> String {
    format!("{value:.0} MiB")
}

pub fn count(value: f64) -> String {
    format!("{value:.0}")
}
