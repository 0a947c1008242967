//! [`Failures`]: the last failed mail of an address, kept for [`diagnose`](crate::PasswordReset::diagnose).

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;

use crate::throttle::ThrottleKey;

/// The most addresses whose failure is kept. The oldest is evicted first.
const MAX_ADDRESSES: usize = 1_000;

/// A request that ended without mail because something failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastFailure {
    /// When the request ended.
    pub at: OffsetDateTime,
    /// The reason, as logged: one line, at most 500 characters, without token, hash and address.
    pub reason: String,
}

/// The last failure of each address, by the MAC of the address.
///
/// Only failures are kept, so successful requests for other addresses cannot evict one.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    by_address: HashMap<ThrottleKey, LastFailure>,
    /// The addresses in the order of their first failure.
    order: VecDeque<ThrottleKey>,
}

impl Failures {
    pub(super) fn get(&self, address: &ThrottleKey) -> Option<LastFailure> {
        self.lock().by_address.get(address).cloned()
    }

    /// Keeps the failure of a request.
    pub(super) fn keep(&self, address: ThrottleKey, failure: LastFailure) {
        let mut kept = self.lock();
        if kept.by_address.insert(address.clone(), failure).is_some() {
            return;
        }
        kept.order.push_back(address);
        if kept.order.len() > MAX_ADDRESSES
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.by_address.remove(&oldest);
        }
    }

    /// Removes the failure of an address, because a later request succeeded.
    pub(super) fn forget(&self, address: impl FnOnce() -> ThrottleKey) {
        let mut kept = self.lock();
        // Avoids computing the key, a MAC, while there are no failures.
        if kept.order.is_empty() {
            return;
        }
        let address = address();
        if kept.by_address.remove(&address).is_some() {
            kept.order.retain(|other| *other != address);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8, block: u8) -> ThrottleKey {
        let mut mac = [0; 32];
        (mac[0], mac[1]) = (number, block);
        ThrottleKey::of_address("a", &mac)
    }

    fn failure(reason: &str) -> LastFailure {
        LastFailure { at: OffsetDateTime::UNIX_EPOCH, reason: reason.to_owned() }
    }

    #[test]
    fn last_failure_of_an_address_is_kept_until_a_success() {
        let failures = Failures::default();
        failures.keep(key(1, 0), failure("first"));
        failures.keep(key(2, 0), failure("other"));
        failures.keep(key(1, 0), failure("second"));
        assert_eq!(failures.get(&key(1, 0)), Some(failure("second")));
        failures.forget(|| key(1, 0));
        failures.forget(|| key(3, 0));
        assert_eq!((failures.get(&key(1, 0)), failures.get(&key(2, 0))), (None, Some(failure("other"))));
        assert_eq!(failures.lock().order.len(), 1);
    }

    #[test]
    fn full_store_evicts_the_oldest_failure() {
        let failures = Failures::default();
        for block in 0..8 {
            for number in 0..=255 {
                failures.keep(key(number, block), failure("a reason"));
            }
        }
        let kept = failures.lock();
        assert_eq!((kept.by_address.len(), kept.order.len()), (MAX_ADDRESSES, MAX_ADDRESSES));
        drop(kept);
        assert_eq!(failures.get(&key(0, 0)), None);
        assert_eq!(failures.get(&key(255, 7)), Some(failure("a reason")));
    }
}
