//! [`MemoryThrottle`]: counters in this process, with a hard bound on memory.
//!
//! The table is a fixed number of [buckets](Bucket) of 32 counters each. A bucket is allocated at its first use.

mod bucket;

use std::convert::Infallible;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use self::bucket::{Bucket, WAYS};
use super::{Quota, Throttle, ThrottleKey, Verdict};

/// The number of buckets: 6 million counters, in 62 MiB if every bucket is allocated.
const BUCKETS: usize = 6_000_000 / WAYS;

/// The number of locks, so that threads rarely wait for each other. On two cores one lock was as fast as 64 (measured). The division
/// is for machines with more cores, which were not measured.
const SHARDS: usize = 64;

/// A throttle that counts in this process. Clones share their counters.
///
/// Memory grows with the number of keys, to less than 64 MiB, which holds five million keys. Counts are exact, also under
/// concurrency. With more keys, the throttle evicts the counters with the lowest counts, so a flood of new keys does not
/// evict the counter of a client that is over its quota.
///
/// Windows use the monotonic clock. A window ends up to 125 ms early and never late, so no client waits longer than the
/// window. Keys are hashed with a random secret of the process, so an attacker cannot choose keys of one bucket.
///
/// ```
/// use poem_password_reset::throttle::{MemoryThrottle, Quota, ThrottleKey, Verdict};
///
/// let throttle = MemoryThrottle::new();
/// let quota = Quota::per_minute(2)?;
/// let key = ThrottleKey::of_client("shop", "login", "192.0.2.7".parse().ok());
/// assert_eq!(throttle.count_now(&key, quota), Verdict::Within);
/// assert_eq!(throttle.count_now(&key, quota), Verdict::Within);
/// assert!(matches!(throttle.count_now(&key, quota), Verdict::Over { .. }));
///
/// // After a password reset the user can sign in again at once.
/// throttle.clear_now(&key);
/// assert_eq!(throttle.count_now(&key, quota), Verdict::Within);
/// # Ok::<(), poem_password_reset::throttle::QuotaError>(())
/// ```
#[derive(Clone)]
pub struct MemoryThrottle {
    table: Arc<Table>,
}

struct Table {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    started: Instant,
}

/// The part of the table under one lock.
struct Shard {
    buckets: Vec<Option<Box<Bucket>>>,
}

impl MemoryThrottle {
    /// Creates a throttle without counters.
    pub fn new() -> Self {
        Self::with_buckets(BUCKETS)
    }

    fn with_buckets(buckets: usize) -> Self {
        let per_shard = buckets.div_ceil(SHARDS);
        let shard = || Mutex::new(Shard { buckets: std::iter::repeat_with(|| None).take(per_shard).collect() });
        let shards = std::iter::repeat_with(shard).take(SHARDS).collect();
        Self { table: Arc::new(Table { shards, hasher: RandomState::new(), started: Instant::now() }) }
    }

    /// Counts one use of `key` and returns whether it is within the quota. Blocks only for a short lock.
    pub fn count_now(&self, key: &ThrottleKey, quota: Quota) -> Verdict {
        self.with_bucket(key, |bucket, tag, now| bucket.get_or_insert_default().count(tag, now, quota))
    }

    /// Takes back one use of `key`. Does nothing if its counter is zero or its window is over.
    pub fn give_back_now(&self, key: &ThrottleKey) {
        self.with_bucket(key, |bucket, tag, now| {
            if let Some(count) = bucket.as_mut().and_then(|bucket| bucket.counter(tag, now)) {
                *count -= 1;
            }
        });
    }

    /// Returns whether the next use of `key` would be within the quota, without counting it.
    pub fn peek_now(&self, key: &ThrottleKey, quota: Quota) -> Verdict {
        self.with_bucket(key, |bucket, tag, now| {
            bucket.as_ref().map_or(Verdict::Within, |bucket| bucket.peek(tag, now, quota))
        })
    }

    /// Sets the counter of `key` to zero.
    pub fn clear_now(&self, key: &ThrottleKey) {
        self.with_bucket(key, |bucket, tag, now| {
            if let Some(count) = bucket.as_mut().and_then(|bucket| bucket.counter(tag, now)) {
                *count = 0;
            }
        });
    }

