//! Number of attempts to send a mail, and the back-off between them.

use std::time::Duration;

use thiserror::Error;

use super::error::SmtpError;

/// Maximum number of attempts. More would add load to a server that is already overloaded.
const MAX_ATTEMPTS: u32 = 3;

/// Longest pause after the first attempt. It doubles after each further attempt.
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// Why a mail was not sent after the last attempt.
#[derive(Debug, Error)]
#[error("{error} (attempts: {attempts})")]
pub(super) struct GaveUp {
    /// Error of the last attempt.
    pub(super) error: SmtpError,
    pub(super) attempts: u32,
}

/// Repeats `attempt` until it succeeds, fails permanently, or has failed [`MAX_ATTEMPTS`] times.
pub(super) async fn retry<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, GaveUp>
where
    F: Future<Output = Result<T, SmtpError>>,
{
    let mut attempts = 0;
    loop {
        attempts += 1;
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) if attempts < MAX_ATTEMPTS && error.is_transient() => {
                tracing::warn!(%error, attempts, "an attempt to send a mail failed, retrying");
                tokio::time::sleep(pause(attempts)).await;
            }
            Err(error) => return Err(GaveUp { error, attempts }),
        }
    }
}

/// Returns a random pause between half the maximum and the maximum, so that mails that failed together are not retried
/// together.
fn pause(attempts: u32) -> Duration {
    let longest = MAX_PAUSE * 2_u32.pow(attempts - 1);
    // Without random numbers, the longest pause.
    let random = f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX);
    longest.mul_f64(0.5 + random / 2.0)
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::mail::smtp::error::Step;

    fn rejected(code: u16) -> SmtpError {
        SmtpError::Rejected { step: Step::Recipient, code, enhanced: None }
    }

    #[tokio::test(start_paused = true)]
    async fn transient_error_is_tried_three_times_and_permanent_error_once() {
        for (code, expected) in [(451, 3), (550, 1)] {
            let mut attempts = 0;
            let gave_up = retry(|| {
                attempts += 1;
                async move { Err::<(), _>(rejected(code)) }
            });
            let gave_up = gave_up.await.unwrap_err();
            assert_eq!((attempts, gave_up.attempts), (expected, expected));
            let text = format!("the mail server answered {code} to RCPT TO (attempts: {expected})");
            assert_eq!(gave_up.to_string(), text);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn success_ends_the_attempts() {
        let mut attempts = 0;
        let done = retry(|| {
            attempts += 1;
            let result = if attempts == 2 { Ok(attempts) } else { Err(rejected(451)) };
            async move { result }
        });
        assert_eq!(done.await.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_are_random() {
        let mut times = Vec::new();
        let begun = Instant::now();
        let gave_up = retry(|| {
            times.push(begun.elapsed());
            async { Err::<(), _>(rejected(421)) }
        });
        gave_up.await.unwrap_err();
        assert_eq!(times.len(), 3);
        assert!(times[1] >= MAX_PAUSE / 2 && times[2] - times[1] >= MAX_PAUSE, "{times:?}");

        for (attempts, longest) in [(1, MAX_PAUSE), (2, 2 * MAX_PAUSE)] {
            let pauses: Vec<Duration> = (0..100).map(|_| pause(attempts)).collect();
            assert!(pauses.iter().all(|pause| (longest / 2..=longest).contains(pause)), "{pauses:?}");
            assert!(pauses.iter().any(|pause| *pause != pauses[0]), "all pauses are {:?}", pauses[0]);
        }
    }
}
