//! Two things measured in turns, so that whatever else the machine does happens to both.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// What two things took, and how they compare.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    /// The median of the one.
    pub ours: f64,
    /// The median of the other.
    pub reference: f64,
    /// The median, over all rounds, of the one divided by the other: a round is short, and both had the same weather.
    pub ratio: f64,
}

impl Comparison {
    /// What rounds show, each of the one thing and the other.
    pub fn of(rounds: &[(f64, f64)]) -> Self {
        Self {
            ours: median(rounds.iter().map(|(ours, _)| *ours)),
            reference: median(rounds.iter().map(|(_, reference)| *reference)),
            ratio: median(rounds.iter().map(|(ours, reference)| ours / reference)),
        }
    }
}

/// Measures two things in turns, so many rounds.
pub fn in_turns(rounds: usize, ours: impl FnMut() -> f64, reference: impl FnMut() -> f64) -> Comparison {
    Comparison::of(&rounds_of(rounds, ours, reference))
}

/// So many rounds of two things. Every other round begins with the other one.
pub fn rounds_of(rounds: usize, mut ours: impl FnMut() -> f64, mut reference: impl FnMut() -> f64) -> Vec<(f64, f64)> {
    (0..rounds)
        .map(|round| match round % 2 {
            0 => (ours(), reference()),
            _ => {
                let reference = reference();
                (ours(), reference)
            }
        })
        .collect()
}

/// How many nanoseconds one call takes, on average over a stretch short enough to be seldom interrupted.
pub fn nanoseconds<T>(mut work: impl FnMut() -> T) -> f64 {
    nanoseconds_with(&mut Some(()), |()| drop(black_box(work())))
}

/// The same for work that takes something away and gives it back: what is measured is no copy of it.
pub fn nanoseconds_with<T>(held: &mut Option<T>, mut work: impl FnMut(T) -> T) -> f64 {
    const STRETCH: Duration = Duration::from_micros(500);
    const CALLS: u32 = 32;
    let mut value = held.take().expect("it was given back");
    let started = Instant::now();
    let mut calls = 0;
    while started.elapsed() < STRETCH {
        for _ in 0..CALLS {
            value = work(value);
        }
        calls += CALLS;
    }
    let taken = started.elapsed();
    *held = Some(value);
    taken.as_secs_f64() * 1e9 / f64::from(calls)
}

/// The one in the middle.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
