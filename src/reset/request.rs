//! The operation **request**, and **send**, which does the same from code.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::mailing::{Mailing, Request};
use super::{Inner, PasswordReset, Requested, Sent, answered, unavailable};
use crate::client::Client;
use crate::delivery::{Outcome, Permit};
use crate::email::EmailAddress;
use crate::error::{IssueError, ResetError, Unavailable};
use crate::throttle::{Scope, Verdict};
use crate::user::StoredUser;

impl PasswordReset {
    /// Takes a request for a reset: each eligible user with this address will get a token.
    ///
    /// Returns before anybody is looked up, so neither the answer nor the time it takes says whether the address
    /// belongs to a user. What became of it is in the [ledger](Self::ledger) and in the log.
    ///
    /// # Errors
    ///
    /// [`ResetError::InvalidEmail`] for what is not an address; [`ResetError::Throttled`] for a client over its quota;
    /// [`ResetError::Unavailable`] when the queue is full, the store is down or the service is shutting down. All of
    /// them alike for every address.
    pub async fn request(&self, email: &str, client: Client) -> Result<Requested, ResetError> {
        answered(Scope::Request, self.accept(email, client).await)
    }

    async fn accept(&self, email: &str, client: Client) -> Result<Requested, ResetError> {
        let address = EmailAddress::parse(email, self.inner.addresses).ok_or(ResetError::InvalidEmail)?;
        let place = self.inner.place()?;
        self.inner.count_client(Scope::Request, &client).await?;
        if self.inner.reveal_unknown_users {
            let found = self.inner.find(&address).await.map_err(|_| unavailable(Unavailable::StoreDown))?;
            if !found.iter().any(|user| self.inner.is_eligible(user)) {
                return Err(ResetError::UnknownUser);
            }
        }
        tracing::info!(client = client.address().map(tracing::field::display), "a reset was requested");
        // Counted for every address, whether or not a user has it, so that the counters tell nothing.
        let key = || self.inner.address_key(&address.folded());
        let (verdict, counter) = self.inner.throttles.count_where(Scope::Mail, key).await;
        let is_over_quota = verdict != Verdict::Within;
        let counted_in = counter.filter(|_| !is_over_quota);
        let inner = Arc::clone(&self.inner);
        place.accept(Mailing::Request(Request { inner, address, client, is_over_quota, counted_in }));
        Ok(Requested {})
    }

    /// Issues a token to `user` from code and runs the handlers, as a request does: for an administrator's page or a
    /// job. Returns when the handlers have run.
    ///
    /// `lifetime` is the usual one if it is `None`. The request is in the [ledger](Self::ledger) and waits its turn
    /// among the others. It goes on if the caller stops waiting.
    ///
    /// # Errors
    ///
    /// [`SendError::Issue`] if no token can be issued to this user, [`SendError::Unavailable`] if the queue is full or
    /// the service is shutting down, [`SendError::Handlers`] if a handler failed: then the log says which, and why.
    pub async fn send(&self, user: &StoredUser, lifetime: Option<time::Duration>) -> Result<Sent, SendError> {
        let event = Arc::new(self.issue(user, lifetime)?);
        let sent = Sent { expires_at: event.expires_at() };
        let place = self.inner.place().map_err(|_| SendError::Unavailable)?;
        let (tell, told) = oneshot::channel();
        place.accept(Mailing::Event { inner: Arc::clone(&self.inner), event, outcome: tell });
        match told.await {
            Ok(Outcome::Delivered) => Ok(sent),
            Ok(_) => Err(SendError::Handlers),
            Err(_) => Err(SendError::Unavailable),
        }
    }
}

/// Why [`PasswordReset::send`] did not send.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// No token can be issued to this user.
    #[error("no token can be issued")]
    Issue(#[source] IssueError),
    /// The queue is full, or the service is shutting down.
    #[error("not available now")]
    Unavailable,
    /// A handler failed, panicked or took too long.
    #[error("a handler failed; the log says which")]
    Handlers,
}

impl From<IssueError> for SendError {
    fn from(error: IssueError) -> Self {
        Self::Issue(error)
    }
}

impl Inner {
    fn place(&self) -> Result<Permit<Mailing>, ResetError> {
        // The place comes before the question whether we shut down: who has one is waited for.
        let place = self.delivery.reserve().ok_or_else(|| unavailable(Unavailable::QueueFull))?;
        self.is_available()?;
        Ok(place)
    }
}
