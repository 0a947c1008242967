//! The bounded queue behind `request`, its drain at shutdown, and the [`Ledger`].
//!
//! Knows nothing of users and mails: it takes work, runs so much of it at once, and keeps account of what became of it.

mod ledger;
mod queue;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tracing::Span;

pub use self::ledger::Ledger;
pub(crate) use self::ledger::Outcome;
use self::queue::{Queue, Stopped, Waiting, start};
use crate::metrics;

/// What can be accepted.
///
/// What waits is small, and lies in the queue itself. What does the work is several times as large, and made when its turn
/// has come, in a room that a task has for one after the other.
pub(crate) trait Job: Send + 'static {
    /// Does the work.
    fn run(self) -> impl Future<Output = Outcome> + Send;
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Delivery<W>(Arc<Queue<W>>);

impl<W: Job> Delivery<W> {
    /// Up to `waiting` pieces of work wait while up to `at_once` are done.
    pub(crate) fn new(waiting: usize, at_once: usize) -> Self {
        Self(Arc::new(Queue::new(waiting, at_once)))
    }

    /// Reserves a place in the queue; `None` if it is full. Nothing is accepted yet, and dropping the place is no loss.
    pub(crate) fn reserve(&self) -> Option<Permit<W>> {
        self.0.reserve().ok()?;
        Some(Permit { queue: Arc::clone(&self.0), is_reserved: true })
    }

    pub(crate) fn ledger(&self) -> Ledger {
        self.0.ledger()
    }

    /// Waits until all that was accepted is done, at most for `deadline`; what is not done by then is lost, and counted
    /// as lost when this returns. Reports how much that was.
    pub(crate) async fn drain(&self, deadline: Duration) -> u64 {
        if timeout(deadline, self.0.is_idle()).await.is_ok() {
            return 0;
        }
        let before = self.ledger().lost;
        self.0.stop();
        // A task that is told to stop does so at its next await. One that never awaits cannot be waited for.
        let _ = timeout(Duration::from_millis(100), self.0.is_idle()).await;
        let ledger = self.ledger();
        ledger.lost - before + ledger.waiting
    }
}

/// A place in the queue.
#[derive(Debug)]
pub(crate) struct Permit<W: Job> {
    queue: Arc<Queue<W>>,
    is_reserved: bool,
}

impl<W: Job> Permit<W> {
    /// Accepts `work` and returns at once; it is done when it is its turn, whatever becomes of the caller.
    pub(crate) fn accept(mut self, work: W) {
        self.is_reserved = false;
        let accepted = self.queue.accept(Waiting { work, span: Span::current() });
        metrics::accepted_request();
        match accepted {
            Ok(task) => start(task),
            Err(Stopped) => Outcome::Lost.tell(),
        }
    }
}

