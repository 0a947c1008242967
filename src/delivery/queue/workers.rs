//! [`Workers`]: the jobs that wait and the workers that run them, under one lock.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use super::retry::Pause;
use super::{Ended, Job, Retry};
use crate::catch_panic::catch_panic_future;
use crate::delivery::ledger::{Ledger, Outcome};
use crate::metrics;
use crate::timeout::{poll_once, yield_to_ready};

/// Queue state: waiting jobs, running workers, and the limit on each.
#[derive(Debug)]
pub(super) struct Workers<J> {
    /// The most jobs that may wait or run, with the reserved slots.
    capacity: usize,
    /// The most jobs that run at once.
    max_workers: usize,
    state: Mutex<State<J>>,
    /// Notified when no slot is taken.
    idle: Notify,
    /// Ends every pause between two runs. A run that starts later is the job's last.
    last_runs: CancellationToken,
    /// Cancels every worker.
    stopped: CancellationToken,
}

struct State<J> {
    ledger: Ledger,
    /// Slots that a [`Permit`](super::Permit) holds.
    reserved: usize,
    /// Jobs that run outside of the queue.
    outside: u64,
    waiting: VecDeque<QueuedJob<J>>,
    workers: usize,
    /// Whether a worker was spawned that has not looked for a job yet.
    is_starting: bool,
}

/// A job, and the span of its caller.
pub(super) struct QueuedJob<J> {
    pub(super) job: J,
    pub(super) span: Span,
}

impl<J: Job> Workers<J> {
    /// Creates a queue that runs up to `at_once` jobs while up to `waiting` wait.
    pub(super) fn new(waiting: usize, at_once: usize) -> Self {
        let state = State {
            ledger: Ledger::default(),
            reserved: 0,
            outside: 0,
            waiting: VecDeque::new(),
            workers: 0,
            is_starting: false,
        };
        Self {
            capacity: waiting.saturating_add(at_once),
            max_workers: at_once,
            state: Mutex::new(state),
            idle: Notify::new(),
            last_runs: CancellationToken::new(),
            stopped: CancellationToken::new(),
        }
    }

    pub(super) fn ledger(&self) -> Ledger {
        self.state().ledger
    }

    fn state(&self) -> MutexGuard<'_, State<J>> {
        // No code that holds the lock panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves a slot. Returns `false` if the queue is full.
    pub(super) fn reserve(&self) -> bool {
        let mut state = self.state();
        let has_room = state.taken() < self.capacity;
        if has_room {
            state.reserved += 1;
        }
        has_room
    }

    /// Releases a reserved slot.
    pub(super) fn release(&self) {
        let mut state = self.state();
        state.reserved -= 1;
        self.notify_if_idle(&state);
    }

    /// Counts a job that runs outside of the queue.
    pub(super) fn begin(&self) {
        let mut state = self.state();
        state.outside += 1;
        state.ledger.accept();
    }

    /// Ends a job that runs outside of the queue. Without an outcome it is not counted any more.
    pub(super) fn end(&self, outcome: Option<Outcome>) {
        let mut state = self.state();
        state.outside -= 1;
        match outcome {
            Some(outcome) => self.close(state, outcome),
            None => {
                state.ledger.withdraw();
                self.notify_if_idle(&state);
                drop(state);
                metrics::withdrawn_request();
            }
        }
    }

    /// Returns the number of jobs that run outside of the queue.
    pub(super) fn outside(&self) -> u64 {
        self.state().outside
    }

    /// Accepts a job for a reserved slot. After [`stop`](Self::stop) the job is lost.
    pub(super) fn accept(self: &Arc<Self>, job: QueuedJob<J>) {
        let mut state = self.state();
        state.reserved -= 1;
        state.ledger.accept();
        self.enqueue(state, job);
    }

    /// Adds a job that is counted as waiting. After [`stop`](Self::stop) the job is lost.
    fn enqueue(self: &Arc<Self>, mut state: MutexGuard<'_, State<J>>, job: QueuedJob<J>) {
        if self.stopped.is_cancelled() {
            self.close(state, Outcome::Lost);
            return;
        }
        state.waiting.push_back(job);
        self.start_worker(state);
    }

