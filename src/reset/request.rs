//! The operation **request**, and **send**, which does the same from code.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Inner, PasswordReset, answered, unavailable};
use crate::client::Client;
use crate::delivery::{Outcome, Place, Work};
use crate::email::EmailAddress;
use crate::error::{BoxError, IssueError, ResetError, Unavailable};
use crate::event::ResetTokenCreated;
use crate::reason::reason;
use crate::throttle::{Scope, ThrottleKey, Verdict};
use crate::user::StoredUser;

/// How long to wait before each further look-up after one that failed.
const BACK_OFF: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1600)];

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
    pub async fn request(&self, email: &str, client: Client) -> Result<(), ResetError> {
        answered(Scope::Request, self.accept(email, client).await)
    }

    async fn accept(&self, email: &str, client: Client) -> Result<(), ResetError> {
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
        place.accept(Mailing::ToAddress { inner: Arc::clone(&self.inner), address, client });
        Ok(())
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
    pub async fn send(&self, user: &StoredUser, lifetime: Option<time::Duration>) -> Result<(), SendError> {
        let event = Arc::new(self.issue(user, lifetime)?);
        let place = self.inner.place().map_err(|_| SendError::Unavailable)?;
        let (tell, told) = oneshot::channel();
        place.accept(Mailing::OfEvent { inner: Arc::clone(&self.inner), event, tell });
        match told.await {
            Ok(Outcome::Delivered) => Ok(()),
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

/// What waits in the queue.
pub(super) enum Mailing {
    /// To whoever has this address.
    ToAddress { inner: Arc<Inner>, address: EmailAddress, client: Client },
    /// Of a token that was issued already. Somebody wants to be told what became of it.
    OfEvent { inner: Arc<Inner>, event: Arc<ResetTokenCreated>, tell: oneshot::Sender<Outcome> },
}

impl Work for Mailing {
    async fn begin(self) -> Outcome {
        match self {
            Self::ToAddress { inner, address, client } => inner.deliver_to_address(&address, client).await,
            Self::OfEvent { inner, event, tell } => {
                let outcome = inner.announce(event).await;
                // Nobody may be waiting any more.
                let _ = tell.send(outcome);
                outcome
            }
        }
    }
}

impl Inner {
    fn place(&self) -> Result<Place<Mailing>, ResetError> {
        // The place comes before the question whether we shut down: who has one is waited for.
        let place = self.delivery.reserve().ok_or_else(|| unavailable(Unavailable::QueueFull))?;
        self.is_available()?;
        Ok(place)
    }

    async fn deliver_to_address(&self, address: &EmailAddress, client: Client) -> Outcome {
        let Ok(mut eligible) = self.find(address).await else { return Outcome::Lost };
        eligible.retain(|user| self.is_eligible(user));
        // Counted once a request and for every address, whether or not anybody has it: so the counters tell nothing.
        let key = || ThrottleKey::of_address(&self.address_mac.of([Some(address.folded().as_bytes())], &[]));
        let verdict = self.throttles.count(Scope::Mail, key).await;
        if eligible.is_empty() {
            return Outcome::Ineligible;
        }
        if let Verdict::Over { .. } = verdict {
            tracing::info!("an address is over its quota: no mail");
            return Outcome::Suppressed;
        }
        self.deliver(eligible, client).await
    }

    /// Issues a token to each, and runs the handlers.
    async fn deliver(&self, users: Vec<StoredUser>, client: Client) -> Outcome {
        let mut outcome = Outcome::Delivered;
        for user in users {
            // In an arc before anything is waited for: what an event holds is large.
            let event = self.issue(user, self.lifetime, client.clone()).map(Arc::new);
            let delivered = match event {
                Ok(event) => self.announce(event).await,
                Err(error) => {
                    tracing::error!(reason = %error, "no token could be issued");
                    Outcome::Failed
                }
            };
            if delivered != Outcome::Delivered {
                outcome = delivered;
            }
        }
        outcome
    }

    /// Returns the users with this address, in each spelling of its domain. The result of the store is compared once more:
    /// mail goes to the address on record, and only if it is the one that was asked for.
    async fn find(&self, address: &EmailAddress) -> Result<Vec<StoredUser>, BoxError> {
        let mut users = self.look_up(address, address.as_str()).await?;
        for spelling in address.other_spellings() {
            let more = self.look_up(address, &spelling).await?;
            let is_new = |user: &StoredUser| users.iter().all(|known| known.id() != user.id());
            let more: Vec<_> = more.into_iter().filter(is_new).collect();
            users.extend(more);
        }
        let found = users.len();
        users.retain(|user| address.is_same(user.email()));
        let others = found - users.len();
        if others > 0 {
            tracing::warn!(users = others, "the user store found users whose address is another; they get no mail");
        }
        Ok(users)
    }

    /// Asks the store for one spelling of `address`, with retries.
    async fn look_up(&self, address: &EmailAddress, spelling: &str) -> Result<Vec<StoredUser>, BoxError> {
        let mut found = self.users.find_by_email(spelling).await;
        for pause in BACK_OFF {
            let Err(error) = &found else { break };
            let reason = reason(error, [address.as_str(), spelling]);
            tracing::warn!(reason, "the user store failed to look up an address; trying again");
            tokio::time::sleep(pause).await;
            found = self.users.find_by_email(spelling).await;
        }
        found.inspect_err(|error| {
            let reason = reason(error, [address.as_str(), spelling]);
            tracing::error!(reason, "the user store failed to look up an address");
            self.users.found_down();
        })
    }

    async fn announce(&self, event: Arc<ResetTokenCreated>) -> Outcome {
        match self.handlers.announce(event).await {
            0 => Outcome::Delivered,
            _ => Outcome::Failed,
        }
    }
}
