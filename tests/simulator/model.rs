//! What must hold, in few words and without a MAC: when a token is good, and what an operation may answer.

use poem_password_reset::{PasswordHash, StoredUser};

/// A token as it was issued: to whom, when, with which key.
#[derive(Clone, Debug)]
pub struct Issued {
    pub text: String,
    pub id: String,
    pub email: String,
    pub hash: Option<String>,
    pub issued_at: i64,
    pub key: usize,
}

/// For how long tokens live here.
pub const LIFETIME: i64 = 3600;

/// How far ahead of the clock a token may have been issued.
const SKEW: i64 = 60;

pub fn hash_of(user: &StoredUser) -> Option<String> {
    user.password_hash().map(|hash| PasswordHash::expose(hash).to_owned())
}

/// Whether a user may reset a password.
pub fn is_eligible(user: &StoredUser) -> bool {
    user.is_active() && user.password_hash().is_some()
}

impl Issued {
    /// Whether it is ours and in time, whoever it is for.
    pub fn is_signed_and_in_time(&self, now: i64, ring: &[usize]) -> bool {
        ring.contains(&self.key) && self.issued_at <= now + SKEW && now < self.issued_at + LIFETIME
    }

    /// Whether its user still is whom it was issued to.
    pub fn is_of(&self, user: Option<&StoredUser>) -> bool {
        user.is_some_and(|user| {
            user.id() == self.id && user.email() == self.email && hash_of(user) == self.hash && is_eligible(user)
        })
    }

    pub fn is_good(&self, now: i64, ring: &[usize], user: Option<&StoredUser>) -> bool {
        self.is_signed_and_in_time(now, ring) && self.is_of(user)
    }
}