    /// Adds a job again after its pause.
    pub(super) fn enqueue_again(self: &Arc<Self>, job: QueuedJob<J>) {
        self.enqueue(self.state(), job);
    }

    /// Counts a job as lost whose pause did not end.
    pub(super) fn lose_pausing(&self) {
        self.close(self.state(), Outcome::Lost);
    }

    /// Counts the outcome of a job that was waiting or running.
    fn close(&self, mut state: MutexGuard<'_, State<J>>, outcome: Outcome) {
        state.ledger.close(outcome);
        self.notify_if_idle(&state);
        drop(state);
        outcome.report();
    }

    /// Ends every pause between two runs. No job runs again after a run that starts now or later.
    pub(super) fn start_last_runs(&self) {
        self.last_runs.cancel();
    }

    /// Returns when the pauses have ended.
    pub(super) async fn last_runs(&self) {
        self.last_runs.cancelled().await;
    }

    /// Spawns a worker if a job waits, no other worker is starting, and the limit is not reached.
    ///
    /// The worker is created under the lock, so that a waiting job always has one. It is spawned after the lock is released:
    /// a runtime that is shutting down drops it at once, and that takes the lock.
    fn start_worker(self: &Arc<Self>, mut state: MutexGuard<'_, State<J>>) {
        if state.waiting.is_empty() || state.is_starting || state.workers == self.max_workers {
            return;
        }
        state.is_starting = true;
        state.workers += 1;
        let worker = Worker { queue: Arc::clone(self), phase: Phase::Starting };
        drop(state);
        let stopped = self.stopped.clone();
        tokio::spawn(async move {
            // In a box: a runtime copies a future several times before it is polled.
            let worker = Box::pin(worker.run());
            stopped.run_until_cancelled(worker).await
        });
    }

    /// Waits until no slot is taken.
    pub(super) async fn wait_until_idle(&self) {
        loop {
            // Created before the check, so that no notification is missed in between.
            let notified = self.idle.notified();
            if self.state().taken() == 0 {
                return;
            }
            notified.await;
        }
    }

    /// Cancels every worker at its next await. Waiting jobs are lost, and so is every job accepted from now on.
    pub(super) fn stop(&self) {
        self.stopped.cancel();
        self.lose_waiting(self.state());
    }

    fn notify_if_idle(&self, state: &State<J>) {
        if state.taken() == 0 {
            self.idle.notify_waiters();
        }
    }

    /// Counts every waiting job as lost and drops it.
    fn lose_waiting(&self, mut state: MutexGuard<'_, State<J>>) {
        let waiting = mem::take(&mut state.waiting);
        waiting.iter().for_each(|_| state.ledger.close(Outcome::Lost));
        self.notify_if_idle(&state);
        drop(state);
        waiting.iter().for_each(|_| Outcome::Lost.report());
    }
}

impl<J> State<J> {
    /// Returns the number of slots in use.
    fn taken(&self) -> usize {
        self.reserved.saturating_add(usize::try_from(self.ledger.waiting).unwrap_or(usize::MAX))
    }
}

impl<J> fmt::Debug for State<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("ledger", &self.ledger).field("workers", &self.workers).finish_non_exhaustive()
    }
}

/// A task that runs jobs until none waits. Each job is counted exactly once, however the task ends.
struct Worker<J: Job> {
    queue: Arc<Workers<J>>,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Has not looked for a job yet.
    Starting,
    /// Took a job whose outcome is not counted yet.
    Busy,
    /// Counted the outcome of its last job.
    Idle,
    /// Found no job. The queue does not count this worker any more.
    Ended,
}

impl<J: Job> Worker<J> {
    /// Runs jobs one after the other. As soon as a job has to wait, another worker takes the next one.
    ///
    /// One worker per burst, instead of one per request, saves 5 % of the instructions of `POST /` with its mail and raises
    /// its throughput by 8 %, from 0.76 to 0.82 of a bare endpoint (`cargo bench --bench speed -- http`).
    async fn run(mut self) {
        // Runs after the requests that are ready now, so that their jobs are in the queue.
        tokio::task::yield_now().await;
        while let Some(QueuedJob { job, span }) = self.next() {
            let is_last_run = self.queue.last_runs.is_cancelled();
            let mut job = pin!(job.run().instrument(span));
            let ended = self.wait_for(pin!(catch_panic_future(job.as_mut()))).await;
            match ended {
                Ok(Ended::Done(outcome)) => self.finish(outcome),
                Ok(Ended::Again(retry)) if !is_last_run => self.pause(*retry, job.span().clone()),
                Ok(Ended::Again(_)) | Err(_) => self.finish(Outcome::Lost),
            }
            // Jobs that never wait must not keep this thread from other tasks.
            tokio::task::consume_budget().await;
        }
    }

