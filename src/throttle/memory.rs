//! [`MemoryThrottle`]: counters in this process, with a hard bound on memory.
//!
//! A counter is ten bytes: 32 bits that tell the keys of a bucket apart, the tick its window ends at, and the count.
//! Thirty-two of them make a bucket, which exists once it is needed; the number of buckets is fixed, and that is the
//! bound. A bucket that is full gives up a counter whose window is over, or else the one that counted least: so somebody
//! who floods it with keys pushes out other keys that were seen once, and not the counter that keeps him out.

use std::convert::Infallible;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Quota, Throttle, ThrottleKey, Verdict};

/// Counters of a bucket.
const WAYS: usize = 32;

/// Buckets: in all 6 million counters, in 62 MiB if every bucket is needed.
const BUCKETS: usize = 6_000_000 / WAYS;

/// Locks, so that threads seldom meet.
const SHARDS: usize = 64;

/// Length of a tick, the unit of time of the counters. 32 bits of them are 17 years.
const TICK: Duration = Duration::from_millis(125);

/// A throttle that counts in this process. Clones share their counters.
///
/// Memory is bounded: it grows with the keys that are counted, to less than 64 MiB, in which five million keys have
/// room. Counts are exact, under concurrency too; only of keys beyond that bound some may be forgotten early, those that
/// counted least first. Windows run on the monotonic clock. A window ends at most an eighth of a second before it is as long
/// as the quota says, and never after: no client waits longer than the window. Keys are hashed with a secret of the process, so nobody can
/// aim at the bucket of another.
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
/// // After a reset of the password the user may sign in again at once.
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

/// The part of the table that is under one lock.
struct Shard {
    buckets: Vec<Option<Box<Bucket>>>,
}

/// Counters side by side. One with a count of zero is free.
#[derive(Default)]
struct Bucket {
    tags: [u32; WAYS],
    /// In ticks since the start. A window is over when this tick begins.
    ends: [u32; WAYS],
    counts: [u16; WAYS],
}

impl MemoryThrottle {
    /// A throttle that has counted nothing yet.
    pub fn new() -> Self {
        Self::with_buckets(BUCKETS)
    }

    fn with_buckets(buckets: usize) -> Self {
        let per_shard = buckets.div_ceil(SHARDS);
        let shard = || Mutex::new(Shard { buckets: std::iter::repeat_with(|| None).take(per_shard).collect() });
        let shards = std::iter::repeat_with(shard).take(SHARDS).collect();
        Self { table: Arc::new(Table { shards, hasher: RandomState::new(), started: Instant::now() }) }
    }

    /// Counts one use of `key` and says whether it is within the quota. Waits for nothing but a lock.
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

    /// Reports whether the next use of `key` would be within the quota, without counting it.
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

