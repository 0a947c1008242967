//! Welch's t-test: compares the means of two classes of samples.

/// Result of a comparison.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    /// Welch's t. Samples above the 90th percentile of both classes together are excluded as noise of the machine.
    pub t: f64,
    /// Difference of the medians, divided by the smaller median.
    pub medians: f64,
}

/// Compares two classes of samples.
pub fn compare(one: &[f64], other: &[f64]) -> Comparison {
    let mut all = [one, other].concat();
    all.sort_by(f64::total_cmp);
    let cut = all[all.len() * 9 / 10];
    let [(mean_one, error_one), (mean_other, error_other)] = [one, other].map(|samples| {
        let kept: Vec<f64> = samples.iter().copied().filter(|sample| *sample <= cut).collect();
        let count = kept.len() as f64;
        let mean = kept.iter().sum::<f64>() / count;
        let variance = kept.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    });
    let [one, other] = [one, other].map(|samples| {
        let mut samples = samples.to_vec();
        samples.sort_by(f64::total_cmp);
        samples[samples.len() / 2]
    });
    Comparison {
        t: (mean_one - mean_other) / (error_one + error_other).sqrt(),
        medians: (one - other).abs() / one.min(other),
    }
}
