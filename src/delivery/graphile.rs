//! [`GraphileDelivery`]: a durable queue in PostgreSQL, run by `graphile_worker`.

mod batches;
mod engine;
mod sealed;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use graphile_worker::{JobSpec, RawJobSpec, WorkerUtils};
use serde_json::Value;
use sqlx::PgPool;
use thiserror::Error;

use self::batches::Batches;
pub(crate) use self::engine::{RunJob, Settings, run_engine};
pub(crate) use self::sealed::{SealedRequest, Unreadable};
use super::{AcceptedRequest, Delivery};
use crate::error::BoxError;

/// The name of the jobs in the engine's tables.
const JOB: &str = "password_reset";

/// The name of the job that the check at start stores and takes back.
const CHECK: &str = "password_reset_check";

/// The schema of the engine's tables, unless the application chooses another.
const SCHEMA: &str = "password_reset_queue";

/// The most connections that one process needs at the same time for the engine alone: one listens for new jobs.
const LEAST_CONNECTIONS: u32 = 2;

/// A durable queue of accepted requests in PostgreSQL (feature `graphile`).
///
/// A request that was answered with "OK" survives the process, and any instance of the application may send its mail. The jobs
/// are run by [`graphile_worker`](https://docs.rs/graphile_worker), whose tables are in a schema of their own.
///
/// Two lines: [`.delivery(queue)`](crate::PasswordResetBuilder::delivery) stores requests in the queue, and
/// [`reset.worker(&queue)`](crate::PasswordReset::worker) sends their mails. Without a worker in this process, requests are
/// answered 503 instead of waiting for nobody, unless [`workers_elsewhere`](Self::workers_elsewhere) says that another
/// program runs one.
///
/// ```no_run
/// use poem_password_reset::delivery::GraphileDelivery;
/// use poem_password_reset::{BoxError, PasswordReset, SigningKey};
/// use sqlx::PgPool;
/// # use poem_password_reset::store::MemoryUsers;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), BoxError> {
/// # let users = MemoryUsers::new([]);
/// let pool = PgPool::connect("postgres://app@localhost/app").await?;
/// let queue = GraphileDelivery::new(pool);
/// let reset = PasswordReset::builder(users, SigningKey::from_env("PASSWORD_RESET_KEY")?)
///     .link("https://app.example.com/reset-password#token={token}")
///     .on_reset_token_created(async |event| println!("{}", event.user().email()))
/// #   .linked_handlers(false)
///     .delivery(queue.clone())
///     .build()
///     .await?;
/// tokio::spawn(reset.worker(&queue).run());
/// # Ok(())
/// # }
/// ```
///
/// # What it promises
///
/// * `POST /` answers once the request is committed. While PostgreSQL is down, every address is answered 503 with
///   `Retry-After`.
/// * A job whose process was killed is run again within 60 seconds, by any worker. So **a mail may be sent twice**: when the
///   process dies between the mail and the end of the job, or when PostgreSQL is away at that moment.
/// * A job that fails is tried again after about 3, 7, 20 and then every 55 seconds until the request is older than
///   [`max_age`](crate::PasswordResetBuilder::max_age).
/// * A finished job leaves no row. While a request waits, its row holds the time, the id of the signing key and the request
///   sealed with that key (XChaCha20-Poly1305): neither a reader of the database nor the engine's log, which prints the jobs,
///   learns the address. After a key rotation, keep the old key for at least `max_age`; the
///   [`KeyRing`](crate::KeyRing) of a worker must hold it.
///
/// # What it needs
///
/// * **Rights.** PostgreSQL 12 or later. `build()` creates the schema, and brings its tables up to date after an update of this
///   library. To do that with another role before the program starts, call [`migrate`](Self::migrate) with that role's pool,
///   and make the application's role a member of it: `GRANT queue_owner TO app`. Grants on the tables are not enough, because
///   the engine's tables have row-level security.
/// * **Connections.** The pool of a process with a worker needs at least two, and better as many as
///   [jobs run at once](crate::QueueWorker::handled_at_once) and two more. They must go to PostgreSQL directly: the worker listens for
///   notifications, which a pooler such as PgBouncer in transaction mode does not pass on.
/// * **A filter for the log.** The engine logs two lines for each request at `INFO`: `graphile_worker=warn` hides them.
///
/// Give each `PasswordReset` with other users or keys its own [`schema`](Self::schema). The schema must not be the one of
/// the application's own graphile jobs.
#[derive(Clone)]
pub struct GraphileDelivery {
    pool: PgPool,
    schema: String,
    utils: WorkerUtils,
    batches: Batches,
    workers_elsewhere: bool,
    /// The number of workers for this queue in this process.
    workers: Arc<AtomicUsize>,
}

