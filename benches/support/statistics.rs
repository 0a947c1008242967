//! Medians and other quantiles with their confidence intervals.

/// Confidence level of every interval.
pub const CONFIDENCE: f64 = 0.99;

/// A quantile and its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl Estimate {
    /// A value without noise.
    pub fn exact(value: f64) -> Self {
        Self { value, low: value, high: value }
    }

    /// Estimates the median of the distribution that the samples come from.
    ///
    /// # Panics
    /// If there are no samples.
    pub fn median(samples: impl IntoIterator<Item = f64>) -> Self {
        Self::quantile(samples, 0.5)
    }

    /// Estimates a quantile (between 0 and 1, for example 0.99) of the distribution that the samples come from.
    ///
    /// Both ends of the interval are samples. Their ranks follow from the binomial distribution of the number of samples
    /// below the quantile (Conover, Practical Nonparametric Statistics, 3rd edition, section 3.2). The interval is therefore
    /// valid for every distribution of the samples. With too few samples for an end, that end is infinite: a median needs 8.
    ///
    /// # Panics
    /// If there are no samples.
    pub fn quantile(samples: impl IntoIterator<Item = f64>, quantile: f64) -> Self {
        let mut sorted: Vec<f64> = samples.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let probabilities = binomial(count, quantile);
        let below = outcomes_in_tail(probabilities.iter());
        let above = outcomes_in_tail(probabilities.iter().rev());
        Self {
            value: sorted[(count as f64 * quantile) as usize],
            low: if below == 0 { f64::NEG_INFINITY } else { sorted[below - 1] },
            high: if above == 0 { f64::INFINITY } else { sorted[count - above] },
        }
    }

    /// Converts to another unit; `factor` is positive.
    pub fn scale(self, factor: f64) -> Self {
        Self { value: self.value * factor, low: self.low * factor, high: self.high * factor }
    }

    /// The estimate of the inverse ratio.
    pub fn inverse(self) -> Self {
        Self { value: 1.0 / self.value, low: 1.0 / self.high, high: 1.0 / self.low }
    }
}

/// Returns the middle value, or the upper of the two middle values.
///
/// # Panics
/// If there are no values.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    Estimate::median(values).value
}

/// Probabilities of 0 to `trials` successes.
///
/// Computed as logarithms: 0.5 to the power of 2,000 is too small for an `f64`.
fn binomial(trials: usize, success: f64) -> Vec<f64> {
    let odds = (success / (1.0 - success)).ln();
    let mut logarithm = trials as f64 * (1.0 - success).ln();
    let next = |successes: usize| {
        let probability = logarithm.exp();
        logarithm += odds + ((trials - successes) as f64 / (successes + 1) as f64).ln();
        probability
    };
    (0..=trials).map(next).collect()
}

/// Counts the leading outcomes whose probabilities together fit into one tail of the interval.
fn outcomes_in_tail<'a>(probabilities: impl Iterator<Item = &'a f64>) -> usize {
    let tail = (1.0 - CONFIDENCE) / 2.0;
    let mut sum = 0.0;
    let fits = |probability: &&f64| {
        sum += **probability;
        sum <= tail
    };
    probabilities.take_while(fits).count()
}
