//! Tests of the queue, its drain and its ledger.

use std::future::pending;
use std::pin::Pin;
use std::sync::Mutex;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::*;
use crate::delivery::Ledger;

pub(super) type Queue = MemoryQueue<TestJob>;

/// A job defined by a test.
pub(super) struct TestJob(Box<dyn FnOnce() -> Run + Send>);

type Run = Pin<Box<dyn Future<Output = Ended<TestJob>> + Send>>;

impl Job for TestJob {
    async fn run(self) -> Ended<Self> {
        (self.0)().await
    }
}

/// Returns a job that fails `failures` times, with a pause of 10 seconds after each, and records the time of each run.
fn failing(failures: usize, runs: Arc<Mutex<Vec<Instant>>>) -> TestJob {
    TestJob(Box::new(move || {
        Box::pin(async move {
            runs.lock().unwrap().push(Instant::now());
            match failures.checked_sub(1) {
                None => Ended::Done(Outcome::Delivered),
                Some(left) => {
                    Ended::Again(Box::new(Retry { job: failing(left, runs), pause: Duration::from_secs(10) }))
                }
            }
        })
    }))
}

impl Permit<TestJob> {
    pub(super) fn accept_fn<F>(self, job: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.accept(TestJob(Box::new(|| {
            let job = job();
            Box::pin(async move { Ended::Done(job.await) })
        })));
    }
}

fn adds_up(ledger: Ledger) -> bool {
    let Ledger { accepted, delivered, failed, ineligible, suppressed, lost, waiting } = ledger;
    accepted == delivered + failed + ineligible + suppressed + lost + waiting
}

