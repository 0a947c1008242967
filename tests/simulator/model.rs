//! A model of the token rules without cryptography.

use poem_password_reset::{PasswordHash, StoredUser};

/// An issued token with its user, time and key.
#[derive(Clone, Debug)]
pub struct Issued {
    pub text: String,
    pub id: String,
    pub email: String,
    pub hash: Option<String>,
    pub issued_at: i64,
    pub key: usize,
}

/// Lifetime of the simulated tokens, in seconds.
pub const LIFETIME: i64 = 3600;

/// Maximum difference by which the issue time may be ahead of the clock, in seconds.
const SKEW: i64 = 60;

pub fn hash_of(user: &StoredUser) -> Option<String> {
    user.password_hash().map(|hash| PasswordHash::expose(hash).to_owned())
}

/// Returns whether a user may reset a password.
pub fn is_eligible(user: &StoredUser) -> bool {
    user.is_active() && user.password_hash().is_some()
}

impl Issued {
    /// Returns whether the key is in the ring and the time is valid. Ignores the user.
    pub fn is_signed_and_in_time(&self, now: i64, ring: &[usize]) -> bool {
        ring.contains(&self.key) && self.issued_at <= now + SKEW && now < self.issued_at + LIFETIME
    }

    /// Returns whether the user's row is unchanged since the issue.
    pub fn is_of(&self, user: Option<&StoredUser>) -> bool {
        user.is_some_and(|user| {
            user.id() == self.id && user.email() == self.email && hash_of(user) == self.hash && is_eligible(user)
        })
    }

    pub fn is_good(&self, now: i64, ring: &[usize], user: Option<&StoredUser>) -> bool {
        self.is_signed_and_in_time(now, ring) && self.is_of(user)
    }
}