impl GraphileDelivery {
    /// Creates a queue in the database of `pool`. Sends nothing to the database yet.
    pub fn new(pool: PgPool) -> Self {
        let utils = WorkerUtils::new(pool.clone(), SCHEMA);
        Self {
            pool,
            schema: SCHEMA.to_owned(),
            utils,
            batches: Batches::default(),
            workers_elsewhere: false,
            workers: Arc::default(),
        }
    }

    /// Sets the schema of the queue's tables. Default: `password_reset_queue`.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self.utils = WorkerUtils::new(self.pool.clone(), &self.schema);
        self.batches = Batches::default();
        self
    }

    /// Says that another program runs the [worker](crate::PasswordReset::worker), so this process stores requests without
    /// one.
    #[must_use]
    pub fn workers_elsewhere(mut self) -> Self {
        self.workers_elsewhere = true;
        self
    }

    /// Creates the schema and its tables, or brings them up to date. `build()` does the same. Several instances may do it at the
    /// same moment.
    ///
    /// Call it from a step of a deployment whose role may create schemas, if the role of the application may not. The
    /// application's role then has to be a member of that role.
    ///
    /// # Errors
    ///
    /// PostgreSQL does not answer, is older than version 12, or refuses.
    pub async fn migrate(&self) -> Result<(), GraphileError> {
        self.utils.migrate().await.map_err(GraphileError::database)
    }

    /// Counts a worker for this queue, until the value is dropped.
    pub(crate) fn count_worker(&self) -> CountedWorker {
        self.workers.fetch_add(1, Ordering::SeqCst);
        CountedWorker(Arc::clone(&self.workers))
    }

    fn has_worker(&self) -> bool {
        self.workers_elsewhere || self.workers.load(Ordering::SeqCst) > 0
    }
}

impl Delivery for GraphileDelivery {
    type Error = GraphileError;

    async fn enqueue(&self, request: AcceptedRequest) -> Result<(), GraphileError> {
        if !self.has_worker() {
            return Err(GraphileError::NoWorker);
        }
        let sealed = SealedRequest::seal(&request).map_err(GraphileError::Seal)?;
        let job = serde_json::to_value(sealed).map_err(|error| GraphileError::Seal(error.into()))?;
        // `max_age` ends the tries, not their number.
        let spec = JobSpec { max_attempts: Some(i16::MAX), ..JobSpec::default() };
        let job = RawJobSpec { identifier: JOB.to_owned(), payload: job, spec };
        self.batches.store(&self.utils, job).await.map_err(GraphileError::database)
    }

    async fn check_at_start(&self) -> Result<(), GraphileError> {
        let allowed = self.pool.options().get_max_connections();
        if !self.workers_elsewhere && allowed < LEAST_CONNECTIONS {
            return Err(GraphileError::Pool { allowed });
        }
        self.migrate().await?;
        // Stores a job and takes it back: rights that are missing would otherwise show at the first request.
        let mut transaction = self.pool.begin().await.map_err(GraphileError::database)?;
        let mut utils = self.utils.clone().with_executor(&mut transaction);
        utils.add_raw_job(CHECK, Value::Null, JobSpec::default()).await.map_err(GraphileError::database)?;
        transaction.rollback().await.map_err(GraphileError::database)
    }
}

impl fmt::Debug for GraphileDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GraphileDelivery")
            .field("schema", &self.schema)
            .field("workers", &self.workers)
            .field("workers_elsewhere", &self.workers_elsewhere)
            .finish_non_exhaustive()
    }
}

/// A worker that is counted while it exists.
#[derive(Debug)]
pub(crate) struct CountedWorker(Arc<AtomicUsize>);

impl Drop for CountedWorker {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The reason why a [`GraphileDelivery`] cannot store a request.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GraphileError {
    /// No worker would take the request.
    #[error(
        "no worker of the durable queue runs in this process: call tokio::spawn(reset.worker(&queue).run()), or \
         .workers_elsewhere() if another program runs it"
    )]
    NoWorker,
    /// The pool of connections is too small for a worker.
    #[error("the pool of the durable queue allows {allowed} connection, and a worker needs at least 2")]
    Pool {
        /// The most connections of the pool.
        allowed: u32,
    },
    /// The request could not be sealed.
    #[error("a request could not be sealed")]
    Seal(#[source] BoxError),
    /// PostgreSQL failed or did not answer.
    #[error("the durable queue in PostgreSQL failed: {reason}")]
    Database {
        /// The error of the engine.
        reason: String,
    },
}

impl GraphileError {
    /// Not as a source: the engine's errors show their sources themselves.
    fn database(error: impl fmt::Display) -> Self {
        Self::Database { reason: error.to_string() }
    }
}
