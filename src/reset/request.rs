//! The operation **request**, and **send**, which sends a link from code.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::mailing::{Mailing, Request};
use super::{Inner, PasswordReset, Requested, Sent, answered, unavailable};
use crate::client::Client;
use crate::delivery::{AcceptedRequest, CustomDelivery, Outcome, Permit};
use crate::email::EmailAddress;
use crate::error::{IssueError, ResetError, Unavailable};
use crate::redact::redacted_error;
use crate::throttle::{Counter, Scope, Verdict};
use crate::user::StoredUser;

impl PasswordReset {
    /// Accepts a request for a reset. A worker then issues a token to each eligible user with this address and runs the
    /// handlers.
    ///
    /// Returns before the look-up, so neither the result nor its timing reveals whether a user has the address. The outcome
    /// is in the [ledger](Self::ledger) and in the log.
    ///
    /// # Errors
    ///
    /// The same for every address:
    ///
    /// * [`ResetError::InvalidEmail`]: the text is not an email address.
    /// * [`ResetError::Throttled`]: the client is over its quota.
    /// * [`ResetError::Unavailable`]: the queue is full, the [`Delivery`](crate::delivery::Delivery) failed, the store is
    ///   down, or the service is shutting down.
    ///
    /// [`ResetError::UnknownUser`] only with [`reveal_unknown_users`](crate::PasswordResetBuilder::reveal_unknown_users).
    pub async fn request(&self, email: &str, client: Client) -> Result<Requested, ResetError> {
        answered(Scope::Request, self.accept(email, client).await)
    }

    async fn accept(&self, email: &str, client: Client) -> Result<Requested, ResetError> {
        let address = EmailAddress::parse(email, self.inner.addresses).ok_or(ResetError::InvalidEmail)?;
        let slot = self.inner.slot()?;
        let client_counted_in = self.inner.count_client(Scope::Request, &client).await?;
        if self.inner.reveal_unknown_users {
            let found = self.inner.find(&address).await.map_err(|_| unavailable(Unavailable::StoreDown))?;
            if !found.iter().any(|user| self.inner.is_eligible(user)) {
                return Err(ResetError::UnknownUser);
            }
        }
        tracing::info!(client = client.address().map(tracing::field::display), "a reset was requested");
        // Counted for every address, whether or not a user has it, so that the counters do not reveal users.
        let key = || self.inner.address_key(&address.folded());
        let (verdict, counter) = self.inner.throttles.count(Scope::Mail, key).await;
        let is_over_quota = verdict != Verdict::Within;
        let counted_in = counter.filter(|_| !is_over_quota);
        let accepted_at = (self.inner.clock)().to_utc();
        let accepted = AcceptedRequest {
            address,
            client,
            accepted_at,
            is_over_quota,
            counted_in,
            #[cfg(feature = "graphile")]
            sealer: matches!(slot, Slot::Custom(_)).then(|| Arc::clone(&self.inner.sealer)),
        };
        match slot {
            Slot::Queue(permit) => permit.accept(Mailing::Request(Request::new(Arc::clone(&self.inner), accepted))),
            // Boxed: the future of a request to the queue must not be larger for it.
            Slot::Custom(delivery) => Box::pin(self.inner.enqueue(delivery, accepted, client_counted_in)).await?,
        }
        Ok(Requested {})
    }

    /// Issues a token to `user` and runs the handlers, for an administrator's page or a job. Returns when the handlers have
    /// finished.
    ///
    /// `None` as `lifetime` is [`lifetime()`](Self::lifetime). The request waits in the queue and counts in the
    /// [ledger](Self::ledger) like any other. It continues if the caller drops the future.
    ///
    /// # Errors
    ///
    /// * [`SendError::Issue`]: no token can be issued to this user.
    /// * [`SendError::Unavailable`]: the queue is full, the store is down, or the service is shutting down.
    /// * [`SendError::Handlers`]: a handler failed. The log has its name and the reason.
    pub async fn send(&self, user: &StoredUser, lifetime: Option<time::Duration>) -> Result<Sent, SendError> {
        let event = Arc::new(self.issue(user, lifetime)?);
        let sent = Sent { expires_at: event.expires_at() };
        let permit = self.inner.reserve().map_err(|_| SendError::Unavailable)?;
        let (sender, receiver) = oneshot::channel();
        permit.accept(Mailing::Event { inner: Arc::clone(&self.inner), event, outcome: sender });
        match receiver.await {
            Ok(Outcome::Delivered) => Ok(sent),
            Ok(_) => Err(SendError::Handlers),
            Err(_) => Err(SendError::Unavailable),
        }
    }
}

/// The reason why [`PasswordReset::send`] failed.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// No token can be issued to this user.
    #[error("no token can be issued")]
    Issue(#[source] IssueError),
    /// The queue is full, the store is down, or the service is shutting down.
    #[error("not available now")]
    Unavailable,
    /// A handler failed, panicked or timed out.
    #[error("a handler failed; the log has its name")]
    Handlers,
}

impl From<IssueError> for SendError {
    fn from(error: IssueError) -> Self {
        Self::Issue(error)
    }
}

/// Where an accepted request will wait.
enum Slot<'a> {
    Queue(Permit<Mailing>),
    Custom(&'a CustomDelivery),
}

impl Inner {
    /// Checks that the service is available, and reserves a slot in the queue unless requests wait elsewhere.
    fn slot(&self) -> Result<Slot<'_>, ResetError> {
        match &self.delivery {
            None => self.reserve().map(Slot::Queue),
            Some(delivery) => self.is_available().map(|()| Slot::Custom(delivery)),
        }
    }

    /// Stores the request with the application's delivery. If that fails, gives back what was counted.
    async fn enqueue(
        &self,
        delivery: &CustomDelivery,
        accepted: AcceptedRequest,
        client_counted_in: Option<Counter>,
    ) -> Result<(), ResetError> {
        let address_key = || self.address_key(&accepted.address.folded());
        let Err(error) = delivery.enqueue(accepted.clone()).await else { return Ok(()) };
        let reason = redacted_error(&error, [accepted.address.as_str()]);
        tracing::error!(reason, "the delivery failed to store a reset request, so the client has to ask again");
        if let Some(counter) = client_counted_in {
            let key = self.throttles.client_key(Scope::Request, accepted.client.address());
            self.throttles.give_back(counter, &key).await;
        }
        if let Some(counter) = accepted.counted_in {
            self.throttles.give_back(counter, &address_key()).await;
        }
        Err(unavailable(Unavailable::DeliveryDown))
    }

    /// Reserves a slot in the queue.
    fn reserve(&self) -> Result<Permit<Mailing>, ResetError> {
        // Before the check for a shutdown, because a shutdown waits for the holders of permits.
        let permit = self.queue.reserve().ok_or_else(|| unavailable(Unavailable::QueueFull))?;
        self.is_available()?;
        Ok(permit)
    }
}
