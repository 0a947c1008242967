//! The operation **confirm**.

use std::sync::Arc;

use tokio::sync::oneshot;
use tracing::Instrument as _;

use super::{Confirmed, Inner, PasswordReset, answered, refused, unavailable};
use crate::client::Client;
use crate::email;
use crate::error::{ApplicationError, BoxError, InvalidToken, PasswordRefusal, Refusal, ResetError, Unavailable};
use crate::event::{PostPasswordReset, PrePasswordReset, Veto};
use crate::password::Permit;
use crate::redact::redacted_error;
use crate::secret::{NewPassword, PasswordHash};
use crate::store::Swap;
use crate::throttle::Scope;
use crate::token::{BoundUser, SignedClaims};
use crate::user::{StoredUser, secrets_of};

impl PasswordReset {
    /// Sets a new password. Afterwards no token of the user is valid.
    ///
    /// Runs in its own task, which continues if the caller drops the future because the client disconnected or the server
    /// shuts down. So the handlers of [`PostPasswordReset`] run after every write. Returns as soon as the store has
    /// acknowledged the write, before these handlers have finished.
    ///
    /// # Errors
    ///
    /// * [`ResetError::InvalidToken`]: forged, expired, used or stale, or another confirmation was faster.
    /// * [`ResetError::PasswordRefused`]: by the policy or a handler. The token stays valid.
    /// * [`ResetError::Throttled`]: the client is over its quota.
    /// * [`ResetError::Failed`]: the hasher, a policy rule or a handler failed. Nothing was changed.
    /// * [`ResetError::Unavailable`]: busy, store down or shutting down. With [`Unavailable::UnknownOutcome`], the store did
    ///   not report whether it wrote; a second try is safe.
    pub async fn confirm(&self, token: &str, password: NewPassword, client: Client) -> Result<Confirmed, ResetError> {
        let receiver = match self.start(token, password, client).await {
            Ok(receiver) => receiver,
            Err(error) => return answered(Scope::Confirm, Err(error)),
        };
        // A panic of the task, for example in the store, drops the sender. Then it is unknown whether the store wrote.
        receiver.await.unwrap_or_else(|_| answered(Scope::Confirm, Err(unavailable(Unavailable::UnknownOutcome))))
    }

    /// Makes the checks that do not depend on the user and spawns a task for the rest. The task sends the result.
    async fn start(
        &self,
        token: &str,
        password: NewPassword,
        client: Client,
    ) -> Result<oneshot::Receiver<Result<Confirmed, ResetError>>, ResetError> {
        // The upper limit comes first, so that a long password causes no further work. It does not depend on the user.
        if let Some(reason) = self.inner.policy.too_long(password.expose()) {
            return Err(ResetError::PasswordRefused(vec![reason]));
        }
        // Tracked before the check for a shutdown, because a shutdown waits for tracked confirmations.
        let tracked = self.inner.confirms.token();
        self.inner.is_available()?;
        let permit = self.inner.workers.try_acquire().ok_or_else(|| unavailable(Unavailable::HashersBusy))?;
        self.inner.count_client(Scope::Confirm, &client).await?;
        let claims = self.inner.verify(token)?;

        let (sender, receiver) = oneshot::channel();
        let inner = Arc::clone(&self.inner);
        let task = async move {
            let (answer, event) = match inner.replace_password(claims, password, &client, permit).await {
                Ok(user) => (Ok(Confirmed { user: user.clone() }), Some(PostPasswordReset::new(user, client))),
                Err(error) => (Err(error), None),
            };
            // The caller may have dropped the receiver.
            let _ = sender.send(answered(Scope::Confirm, answer));
            if let Some(event) = event {
                inner.handlers.announce(Arc::new(event)).await;
            }
            drop(tracked);
        };
        tokio::spawn(task.in_current_span());
        Ok(receiver)
    }
}