    /// Locks the bucket of a key. The closure also gets the key's tag and the time since the start.
    fn with_bucket<T>(&self, key: &ThrottleKey, run: impl FnOnce(&mut Option<Box<Bucket>>, u32, Duration) -> T) -> T {
        let hash = self.table.hasher.hash_one(key);
        // The upper half says where, the lower half who: together they take two keys for one once in 10^14.
        let (place, tag) = ((hash >> 32) as usize, hash as u32);
        let now = self.table.started.elapsed();
        let mut shard = self.table.shards[place % SHARDS].lock().unwrap_or_else(PoisonError::into_inner);
        let buckets = shard.buckets.len();
        run(&mut shard.buckets[place / SHARDS % buckets], tag, now)
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

impl Bucket {
    fn count(&mut self, tag: u32, now: Duration, quota: Quota) -> Verdict {
        let tick = in_ticks(now);
        let Some(way) = self.find(tag, tick) else {
            let way = self.place(tick);
            self.tags[way] = tag;
            // Rounded down, so that `retry_after` is the true end of the window and never longer than the window.
            self.ends[way] = in_ticks(now.saturating_add(quota.window()));
            self.counts[way] = 1;
            return Verdict::Within;
        };
        let verdict = self.verdict(way, now, quota);
        if verdict == Verdict::Within {
            self.counts[way] += 1;
        }
        verdict
    }

    /// The verdict on the next use of a tag, which is not counted.
    fn peek(&self, tag: u32, now: Duration, quota: Quota) -> Verdict {
        self.find(tag, in_ticks(now)).map_or(Verdict::Within, |way| self.verdict(way, now, quota))
    }

    fn verdict(&self, way: usize, now: Duration, quota: Quota) -> Verdict {
        if self.counts[way] < quota.limit() {
            return Verdict::Within;
        }
        let end = TICK.saturating_mul(self.ends[way]);
        Verdict::Over { retry_after: end.saturating_sub(now) }
    }

    /// The count of a tag whose window is not over; at least 1.
    fn counter(&mut self, tag: u32, now: Duration) -> Option<&mut u16> {
        self.find(tag, in_ticks(now)).map(|way| &mut self.counts[way])
    }

    fn find(&self, tag: u32, tick: u32) -> Option<usize> {
        (0..WAYS).find(|&way| self.tags[way] == tag && self.is_counting(way, tick))
    }

    fn is_counting(&self, way: usize, tick: u32) -> bool {
        self.counts[way] > 0 && tick < self.ends[way]
    }

    /// A place for a new counter: a free one, or else that of the counter that counted least, the oldest of several.
    fn place(&self, tick: u32) -> usize {
        let dispensable = |&way: &usize| {
            if self.is_counting(way, tick) { (self.counts[way], self.ends[way]) } else { (0, 0) }
        };
        (0..WAYS).min_by_key(dispensable).unwrap_or(0)
    }
}

/// The number of whole ticks.
fn in_ticks(time: Duration) -> u32 {
    u32::try_from(time.as_millis() / TICK.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn key(number: usize) -> ThrottleKey {
        ThrottleKey::of_client("namespace", "key", Some(std::net::Ipv4Addr::from_bits(number as u32).into()))
    }

    fn is_within(throttle: &MemoryThrottle, number: usize, quota: Quota) -> bool {
        throttle.count_now(&key(number), quota) == Verdict::Within
    }

    #[test]
    fn exactly_so_many_as_the_quota_has() {
        let throttle = MemoryThrottle::new();
        let quota = Quota::per_hour(10).unwrap();
        for number in 0..100 {
            assert_eq!((0..100).filter(|_| is_within(&throttle, number, quota)).count(), 10);
        }
    }

    #[test]
    fn exact_under_concurrency() {
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
    async fn a_window_that_is_over_begins_anew_and_retry_after_says_when() {
        let throttle = MemoryThrottle::new();
        let quota = Quota::per_minute(2).unwrap();
        for _ in 0..5 {
            assert!(is_within(&throttle, 1, quota) && is_within(&throttle, 1, quota));
            let Verdict::Over { retry_after } = throttle.count_now(&key(1), quota) else { panic!() };
            assert!(retry_after > quota.window() - TICK && retry_after <= quota.window(), "{retry_after:?}");
            tokio::time::advance(retry_after - Duration::from_millis(1)).await;
            assert!(!is_within(&throttle, 1, quota), "not a moment earlier");
            tokio::time::advance(Duration::from_millis(1)).await;
        }
    }

    /// At any fraction of a second, the wait is at most the window, and the client passes when it is over.
    #[tokio::test(start_paused = true)]
    async fn retry_after_is_true_and_never_longer_than_the_window() {
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

    /// Against a model that keeps everything: random keys, quotas and waits.
    #[tokio::test(start_paused = true)]
    async fn agrees_with_a_model_that_keeps_everything() {
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
    async fn a_use_given_back_can_be_used_again_and_a_cleared_counter_starts_at_zero() {
        let throttle = MemoryThrottle::new();
        let quota = Quota::per_hour(3).unwrap();
        let uses = || (0..100).filter(|_| is_within(&throttle, 1, quota)).count();
        throttle.give_back_now(&key(1));
        throttle.clear_now(&key(1));
        assert_eq!(uses(), 3, "there was nothing to give back");
        for other in 2..200 {
            throttle.give_back_now(&key(other));
            throttle.clear_now(&key(other));
        }
        assert_eq!(uses(), 0, "other keys have other counters");
        throttle.give_back_now(&key(1));
        throttle.give_back_now(&key(1));
        assert_eq!(uses(), 2);
        (0..5).for_each(|_| throttle.give_back_now(&key(1)));
        assert_eq!(uses(), 3, "no more is given back than was used");
        throttle.clear_now(&key(1));
        assert_eq!(uses(), 3);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(is_within(&throttle, 1, quota));
        tokio::time::advance(Duration::from_secs(3600)).await;
        throttle.give_back_now(&key(1));
        assert_eq!(uses(), 3, "a use of an earlier window is over anyway");
    }

    /// Free counters say nought throughout, the tag and the end of the window too.
    #[test]
    fn a_free_counter_is_nobodys_in_the_first_second_either() {
        let (mut bucket, quota) = (Bucket::default(), Quota::per_minute(1).unwrap());
        assert_eq!(bucket.count(0, Duration::ZERO, quota), Verdict::Within);
        let retry_after = Duration::from_secs(59);
        assert_eq!(bucket.count(0, Duration::from_secs(1), quota), Verdict::Over { retry_after });
    }

    /// What a table of so many buckets takes up when every bucket is needed. An allocator adds 16 bytes to a block.
    fn bytes(buckets: usize) -> usize {
        buckets * (size_of::<Option<Box<Bucket>>>() + size_of::<Bucket>() + 16)
    }

    #[test]
    fn the_table_is_smaller_than_64_mib_and_has_room_for_five_million() {
        let throttle = MemoryThrottle::new();
        let buckets = throttle.table.shards.iter().map(|shard| shard.lock().unwrap().buckets.len()).sum();
        assert!(bytes(buckets) < 64 << 20, "{} bytes", bytes(buckets));
        assert!(buckets * WAYS > 5_000_000 * 6 / 5);
    }

    /// A flood of distinct keys, in a table of a fiftieth of the size and as full as five million keys make the whole:
    /// the counters of those who are kept out survive, and so do nearly all others.
    #[test]
    fn a_flood_of_keys_pushes_nobody_out_who_is_kept_out() {
        const KEYS: usize = 102_000;
        // Sixty for each lock: a number with many divisors shows whether the keys are spread over all of them.
        let throttle = MemoryThrottle::with_buckets(60 * SHARDS);
        let quota = Quota::per_hour(3).unwrap();
        let kept_out = KEYS..KEYS + 100;
        for number in kept_out.clone() {
            // Not until: a throttle that refuses nobody is to fail the test, and not to hang it.
            assert!((0..4).any(|_| !is_within(&throttle, number, quota)));
        }
        for number in 0..KEYS {
            assert!(is_within(&throttle, number, quota));
        }
        for number in kept_out.clone() {
            assert!(!is_within(&throttle, number, quota), "a counter was pushed out by the flood");
        }
        let sample = (0..KEYS).step_by(50);
        let remembered = sample.clone().filter(|&number| {
            let uses = (0..3).filter(|_| is_within(&throttle, number, quota)).count();
            uses == 2
        });
        let (remembered, sampled) = (remembered.count(), sample.count());
        assert!(remembered * 100 > sampled * 96, "{remembered} of {sampled} counters are remembered");

        // Ten times as much: far more than there is room for.
        for number in 2 * KEYS..12 * KEYS {
            assert!(is_within(&throttle, number, quota));
        }
        for number in kept_out {
            assert!(!is_within(&throttle, number, quota), "a counter was pushed out by the flood");
        }
    }
}
