//! The bounded queue of accepted requests, its drain at shutdown, and the [`Ledger`].
//!
//! The queue is independent of users and mails: it takes jobs, limits how many run at once, and counts their outcomes.

mod ledger;
mod queue;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tracing::Span;

pub use self::ledger::Ledger;
pub(crate) use self::ledger::Outcome;
use self::queue::{Queue, QueuedJob};
use crate::metrics;

/// A unit of work for the queue.
///
/// The queue stores waiting jobs inline, so a job should be small. Its future, several times larger, is created when a worker
/// takes the job.
pub(crate) trait Job: Send + 'static {
    /// Runs the job.
    fn run(self) -> impl Future<Output = Outcome> + Send;
}

/// A bounded queue of jobs, run by tasks on the runtime of the caller.
#[derive(Debug)]
pub(crate) struct Delivery<J>(Arc<Queue<J>>);

impl<J: Job> Delivery<J> {
    /// Creates a queue that runs up to `at_once` jobs while up to `waiting` others wait.
    pub(crate) fn new(waiting: usize, at_once: usize) -> Self {
        Self(Arc::new(Queue::new(waiting, at_once)))
    }

    /// Reserves a slot in the queue. Returns `None` if the queue is full.
    ///
    /// The ledger counts a job only once it is accepted. Dropping the permit releases the slot.
    pub(crate) fn reserve(&self) -> Option<Permit<J>> {
        self.0.reserve().then(|| Permit { queue: Arc::clone(&self.0), is_reserved: true })
    }

    pub(crate) fn ledger(&self) -> Ledger {
        self.0.ledger()
    }

    /// Waits until every accepted job has ended, for at most `deadline`. Cancels the others, counts them as lost and returns
    /// their number.
    pub(crate) async fn drain(&self, deadline: Duration) -> u64 {
        if timeout(deadline, self.0.wait_until_idle()).await.is_ok() {
            return 0;
        }
        let before = self.ledger().lost;
        self.0.stop();
        // A cancelled job stops at its next await. A job that blocks its thread is not waited for any longer.
        let _ = timeout(Duration::from_millis(100), self.0.wait_until_idle()).await;
        let ledger = self.ledger();
        ledger.lost - before + ledger.waiting
    }
}

/// A reserved slot in the queue.
#[derive(Debug)]
pub(crate) struct Permit<J: Job> {
    queue: Arc<Queue<J>>,
    is_reserved: bool,
}

impl<J: Job> Permit<J> {
    /// Adds `job` to the queue and returns at once. The job runs even if the caller is cancelled.
    pub(crate) fn accept(mut self, job: J) {
        self.is_reserved = false;
        metrics::accepted_request();
        self.queue.accept(QueuedJob { job, span: Span::current() });
    }
}

