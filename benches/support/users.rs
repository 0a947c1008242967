//! An in-memory user store without locks on its indices, and a password reset for it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use poem_password_reset::throttle::{Quota, Quotas};
use poem_password_reset::{PasswordHash, PasswordReset, PasswordResetBuilder, SigningKey, StoredUser, Swap, UserStore};

use super::tokens::{MASTER_KEY, sample_user};

/// The address of a user.
pub fn address(number: usize) -> String {
    format!("user-{number}@example.com")
}

/// Users by id and by address. Clones share the users.
#[derive(Clone, Default)]
pub struct Users(Arc<Tables>);

#[derive(Default)]
struct Tables {
    rows: Vec<RwLock<StoredUser>>,
    by_id: HashMap<String, usize>,
    by_email: HashMap<String, Vec<usize>>,
}

impl Users {
    /// Users 0, 1, 2 and so on, with distinct addresses.
    pub fn new(users: usize) -> Self {
        Self::with_addresses((0..users).map(address))
    }

    /// One user per address; addresses may repeat.
    pub fn with_addresses(addresses: impl Iterator<Item = String>) -> Self {
        let hash = sample_user().password_hash().map(|hash| hash.expose().to_owned());
        let mut tables = Tables::default();
        for (row, email) in addresses.enumerate() {
            tables.rows.push(RwLock::new(StoredUser::new(row, email.as_str(), hash.clone())));
            tables.by_id.insert(row.to_string(), row);
            tables.by_email.entry(email).or_default().push(row);
        }
        Self(Arc::new(tables))
    }

    pub fn get(&self, id: &str) -> Option<StoredUser> {
        Some(self.read(*self.0.by_id.get(id)?))
    }

    fn read(&self, row: usize) -> StoredUser {
        self.0.rows[row].read().unwrap().clone()
    }
}

impl UserStore for Users {
    type Error = Infallible;

    async fn find_by_email(&self, email: &str) -> Result<Vec<StoredUser>, Infallible> {
        let rows = self.0.by_email.get(email).map_or(&[][..], Vec::as_slice);
        Ok(rows.iter().map(|row| self.read(*row)).collect())
    }

    async fn find_by_id(&self, id: &str) -> Result<Option<StoredUser>, Infallible> {
        Ok(self.get(id))
    }

    async fn replace_password(&self, user: &StoredUser, new_hash: &PasswordHash) -> Result<Swap, Infallible> {
        let Some(row) = self.0.by_id.get(user.id()) else { return Ok(Swap::Stale) };
        let mut current = self.0.rows[*row].write().unwrap();
        let hash = |user: &StoredUser| user.password_hash().map(|hash| hash.expose().to_owned());
        if hash(&current) != hash(user) || current.email() != user.email() {
            return Ok(Swap::Stale);
        }
        *current = StoredUser::new(user.id(), user.email(), Some(new_hash.expose().to_owned()));
        Ok(Swap::Done)
    }
}

/// A builder without a handler. Quotas are on, so that their cost is measured, but no bench reaches them.
pub fn builder(users: &Users) -> PasswordResetBuilder {
    PasswordReset::builder(users.clone(), SigningKey::from_bytes(MASTER_KEY).unwrap())
        .link("https://app.example.com/reset-password#token={token}")
        .linked_handlers(false)
        .quotas(high_client_quotas().mails_per_address(high_quota()))
}

fn high_quota() -> Quota {
    Quota::per(u16::MAX, Duration::from_secs(1)).expect("a window of one second is valid")
}

/// High quotas per client and the default quota of mails per address.
fn high_client_quotas() -> Quotas {
    let quota = high_quota();
    Quotas::default().request_per_client(quota).validate_per_client(quota).confirm_per_client(quota)
}

/// A password reset that discards its mails.
pub async fn reset(users: &Users) -> PasswordReset {
    builder(users).on_reset_token_created(async |_| {}).build().await.unwrap()
}

/// A password reset that discards its mails, with the default quota of 3 mails an hour per address.
pub async fn over_quota(users: &Users) -> PasswordReset {
    builder(users).quotas(high_client_quotas()).on_reset_token_created(async |_| {}).build().await.unwrap()
}
