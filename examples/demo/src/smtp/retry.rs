//! How often a mail is tried, and when.

use std::time::Duration;

use thiserror::Error;

use super::error::SmtpError;

/// A mail server that has no time is not helped by more tries.
const TRIES: u32 = 3;

/// The longest pause after the first try; each further one may be twice as long.
const PAUSE: Duration = Duration::from_millis(500);

/// Why a mail was not sent in the end.
#[derive(Debug, Error)]
#[error("{error} (tries: {tries})")]
pub(crate) struct GaveUp {
    /// What the last try failed of.
    pub(super) error: SmtpError,
    pub(super) tries: u32,
}

/// Tries until it is done, until there is no sense in it, or until it was tried often enough.
pub(super) async fn retry<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, GaveUp>
where
    F: Future<Output = Result<T, SmtpError>>,
{
    let mut tries = 0;
    loop {
        tries += 1;
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) if tries < TRIES && error.is_transient() => {
                tracing::warn!(%error, tries, "a mail is tried again");
                tokio::time::sleep(pause(tries)).await;
            }
            Err(error) => return Err(GaveUp { error, tries }),
        }
    }
}

/// Between half of the longest pause and the whole: mails that failed together do not come back together.
fn pause(tries: u32) -> Duration {
    let longest = PAUSE * 2_u32.pow(tries - 1);
    longest.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::smtp::error::Step;

    fn refused(code: u16) -> SmtpError {
        SmtpError::Refused { step: Step::Recipient, code, enhanced: None }
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_tried_three_times_and_what_stays_once() {
        for (code, expected) in [(451, 3), (550, 1)] {
            let mut tries = 0;
            let gave_up = retry(|| {
                tries += 1;
                async move { Err::<(), _>(refused(code)) }
            });
            let gave_up = gave_up.await.unwrap_err();
            assert_eq!((tries, gave_up.tries), (expected, expected));
            let text = format!("the mail server answered {code} to RCPT TO (tries: {expected})");
            assert_eq!(gave_up.to_string(), text);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_success_ends_it() {
        let mut tries = 0;
        let done = retry(|| {
            tries += 1;
            let result = if tries == 2 { Ok(tries) } else { Err(refused(451)) };
            async move { result }
        });
        assert_eq!(done.await.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_differ() {
        let mut times = Vec::new();
        let begun = Instant::now();
        let gave_up = retry(|| {
            times.push(begun.elapsed());
            async { Err::<(), _>(refused(421)) }
        });
        gave_up.await.unwrap_err();
        assert_eq!(times.len(), 3);
        assert!(times[1] >= PAUSE / 2 && times[2] - times[1] >= PAUSE, "{times:?}");

        for (tries, longest) in [(1, PAUSE), (2, 2 * PAUSE)] {
            let pauses: Vec<Duration> = (0..100).map(|_| pause(tries)).collect();
            assert!(pauses.iter().all(|pause| (longest / 2..=longest).contains(pause)), "{pauses:?}");
            assert!(pauses.iter().any(|pause| *pause != pauses[0]), "all alike: {:?}", pauses[0]);
        }
    }
}