    /// Waits for a job. If it is not done soon, another worker takes the next one.
    async fn wait_for<F: Future + Unpin>(&self, mut job: F) -> F::Output {
        let mut ended = poll_once(&mut job).await;
        if ended.is_pending() {
            // Handlers run in tasks, and most are done by then. Saves a worker, 2 % of the instructions of `POST /` with its
            // mail.
            yield_to_ready().await;
            ended = poll_once(&mut job).await;
        }
        match ended {
            Poll::Ready(ended) => ended,
            Poll::Pending => {
                self.queue.start_worker(self.queue.state());
                job.await
            }
        }
    }

    /// Takes the next job. If none waits, this worker has ended.
    fn next(&mut self) -> Option<QueuedJob<J>> {
        let mut state = self.queue.state();
        if self.phase == Phase::Starting {
            state.is_starting = false;
        }
        let next = state.waiting.pop_front();
        self.phase = if next.is_some() { Phase::Busy } else { Phase::Ended };
        if next.is_none() {
            state.workers -= 1;
        }
        next
    }

    /// Counts the outcome of the job.
    fn finish(&mut self, outcome: Outcome) {
        self.phase = Phase::Idle;
        self.queue.close(self.queue.state(), outcome);
    }

    /// Hands the job to a task that adds it to the queue again after its pause. The job keeps its slot.
    fn pause(&mut self, retry: Retry<J>, span: Span) {
        self.phase = Phase::Idle;
        Pause::new(Arc::clone(&self.queue), QueuedJob { job: retry.job, span }).spawn(retry.pause);
    }
}

impl<J: Job> Drop for Worker<J> {
    /// Runs at the end of the task, and if it is cancelled or its runtime is shut down.
    fn drop(&mut self) {
        let was_starting = self.phase == Phase::Starting;
        match self.phase {
            Phase::Ended => return,
            Phase::Busy => self.finish(Outcome::Lost),
            Phase::Starting | Phase::Idle => {}
        }
        let mut state = self.queue.state();
        state.is_starting &= !was_starting;
        state.workers -= 1;
        if state.workers == 0 {
            // Waiting jobs hold the service, and the service owns the queue. Without a worker they would never be dropped.
            self.queue.lose_waiting(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::delivery::queue::tests::Queue;

    async fn yield_often() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn worker_runs_ready_jobs_alone_and_waiting_jobs_get_more_workers() {
        let queue = Queue::new(100, 3);
        let workers = || queue.0.state().workers;
        for _ in 0..50 {
            queue.reserve().unwrap().accept_fn(|| async { Outcome::Delivered });
            assert_eq!(workers(), 1);
        }
        queue.0.wait_until_idle().await;
        yield_often().await;
        assert_eq!(workers(), 0);
        // A job that is ready at its second poll, like one whose handler need not wait, starts no other worker.
        let most = Arc::new(Mutex::new(0));
        for _ in 0..50 {
            let (workers, most) = (Arc::clone(&queue.0), Arc::clone(&most));
            queue.reserve().unwrap().accept_fn(move || async move {
                let ended = tokio::spawn(async {}).await.map_or(Outcome::Failed, |()| Outcome::Delivered);
                let mut most = most.lock().unwrap();
                *most = workers.state().workers.max(*most);
                ended
            });
        }
        queue.0.wait_until_idle().await;
        yield_often().await;
        assert_eq!((workers(), *most.lock().unwrap()), (0, 1));
        for expected in [1, 2, 3, 3] {
            queue.reserve().unwrap().accept_fn(pending);
            yield_often().await;
            assert_eq!(workers(), expected);
        }
        assert_eq!(queue.ledger(), Ledger { accepted: 104, delivered: 100, waiting: 4, ..Ledger::default() });
    }
}
