//! [`Mailing`]: the job of an accepted request in the queue. It sends the mail, and retries what failed.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::Inner;
use super::attempt::{Attempt, Progress};
use crate::delivery::{AcceptedRequest, Ended, Job, Outcome, Retry};
use crate::event::ResetTokenCreated;

/// The pause after the first failed run. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause between two runs.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A job of the queue.
pub(super) enum Mailing {
    /// Mail to each user with an address.
    Request(Request),
    /// Mail with a token that was issued already. The caller of `send` waits for the outcome.
    Event { inner: Arc<Inner>, event: Arc<ResetTokenCreated>, outcome: oneshot::Sender<Outcome> },
}

impl Job for Mailing {
    async fn run(self) -> Ended<Self> {
        match self {
            Self::Request(request) => request.run().await,
            Self::Event { inner, event, outcome } => {
                let announced = inner.handlers.announce(event).await;
                let delivered = if announced.failed == 0 { Outcome::Delivered } else { Outcome::Failed };
                // The caller may have stopped waiting.
                let _ = outcome.send(delivered);
                Ended::Done(delivered)
            }
        }
    }
}

/// An accepted request, and what its earlier runs achieved.
pub(super) struct Request {
    inner: Arc<Inner>,
    accepted: AcceptedRequest,
    /// `None` before the first run has failed. In a box, because few requests have it.
    progress: Option<Box<Progress>>,
}

impl Request {
    pub(super) fn new(inner: Arc<Inner>, accepted: AcceptedRequest) -> Self {
        Self { inner, accepted, progress: None }
    }

    async fn run(mut self) -> Ended<Mailing> {
        let mut progress = self.progress.take().map_or_else(Progress::default, |progress| *progress);
        let attempt = self.inner.attempt(&self.accepted, &mut progress).await;
        if progress.is_mailed() {
            // The use of the quota stays counted: otherwise a handler that always fails would switch the quota off.
            self.accepted.counted_in = None;
        }
        match attempt {
            Attempt::Done(outcome) => {
                self.end(outcome).await;
                Ended::Done(outcome)
            }
            Attempt::Again(_) => {
                let pause = progress.next_pause(FIRST_PAUSE, LONGEST_PAUSE);
                if !progress.is_too_old(pause, self.inner.max_age) {
                    self.progress = Some(Box::new(progress));
                    tracing::warn!(pause = ?pause, "the mail for a reset request is tried again");
                    return Ended::Again(Box::new(Retry { job: Mailing::Request(self), pause }));
                }
                let outcome = progress.give_up();
                self.end(outcome).await;
                Ended::Done(outcome)
            }
        }
    }

    /// Gives the use of the quota back if no mail was sent because the store or the mail server failed, so that the user can
    /// ask again at once.
    async fn end(&mut self, outcome: Outcome) {
        let counted_in = self.accepted.counted_in.take();
        if let (Outcome::Failed | Outcome::Lost, Some(counter)) = (outcome, counted_in) {
            self.inner.throttles.give_back(counter, &self.inner.address_key(&self.accepted.address.folded())).await;
        }
    }
}

impl Drop for Request {
    /// Gives the use of the quota back if the request is dropped before its end: when the service shuts down, or after a
    /// panic.
    fn drop(&mut self) {
        let Some(counter) = self.accepted.counted_in.take() else { return };
        let key = self.inner.address_key(&self.accepted.address.folded());
        if self.inner.throttles.give_back_in_memory(counter, &key) {
            return;
        }
        // The application's throttle has to be awaited. Without a runtime its count stays until the window ends.
        if let Ok(runtime) = Handle::try_current() {
            let inner = Arc::clone(&self.inner);
            runtime.spawn(async move { inner.throttles.give_back(counter, &key).await });
        }
    }
}
