//! Test doubles shared by several tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use poem_password_reset::store::MemoryUsers;
use poem_password_reset::throttle::Quotas;
use poem_password_reset::{
    BoxError, PasswordHash, PasswordReset, PasswordResetBuilder, ResetTokenCreated, SigningKey, StoredUser, Swap,
    UserStore,
};

/// Bytes of the signing key of all tests. Public, so that a test can sign hostile tokens.
pub const KEY: &[u8] = b"the signing key of the tests, 32+";

/// The `max_age` with which no failed request is tried again: the first retry is after a second.
pub const NO_RETRY: Duration = Duration::from_secs(1);

/// A password that meets the policy.
pub const GOOD_PASSWORD: &str = "purple tractor hums at dawn";

pub fn key() -> SigningKey {
    SigningKey::from_bytes(KEY).unwrap()
}

/// A fast hasher. It is salted, because `build()` rejects an unsalted one.
pub fn cheap_hash(password: &str) -> Result<String, std::convert::Infallible> {
    static SALT: AtomicU64 = AtomicU64::new(0);
    Ok(format!("cheap${}${password}", SALT.fetch_add(1, Ordering::Relaxed)))
}

/// Returns whether the user's hash is a [`cheap_hash`] of this password.
pub fn verifies(user: &StoredUser, password: &str) -> bool {
    let hash = user.password_hash().map(PasswordHash::expose).unwrap_or_default();
    hash.splitn(3, '$').nth(2) == Some(password)
}

/// Returns four users: Ann and Bob, Carol (deactivated), and Dave (without a password).
pub fn people() -> MemoryUsers {
    let hash = |password: &str| Some(cheap_hash(password).unwrap());
    MemoryUsers::new([
        StoredUser::new(1, "ann@example.com", hash("ann's old password")).with_username("annie".to_owned()),
        StoredUser::new(2, "bob@example.com", hash("bob's old password")),
        StoredUser::new(3, "carol@example.com", hash("carol's old password")).with_active(false),
        StoredUser::new(4, "dave@example.com", None),
    ])
}

/// Returns a builder that lacks only a handler. Annotated handlers, quotas and retries are switched off.
pub fn builder(users: impl UserStore) -> PasswordResetBuilder {
    PasswordReset::builder(users, key())
        .link("https://app.example.com/reset-password#token={token}")
        .hasher(cheap_hash)
        .quotas(Quotas::off())
        .max_age(NO_RETRY)
        .linked_handlers(false)
}

/// A handler that does nothing.
pub async fn no_mail(_: Arc<ResetTokenCreated>) {}

/// Number of calls of each method of a store.
#[derive(Debug, Default)]
pub struct Calls {
    pub find_by_email: AtomicUsize,
    pub find_by_id: AtomicUsize,
    pub replace_password: AtomicUsize,
}

impl Calls {
    pub fn all(&self) -> usize {
        [&self.find_by_email, &self.find_by_id, &self.replace_password]
            .map(|count| count.load(Ordering::SeqCst))
            .iter()
            .sum()
    }
}

/// A store that counts its calls and runs `before` in each, for example to fail, to wait or to change a row.
pub struct Watched<Before> {
    pub users: MemoryUsers,
    pub calls: Arc<Calls>,
    pub before: Before,
}

/// A method of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    FindByEmail,
    FindById,
    ReplacePassword,
    /// Not counted: the library calls it after a failed call.
    Check,
}

impl<Before, Done> UserStore for Watched<Before>
where
    Before: Fn(Call) -> Done + Send + Sync + 'static,
    Done: Future<Output = Result<(), BoxError>> + Send,
{
    type Error = BoxError;

    async fn find_by_email(&self, email: &str) -> Result<Vec<StoredUser>, BoxError> {
        self.calls.find_by_email.fetch_add(1, Ordering::SeqCst);
        (self.before)(Call::FindByEmail).await?;
        Ok(self.users.find_by_email(email).await?)
    }

    async fn find_by_id(&self, id: &str) -> Result<Option<StoredUser>, BoxError> {
        self.calls.find_by_id.fetch_add(1, Ordering::SeqCst);
        (self.before)(Call::FindById).await?;
        Ok(self.users.find_by_id(id).await?)
    }

    async fn replace_password(&self, user: &StoredUser, new_hash: &PasswordHash) -> Result<Swap, BoxError> {
        self.calls.replace_password.fetch_add(1, Ordering::SeqCst);
        (self.before)(Call::ReplacePassword).await?;
        Ok(self.users.replace_password(user, new_hash).await?)
    }

    async fn check(&self) -> Result<(), BoxError> {
        (self.before)(Call::Check).await
    }

    /// Succeeds without `before`, which is for the calls after the start.
    async fn check_at_start(&self) -> Result<(), BoxError> {
        Ok(())
    }
}

/// A store that finds the same users for every address.
pub struct Finds(pub Vec<StoredUser>);

impl UserStore for Finds {
    type Error = std::convert::Infallible;

    async fn find_by_email(&self, _: &str) -> Result<Vec<StoredUser>, Self::Error> {
        Ok(self.0.clone())
    }

    async fn find_by_id(&self, _: &str) -> Result<Option<StoredUser>, Self::Error> {
        Ok(self.0.first().cloned())
    }

    async fn replace_password(&self, _: &StoredUser, _: &PasswordHash) -> Result<Swap, Self::Error> {
        Ok(Swap::Stale)
    }
}
