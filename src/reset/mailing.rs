//! [`Mailing`]: the job of an accepted request. It looks users up, issues tokens and runs the handlers.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::Inner;
use super::failures::LastFailure;
use super::no_mail::NoMail;
use crate::client::Client;
use crate::delivery::{Job, Outcome};
use crate::email::EmailAddress;
use crate::event::ResetTokenCreated;
use crate::handler::Announced;
use crate::redact::redacted_error;
use crate::throttle::Counter;
use crate::user::StoredUser;

/// The delay before each retry of a failed look-up.
const BACK_OFF: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1600)];

/// A job of the queue.
pub(super) enum Mailing {
    /// Mail to each user with an address.
    Request(Request),
    /// Mail with a token that was issued already. The caller of `send` waits for the outcome.
    Event { inner: Arc<Inner>, event: Arc<ResetTokenCreated>, outcome: oneshot::Sender<Outcome> },
}

impl Job for Mailing {
    async fn run(self) -> Outcome {
        match self {
            Self::Request(request) => request.run().await,
            Self::Event { inner, event, outcome } => {
                let delivered = outcome_of(&inner.handlers.announce(event).await);
                // The caller may have stopped waiting.
                let _ = outcome.send(delivered);
                delivered
            }
        }
    }
}

/// An accepted request, with the quota's verdict. The verdict comes with the request so that a retry never counts again.
pub(super) struct Request {
    pub(super) inner: Arc<Inner>,
    pub(super) address: EmailAddress,
    pub(super) client: Client,
    /// Whether the address is over its quota.
    pub(super) is_over_quota: bool,
    /// The counter that holds this request's use of the address's quota, until it is known whether a mail was sent.
    pub(super) counted_in: Option<Counter>,
}

/// The end of a request.
struct Delivered {
    outcome: Outcome,
    /// Whether at least one handler succeeded: a mail may have been sent.
    is_mailed: bool,
    /// The redacted reason of a failure, as logged.
    failure: Option<String>,
}

impl Request {
    async fn run(mut self) -> Outcome {
        let Delivered { outcome, is_mailed, failure } = self.deliver().await;
        let counted_in = self.counted_in.take();
        self.keep_for_diagnosis(outcome, failure);
        // If the store or the mail server failed, the count is given back, so that the user can ask again at once. If a mail
        // may have been sent, it stays: otherwise a handler that always fails would switch the quota off.
        if !is_mailed
            && matches!(outcome, Outcome::Failed | Outcome::Lost)
            && let Some(counter) = counted_in
        {
            self.inner.throttles.give_back(counter, &self.inner.address_key(&self.address.folded())).await;
        }
        outcome
    }

    /// Keeps a failure for [`diagnose`](super::PasswordReset::diagnose); a success ends it.
    fn keep_for_diagnosis(&self, outcome: Outcome, failure: Option<String>) {
        let key = || self.inner.address_key(&self.address.folded());
        match (outcome, failure) {
            (Outcome::Delivered, _) => self.inner.failures.forget(key),
            (_, Some(reason)) => self.inner.failures.keep(key(), LastFailure { at: (self.inner.clock)(), reason }),
            _ => {}
        }
    }

    async fn deliver(&self) -> Delivered {
        let without_mail = |outcome| Delivered { outcome, is_mailed: false, failure: None };
        let mut users = match self.inner.find(&self.address).await {
            Ok(users) => users,
            Err(reason) => return Delivered { failure: Some(reason), ..without_mail(Outcome::Lost) },
        };
        users.retain(|user| match self.inner.ineligible_because(user) {
            Some(because) => {
                because.log(Some(user.id()));
                false
            }
            None => true,
        });
        if users.is_empty() {
            return without_mail(Outcome::Ineligible);
        }
        if self.is_over_quota {
            users.iter().for_each(|user| NoMail::OverQuota.log(Some(user.id())));
            return without_mail(Outcome::Suppressed);
        }
        let limit = self.inner.users_per_address;
        if users.len() > limit {
            // One line with their number: the log must not grow with the users that share an address.
            let left_out = users.len() - limit;
            tracing::warn!(left_out, limit, "more users share an address than get mail for one request");
            users.truncate(limit);
        }
        self.mail(users).await
    }