#[tokio::test(start_paused = true)]
async fn ledger_counts_each_outcome_and_adds_up_at_any_moment() {
    let queue = Queue::new(100, 2);
    let outcomes = [Outcome::Delivered, Outcome::Failed, Outcome::Ineligible, Outcome::Suppressed, Outcome::Lost];
    for (at, outcome) in outcomes.into_iter().cycle().take(50).enumerate() {
        queue.reserve().unwrap().accept_fn(move || async move {
            tokio::time::sleep(Duration::from_millis(at as u64)).await;
            outcome
        });
    }
    assert_eq!(queue.ledger().waiting, 50);
    let watched = Arc::clone(&queue.0);
    let watch = tokio::spawn(async move {
        while watched.ledger().waiting > 0 {
            assert!(adds_up(watched.ledger()), "{:?}", watched.ledger());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert_eq!(queue.drain(Duration::from_secs(60)).await, 10);
    watch.await.unwrap();
    let expected =
        Ledger { accepted: 50, delivered: 10, failed: 10, ineligible: 10, suppressed: 10, lost: 10, waiting: 0 };
    assert_eq!(queue.ledger(), expected);
}

#[tokio::test]
async fn reserve_on_full_queue_returns_none() {
    let queue = Queue::new(3, 2);
    for _ in 0..2 {
        queue.reserve().unwrap().accept_fn(pending);
    }
    for _ in 0..3 {
        queue.reserve().expect("three may wait").accept_fn(pending);
    }
    assert!(queue.reserve().is_none());
    assert_eq!(queue.ledger().accepted, 5);
}

#[tokio::test]
async fn dropped_permit_releases_its_slot_and_counts_nothing() {
    let queue = Queue::new(1, 1);
    for _ in 0..10 {
        drop(queue.reserve().expect("every slot is free"));
    }
    assert_eq!(queue.drain(Duration::MAX).await, 0, "no slot is reserved");
    assert_eq!(queue.ledger(), Ledger::default());
}

#[tokio::test(start_paused = true)]
async fn drain_returns_when_the_last_job_ends() {
    let queue = Queue::new(10, 2);
    for seconds in [10, 5] {
        queue.reserve().unwrap().accept_fn(move || async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Outcome::Delivered
        });
    }
    let start = Instant::now();
    assert_eq!(queue.drain(Duration::from_secs(60)).await, 0);
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn drain_waits_for_reserved_permits() {
    let queue = Queue::new(1, 1);
    let permit = queue.reserve().unwrap();
    let drain = tokio::spawn({
        let queue = MemoryQueue(Arc::clone(&queue.0));
        async move { queue.drain(Duration::from_secs(60)).await }
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
    let queue = Queue::new(1, 1);
    for round in 1..=3 {
        loop {
            if let Some(permit) = queue.reserve() {
                permit.accept_fn(|| async { panic!("an injected panic") });
                break;
            }
            tokio::task::yield_now().await;
        }
        while queue.ledger().waiting > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(queue.ledger().lost, round);
    }
}

#[tokio::test]
async fn panicking_job_does_not_affect_other_jobs() {
    let queue = Queue::new(10, 1);
    let accept = |panics: bool| {
        queue.reserve().unwrap().accept_fn(move || async move {
            assert!(!panics, "an injected fault");
            Outcome::Delivered
        });
    };
    [false, true, false, true, false].into_iter().for_each(accept);
    assert_eq!(queue.drain(Duration::MAX).await, 2);
    assert_eq!(queue.ledger(), Ledger { accepted: 5, delivered: 3, lost: 2, ..Ledger::default() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_returns_cancelled_and_blocked_jobs_but_not_earlier_losses() {
    let queue = Queue::new(10, 2);
    for _ in 0..3 {
        queue.reserve().unwrap().accept_fn(|| async { Outcome::Lost });
    }
    while queue.ledger().waiting > 0 {
        tokio::task::yield_now().await;
    }
    let (finish, may_finish) = std::sync::mpsc::channel::<()>();
    let (started, has_started) = oneshot::channel();
    queue.reserve().unwrap().accept_fn(move || async move {
        started.send(()).unwrap();
        // Blocks the thread, so the job cannot be cancelled.
        let _ = may_finish.recv();
        Outcome::Delivered
    });
    has_started.await.unwrap();
    for _ in 0..2 {
        queue.reserve().unwrap().accept_fn(pending);
    }
    assert_eq!(queue.drain(Duration::ZERO).await, 3);
    assert_eq!(queue.ledger(), Ledger { accepted: 6, lost: 5, waiting: 1, ..Ledger::default() });
    drop(finish);
    queue.0.wait_until_idle().await;
    assert_eq!(queue.ledger(), Ledger { accepted: 6, delivered: 1, lost: 5, ..Ledger::default() });
}

#[test]
fn shutdown_of_runtime_loses_and_frees_all_jobs() {
    let queue = Queue::new(10, 2);
    let held = Arc::new(());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let accept = |polls: usize| {
        for _ in 0..5 {
            let held = Arc::clone(&held);
            queue.reserve().unwrap().accept_fn(move || async move {
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
    assert_eq!((queue.ledger().waiting, Arc::strong_count(&held)), (10, 11));
    drop(runtime);
    assert_eq!(queue.ledger(), Ledger { accepted: 10, lost: 10, ..Ledger::default() });
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn shutdown_of_runtime_keeps_the_outcome_of_a_finished_job() {
    let queue = Queue::new(1, 1);
    let (sender, receiver) = oneshot::channel();
    // Checks after each poll of a task whether `block_on` is done, so that the worker is dropped between two polls.
    let runtime = tokio::runtime::Builder::new_current_thread().event_interval(1).build().unwrap();
    runtime.block_on(async {
        queue.reserve().unwrap().accept_fn(|| async {
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
    assert_eq!(queue.ledger(), Ledger { accepted: 1, delivered: 1, ..Ledger::default() });
}

#[test]
fn shutdown_of_runtime_keeps_jobs_that_another_runtime_can_run() {
    let queue = Queue::new(10, 2);
    let runtimes = [(), ()].map(|()| tokio::runtime::Builder::new_current_thread().build().unwrap());
    for (runtime, accepted) in runtimes.iter().zip([1, 2]) {
        runtime.block_on(async {
            (0..accepted).for_each(|_| queue.reserve().unwrap().accept_fn(pending));
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        });
    }
    let [first, second] = runtimes;
    drop(first);
    assert_eq!(queue.ledger(), Ledger { accepted: 3, lost: 1, waiting: 2, ..Ledger::default() });
    drop(second);
    assert_eq!(queue.ledger(), Ledger { accepted: 3, lost: 3, ..Ledger::default() });
}

#[tokio::test]
async fn job_accepted_after_drain_is_lost() {
    let queue = Queue::new(10, 2);
    let permit = queue.reserve().unwrap();
    assert_eq!(queue.drain(Duration::ZERO).await, 0, "a reserved slot holds no job");
    permit.accept_fn(|| async { Outcome::Delivered });
    assert_eq!(queue.ledger(), Ledger { accepted: 1, lost: 1, ..Ledger::default() });
}

#[tokio::test(start_paused = true)]
async fn drain_returns_at_its_deadline_with_the_number_of_lost_jobs() {
    let queue = Queue::new(100, 2);
    for _ in 0..10 {
        queue.reserve().unwrap().accept_fn(|| async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            Outcome::Delivered
        });
    }
    assert_eq!(queue.drain(Duration::from_secs(25)).await, 6);
    let expected = Ledger { accepted: 10, delivered: 4, lost: 6, ..Ledger::default() };
    assert_eq!(queue.ledger(), expected);
}

/// Returns the seconds after `start` at which a job ran.
fn seconds(runs: &Mutex<Vec<Instant>>, start: Instant) -> Vec<u64> {
    runs.lock().unwrap().iter().map(|run| run.duration_since(start).as_secs()).collect()
}

#[tokio::test(start_paused = true)]
async fn failed_job_runs_again_after_its_pause_and_counts_as_waiting() {
    let queue = Queue::new(1, 1);
    let (start, runs) = (Instant::now(), Arc::default());
    queue.reserve().unwrap().accept(failing(2, Arc::clone(&runs)));
    for second in 0..20 {
        tokio::time::sleep(start + Duration::from_millis(second * 1000 + 500) - Instant::now()).await;
        assert_eq!(queue.ledger(), Ledger { accepted: 1, waiting: 1, ..Ledger::default() });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(seconds(&runs, start), [0, 10, 20]);
    assert_eq!(queue.ledger(), Ledger { accepted: 1, delivered: 1, ..Ledger::default() });
}

#[tokio::test(start_paused = true)]
async fn pausing_jobs_keep_their_slots_but_no_worker() {
    let queue = Queue::new(2, 1);
    for _ in 0..2 {
        queue.reserve().unwrap().accept(failing(1, Arc::default()));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    queue.reserve().expect("one slot is free").accept_fn(|| async { Outcome::Delivered });
    assert!(queue.reserve().is_none(), "the queue is full");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(queue.ledger(), Ledger { accepted: 3, delivered: 1, waiting: 2, ..Ledger::default() });
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(queue.ledger(), Ledger { accepted: 3, delivered: 3, ..Ledger::default() });
}

#[tokio::test(start_paused = true)]
async fn drain_runs_pausing_jobs_once_more_at_once() {
    let queue = Queue::new(10, 2);
    let start = Instant::now();
    let [once, twice] = [1, 2].map(|failures| {
        let runs = Arc::default();
        queue.reserve().unwrap().accept(failing(failures, Arc::clone(&runs)));
        runs
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(queue.drain(Duration::from_secs(60)).await, 1);
    assert_eq!((seconds(&once, start), seconds(&twice, start)), (vec![0, 3], vec![0, 3]));
    assert_eq!(queue.ledger(), Ledger { accepted: 2, delivered: 1, lost: 1, ..Ledger::default() });
}

#[tokio::test(start_paused = true)]
async fn job_that_fails_during_drain_runs_once_more() {
    let queue = Queue::new(10, 1);
    let runs = Arc::new(Mutex::new(Vec::new()));
    let last = failing(0, Arc::clone(&runs));
    queue.reserve().unwrap().accept(TestJob(Box::new(|| {
        Box::pin(async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            Ended::Again(Box::new(Retry { job: last, pause: Duration::from_secs(60) }))
        })
    })));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    assert_eq!(queue.drain(Duration::from_secs(30)).await, 0);
    assert_eq!(seconds(&runs, start), [4]);
    assert_eq!(queue.ledger(), Ledger { accepted: 1, delivered: 1, ..Ledger::default() });
}

#[tokio::test(start_paused = true)]
async fn drain_without_time_returns_pausing_jobs_as_lost() {
    let queue = Queue::new(10, 2);
    for _ in 0..3 {
        queue.reserve().unwrap().accept(failing(9, Arc::default()));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(queue.drain(Duration::ZERO).await, 3);
    assert_eq!(queue.ledger(), Ledger { accepted: 3, lost: 3, ..Ledger::default() });
}

#[test]
fn shutdown_of_runtime_loses_pausing_jobs() {
    let queue = Queue::new(10, 2);
    let runs = Arc::new(Mutex::new(Vec::new()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        queue.reserve().unwrap().accept(failing(9, Arc::clone(&runs)));
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(queue.ledger().waiting, 1);
    drop(runtime);
    assert_eq!(queue.ledger(), Ledger { accepted: 1, lost: 1, ..Ledger::default() });
    assert_eq!(Arc::strong_count(&runs), 1);
}

#[tokio::test(start_paused = true)]
async fn job_outside_of_the_queue_is_counted_until_it_ends_and_drain_waits_for_it() {
    let queue = Queue::new(1, 1);
    let (finished, dropped) = (queue.begin(), queue.begin());
    assert_eq!(queue.ledger(), Ledger { accepted: 2, waiting: 2, ..Ledger::default() });
    assert_eq!(queue.drain(Duration::from_secs(1)).await, 0, "the job engine still has them");
    drop(dropped);
    assert_eq!(queue.ledger(), Ledger { accepted: 1, waiting: 1, ..Ledger::default() });
    let workers = Arc::clone(&queue.0);
    let drain = tokio::spawn(async move { MemoryQueue(workers).drain(Duration::from_secs(60)).await });
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!drain.is_finished());
    finished.finish(Outcome::Delivered);
    assert_eq!(drain.await.unwrap(), 0);
    assert_eq!(queue.ledger(), Ledger { accepted: 1, delivered: 1, ..Ledger::default() });
}
