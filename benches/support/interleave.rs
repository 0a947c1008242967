//! Comparison of two measurements that take turns, so that other load on the machine affects both.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::statistics::{Estimate, median};

/// Medians of one session.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    pub ours: f64,
    pub reference: f64,
    /// Median of `ours / reference` over the pairs of neighboring samples.
    pub ratio: f64,
}

/// Medians over all sessions.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    pub ours: f64,
    pub reference: f64,
    pub ratio: Estimate,
}

impl Comparison {
    /// Compares two measurements in so many sessions.
    ///
    /// Each session sets up keys, servers and connections anew. Their addresses in memory change a ratio by about 1 %, for
    /// all samples of the session alike. The interval is therefore computed from the sessions, not from the samples.
    pub fn of_sessions(sessions: usize, session: impl FnMut() -> Session) -> Self {
        let sessions: Vec<Session> = std::iter::repeat_with(session).take(sessions).collect();
        Self {
            ours: median(sessions.iter().map(|session| session.ours)),
            reference: median(sessions.iter().map(|session| session.reference)),
            ratio: Estimate::median(sessions.iter().map(|session| session.ratio)),
        }
    }
}

/// Takes so many samples of both measurements alternately. The order within a pair changes from pair to pair.
pub fn interleave(samples: usize, mut ours: impl FnMut() -> f64, mut reference: impl FnMut() -> f64) -> Session {
    let pair = |number: usize| {
        if number.is_multiple_of(2) {
            return (ours(), reference());
        }
        let reference = reference();
        (ours(), reference)
    };
    let pairs: Vec<(f64, f64)> = (0..samples).map(pair).collect();
    Session {
        ours: median(pairs.iter().map(|(ours, _)| *ours)),
        reference: median(pairs.iter().map(|(_, reference)| *reference)),
        ratio: median(pairs.iter().map(|(ours, reference)| ours / reference)),
    }
}

/// Nanoseconds per call of `work`, averaged over 0.5 ms. An interrupt seldom hits such a short sample.
pub fn nanoseconds<T>(mut work: impl FnMut() -> T) -> f64 {
    nanoseconds_with(&mut Some(()), |()| drop(black_box(work())))
}

/// Like [`nanoseconds`], for work that consumes a value and returns it. This avoids a clone in the measurement.
pub fn nanoseconds_with<T>(value: &mut Option<T>, mut work: impl FnMut(T) -> T) -> f64 {
    const SAMPLE: Duration = Duration::from_micros(500);
    const CALLS: u32 = 32;
    let mut current = value.take().expect("each call puts the value back");
    let started = Instant::now();
    let mut calls = 0;
    while started.elapsed() < SAMPLE {
        for _ in 0..CALLS {
            current = work(current);
        }
        calls += CALLS;
    }
    let elapsed = started.elapsed();
    *value = Some(current);
    elapsed.as_secs_f64() * 1e9 / f64::from(calls)
}