    /// Issues a token to each user, and runs the handlers.
    async fn mail(&self, users: Vec<StoredUser>) -> Delivered {
        let mut delivered = Delivered { outcome: Outcome::Delivered, is_mailed: false, failure: None };
        for user in users {
            // Copies only the id: a copy of the user would have to be wiped as well.
            let id = user.id().to_owned();
            // Moved into an `Arc` before the first await: an event is large.
            let event = self.inner.issue(user, self.inner.lifetime, self.client.clone()).map(Arc::new);
            let announced = match event {
                Ok(event) => self.inner.handlers.announce(event).await,
                Err(error) => {
                    tracing::error!(user = id, reason = %error, "no token could be issued");
                    Announced { done: 0, failed: 1, failure: Some(error.to_string()) }
                }
            };
            if outcome_of(&announced) != Outcome::Delivered {
                delivered.outcome = Outcome::Failed;
                delivered.failure = announced.failure;
            }
            match announced.done {
                0 => NoMail::Failed.log(Some(&id)),
                _ => delivered.is_mailed = true,
            }
        }
        delivered
    }
}

impl Drop for Request {
    /// Gives the count back if the request is dropped before its end: when the service shuts down, or after a panic.
    fn drop(&mut self) {
        let Some(counter) = self.counted_in.take() else { return };
        let key = self.inner.address_key(&self.address.folded());
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

fn outcome_of(announced: &Announced) -> Outcome {
    if announced.failed == 0 { Outcome::Delivered } else { Outcome::Failed }
}

impl Inner {
    /// Returns the users with this address, in each spelling of its domain. The addresses that the store returns are
    /// compared once more: mail goes to the address on record, and only if it is the one that was asked for.
    ///
    /// # Errors
    ///
    /// The redacted reason why the store failed, as logged.
    pub(super) async fn find(&self, address: &EmailAddress) -> Result<Vec<StoredUser>, String> {
        let mut users = self.look_up(address, address.as_str()).await?;
        for spelling in address.other_spellings() {
            match self.look_up(address, &spelling).await {
                Ok(more) => {
                    let is_new = |user: &StoredUser| users.iter().all(|known| known.id() != user.id());
                    let more: Vec<_> = more.into_iter().filter(is_new).collect();
                    users.extend(more);
                }
                // A database that cannot represent this spelling holds no user with it. The others still get their mail.
                Err(_) if !users.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
        if users.is_empty() {
            NoMail::Unknown.log(None);
        }
        let found = users.len();
        users.retain(|user| {
            let is_same = address.is_same(user.email());
            if !is_same {
                NoMail::AnotherAddress.log(Some(user.id()));
            }
            is_same
        });
        let others = found - users.len();
        if others > 0 {
            tracing::warn!(users = others, "the user store found users whose address is another; they get no mail");
        }
        Ok(users)
    }

    /// Asks the store for one spelling of `address`, with retries.
    async fn look_up(&self, address: &EmailAddress, spelling: &str) -> Result<Vec<StoredUser>, String> {
        let mut found = self.users.find_by_email(spelling).await;
        for pause in BACK_OFF {
            let Err(error) = &found else { break };
            let reason = redacted_error(error, [address.as_str(), spelling]);
            tracing::warn!(reason, "the user store failed to look up an address; trying again");
            tokio::time::sleep(pause).await;
            found = self.users.find_by_email(spelling).await;
        }
        found.map_err(|error| {
            let reason = redacted_error(&error, [address.as_str(), spelling]);
            tracing::error!(
                reason = &*reason,
                "the user store failed to look up an address, so the request is lost and the user must ask again: check \
                 that the database answers and that the store names its table and columns"
            );
            format!("the user store failed: {reason}")
        })
    }
}
