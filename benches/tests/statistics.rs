//! Tests of the statistics that decide whether `cargo bench --bench speed -- --check` fails.

#[allow(dead_code, reason = "the benches use the rest")]
#[path = "../support"]
mod support {
    pub mod interleave;
    pub mod report;
    pub mod statistics;
}

use support::interleave::{Comparison, interleave};
use support::report::{Outcome, Reach};
use support::statistics::{Estimate, median};

/// The values 1 to `count`, unsorted.
fn values(count: u32) -> impl Iterator<Item = f64> {
    (1..=count).rev().map(f64::from)
}

#[test]
fn median_of_unsorted_values_is_the_middle_one() {
    assert_eq!(median([9.0, 1.0, 5.0]), 5.0);
    assert_eq!(median([2.0]), 2.0);
}

/// The ranks are those of published tables for the sign test at a level of 1 %.
#[test]
fn interval_of_median_has_the_ranks_of_published_tables() {
    for (count, low, high) in
        [(8, 1, 8), (11, 1, 11), (12, 2, 11), (15, 3, 13), (20, 4, 17), (50, 16, 35), (100, 37, 64)]
    {
        let estimate = Estimate::median(values(count));
        assert_eq!((estimate.low, estimate.high), (low.into(), high.into()), "{count} values");
    }
}

#[test]
fn interval_with_too_few_samples_is_unbounded() {
    let Estimate { value, low, high } = Estimate::median(values(7));
    assert_eq!((value, low, high), (4.0, f64::NEG_INFINITY, f64::INFINITY));
    // Only 5 of 500 samples are above the 99th percentile: too few for an upper end.
    let percentile = Estimate::quantile(values(500), 0.99);
    assert!(percentile.low.is_finite() && percentile.high.is_infinite(), "{percentile:?}");
}

/// The normal approximation of the ranks is 990 ± 8.1.
#[test]
fn interval_of_99th_percentile_is_near_the_normal_approximation() {
    let Estimate { value, low, high } = Estimate::quantile(values(1_000), 0.99);
    assert_eq!(value, 991.0);
    assert!((980.0..=983.0).contains(&low) && (997.0..=999.0).contains(&high), "{low} to {high}");
}

/// Draws 2,000 times 15 values whose true median is 1. The interval must contain it in at least 99 % of the draws, less the
/// error of so many draws, even though the values are far from normally distributed.
#[test]
fn interval_covers_the_true_median_in_99_of_100_draws() {
    let mut state = 7_u64;
    let mut uniform = move || {
        // Knuth's MMIX generator.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut skewed = || -uniform().ln() / std::f64::consts::LN_2;
    let covers = |_: &usize| {
        let estimate = Estimate::median((0..15).map(|_| skewed()));
        estimate.low <= 1.0 && 1.0 <= estimate.high
    };
    let covered = (0..2_000).filter(covers).count();
    assert!((1_970..=1_999).contains(&covered), "{covered} of 2,000");
}

#[test]
fn interval_wholly_out_of_reach_is_missed() {
    let slow = Estimate { value: 0.80, low: 0.78, high: 0.84 };
    assert_eq!(Reach::AtLeast(0.85).outcome(slow), Outcome::Missed);
    assert_eq!(Reach::AtMost(0.77).outcome(slow), Outcome::Missed);
    assert_eq!(Reach::AtMost(0.0).outcome(Estimate::exact(1.0)), Outcome::Missed);
}

#[test]
fn interval_that_overlaps_the_limit_is_not_missed() {
    let noisy = Estimate { value: 0.84, low: 0.82, high: 0.86 };
    assert_eq!(Reach::AtLeast(0.85).outcome(noisy), Outcome::Unclear);
    assert_eq!(Reach::AtMost(0.83).outcome(noisy), Outcome::Unclear);
    assert_eq!(Reach::AtLeast(0.86).outcome(noisy), Outcome::Unclear, "the end belongs to the interval");
}

#[test]
fn value_within_reach_is_met() {
    let fast = Estimate { value: 0.87, low: 0.84, high: 0.9 };
    assert_eq!(Reach::AtLeast(0.85).outcome(fast), Outcome::Met);
    assert_eq!(Reach::AtMost(0.87).outcome(fast), Outcome::Met);
}

#[test]
fn inverse_swaps_the_ends_of_the_interval() {
    let inverse = Estimate { value: 0.25, low: 0.2, high: 0.5 }.inverse();
    assert_eq!(inverse, Estimate { value: 4.0, low: 2.0, high: 5.0 });
}

/// A drift that multiplies both measurements by up to 10 does not change the ratio.
#[test]
fn drift_of_both_measurements_leaves_the_ratio() {
    let step = std::cell::Cell::new(0);
    let drift = || {
        step.set(step.get() + 1);
        1.0 + f64::from(step.get()) / 200.0
    };
    let session = || interleave(101, || 2.0 * drift(), drift);
    let Comparison { ours, reference, ratio } = Comparison::of_sessions(9, session);
    assert!(ratio.low > 1.98 && ratio.high < 2.02, "{ratio:?}");
    assert!(ours > 1.9 * reference);
}

#[test]
fn interleave_alternates_the_order_within_pairs() {
    let order = std::cell::RefCell::new(String::new());
    let sample = |name| {
        order.borrow_mut().push(name);
        1.0
    };
    interleave(3, || sample('o'), || sample('r'));
    assert_eq!(order.into_inner(), "orroor");
}
