//! The bounded queue behind `request`, its drain at shutdown, and the [`Ledger`].
//!
//! Knows nothing of users and mails: it takes work, runs so much of it at once, and keeps account of what became of it.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::Instrument as _;

use crate::counters;

/// What became of all requests so far. True at any moment:
/// accepted = delivered + failed + ineligible + suppressed + lost + waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ledger {
    /// Requests that were answered with "OK".
    pub accepted: u64,
    /// Every handler has run without an error, for each user with the address.
    pub delivered: u64,
    /// A handler failed, panicked or took too long.
    pub failed: u64,
    /// Nobody has the address, or nobody who may reset a password.
    pub ineligible: u64,
    /// The address was over its quota: no mail.
    pub suppressed: u64,
    /// The store did not answer, again and again, or the service shut down before it was their turn.
    pub lost: u64,
    /// Waiting for their turn, or being handled.
    pub waiting: u64,
}

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    Failed,
    Ineligible,
    Suppressed,
    Lost,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Ineligible => "ineligible",
            Self::Suppressed => "suppressed",
            Self::Lost => "lost",
        }
    }
}

/// The queue.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    waiting: Arc<Semaphore>,
    handled: Arc<Semaphore>,
    ledger: Arc<Mutex<Ledger>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Delivery {
    /// Up to `waiting` pieces of work wait while up to `handled` are done.
    pub(crate) fn new(waiting: usize, handled: usize) -> Self {
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Self {
            waiting: semaphore(waiting),
            handled: semaphore(handled),
            ledger: Arc::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Reserves a place in the queue; `None` if it is full. Nothing is accepted yet, and dropping the place is no loss.
    pub(crate) fn reserve(&self) -> Option<Place> {
        let tracked = self.tasks.token();
        let place = Arc::clone(&self.waiting).try_acquire_owned().ok()?;
        Some(Place { delivery: self.clone(), place, tracked })
    }

    pub(crate) fn ledger(&self) -> Ledger {
        *lock(&self.ledger)
    }

    /// Waits until all that was accepted is done, at most for `deadline`; what is not done by then is lost, and counted
    /// as lost when this returns. Reports how much that was.
    pub(crate) async fn drain(&self, deadline: Duration) -> u64 {
        self.tasks.close();
        if timeout(deadline, self.tasks.wait()).await.is_ok() {
            return 0;
        }
        let before = self.ledger().lost;
        self.stop.cancel();
        // A task that is told to stop does so at its next await. One that never awaits cannot be waited for.
        let _ = timeout(Duration::from_millis(100), self.tasks.wait()).await;
        let ledger = self.ledger();
        ledger.lost - before + ledger.waiting
    }
}

/// A place in the queue.
#[derive(Debug)]
pub(crate) struct Place {
    delivery: Delivery,
    place: OwnedSemaphorePermit,
    /// A drain waits for whoever holds a place.
    tracked: TaskTrackerToken,
}

impl Place {
    /// Accepts `work` and returns at once; it runs when it is its turn, whatever becomes of the caller.
    pub(crate) fn accept(self, work: impl Future<Output = Outcome> + Send + 'static) {
        let Self { delivery, place, tracked } = self;
        let entry = Entry::open(&delivery.ledger);
        let (handled, stop) = (delivery.handled, delivery.stop);
        let task = async move {
            let turn = async {
                let _handled = handled.acquire_owned().await;
                drop(place);
                work.await
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => drop(entry),
                outcome = turn => entry.close(outcome),
            }
            drop(tracked);
        };
        tokio::spawn(task.in_current_span());
    }
}

/// One request in the ledger. Whatever becomes of the task that holds it, it is counted exactly once.
struct Entry {
    ledger: Arc<Mutex<Ledger>>,
    outcome: Outcome,
}

impl Entry {
    fn open(ledger: &Arc<Mutex<Ledger>>) -> Self {
        let mut counts = lock(ledger);
        counts.accepted += 1;
        counts.waiting += 1;
        counters::accepted_request();
        Self { ledger: Arc::clone(ledger), outcome: Outcome::Lost }
    }

    fn close(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        counters::finished_request(self.outcome.name());
        let mut counts = lock(&self.ledger);
        counts.waiting -= 1;
        match self.outcome {
            Outcome::Delivered => counts.delivered += 1,
            Outcome::Failed => counts.failed += 1,
            Outcome::Ineligible => counts.ineligible += 1,
            Outcome::Suppressed => counts.suppressed += 1,
            Outcome::Lost => {
                counts.lost += 1;
                tracing::warn!("a request was lost: nobody gets mail for it");
            }
        }
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    // Nothing between two counts of one entry can panic.
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn adds_up(ledger: Ledger) -> bool {
        let Ledger { accepted, delivered, failed, ineligible, suppressed, lost, waiting } = ledger;
        accepted == delivered + failed + ineligible + suppressed + lost + waiting
    }

    #[tokio::test(start_paused = true)]
    async fn each_outcome_is_counted_and_the_ledger_adds_up_at_any_moment() {
        let delivery = Delivery::new(100, 2);
        let outcomes = [Outcome::Delivered, Outcome::Failed, Outcome::Ineligible, Outcome::Suppressed, Outcome::Lost];
        for (at, outcome) in outcomes.into_iter().cycle().take(50).enumerate() {
            delivery.reserve().unwrap().accept(async move {
                tokio::time::sleep(Duration::from_millis(at as u64)).await;
                outcome
            });
        }
        assert_eq!(delivery.ledger().waiting, 50);
        let watched = delivery.clone();
        let watch = tokio::spawn(async move {
            while watched.ledger().waiting > 0 {
                assert!(adds_up(watched.ledger()), "{:?}", watched.ledger());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        assert_eq!(delivery.drain(Duration::from_secs(60)).await, 0);
        watch.await.unwrap();
        let expected =
            Ledger { accepted: 50, delivered: 10, failed: 10, ineligible: 10, suppressed: 10, lost: 10, waiting: 0 };
        assert_eq!(delivery.ledger(), expected);
    }

    #[tokio::test]
    async fn a_full_queue_takes_no_more() {
        let delivery = Delivery::new(3, 2);
        for _ in 0..2 {
            delivery.reserve().unwrap().accept(pending());
        }
        while delivery.handled.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        for _ in 0..3 {
            delivery.reserve().expect("three may wait").accept(pending());
        }
        assert!(delivery.reserve().is_none());
        assert_eq!(delivery.ledger().accepted, 5);
    }

    #[tokio::test]
    async fn a_place_that_is_given_back_is_no_loss() {
        let delivery = Delivery::new(1, 1);
        drop(delivery.reserve().unwrap());
        assert!(delivery.reserve().is_some());
        assert_eq!(delivery.ledger(), Ledger::default());
    }

    #[tokio::test]
    async fn work_that_panics_is_lost_and_frees_its_place() {
        let delivery = Delivery::new(1, 1);
        for round in 1..=3 {
            loop {
                if let Some(place) = delivery.reserve() {
                    place.accept(async { panic!("as planned") });
                    break;
                }
                tokio::task::yield_now().await;
            }
            while delivery.ledger().waiting > 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(delivery.ledger().lost, round);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_returns_by_its_deadline_and_reports_what_it_dropped() {
        let delivery = Delivery::new(100, 2);
        for _ in 0..10 {
            delivery.reserve().unwrap().accept(async {
                tokio::time::sleep(Duration::from_secs(10)).await;
                Outcome::Delivered
            });
        }
        assert_eq!(delivery.drain(Duration::from_secs(25)).await, 6);
        let expected = Ledger { accepted: 10, delivered: 4, lost: 6, ..Ledger::default() };
        assert_eq!(delivery.ledger(), expected);
    }
}