impl<J: Job> Drop for Permit<J> {
    fn drop(&mut self) {
        if self.is_reserved {
            self.queue.release();
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

    /// A job defined by a test.
    type Closure = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send>;

    impl Job for Closure {
        async fn run(self) -> Outcome {
            self().await
        }
    }

    impl Permit<Closure> {
        pub(super) fn accept_fn<F>(self, job: impl FnOnce() -> F + Send + 'static)
        where
            F: Future<Output = Outcome> + Send + 'static,
        {
            self.accept(Box::new(|| Box::pin(job())));
        }
    }

    fn adds_up(ledger: Ledger) -> bool {
        let Ledger { accepted, delivered, failed, ineligible, suppressed, lost, waiting } = ledger;
        accepted == delivered + failed + ineligible + suppressed + lost + waiting
    }

    #[tokio::test(start_paused = true)]
    async fn ledger_counts_each_outcome_and_adds_up_at_any_moment() {
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
    async fn reserve_on_full_queue_returns_none() {
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
    async fn dropped_permit_releases_its_slot_and_counts_nothing() {
        let delivery = Delivery::new(1, 1);
        for _ in 0..10 {
            drop(delivery.reserve().expect("every slot is free"));
        }
        assert_eq!(delivery.drain(Duration::MAX).await, 0, "no slot is reserved");
        assert_eq!(delivery.ledger(), Ledger::default());
    }

    #[tokio::test(start_paused = true)]
    async fn drain_returns_when_the_last_job_ends() {
        let delivery = Delivery::new(10, 2);
        for seconds in [10, 5] {
            delivery.reserve().unwrap().accept_fn(move || async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                Outcome::Delivered
            });
        }
        let start = Instant::now();
        assert_eq!(delivery.drain(Duration::from_secs(60)).await, 0);
        assert_eq!(start.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn drain_waits_for_reserved_permits() {
        let delivery = Delivery::new(1, 1);
        let permit = delivery.reserve().unwrap();
        let drain = tokio::spawn({
            let delivery = super::Delivery(Arc::clone(&delivery.0));
            async move { delivery.drain(Duration::from_secs(60)).await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!drain.is_finished());
        drop(permit);
        let start = Instant::now();
        assert_eq!(drain.await.unwrap(), 0);
        assert_eq!(start.elapsed().as_secs(), 0, "nothing else is waited for");
    }

    #[tokio::test]
    async fn panicking_job_is_lost_and_frees_its_slot() {
        let delivery = Delivery::new(1, 1);
        for round in 1..=3 {
            loop {
                if let Some(permit) = delivery.reserve() {
                    permit.accept_fn(|| async { panic!("as planned") });
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
    async fn panicking_job_does_not_affect_other_jobs() {
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
    async fn drain_returns_cancelled_and_blocked_jobs_but_not_earlier_losses() {
        let delivery = Delivery::new(10, 2);
        for _ in 0..3 {
            delivery.reserve().unwrap().accept_fn(|| async { Outcome::Lost });
        }
        while delivery.ledger().waiting > 0 {
            tokio::task::yield_now().await;
        }
        let (finish, may_finish) = std::sync::mpsc::channel::<()>();
        let (started, has_started) = oneshot::channel();
        delivery.reserve().unwrap().accept_fn(move || async move {
            started.send(()).unwrap();
            // Blocks the thread, so the job cannot be cancelled.
            let _ = may_finish.recv();
            Outcome::Delivered
        });
        has_started.await.unwrap();
        for _ in 0..2 {
            delivery.reserve().unwrap().accept_fn(pending);
        }
        assert_eq!(delivery.drain(Duration::ZERO).await, 3);
        assert_eq!(delivery.ledger(), Ledger { accepted: 6, lost: 5, waiting: 1, ..Ledger::default() });
        drop(finish);
        delivery.0.wait_until_idle().await;
        assert_eq!(delivery.ledger(), Ledger { accepted: 6, delivered: 1, lost: 5, ..Ledger::default() });
    }

    #[test]
    fn shutdown_of_runtime_loses_and_frees_all_jobs() {
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
    fn shutdown_of_runtime_keeps_the_outcome_of_a_finished_job() {
        let delivery = Delivery::new(1, 1);
        let (sender, receiver) = oneshot::channel();
        // Checks after each poll of a task whether `block_on` is done, so that the worker is dropped between two polls.
        let runtime = tokio::runtime::Builder::new_current_thread().event_interval(1).build().unwrap();
        runtime.block_on(async {
            delivery.reserve().unwrap().accept_fn(|| async {
                // Uses up the budget of the task, so that the worker yields after this job.
                for _ in 0..128 {
                    tokio::task::consume_budget().await;
                }
                sender.send(()).unwrap();
                Outcome::Delivered
            });
            receiver.await.unwrap();
        });
        drop(runtime);
        assert_eq!(delivery.ledger(), Ledger { accepted: 1, delivered: 1, ..Ledger::default() });
    }

    #[test]
    fn shutdown_of_runtime_keeps_jobs_that_another_runtime_can_run() {
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
    async fn job_accepted_after_drain_is_lost() {
        let delivery = Delivery::new(10, 2);
        let permit = delivery.reserve().unwrap();
        assert_eq!(delivery.drain(Duration::ZERO).await, 0, "a reserved slot holds no job");
        permit.accept_fn(|| async { Outcome::Delivered });
        assert_eq!(delivery.ledger(), Ledger { accepted: 1, lost: 1, ..Ledger::default() });
    }

    #[tokio::test(start_paused = true)]
    async fn drain_returns_at_its_deadline_with_the_number_of_lost_jobs() {
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
