//! [`Bucket`]: 32 counters of ten bytes each.
//!
//! A tag of 32 bits, an end in ticks and a count of 16 bits keep five million keys under 64 MiB. A `HashMap` from a 64-bit
//! hash to end and count would take 136 MiB: 2^23 slots of 17 bytes.

use std::time::Duration;

use crate::throttle::{Quota, Verdict};

/// The number of counters in a bucket.
pub(super) const WAYS: usize = 32;

/// The time unit of the counters. 32 bits of ticks are 17 years.
pub(super) const TICK: Duration = Duration::from_millis(125);

/// A set of counters. A counter with a count of zero is free.
///
/// A full bucket evicts an expired counter, or else the counter with the lowest count. So an attacker who floods a bucket
/// with keys evicts other keys that were used once, and not the counter that blocks the attacker.
#[derive(Default)]
pub(super) struct Bucket {
    /// 32 bits of each key's hash.
    tags: [u32; WAYS],
    /// The end of each window in ticks since the start. A window is over when this tick begins.
    ends: [u32; WAYS],
    counts: [u16; WAYS],
}

impl Bucket {
    pub(super) fn count(&mut self, tag: u32, now: Duration, quota: Quota) -> Verdict {
        let tick = in_ticks(now);
        let Some(way) = self.find(tag, tick) else {
            let way = self.way_for_new_counter(tick);
            self.tags[way] = tag;
            // Rounded down, so that `retry_after` is exact and at most the window.
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

    /// Returns the verdict on the next use of a tag, without counting it.
    pub(super) fn peek(&self, tag: u32, now: Duration, quota: Quota) -> Verdict {
        self.find(tag, in_ticks(now)).map_or(Verdict::Within, |way| self.verdict(way, now, quota))
    }

    fn verdict(&self, way: usize, now: Duration, quota: Quota) -> Verdict {
        if self.counts[way] < quota.limit() {
            return Verdict::Within;
        }
        let end = TICK.saturating_mul(self.ends[way]);
        Verdict::Over { retry_after: end.saturating_sub(now) }
    }

    /// Returns the count of a tag whose window is not over. The count is at least 1.
    pub(super) fn counter(&mut self, tag: u32, now: Duration) -> Option<&mut u16> {
        self.find(tag, in_ticks(now)).map(|way| &mut self.counts[way])
    }

    fn find(&self, tag: u32, tick: u32) -> Option<usize> {
        (0..WAYS).find(|&way| self.tags[way] == tag && self.is_counting(way, tick))
    }

    fn is_counting(&self, way: usize, tick: u32) -> bool {
        self.counts[way] > 0 && tick < self.ends[way]
    }

    /// Returns the index for a new counter: a free or expired counter, else the one with the lowest count, of these the one
    /// whose window ends first.
    fn way_for_new_counter(&self, tick: u32) -> usize {
        let eviction_order = |&way: &usize| {
            if self.is_counting(way, tick) { (self.counts[way], self.ends[way]) } else { (0, 0) }
        };
        (0..WAYS).min_by_key(eviction_order).unwrap_or(0)
    }
}

/// Returns the number of whole ticks in a duration.
fn in_ticks(time: Duration) -> u32 {
    u32::try_from(time.as_millis() / TICK.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A free counter has tag and end zero, which a key can have too.
    #[test]
    fn free_counter_belongs_to_no_key_in_the_first_second() {
        let (mut bucket, quota) = (Bucket::default(), Quota::per_minute(1).unwrap());
        assert_eq!(bucket.count(0, Duration::ZERO, quota), Verdict::Within);
        let retry_after = Duration::from_secs(59);
        assert_eq!(bucket.count(0, Duration::from_secs(1), quota), Verdict::Over { retry_after });
    }
}
