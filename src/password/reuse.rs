//! [`PasswordVerifier`] and [`PasswordHistory`]: refuse the current password and earlier ones.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use super::argon2id::Argon2id;
use crate::catch_panic::{catch_panic, catch_panic_future};
use crate::error::{BoxError, PasswordRefusal};
use crate::redact::redacted_error;
use crate::secret::{NewPassword, PasswordHash};
use crate::timeout::with_timeout;
use crate::user::{StoredUser, secrets_of};

/// The most earlier passwords that are compared. Each comparison takes as long as a sign-in.
const MAX_EARLIER: usize = 24;

/// Compares a password with a stored hash.
///
/// [`Argon2id`] implements it, and so does every `Fn(&str, &str) -> Result<bool, E>` that takes the password and the hash.
pub trait PasswordVerifier: Send + Sync + 'static {
    /// Returns whether `hash` is a hash of `password`. Called on a blocking thread.
    ///
    /// # Errors
    ///
    /// The hash has a format that this verifier does not know. The password then counts as a different one.
    fn verify(&self, password: &str, hash: &str) -> Result<bool, BoxError>;
}

impl PasswordVerifier for Argon2id {
    fn verify(&self, password: &str, hash: &str) -> Result<bool, BoxError> {
        Self::verify(self, password, hash)
    }
}

impl<F, E> PasswordVerifier for F
where
    F: Fn(&str, &str) -> Result<bool, E> + Send + Sync + 'static,
    E: Into<BoxError>,
{
    fn verify(&self, password: &str, hash: &str) -> Result<bool, BoxError> {
        self(password, hash).map_err(Into::into)
    }
}

/// Returns the hashes of a user's earlier passwords.
///
/// Add the replaced hash to the history in the same transaction as the new password, in
/// [`UserStore::replace_password`](crate::UserStore::replace_password).
pub trait PasswordHistory: Send + Sync + 'static {
    /// The error if the history cannot be read. The confirmation then fails, and the token stays valid.
    type Error: Into<BoxError> + Send;

    /// Returns the hashes of the user's earlier passwords, the latest first. The first 24 are compared.
    fn earlier_hashes(&self, user: &StoredUser) -> impl Future<Output = Result<Vec<PasswordHash>, Self::Error>> + Send;
}

/// The check for a password that the user has or had.
#[derive(Clone)]
pub(crate) struct Reuse {
    verifier: Arc<dyn PasswordVerifier>,
    history: Option<Arc<dyn DynHistory>>,
}

impl Reuse {
    pub(super) fn of_current(verifier: impl PasswordVerifier) -> Self {
        Self { verifier: Arc::new(verifier), history: None }
    }

    pub(super) fn of_history(verifier: impl PasswordVerifier, history: impl PasswordHistory) -> Self {
        Self { verifier: Arc::new(verifier), history: Some(Arc::new(history)) }
    }

    /// Returns the hashes of the earlier passwords.
    ///
    /// # Errors
    ///
    /// The history failed, panicked or did not answer within `limit`.
    pub(super) async fn earlier_hashes(
        &self,
        user: &StoredUser,
        limit: Duration,
    ) -> Result<Vec<PasswordHash>, BoxError> {
        let Some(history) = &self.history else { return Ok(Vec::new()) };
        let answer = with_timeout(limit, pin!(catch_panic_future(history.earlier_hashes(user)))).await;
        answer
            .map_err(|_| "the password history did not answer in time")?
            .map_err(|_| "the password history panicked")?
    }

    /// Compares the password with the current hash of the user and with the earlier ones. Takes as long as a sign-in for
    /// each.
    pub(super) fn refusal(
        &self,
        password: &NewPassword,
        user: &StoredUser,
        earlier: &[PasswordHash],
    ) -> Option<PasswordRefusal> {
        let is_hash_of = |hash: &PasswordHash| self.is_hash_of(password, user, hash);
        // An empty hash, and the marks of Django and of `/etc/shadow`, belong to no password.
        let current =
            user.password_hash().filter(|hash| !hash.expose().is_empty() && !hash.expose().starts_with(['!', '*']));
        if current.is_some_and(is_hash_of) {
            return Some(PasswordRefusal::Current);
        }
        earlier.iter().take(MAX_EARLIER).any(is_hash_of).then_some(PasswordRefusal::Earlier)
    }

    /// A hash that the verifier cannot read is logged and counts as that of a different password. Otherwise a user with a hash
    /// in an old format could not reset it.
    fn is_hash_of(&self, password: &NewPassword, user: &StoredUser, hash: &PasswordHash) -> bool {
        let verified = catch_panic(|| self.verifier.verify(password.expose(), hash.expose()));
        let error = match verified {
            Ok(Ok(is_same)) => return is_same,
            Ok(Err(error)) => error,
            Err(_) => "the verifier panicked".into(),
        };
        let secrets = secrets_of(user).chain([password.expose(), hash.expose()]);
        let reason = catch_panic(|| redacted_error(&error, secrets))
            .unwrap_or_else(|_| "the error panics when it is displayed".to_owned());
        let _ = catch_panic(|| drop(error));
        tracing::warn!(user = user.id(), reason, "a password could not be compared with a stored hash");
        false
    }
}

/// Object-safe form of [`PasswordHistory`].
trait DynHistory: Send + Sync {
    fn earlier_hashes<'a>(&'a self, user: &'a StoredUser) -> HashesFuture<'a>;
}

type HashesFuture<'a> = Pin<Box<dyn Future<Output = Result<Vec<PasswordHash>, BoxError>> + Send + 'a>>;

impl<H: PasswordHistory> DynHistory for H {
    fn earlier_hashes<'a>(&'a self, user: &'a StoredUser) -> HashesFuture<'a> {
        Box::pin(async move { PasswordHistory::earlier_hashes(self, user).await.map_err(Into::into) })
    }
}
