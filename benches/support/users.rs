//! A store that costs what a map costs, and a password reset for it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use poem_password_reset::throttle::{Quota, Quotas};
use poem_password_reset::{PasswordHash, PasswordReset, PasswordResetBuilder, SigningKey, StoredUser, Swap, UserStore};

use super::tokens::{MASTER, ann};

/// The old password hash of everybody.
fn hash() -> Option<String> {
    ann().password_hash().map(|hash| hash.expose().to_owned())
}

/// The address of a user.
pub fn address(number: usize) -> String {
    format!("user-{number}@example.com")
}

/// Users by id and by address. Clones share them.
#[derive(Clone, Default)]
pub struct Users(Arc<Shared>);

/// No user comes or goes.
#[derive(Default)]
struct Shared {
    rows: Vec<Row>,
    by_id: HashMap<String, usize>,
    by_email: HashMap<String, Vec<usize>>,
    was_called: AtomicBool,
}

/// A user. Who was never written to is read without a lock: what it costs two cores to hand one to and fro is not what is
/// measured here.
struct Row {
    at_first: StoredUser,
    since: RwLock<Option<StoredUser>>,
    was_written: AtomicBool,
}

impl Row {
    fn new(user: StoredUser) -> Self {
        Self { at_first: user, since: RwLock::new(None), was_written: AtomicBool::new(false) }
    }

    fn read(&self) -> StoredUser {
        if !self.was_written.load(Ordering::Acquire) {
            return self.at_first.clone();
        }
        self.since.read().unwrap().as_ref().unwrap_or(&self.at_first).clone()
    }

    /// Writes a new hash, if the user is still what they were.
    fn replace_password(&self, user: &StoredUser, new_hash: &PasswordHash) -> Swap {
        let mut since = self.since.write().unwrap();
        let now = since.as_ref().unwrap_or(&self.at_first);
        let is_same = now.password_hash().map(PasswordHash::expose) == user.password_hash().map(PasswordHash::expose)
            && now.email() == user.email();
        if !is_same {
            return Swap::Stale;
        }
        *since = Some(StoredUser::new(now.id(), now.email(), Some(new_hash.expose().to_owned())));
        self.was_written.store(true, Ordering::Release);
        Swap::Done
    }
}

impl Users {
    /// Users 0, 1, 2, and so on, each with an address of their own.
    pub fn new(users: usize) -> Self {
        Self::with_addresses((0..users).map(address))
    }

    /// A user for each of these addresses, among which there may be equal ones.
    pub fn with_addresses(addresses: impl Iterator<Item = String>) -> Self {
        let mut shared = Shared::default();
        for (row, email) in addresses.enumerate() {
            shared.rows.push(Row::new(StoredUser::new(row, email.as_str(), hash())));
            shared.by_id.insert(row.to_string(), row);
            shared.by_email.entry(email).or_default().push(row);
        }
        Self(Arc::new(shared))
    }

    pub fn get(&self, id: &str) -> Option<StoredUser> {
        Some(self.0.rows[*self.0.by_id.get(id)?].read())
    }

    /// Whether anybody asked. No count: cores would wait for each other to add to it.
    pub fn was_called(&self) -> bool {
        self.0.was_called.load(Ordering::Relaxed)
    }

    fn called(&self) {
        if !self.was_called() {
            self.0.was_called.store(true, Ordering::Relaxed);
        }
    }
}

impl UserStore for Users {
    type Error = Infallible;

    async fn find_by_email(&self, email: &str) -> Result<Vec<StoredUser>, Infallible> {
        self.called();
        // Nobody here asks in another spelling.
        let rows = self.0.by_email.get(email).map_or(&[][..], Vec::as_slice);
        Ok(rows.iter().map(|row| self.0.rows[*row].read()).collect())
    }

    async fn find_by_id(&self, id: &str) -> Result<Option<StoredUser>, Infallible> {
        self.called();
        Ok(self.get(id))
    }

    async fn replace_password(&self, user: &StoredUser, new_hash: &PasswordHash) -> Result<Swap, Infallible> {
        self.called();
        let row = self.0.by_id.get(user.id());
        Ok(row.map_or(Swap::Stale, |row| self.0.rows[*row].replace_password(user, new_hash)))
    }

    /// The check at start is none of the calls that are counted.
    async fn check(&self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// All that a password reset needs but a handler of the mail. Quotas are on, so that what they cost is measured; but so
/// generous that none here is met.
pub fn builder(users: &Users) -> PasswordResetBuilder {
    PasswordReset::builder(users.clone(), SigningKey::from_bytes(MASTER).unwrap())
        .link("https://app.example.com/reset-password#token={token}")
        .linked_handlers(false)
        .quotas(generous_to_clients().mails_per_address(generous()))
}

/// As much as a quota can be.
fn generous() -> Quota {
    Quota::per(u16::MAX, Duration::from_secs(1)).expect("a second is a window")
}

/// Quotas that no client here meets, with the usual one of mails.
fn generous_to_clients() -> Quotas {
    let quota = generous();
    Quotas::default().request_per_client(quota).validate_per_client(quota).confirm_per_client(quota)
}

/// A password reset whose mails go nowhere, at once.
pub async fn reset(users: &Users) -> PasswordReset {
    builder(users).on_reset_token_created(async |_| {}).build().await.unwrap()
}

/// One with the usual quota of mails: whoever asks again and again for one address gets it three an hour.
pub async fn over_quota(users: &Users) -> PasswordReset {
    builder(users).quotas(generous_to_clients()).on_reset_token_created(async |_| {}).build().await.unwrap()
}
