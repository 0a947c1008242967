//! [`Users`]: the application's store, with timeouts, panic handling and a health check.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use super::health::Health;
use super::{Swap, UserStore};
use crate::catch_panic::catch_panic_future;
use crate::error::BoxError;
use crate::secret::PasswordHash;
use crate::timeout::with_timeout;
use crate::token::BoundUser;
use crate::user::StoredUser;

/// The timeout of a call to the store.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The application's store without a type parameter, with a timeout on each call and a health check.
pub(crate) struct Users(Arc<Store>);

pub(super) struct Store {
    calls: Box<dyn DynUserStore>,
    health: Health,
}

impl Users {
    pub(crate) fn new(store: impl UserStore) -> Self {
        Self(Arc::new(Store { calls: Box::new(store), health: Health::default() }))
    }

    pub(crate) async fn find_by_email(&self, email: &str) -> Result<Vec<StoredUser>, BoxError> {
        self.answer_of(self.0.calls.find_by_email(email)).await
    }

    pub(crate) async fn find_by_id(&self, id: &str) -> Result<Option<StoredUser>, BoxError> {
        self.answer_of(self.0.calls.find_by_id(id)).await
    }

    /// Writes a new hash. A [`BoundUser`] exists only after a valid token was bound to it.
    pub(crate) async fn replace_password(&self, user: &BoundUser, new_hash: &PasswordHash) -> Result<Swap, BoxError> {
        self.answer_of(self.0.calls.replace_password(user.user(), new_hash)).await
    }

    /// Returns whether the last health check failed.
    pub(crate) fn is_down(&self) -> bool {
        self.0.health.is_down()
    }

    /// Runs the store's check at start. Does not change the health.
    pub(crate) async fn check_at_start(&self, limit: Duration) -> Result<(), BoxError> {
        in_time(limit, self.0.calls.check_at_start()).await
    }

    /// Awaits a call. A failure starts a health check, because it may concern this call alone.
    async fn answer_of<T>(&self, call: Boxed<'_, T>) -> Result<T, BoxError> {
        let answer = in_time(CALL_TIMEOUT, call).await;
        if answer.is_err() {
            self.0.health.suspect(&self.0);
        }
        answer
    }
}

impl Store {
    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// Runs the store's health check, which depends on no user.
    pub(super) async fn probe(&self, limit: Duration) -> Result<(), BoxError> {
        in_time(limit, self.calls.check()).await
    }
}

/// Awaits a call of the store, for at most `limit`. A panic becomes an error.
async fn in_time<T>(limit: Duration, call: Boxed<'_, T>) -> Result<T, BoxError> {
    let answer = with_timeout(limit, pin!(catch_panic_future(call))).await;
    answer.map_err(|_| "the user store did not answer in time")?.map_err(|_| "the user store panicked")?
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send + 'a>>;

/// Object-safe form of [`UserStore`]. It allocates once a call, which is negligible beside a password hash.
trait DynUserStore: Send + Sync {
    fn find_by_email<'a>(&'a self, email: &'a str) -> Boxed<'a, Vec<StoredUser>>;
    fn find_by_id<'a>(&'a self, id: &'a str) -> Boxed<'a, Option<StoredUser>>;
    fn replace_password<'a>(&'a self, user: &'a StoredUser, new_hash: &'a PasswordHash) -> Boxed<'a, Swap>;
    fn check(&self) -> Boxed<'_, ()>;
    fn check_at_start(&self) -> Boxed<'_, ()>;
}

impl<S: UserStore> DynUserStore for S {
    fn find_by_email<'a>(&'a self, email: &'a str) -> Boxed<'a, Vec<StoredUser>> {
        Box::pin(async move { UserStore::find_by_email(self, email).await.map_err(Into::into) })
    }

    fn find_by_id<'a>(&'a self, id: &'a str) -> Boxed<'a, Option<StoredUser>> {
        Box::pin(async move { UserStore::find_by_id(self, id).await.map_err(Into::into) })
    }

    fn replace_password<'a>(&'a self, user: &'a StoredUser, new_hash: &'a PasswordHash) -> Boxed<'a, Swap> {
        Box::pin(async move { UserStore::replace_password(self, user, new_hash).await.map_err(Into::into) })
    }

    fn check(&self) -> Boxed<'_, ()> {
        Box::pin(async move { UserStore::check(self).await.map_err(Into::into) })
    }

    fn check_at_start(&self) -> Boxed<'_, ()> {
        Box::pin(async move { UserStore::check_at_start(self).await.map_err(Into::into) })
    }
}