impl Inner {
    /// Replaces the password of the token's user, and returns the user with the new hash.
    ///
    /// The order is documented: the application's handlers run only after token, user and policy have passed, and the
    /// store writes only after all handlers have agreed.
    async fn replace_password(
        &self,
        claims: SignedClaims,
        password: NewPassword,
        client: &Client,
        permit: Permit,
    ) -> Result<StoredUser, ResetError> {
        let bound = self.bind(claims).await?;
        self.check_policy(&bound, &password, &permit).await?;
        self.ask_handlers(&bound, client).await?;
        let hash = self.hash(&bound, password, &permit).await?;
        drop(permit);
        let swap = self.users.replace_password(&bound, &hash).await.map_err(|error| {
            let secrets = secrets_of(bound.user()).chain([hash.expose()]);
            let reason = redacted_error(&error, secrets);
            tracing::error!(reason, "the user store did not report whether it replaced the password");
            unavailable(Unavailable::UnknownOutcome)
        })?;
        match swap {
            Swap::Done => {
                tracing::info!(
                    user = bound.user().id(),
                    client = client.address().map(tracing::field::display),
                    "a password was reset"
                );
                // Before the answer, so that a user who forgets the new password can ask again at once. Only the holder of
                // a valid token can observe the time that this takes.
                let key = || self.address_key(&email::folded(bound.user().email()));
                self.throttles.clear(Scope::Mail, key).await;
                Ok(bound.into_user().with_password(hash))
            }
            Swap::Stale => Err(refused(InvalidToken::new(Refusal::LostRace)).into()),
        }
    }

    /// Runs the built-in checks on a hashing thread and the application's rules elsewhere, because those can block.
    async fn check_policy(&self, bound: &BoundUser, password: &NewPassword, permit: &Permit) -> Result<(), ResetError> {
        let (policy, given, user) = (self.policy.clone(), password.clone(), bound.user().clone());
        let checked = permit.run(move || policy.check_built_in(given.expose(), &user)).await;
        let checked = checked.map_err(|_| failed("a check of the password policy panicked", []))?;
        let mut refusals = checked.err().unwrap_or_default();
        if let Some(compare) = self.policy.reuse_check(&refusals, password, bound.user()).await? {
            let compared = permit.run(compare).await;
            refusals.extend(compared.map_err(|_| failed("the comparison with earlier passwords panicked", []))?);
        }
        self.policy.check_rules(refusals, password, bound.user()).await
    }

    async fn ask_handlers(&self, bound: &BoundUser, client: &Client) -> Result<(), ResetError> {
        let event = PrePasswordReset::new(bound.user().clone(), client.clone());
        self.handlers.ask(Arc::new(event)).await.map_err(|error| match Veto::of(&error) {
            Some(veto) => ResetError::PasswordRefused(vec![PasswordRefusal::Custom(veto.text().to_owned())]),
            None => ResetError::Failed(ApplicationError::new(error)),
        })
    }

    async fn hash(
        &self,
        bound: &BoundUser,
        password: NewPassword,
        permit: &Permit,
    ) -> Result<PasswordHash, ResetError> {
        let (hasher, given) = (Arc::clone(&self.hasher), password.clone());
        let hashed = permit.run(move || hasher.hash(given.expose())).await;
        let hashed = hashed.unwrap_or_else(|_| Err("the password hasher panicked".into()));
        let secrets = || secrets_of(bound.user()).chain([password.expose()]);
        let hash = PasswordHash::new(hashed.map_err(|error| failed(error, secrets()))?);
        // An equal hash would not change the row, so the token would stay valid.
        match bound.user().password_hash() {
            Some(old) if old.expose() == hash.expose() => {
                Err(failed("the password hasher returned the stored hash: it uses no salt", []))
            }
            _ => Ok(hash),
        }
    }
}

fn failed<'s>(error: impl Into<BoxError>, secrets: impl IntoIterator<Item = &'s str>) -> ResetError {
    let error = error.into();
    tracing::error!(reason = redacted_error(&error, secrets), "a password could not be reset");
    ResetError::Failed(ApplicationError::new(error))
}
