//! **deliver**, which a worker of the application's job engine calls.

use std::sync::atomic::Ordering;

use super::PasswordReset;
use super::attempt::{Attempt, Progress};
use super::no_mail::NoMail;
use crate::delivery::{AcceptedRequest, Delivered, DeliveryError, Outcome};

impl PasswordReset {
    /// Looks up the users with the address of the request, issues a token to each eligible one and runs the handlers. A
    /// worker of a job engine calls this method, in any instance of the application, with a request that a
    /// [`Delivery`](crate::delivery::Delivery) stored.
    ///
    /// `Ok` means that the job is done for good. `Err` means that the engine must call again later, with a growing pause. A
    /// request that is older than [`max_age`](crate::PasswordResetBuilder::max_age) ends as [`Delivered::TooOld`], so an
    /// engine needs no limit of its own.
    ///
    /// Every try calls every handler. If one of two handlers fails, or the handlers for one of two users who share an
    /// address, the next try sends the other mail again. So does an engine that runs a job twice because a worker was killed.
    ///
    /// The [ledger](Self::ledger) of this instance counts the request when the call returns `Ok`, and as waiting until then.
    /// Dropping the future aborts the handler that runs.
    ///
    /// # Errors
    ///
    /// [`DeliveryError`]: the store or a handler failed, or the service is shutting down.
    pub async fn deliver(&self, request: AcceptedRequest) -> Result<Delivered, DeliveryError> {
        let inner = &self.inner;
        // Before the check for a shutdown, because a shutdown waits for running deliveries.
        let running = inner.queue.begin();
        if inner.shutting_down.load(Ordering::SeqCst) {
            return Err(DeliveryError::ShuttingDown);
        }
        let mut progress = Progress::default();
        let (outcome, delivered) = if (inner.clock)() - request.accepted_at >= inner.max_age {
            NoMail::TooOld.log(None);
            (Outcome::Lost, Delivered::TooOld)
        } else {
            match inner.attempt(&request, &mut progress).await {
                Attempt::Again(error) => {
                    tracing::warn!("the mail for a reset request must be tried again");
                    return Err(error);
                }
                Attempt::Done(outcome) => (outcome, delivered(outcome)),
            }
        };
        if let (Outcome::Failed | Outcome::Lost, false, Some(counter)) =
            (outcome, progress.is_mailed(), request.counted_in)
        {
            inner.throttles.give_back(counter, &inner.address_key(&request.address.folded())).await;
        }
        running.finish(outcome);
        Ok(delivered)
    }
}

fn delivered(outcome: Outcome) -> Delivered {
    match outcome {
        Outcome::Delivered => Delivered::Mailed,
        Outcome::Ineligible => Delivered::Ineligible,
        Outcome::Suppressed => Delivered::Suppressed,
        Outcome::Failed => Delivered::Failed,
        Outcome::Lost => Delivered::TooOld,
    }
}
