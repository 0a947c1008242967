//! One run of `graphile_worker`, with the settings that the promises of the queue need.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use graphile_worker::worker_utils::types::RescheduleJobOptions;
use graphile_worker::{
    IntoTaskHandlerResult, JobFail, JobFailContext, TaskHandler, Worker, WorkerContext, WorkerOptions,
    WorkerRecoveryConfig, WorkerShutdownConfig, WorkerUtils,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{GraphileDelivery, JOB};
use crate::error::BoxError;

/// A worker that was not heard of for this long is dead, and its jobs are run again. With the intervals below a job waits
/// for 40 seconds at most.
const DEAD_AFTER: Duration = Duration::from_secs(30);

/// The interval at which a worker says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The interval at which a worker looks for dead ones.
const SWEEP: Duration = Duration::from_secs(10);

/// The interval at which a worker asks for jobs that no notification announced: retries, and jobs of dead workers.
const POLL: Duration = Duration::from_secs(1);

/// How long the engine waits for running jobs at shutdown. The job itself ends earlier, when `shutdown` says so.
const GRACE_PERIOD: Duration = Duration::from_secs(60 * 60);

/// The number of failed tries from which the pause between two tries does not grow any more. The engine pauses for e^n
/// seconds: 2.7, 7.4, 20, 55.
const LAST_LONGER_PAUSE: i16 = 4;

/// Runs one job. Public only within the crate: what a job is belongs to the service.
#[derive(Clone)]
pub(crate) struct RunJob(Arc<dyn Fn(Value) -> Running + Send + Sync>);

type Running = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

impl RunJob {
    /// `run` returns an error if the job must be tried again. The engine logs and stores the text.
    pub(crate) fn new<Fut>(run: impl Fn(Value) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self(Arc::new(move |job| Box::pin(run(job))))
    }
}

impl fmt::Debug for RunJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunJob")
    }
}

/// A job as the engine passes it on.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Job(Value);

impl TaskHandler for Job {
    const IDENTIFIER: &'static str = JOB;

    async fn run(self, context: WorkerContext) -> impl IntoTaskHandlerResult {
        let run = context.get_ext::<RunJob>().expect("every worker is started with a `RunJob`");
        (run.0)(self.0).await
    }
}

/// The settings of a run.
pub(crate) struct Settings {
    pub(crate) at_once: usize,
    pub(crate) run_job: RunJob,
    /// Ends the run. It takes no more jobs, and ends when those that run have ended.
    pub(crate) stop: CancellationToken,
}

/// Runs jobs until `stop` or an error. Calls `started` when the database has answered.
///
/// # Errors
///
/// The database failed. The jobs that ran are recovered like those of a dead worker.
pub(crate) async fn run_engine(
    queue: &GraphileDelivery,
    settings: Settings,
    started: impl FnOnce(),
) -> Result<(), BoxError> {
    queue.migrate().await?;
    let engine = options(queue, settings).init().await?;
    started();
    Ok(engine.run().await?)
}

fn options(queue: &GraphileDelivery, settings: Settings) -> WorkerOptions {
    let recovery = WorkerRecoveryConfig::default()
        .heartbeat_interval(HEARTBEAT)
        .sweep_interval(SWEEP)
        .sweep_threshold(DEAD_AFTER)
        .recovery_delay(Duration::ZERO);
    let shutdown = WorkerShutdownConfig::default()
        // The signals belong to the application, which calls `shutdown`.
        .listen_os_shutdown_signals(false)
        .grace_period(GRACE_PERIOD)
        .shutdown_signal(settings.stop.cancelled_owned());
    let utils = queue.utils.clone();
    Worker::options()
        .pg_pool(queue.pool.clone())
        .schema(&queue.schema)
        .concurrency(settings.at_once)
        .poll_interval(POLL)
        .worker_recovery(recovery)
        .worker_shutdown(shutdown)
        .add_extension(settings.run_job)
        .define_job::<Job>()
        .on(JobFail, move |failed: JobFailContext| {
            let utils = utils.clone();
            async move { limit_pause(&utils, &failed).await }
        })
}

/// Keeps the pause after each further failed try as long as the last one: a mail server that is back after an hour gets the mails
/// within a minute. If this fails, the job is tried later than it could be.
async fn limit_pause(utils: &WorkerUtils, failed: &JobFailContext) {
    if *failed.job.attempts() >= LAST_LONGER_PAUSE {
        let options = RescheduleJobOptions { attempts: Some(LAST_LONGER_PAUSE - 1), ..RescheduleJobOptions::default() };
        if let Err(error) = utils.reschedule_jobs(&[*failed.job.id()], options).await {
            tracing::debug!(%error, "the next try of a mail could not be moved forward");
        }
    }
}
