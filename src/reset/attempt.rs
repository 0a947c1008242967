//! One try to deliver an accepted request: look the users up, issue tokens, run the handlers.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Inner;
use super::failures::LastFailure;
use super::no_mail::NoMail;
use crate::delivery::{AcceptedRequest, DeliveryError, Outcome};
use crate::email::EmailAddress;
use crate::handler::Announced;
use crate::redact::redacted_error;
use crate::user::StoredUser;

/// The result of one try.
pub(super) enum Attempt {
    /// The request needs no further try.
    Done(Outcome),
    /// The store or a handler failed.
    Again(DeliveryError),
}

/// The results of the tries of a request so far.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The number of failed tries.
    failed_tries: u32,
    /// The end of the first failed try. Not the system clock, which may be set back.
    failing_since: Option<Instant>,
    /// Whether at least one handler succeeded: a mail may have been sent.
    is_mailed: bool,
    /// Whether a user gets no mail because of an error that no retry corrects.
    has_failed: bool,
    /// The users whose handlers failed. `None` until the handlers of every user were called.
    unfinished: Option<Vec<Unfinished>>,
}

/// A user whose handlers failed.
#[derive(Debug)]
struct Unfinished {
    user: String,
    /// The positions of the handlers to call again.
    handlers: Vec<usize>,
    /// Whether another handler of this user succeeded.
    is_mailed: bool,
}

impl Progress {
    /// Returns whether the first failure will be at least `max_age` ago after `pause`.
    pub(super) fn is_too_old(&self, pause: Duration, max_age: Duration) -> bool {
        self.failing_since.is_some_and(|since| since.elapsed() + pause >= max_age)
    }

    pub(super) fn is_mailed(&self) -> bool {
        self.is_mailed
    }

    fn failed_handlers(&self) -> bool {
        self.unfinished.is_some()
    }

    /// Returns the pause before the next try: `first`, doubled for each failed try but one, at most `longest`.
    pub(super) fn next_pause(&self, first: Duration, longest: Duration) -> Duration {
        let doublings = self.failed_tries.saturating_sub(1).min(16);
        (first * (1 << doublings)).min(longest)
    }

    /// Logs the users who get no mail, and returns the outcome of a request that is not tried again.
    pub(super) fn give_up(&self) -> Outcome {
        let Some(unfinished) = &self.unfinished else { return Outcome::Lost };
        for user in unfinished.iter().filter(|user| !user.is_mailed) {
            NoMail::Failed.log(Some(&user.user));
        }
        Outcome::Failed
    }

    /// Returns the outcome once no handler is to be called again.
    fn outcome(&self) -> Outcome {
        if self.has_failed { Outcome::Failed } else { Outcome::Delivered }
    }

    /// Adds the result of the handlers of one user, who is not to be tried again.
    fn finish(&mut self, user: &str, is_mailed: bool, has_failed: bool) {
        self.has_failed |= has_failed;
        if !is_mailed {
            NoMail::Failed.log(Some(user));
        }
    }
}

impl Inner {
    /// Tries to deliver the request, and keeps a failure for [`diagnose`](super::PasswordReset::diagnose); a success ends
    /// it.
    pub(super) async fn attempt(&self, accepted: &AcceptedRequest, progress: &mut Progress) -> Attempt {
        let (attempt, failure) = self.try_once(accepted, progress).await;
        let key = || self.address_key(&accepted.address.folded());
        match (&attempt, failure) {
            (Attempt::Done(Outcome::Delivered), _) => self.failures.forget(key),
            (_, Some(reason)) => self.failures.keep(key(), LastFailure { at: (self.clock)(), reason }),
            _ => {}
        }
        if let Attempt::Again(_) = attempt {
            progress.failed_tries = progress.failed_tries.saturating_add(1);
            progress.failing_since.get_or_insert_with(Instant::now);
        }
        attempt
    }

    /// Returns the result, and the redacted reason of a failure, as logged.
    async fn try_once(&self, accepted: &AcceptedRequest, progress: &mut Progress) -> (Attempt, Option<String>) {
        let mut users = match self.find(&accepted.address).await {
            Ok(users) => users,
            Err(reason) => {
                let failure = format!("the user store failed: {reason}");
                return (Attempt::Again(DeliveryError::Store { reason }), Some(failure));
            }
        };
        users.retain(|user| match self.ineligibility(user) {
            Some(reason) => {
                reason.log(Some(user.id()));
                false
            }
            None => true,
        });
        if users.is_empty() {
            // The users may have been deleted since an earlier try.
            let outcome = if progress.failed_handlers() { progress.outcome() } else { Outcome::Ineligible };
            return (Attempt::Done(outcome), None);
        }
        if accepted.is_over_quota {
            users.iter().for_each(|user| NoMail::OverQuota.log(Some(user.id())));
            return (Attempt::Done(Outcome::Suppressed), None);
        }
        let limit = self.users_per_address;
        if users.len() > limit {
            // One line with their number: the log must not grow with the users that share an address.
            let left_out = users.len() - limit;
            tracing::warn!(left_out, limit, "more users share an address than get mail for one request");
            users.truncate(limit);
        }
        self.mail(users, accepted, progress).await
    }

    /// Issues a token to each user, and runs the handlers that have not succeeded yet.
    async fn mail(
        &self,
        users: Vec<StoredUser>,
        accepted: &AcceptedRequest,
        progress: &mut Progress,
    ) -> (Attempt, Option<String>) {
        let earlier = progress.unfinished.take();
        let (mut unfinished, mut failure) = (Vec::new(), None);
        for user in users {
            let earlier = match &earlier {
                None => None,
                Some(earlier) => match earlier.iter().find(|earlier| earlier.user == user.id()) {
                    // All handlers of this user have succeeded.
                    None => continue,
                    found => found,
                },
            };
            // Copies only the id: a copy of the user would have to be wiped as well.
            let id = user.id().to_owned();
            let was_mailed = earlier.is_some_and(|earlier| earlier.is_mailed);
            // Moved into an `Arc` before the first await: an event is large.
            let event = match self.issue(user, self.lifetime, accepted.client.clone()).map(Arc::new) {
                Ok(event) => event,
                Err(error) => {
                    tracing::error!(user = id, reason = %error, "no token could be issued");
                    failure = Some(error.to_string());
                    progress.finish(&id, was_mailed, true);
                    continue;
                }
            };
            let selects = |handler| earlier.is_none_or(|earlier| earlier.handlers.contains(&handler));
            let Announced { done, failed, again, failure: reason } = self.handlers.announce_to(selects, event).await;
            let is_mailed = was_mailed || done > 0;
            progress.is_mailed |= is_mailed;
            failure = reason.or(failure);
            if again.is_empty() {
                progress.finish(&id, is_mailed, failed > 0);
            } else {
                progress.has_failed |= failed > again.len();
                unfinished.push(Unfinished { user: id, handlers: again, is_mailed });
            }
        }
        if unfinished.is_empty() {
            return (Attempt::Done(progress.outcome()), failure);
        }
        progress.unfinished = Some(unfinished);
        (Attempt::Again(DeliveryError::Handler { reason: failure.clone().unwrap_or_default() }), failure)
    }

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

    /// Asks the store for one spelling of `address`.
    async fn look_up(&self, address: &EmailAddress, spelling: &str) -> Result<Vec<StoredUser>, String> {
        self.users.find_by_email(spelling).await.map_err(|error| {
            let reason = redacted_error(&error, [address.as_str(), spelling]);
            tracing::error!(
                reason = &*reason,
                "the user store failed to look up an address: check that the database answers and that the store names \
                 its table and columns"
            );
            reason
        })
    }
}
