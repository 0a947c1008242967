//! [`MemoryQueue`]: the bounded queue of accepted requests in this process, and its drain at shutdown.
//!
//! The queue is independent of users and mails: it takes jobs, limits how many run at once, retries those that failed, and
//! counts their outcomes.

mod retry;
#[cfg(test)]
mod tests;
mod workers;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tracing::Span;

use self::workers::{QueuedJob, Workers};
use super::ledger::{Ledger, Outcome};
use crate::metrics;

/// A unit of work for the queue.
///
/// The queue stores waiting jobs inline, so a job should be small. Its future, several times larger, is created when a worker
/// takes the job.
pub(crate) trait Job: Sized + Send + 'static {
    /// Runs the job once.
    fn run(self) -> impl Future<Output = Ended<Self>> + Send;
}

/// The end of one run of a job.
pub(crate) enum Ended<J> {
    /// The job is done.
    Done(Outcome),
    /// The job failed and should run again. It is lost if the queue shuts down before that.
    Again(Box<Retry<J>>),
}

/// A job that should run again.
pub(crate) struct Retry<J> {
    pub(crate) job: J,
    /// The pause before the next run.
    pub(crate) pause: Duration,
}

/// A bounded queue of jobs, run by tasks on the runtime of the caller.
#[derive(Debug)]
pub(crate) struct MemoryQueue<J>(Arc<Workers<J>>);

impl<J: Job> MemoryQueue<J> {
    /// Creates a queue that runs up to `at_once` jobs while up to `waiting` others wait, for a worker or for their next run.
    pub(crate) fn new(waiting: usize, at_once: usize) -> Self {
        Self(Arc::new(Workers::new(waiting, at_once)))
    }

    /// Reserves a slot in the queue. Returns `None` if the queue is full.
    ///
    /// The ledger counts a job only once it is accepted. Dropping the permit releases the slot.
    pub(crate) fn reserve(&self) -> Option<Permit<J>> {
        self.0.reserve().then(|| Permit { queue: Arc::clone(&self.0), is_reserved: true })
    }

    /// Counts a job that runs outside of the queue, as waiting until it ends. [`drain`](Self::drain) waits for it.
    pub(crate) fn begin(&self) -> Running<J> {
        self.0.begin();
        metrics::accepted_request();
        Running { queue: Arc::clone(&self.0), outcome: None }
    }

    pub(crate) fn ledger(&self) -> Ledger {
        self.0.ledger()
    }

    /// Runs the jobs that wait for a retry at once, for the last time, and waits until every accepted job has ended, for at
    /// most `deadline`. Cancels the others. Returns the number of jobs that were lost meanwhile.
    pub(crate) async fn drain(&self, deadline: Duration) -> u64 {
        let before = self.ledger().lost;
        self.0.start_last_runs();
        if timeout(deadline, self.0.wait_until_idle()).await.is_err() {
            self.0.stop();
            // A cancelled job stops at its next await. A job that blocks its thread is not waited for any longer.
            let _ = timeout(Duration::from_millis(100), self.0.wait_until_idle()).await;
        }
        let ledger = self.ledger();
        ledger.lost - before + ledger.waiting - self.0.outside()
    }
}

/// A reserved slot in the queue.
#[derive(Debug)]
pub(crate) struct Permit<J: Job> {
    queue: Arc<Workers<J>>,
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

/// A job that runs outside of the queue. If it is dropped unfinished, the ledger does not count it any more: the job engine
/// still has it.
#[derive(Debug)]
pub(crate) struct Running<J: Job> {
    queue: Arc<Workers<J>>,
    outcome: Option<Outcome>,
}

impl<J: Job> Running<J> {
    /// Counts the outcome of the job.
    pub(crate) fn finish(mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }
}

impl<J: Job> Drop for Running<J> {
    fn drop(&mut self) {
        self.queue.end(self.outcome);
    }
}
