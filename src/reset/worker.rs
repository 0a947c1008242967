//! [`QueueWorker`]: sends the mails of the requests in a durable queue.

use std::fmt;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::PasswordReset;
use super::no_mail::NoMail;
use crate::catch_panic::catch_panic_future;
use crate::delivery::graphile::{CountedWorker, RunJob, SealedRequest, Settings, Unreadable, run_engine};
use crate::delivery::{GraphileDelivery, Outcome};
use crate::error::BoxError;
use crate::redact::redacted_error;

/// The number of jobs that run at once, unless the application says otherwise. The engine asks the database once for each
/// of them whenever it looks for jobs.
const HANDLED_AT_ONCE: usize = 8;

/// The pause before a worker starts again after its first failure. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause before a worker starts again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The time that aborted jobs have at the end of a shutdown to return to the queue.
const RETURN_TIME: Duration = Duration::from_secs(1);

impl PasswordReset {
    /// Creates a worker of a durable queue (feature `graphile`), which sends the mails of its requests.
    ///
    /// Run it in a task: `tokio::spawn(reset.worker(&queue).run())`. It may be another program than the one that accepts
    /// requests, with the same keys, the same throttle and the same user store. Any number of workers share the work.
    #[must_use = "a worker does nothing until `run()` is spawned"]
    pub fn worker(&self, queue: &GraphileDelivery) -> QueueWorker {
        let counted = queue.count_worker();
        QueueWorker { reset: self.clone(), queue: queue.clone(), handled_at_once: HANDLED_AT_ONCE, _counted: counted }
    }

    /// Runs a job of the queue. An error means that it must be run again.
    async fn run_job(&self, job: Value) -> Result<(), String> {
        let inner = &self.inner;
        let request = match SealedRequest::open(&job, &inner.sealer) {
            Ok(request) => request,
            Err(Unreadable::Here { accepted_at }) if (inner.clock)() - accepted_at < inner.max_age => {
                tracing::warn!(
                    "a request in the durable queue is sealed with a key that this worker does not have, or by a newer \
                     version of the library; it is tried again: give every worker the same keys"
                );
                return Err("this worker cannot read the request".to_owned());
            }
            Err(unreadable) => {
                match unreadable {
                    Unreadable::Here { .. } => NoMail::TooOld.log(None),
                    Unreadable::Anywhere => {
                        tracing::error!("a request in the durable queue was changed, so its user gets no mail");
                    }
                }
                inner.queue.begin().finish(Outcome::Lost);
                return Ok(());
            }
        };
        // The engine would store the message of a panic, which may quote an address.
        let delivered = tokio::select! {
            delivered = catch_panic_future(Box::pin(self.deliver(request))) => delivered,
            () = inner.worker_runs.aborting.cancelled() => return Err("the service is shutting down".to_owned()),
        };
        match delivered {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the delivery panicked".to_owned()),
        }
    }
}

/// Sends the mails of the requests in a [`GraphileDelivery`]. [`PasswordReset::worker`] creates it.
#[must_use = "a worker does nothing until `run()` is spawned"]
pub struct QueueWorker {
    reset: PasswordReset,
    queue: GraphileDelivery,
    handled_at_once: usize,
    _counted: CountedWorker,
}

impl QueueWorker {
    /// Sets the most requests that are handled at the same time. Default: 8. Zero counts as one.
    ///
    /// The pool of the queue should allow as many connections and two more. An idle worker asks the database this many times a
    /// second.
    pub fn handled_at_once(mut self, requests: usize) -> Self {
        self.handled_at_once = requests.max(1);
        self
    }

    /// Runs jobs until [`PasswordReset::shutdown`]. While PostgreSQL is down it tries again every few seconds, and logs the
    /// begin and the end of the outage.
    ///
    /// `shutdown` waits for the jobs that run. Those that are not done shortly before its deadline are aborted and return to
    /// the queue, and another worker runs them within seconds. If the future is dropped, the jobs that run end by themselves.
    pub async fn run(self) {
        let runs = &self.reset.inner.worker_runs;
        let _run = runs.running.token();
        let (mut pause, mut is_down) = (FIRST_PAUSE, false);
        while !runs.stopping.is_cancelled() {
            let begun = Instant::now();
            let ended = self.run_until_failure(&mut is_down).await;
            if runs.stopping.is_cancelled() {
                return;
            }
            if begun.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            if !is_down {
                is_down = true;
                let reason = ended.err().map(|error| redacted_error(&error, []));
                tracing::error!(
                    reason,
                    "the worker of the durable queue failed, so mails wait; it starts again until PostgreSQL answers"
                );
            }
            runs.stopping.run_until_cancelled(sleep(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn run_until_failure(&self, is_down: &mut bool) -> Result<(), BoxError> {
        let runs = &self.reset.inner.worker_runs;
        let reset = self.reset.clone();
        let settings = Settings {
            at_once: self.handled_at_once,
            run_job: RunJob::new(move |job| {
                let reset = reset.clone();
                async move { reset.run_job(job).await }
            }),
            stop: runs.stopping.clone(),
        };
        let started = || {
            if std::mem::take(is_down) {
                tracing::info!("the worker of the durable queue works again");
            } else {
                tracing::info!(handled_at_once = self.handled_at_once, "the worker of the durable queue has started");
            }
        };
        // In a box: the future is large, and the caller's task should not be.
        let run = Box::pin(run_engine(&self.queue, settings, started));
        match catch_panic_future(run).await {
            Ok(ended) => ended,
            Err(_) => Err("the job engine panicked".into()),
        }
    }
}

impl fmt::Debug for QueueWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueWorker")
            .field("queue", &self.queue)
            .field("handled_at_once", &self.handled_at_once)
            .finish_non_exhaustive()
    }
}

/// The runs of the workers of a service, and their end.
#[derive(Default)]
pub(super) struct WorkerRuns {
    running: TaskTracker,
    /// No worker takes a further job.
    stopping: CancellationToken,
    /// The jobs that still run return to the queue.
    aborting: CancellationToken,
}

impl WorkerRuns {
    /// Stops the workers and waits until their jobs have ended, for at most `deadline`. Jobs that are not done shortly before
    /// it are aborted.
    pub(super) async fn stop(&self, deadline: Duration) {
        self.stopping.cancel();
        self.running.close();
        let ended = timeout(deadline.saturating_sub(RETURN_TIME.min(deadline / 4)), self.running.wait()).await;
        self.aborting.cancel();
        if ended.is_err() && timeout(RETURN_TIME.min(deadline / 4), self.running.wait()).await.is_err() {
            tracing::warn!(
                "a worker of the durable queue did not stop in time; its jobs are run again within a minute"
            );
        }
    }
}
