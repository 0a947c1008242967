//! Limits failed sign-ins per address, so that many clients together cannot guess the password of one user.
//!
//! Anyone can lock an address by signing in with wrong passwords. A password reset therefore clears its counter: the owner
//! of the mailbox can sign in again at once.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use poem_password_reset::{PostPasswordReset, on_post_password_reset};

use crate::login::QUOTA;

/// Maximum number of failed sign-ins for one address within a [`WINDOW`]: the quota of one client.
const LIMIT: u32 = QUOTA.limit() as u32;
/// Length of the window, which starts with the first failure.
const WINDOW: Duration = QUOTA.window();
/// Maximum number of counters. Limits their memory to about 1 MB.
const MAX_ADDRESSES: usize = 10_000;

/// Clears the counter of a user whose password was reset. Runs before the mail handler (priority 0), which
/// may take long.
#[on_post_password_reset(priority = -1)]
async fn clear_sign_in_attempts(event: &PostPasswordReset, attempts: &Arc<Attempts>) {
    attempts.clear(event.user().id());
}

/// Counters of failed sign-ins.
///
/// An address is counted as typed, with or without a user: otherwise the limit would reveal who has an account. An entry
/// also stores the user whom the address belongs to, because the store may find one user by several spellings.
pub(crate) struct Attempts {
    enabled: bool,
    hasher: RandomState,
    /// The keys are keyed hashes, so that the memory contains no addresses.
    entries: Mutex<HashMap<u64, Entry>>,
}

struct Entry {
    count: u32,
    since: Instant,
    user: Option<Box<str>>,
}

impl Entry {
    fn is_expired(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= WINDOW
    }
}

impl Attempts {
    /// Creates empty counters. If not `enabled`, every attempt is allowed.
    pub(crate) fn new(enabled: bool) -> Self {
        Self { enabled, hasher: RandomState::new(), entries: Mutex::default() }
    }

    /// Counts an attempt to sign in with this address. `user` is the id of the user whom the address belongs to.
    ///
    /// The attempt counts before the password is checked, so that parallel guesses cannot exceed the limit. Call
    /// [`clear`](Self::clear) if the password is correct.
    ///
    /// # Errors
    ///
    /// Returns the time until the window ends if the limit is reached.
    pub(crate) fn count(&self, address: &str, user: Option<&str>) -> Result<(), Duration> {
        self.count_at(Instant::now(), address, user)
    }

    fn count_at(&self, now: Instant, address: &str, user: Option<&str>) -> Result<(), Duration> {
        if !self.enabled {
            return Ok(());
        }
        // Folds ASCII only, as the `lower()` of SQLite does.
        let key = self.hasher.hash_one(address.to_ascii_lowercase());
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MAX_ADDRESSES && !entries.contains_key(&key) {
            evict(&mut entries, now);
        }
        let entry = entries.entry(key).or_insert(Entry { count: 0, since: now, user: None });
        if entry.is_expired(now) {
            *entry = Entry { count: 0, since: now, user: None };
        }
        if entry.count >= LIMIT {
            return Err(WINDOW - now.duration_since(entry.since));
        }
        entry.count += 1;
        entry.user = user.map(Box::from);
        Ok(())
    }

    /// Clears the counters of every address of this user.
    pub(crate) fn clear(&self, user: &str) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, entry| entry.user.as_deref() != Some(user));
    }
}

/// Removes the expired entries. If there are none, removes the entry with the fewest attempts: a flood of other addresses
/// then does not reset the counter of the address under attack.
fn evict(entries: &mut HashMap<u64, Entry>, now: Instant) {
    entries.retain(|_, entry| !entry.is_expired(now));
    if entries.len() >= MAX_ADDRESSES {
        let least = entries.iter().min_by_key(|(_, entry)| (entry.count, entry.since)).map(|(key, _)| *key);
        if let Some(key) = least {
            entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: &str = "ann@example.com";

    fn locked(now: Instant) -> Attempts {
        let attempts = Attempts::new(true);
        for _ in 0..LIMIT {
            assert_eq!(attempts.count_at(now, ANN, Some("1")), Ok(()));
        }
        attempts
    }

    #[test]
    fn address_at_the_limit_is_rejected_in_any_case_until_the_window_ends() {
        let now = Instant::now();
        let attempts = locked(now);
        assert_eq!(attempts.count_at(now, ANN, Some("1")), Err(WINDOW));
        assert_eq!(attempts.count_at(now, "Ann@EXAMPLE.com", Some("1")), Err(WINDOW));
        assert_eq!(attempts.count_at(now, "bob@example.com", Some("2")), Ok(()));
        let second = Duration::from_secs(1);
        assert_eq!(attempts.count_at(now + WINDOW - second, ANN, Some("1")), Err(second));
        assert_eq!(attempts.count_at(now + WINDOW, ANN, Some("1")), Ok(()));
    }

    #[test]
    fn unknown_address_has_the_same_limit() {
        let now = Instant::now();
        let attempts = Attempts::new(true);
        for _ in 0..LIMIT {
            assert_eq!(attempts.count_at(now, "eve@example.com", None), Ok(()));
        }
        assert_eq!(attempts.count_at(now, "eve@example.com", None), Err(WINDOW));
    }

    #[test]
    fn clear_resets_all_addresses_of_one_user_only() {
        let now = Instant::now();
        let attempts = locked(now);
        for (address, user) in [("ann@other.example", Some("1")), ("bob@example.com", Some("2")), ("eve@x", None)] {
            for _ in 0..LIMIT {
                assert_eq!(attempts.count_at(now, address, user), Ok(()));
            }
        }
        attempts.clear("1");
        for (address, user, expected) in [
            (ANN, Some("1"), Ok(())),
            ("ann@other.example", Some("1"), Ok(())),
            ("bob@example.com", Some("2"), Err(WINDOW)),
            ("eve@x", None, Err(WINDOW)),
        ] {
            assert_eq!(attempts.count_at(now, address, user), expected, "{address}");
        }
    }

    #[test]
    fn flood_of_addresses_neither_exceeds_the_maximum_nor_resets_the_counter_under_attack() {
        let now = Instant::now();
        let attempts = locked(now);
        let later = now + Duration::from_secs(1);
        for count in 0..MAX_ADDRESSES + 100 {
            assert_eq!(attempts.count_at(later, &format!("{count}@example.com"), None), Ok(()));
        }
        assert_eq!(attempts.entries.lock().unwrap().len(), MAX_ADDRESSES);
        assert!(attempts.count_at(later, ANN, Some("1")).is_err(), "the entry with the most attempts is kept");
        // Expired entries are evicted first.
        assert_eq!(attempts.count_at(later + WINDOW, "new@example.com", None), Ok(()));
        assert_eq!(attempts.entries.lock().unwrap().len(), 1);
    }

    #[test]
    fn disabled_counters_allow_every_attempt() {
        let attempts = Attempts::new(false);
        for _ in 0..=LIMIT {
            assert_eq!(attempts.count(ANN, Some("1")), Ok(()));
        }
    }
}