    /// Locks the bucket of a key and runs `run` with the bucket, the key's tag and the time since the start.
    fn with_bucket<T>(&self, key: &ThrottleKey, run: impl FnOnce(&mut Option<Box<Bucket>>, u32, Duration) -> T) -> T {
        let hash = self.table.hasher.hash_one(key);
        // The upper half selects the bucket and the lower half is the tag in it. Two keys share a counter with a
        // probability of about 1 in 10^14.
        let (index, tag) = ((hash >> 32) as usize, hash as u32);
        let now = self.table.started.elapsed();
        let mut shard = self.table.shards[index % SHARDS].lock().unwrap_or_else(PoisonError::into_inner);
        let buckets = shard.buckets.len();
        run(&mut shard.buckets[index / SHARDS % buckets], tag, now)
    }
}

impl Default for MemoryThrottle {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryThrottle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryThrottle").finish_non_exhaustive()
    }
}

impl Throttle for MemoryThrottle {
    type Error = Infallible;

    async fn count(&self, key: &ThrottleKey, quota: Quota) -> Result<Verdict, Infallible> {
        Ok(self.count_now(key, quota))
    }

    async fn give_back(&self, key: &ThrottleKey) -> Result<(), Infallible> {
        self.give_back_now(key);
        Ok(())
    }

    async fn clear(&self, key: &ThrottleKey) -> Result<(), Infallible> {
        self.clear_now(key);
        Ok(())
    }