impl<W: Job> Drop for Permit<W> {
    fn drop(&mut self) {
        if self.is_reserved {
            self.queue.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::pin::Pin;

    use tokio::sync::oneshot;
    use tokio::time::Instant;

    use super::*;

    type Delivery = super::Delivery<Closure>;

    /// Job that a test makes up.
    type Closure = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send>;

    impl Job for Closure {
        async fn run(self) -> Outcome {
            self().await
        }
    }

    impl Permit<Closure> {
        pub(super) fn accept_fn<F>(self, work: impl FnOnce() -> F + Send + 'static)
        where
            F: Future<Output = Outcome> + Send + 'static,
        {
            self.accept(Box::new(|| Box::pin(work())));
        }
    }

    fn adds_up(ledger: Ledger) -> bool {
        let Ledger { accepted, delivered, failed, ineligible, suppressed, lost, waiting } = ledger;
        accepted == delivered + failed + ineligible + suppressed + lost + waiting
    }

    #[tokio::test(start_paused = true)]
    async fn each_outcome_is_counted_and_the_ledger_adds_up_at_any_moment() {
        let delivery = Delivery::new(100, 2);
        let outcomes = [Outcome::Delivered, Outcome::Failed, Outcome::Ineligible, Outcome::Suppressed, Outcome::Lost];
        for (at, outcome) in outcomes.into_iter().cycle().take(50).enumerate() {
            delivery.reserve().unwrap().accept_fn(move || async move {
                tokio::time::sleep(Duration::from_millis(at as u64)).await;
                outcome
            });
        }
        assert_eq!(delivery.ledger().waiting, 50);
        let watched = Arc::clone(&delivery.0);
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
            delivery.reserve().unwrap().accept_fn(pending);
        }
        for _ in 0..3 {
            delivery.reserve().expect("three may wait").accept_fn(pending);
        }
        assert!(delivery.reserve().is_none());
        assert_eq!(delivery.ledger().accepted, 5);
    }

    #[tokio::test]
    async fn a_place_that_is_given_back_is_no_loss() {
        let delivery = Delivery::new(1, 1);
        for _ in 0..10 {
            drop(delivery.reserve().expect("all places are free"));
        }
        assert_eq!(delivery.drain(Duration::MAX).await, 0, "nobody holds a place");
        assert_eq!(delivery.ledger(), Ledger::default());
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_with_the_last_that_is_done() {
        let delivery = Delivery::new(10, 2);
        for seconds in [10, 5] {
            delivery.reserve().unwrap().accept_fn(move || async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                Outcome::Delivered
            });
        }
        let begun = Instant::now();
        assert_eq!(delivery.drain(Duration::from_secs(60)).await, 0);
        assert_eq!(begun.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_whoever_has_not_decided_yet() {
        let delivery = Delivery::new(1, 1);
        let place = delivery.reserve().unwrap();
        let drain = tokio::spawn({
            let delivery = super::Delivery(Arc::clone(&delivery.0));
            async move { delivery.drain(Duration::from_secs(60)).await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!drain.is_finished());
        drop(place);
        let begun = Instant::now();
        assert_eq!(drain.await.unwrap(), 0);
        assert_eq!(begun.elapsed().as_secs(), 0, "and for nothing else");
    }

    #[tokio::test]
    async fn work_that_panics_is_lost_and_frees_its_place() {
        let delivery = Delivery::new(1, 1);
        for round in 1..=3 {
            loop {
                if let Some(place) = delivery.reserve() {
                    place.accept_fn(|| async { panic!("as planned") });
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

    #[tokio::test]
    async fn work_that_panics_takes_nothing_with_it() {
        let delivery = Delivery::new(10, 1);
        let accept = |panics: bool| {
            delivery.reserve().unwrap().accept_fn(move || async move {
                assert!(!panics, "as planned");
                Outcome::Delivered
            });
        };
        [false, true, false, true, false].into_iter().for_each(accept);
        assert_eq!(delivery.drain(Duration::MAX).await, 0);
        assert_eq!(delivery.ledger(), Ledger { accepted: 5, delivered: 3, lost: 2, ..Ledger::default() });
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_drain_reports_what_it_dropped_and_what_cannot_be_stopped_and_nothing_from_before() {
        let delivery = Delivery::new(10, 2);
        for _ in 0..3 {
            delivery.reserve().unwrap().accept_fn(|| async { Outcome::Lost });
        }
        while delivery.ledger().waiting > 0 {
            tokio::task::yield_now().await;
        }
        let ((hold, held), (begin, begun)) = (std::sync::mpsc::channel::<()>(), oneshot::channel());
        delivery.reserve().unwrap().accept_fn(move || async move {
            begin.send(()).unwrap();
            // Nothing that a task may do: it blocks its thread.
            let _ = held.recv();
            Outcome::Delivered
        });
        begun.await.unwrap();
        for _ in 0..2 {
            delivery.reserve().unwrap().accept_fn(pending);
        }
        assert_eq!(delivery.drain(Duration::ZERO).await, 3);
        assert_eq!(delivery.ledger(), Ledger { accepted: 6, lost: 5, waiting: 1, ..Ledger::default() });
        drop(hold);
        delivery.0.is_idle().await;
        assert_eq!(delivery.ledger(), Ledger { accepted: 6, delivered: 1, lost: 5, ..Ledger::default() });
    }

    #[test]
    fn what_waits_when_the_runtime_ends_is_lost_and_freed() {
        let delivery = Delivery::new(10, 2);
        let held = Arc::new(());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let accept = |polls: usize| {
            for _ in 0..5 {
                let held = Arc::clone(&held);
                delivery.reserve().unwrap().accept_fn(move || async move {
                    pending::<()>().await;
                    drop(held);
                    Outcome::Delivered
                });
            }
            polls
        };
        runtime.block_on(async {
            for _ in 0..accept(10) {
                tokio::task::yield_now().await;
            }
            accept(0);
        });
        assert_eq!((delivery.ledger().waiting, Arc::strong_count(&held)), (10, 11));
        drop(runtime);
        assert_eq!(delivery.ledger(), Ledger { accepted: 10, lost: 10, ..Ledger::default() });
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn what_is_done_when_the_runtime_ends_is_not_lost() {
        let delivery = Delivery::new(1, 1);
        let (tell, told) = oneshot::channel();
        // After each turn of a task it looks whether it has come to its end.
        let runtime = tokio::runtime::Builder::new_current_thread().event_interval(1).build().unwrap();
        runtime.block_on(async {
            delivery.reserve().unwrap().accept_fn(|| async {
                // All that a task may do in a turn: so the next work has to wait for the next turn.
                for _ in 0..128 {
                    tokio::task::consume_budget().await;
                }
                tell.send(()).unwrap();
                Outcome::Delivered
            });
            told.await.unwrap();
        });
        assert_eq!(delivery.ledger(), Ledger { accepted: 1, waiting: 1, ..Ledger::default() });
        drop(runtime);
        assert_eq!(delivery.ledger(), Ledger { accepted: 1, delivered: 1, ..Ledger::default() });
    }

    #[test]
    fn what_waits_for_the_tasks_of_another_runtime_is_not_lost() {
        let delivery = Delivery::new(10, 2);
        let runtimes = [(), ()].map(|()| tokio::runtime::Builder::new_current_thread().build().unwrap());
        for (runtime, accepted) in runtimes.iter().zip([1, 2]) {
            runtime.block_on(async {
                (0..accepted).for_each(|_| delivery.reserve().unwrap().accept_fn(pending));
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
            });
        }
        let [first, second] = runtimes;
        drop(first);
        assert_eq!(delivery.ledger(), Ledger { accepted: 3, lost: 1, waiting: 2, ..Ledger::default() });
        drop(second);
        assert_eq!(delivery.ledger(), Ledger { accepted: 3, lost: 3, ..Ledger::default() });
    }

    #[tokio::test]
    async fn what_is_accepted_after_the_end_of_a_drain_is_lost() {
        let delivery = Delivery::new(10, 2);
        let place = delivery.reserve().unwrap();
        assert_eq!(delivery.drain(Duration::ZERO).await, 0, "a place is not accepted yet");
        place.accept_fn(|| async { Outcome::Delivered });
        assert_eq!(delivery.ledger(), Ledger { accepted: 1, lost: 1, ..Ledger::default() });
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_returns_by_its_deadline_and_reports_what_it_dropped() {
        let delivery = Delivery::new(100, 2);
        for _ in 0..10 {
            delivery.reserve().unwrap().accept_fn(|| async {
                tokio::time::sleep(Duration::from_secs(10)).await;
                Outcome::Delivered
            });
        }
        assert_eq!(delivery.drain(Duration::from_secs(25)).await, 6);
        let expected = Ledger { accepted: 10, delivered: 4, lost: 6, ..Ledger::default() };
        assert_eq!(delivery.ledger(), expected);
    }
}
