//! [`MemoryUsers`]: users in memory, for tests.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Swap, UserStore};
use crate::secret::PasswordHash;
use crate::user::StoredUser;

/// A user store in memory, for tests. Clones share the users.
///
/// ```
/// use poem_password_reset::StoredUser;
/// use poem_password_reset::store::MemoryUsers;
///
/// let users = MemoryUsers::new([StoredUser::new(1, "ann@example.com", Some("a hash".to_owned()))]);
/// users.update("1", |ann| ann.with_active(false));
/// assert!(!users.get("1").is_some_and(|ann| ann.is_active()));
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryUsers {
    users: Arc<Mutex<Vec<StoredUser>>>,
}

impl MemoryUsers {
    /// Creates a store with these users.
    pub fn new(users: impl IntoIterator<Item = StoredUser>) -> Self {
        Self { users: Arc::new(Mutex::new(users.into_iter().collect())) }
    }

    /// Returns the user with this id in its present state.
    pub fn get(&self, id: &str) -> Option<StoredUser> {
        self.lock().iter().find(|user| user.id() == id).cloned()
    }

    /// Adds a user, or replaces the user with the same id.
    pub fn put(&self, user: StoredUser) {
        let mut users = self.lock();
        users.retain(|other| other.id() != user.id());
        users.push(user);
    }

    /// Changes the user with this id, as another part of the application would. Returns whether the user exists.
    pub fn update(&self, id: &str, change: impl FnOnce(StoredUser) -> StoredUser) -> bool {
        let mut users = self.lock();
        let Some(user) = users.iter_mut().find(|user| user.id() == id) else { return false };
        *user = change(user.clone());
        true
    }

    /// Removes the user with this id. Returns whether the user existed.
    pub fn remove(&self, id: &str) -> bool {
        let mut users = self.lock();
        let before = users.len();
        users.retain(|user| user.id() != id);
        users.len() < before
    }

    fn lock(&self) -> MutexGuard<'_, Vec<StoredUser>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UserStore for MemoryUsers {
    type Error = Infallible;

    async fn find_by_email(&self, email: &str) -> Result<Vec<StoredUser>, Infallible> {
        let wanted = email.to_lowercase();
        Ok(self.lock().iter().filter(|user| user.email().to_lowercase() == wanted).cloned().collect())
    }

    async fn find_by_id(&self, id: &str) -> Result<Option<StoredUser>, Infallible> {
        Ok(self.get(id))
    }

    async fn replace_password(&self, user: &StoredUser, new_hash: &PasswordHash) -> Result<Swap, Infallible> {
        let hash = |user: &StoredUser| user.password_hash().map(|hash| hash.expose().to_owned());
        let mut users = self.lock();
        let unchanged = |row: &&mut StoredUser| {
            row.id() == user.id()
                && row.email() == user.email()
                && hash(row) == hash(user)
                && row.bound_state() == user.bound_state()
                && row.is_active()
        };
        let Some(row) = users.iter_mut().find(unchanged) else { return Ok(Swap::Stale) };
        *row = row.clone().with_password(new_hash.clone());
        Ok(Swap::Done)
    }
}