    async fn peek(&self, key: &ThrottleKey, quota: Quota) -> Result<Option<Verdict>, Infallible> {
        Ok(Some(self.peek_now(key, quota)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::bucket::TICK;
    use super::*;

    fn key(number: usize) -> ThrottleKey {
        ThrottleKey::of_client("namespace", "key", Some(std::net::Ipv4Addr::from_bits(number as u32).into()))
    }

    fn is_within(throttle: &MemoryThrottle, number: usize, quota: Quota) -> bool {
        throttle.count_now(&key(number), quota) == Verdict::Within
    }

    #[test]
    fn exactly_the_limit_of_uses_is_within_the_quota() {
        let throttle = MemoryThrottle::new();
        let quota = Quota::per_hour(10).unwrap();
        for number in 0..100 {
            assert_eq!((0..100).filter(|_| is_within(&throttle, number, quota)).count(), 10);
        }
    }

    #[test]
    fn count_is_exact_under_concurrency() {
        const THREADS: usize = 64;
        let throttle = MemoryThrottle::new();
        let quota = Quota::per_hour(50_000).unwrap();
        let within: usize = std::thread::scope(|scope| {
            let count = || (0..10_000).filter(|_| is_within(&throttle, 1, quota)).count();
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(within, 50_000);
    }

    #[tokio::test(start_paused = true)]
    async fn window_restarts_after_retry_after() {
        let throttle = MemoryThrottle::new();
        let quota = Quota::per_minute(2).unwrap();
        for _ in 0..5 {
            assert!(is_within(&throttle, 1, quota) && is_within(&throttle, 1, quota));
            let Verdict::Over { retry_after } = throttle.count_now(&key(1), quota) else { panic!() };
            assert!(retry_after > quota.window() - TICK && retry_after <= quota.window(), "{retry_after:?}");
            tokio::time::advance(retry_after - Duration::from_millis(1)).await;
            assert!(!is_within(&throttle, 1, quota), "not a millisecond earlier");
            tokio::time::advance(Duration::from_millis(1)).await;
        }
    }

    /// Windows that begin at any fraction of a second: the wait is at most the window, and the next use is within the quota.
    #[tokio::test(start_paused = true)]
    async fn retry_after_is_exact_and_at_most_the_window() {
        let throttle = MemoryThrottle::new();
        for number in 0..400 {
            let quota = Quota::per(1, Duration::from_secs(1 + number as u64 % 3)).unwrap();
            assert!(is_within(&throttle, number, quota));
            tokio::time::advance(Duration::from_micros(number as u64 * 1_733)).await;
            let Verdict::Over { retry_after } = throttle.count_now(&key(number), quota) else { panic!("{number}") };
            assert!(!retry_after.is_zero() && retry_after <= quota.window(), "{number}: {retry_after:?}");
            tokio::time::advance(retry_after).await;
            assert!(is_within(&throttle, number, quota), "{number}");
        }
    }

    /// Random keys, quotas and waits, compared with a model that never evicts.
    #[tokio::test(start_paused = true)]
    async fn verdicts_equal_those_of_a_model_without_eviction() {
        let throttle = MemoryThrottle::new();
        let started = throttle.table.started;
        let mut model: HashMap<usize, (u128, u16)> = HashMap::new();
        let mut state = 0x5EED_u64;
        let mut random = |limit: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % limit
        };
        for step in 0..200_000 {
            let number = random(300) as usize;
            let quota = Quota::per(1 + (number % 7) as u16, Duration::from_secs(1 + number as u64 % 50)).unwrap();
            if random(10) == 0 {
                tokio::time::advance(Duration::from_millis(random(3000))).await;
            }
            let tick = started.elapsed().as_millis() / 125;
            let window = model.entry(number).or_insert((0, 0));
            if window.1 == 0 || tick >= window.0 {
                *window = (tick + quota.window().as_millis() / 125, 0);
            }
            let expected = window.1 < quota.limit();
            window.1 += u16::from(expected);
            assert_eq!(is_within(&throttle, number, quota), expected, "step {step}, key {number}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn use_given_back_is_available_again_and_cleared_counter_is_zero() {
        let throttle = MemoryThrottle::new();
        let quota = Quota::per_hour(3).unwrap();
        let uses = || (0..100).filter(|_| is_within(&throttle, 1, quota)).count();
        throttle.give_back_now(&key(1));
        throttle.clear_now(&key(1));
        assert_eq!(uses(), 3, "an empty counter has nothing to give back");
        for other in 2..200 {
            throttle.give_back_now(&key(other));
            throttle.clear_now(&key(other));
        }
        assert_eq!(uses(), 0, "other keys have other counters");
        throttle.give_back_now(&key(1));
        throttle.give_back_now(&key(1));
        assert_eq!(uses(), 2);
        (0..5).for_each(|_| throttle.give_back_now(&key(1)));
        assert_eq!(uses(), 3, "a counter is never below zero");
        throttle.clear_now(&key(1));
        assert_eq!(uses(), 3);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(is_within(&throttle, 1, quota));
        tokio::time::advance(Duration::from_secs(3600)).await;
        throttle.give_back_now(&key(1));
        assert_eq!(uses(), 3, "a use of an earlier window is not given back");
    }

    /// The size of a table whose buckets are all allocated. An allocator adds up to 16 bytes to an allocation.
    fn bytes(buckets: usize) -> usize {
        buckets * (size_of::<Option<Box<Bucket>>>() + size_of::<Bucket>() + 16)
    }

    #[test]
    fn table_is_under_64_mib_and_holds_five_million_keys() {
        let throttle = MemoryThrottle::new();
        let buckets = throttle.table.shards.iter().map(|shard| shard.lock().unwrap().buckets.len()).sum();
        assert!(bytes(buckets) < 64 << 20, "{} bytes", bytes(buckets));
        assert!(buckets * WAYS > 5_000_000 * 6 / 5);
    }

    /// A flood of distinct keys in a table of one fiftieth of the size, as full as five million keys make the full table.
    /// The counters of clients over their quota survive, and so do nearly all others.
    #[test]
    fn flood_of_keys_does_not_evict_clients_over_their_quota() {
        const KEYS: usize = 102_000;
        // 60 buckets a lock: a number with many divisors shows whether keys use all buckets.
        let throttle = MemoryThrottle::with_buckets(60 * SHARDS);
        let quota = Quota::per_hour(3).unwrap();
        let blocked = KEYS..KEYS + 100;
        for number in blocked.clone() {
            // A bounded loop, so that a throttle without limits fails this test instead of hanging it.
            assert!((0..4).any(|_| !is_within(&throttle, number, quota)));
        }
        for number in 0..KEYS {
            assert!(is_within(&throttle, number, quota));
        }
        for number in blocked.clone() {
            assert!(!is_within(&throttle, number, quota), "the flood evicted a counter");
        }
        let sample = (0..KEYS).step_by(50);
        let remembered = sample.clone().filter(|&number| {
            let uses = (0..3).filter(|_| is_within(&throttle, number, quota)).count();
            uses == 2
        });
        let (remembered, sampled) = (remembered.count(), sample.count());
        assert!(remembered * 100 > sampled * 96, "{remembered} of {sampled} counters are remembered");

        // Ten times as many keys: far more than the table holds.
        for number in 2 * KEYS..12 * KEYS {
            assert!(is_within(&throttle, number, quota));
        }
        for number in blocked {
            assert!(!is_within(&throttle, number, quota), "the flood evicted a counter");
        }
    }
}
