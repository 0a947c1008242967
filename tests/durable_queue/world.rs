//! Services that share a queue, the mails that they send, and the rows of the queue.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use poem_password_reset::delivery::GraphileDelivery;
use poem_password_reset::{
    BoxError, Client, KeyRing, PasswordReset, PasswordResetBuilder, ResetTokenCreated, StoredUser, store::MemoryUsers,
};
use serde_json::Value;
use sqlx::PgPool;

use crate::doubles::{cheap_hash, key};

/// The time limit of a step. Long, because machines that run tests are busy.
pub(crate) const STEP_TIMEOUT: Duration = Duration::from_secs(120);

/// Returns a pool to a new database of the shared server.
pub(crate) async fn new_pool() -> Option<PgPool> {
    Some(crate::postgres::postgres().await?.database("").await)
}

/// Returns the address of a user with this number.
pub(crate) fn address(user: usize) -> String {
    format!("user{user}@example.com")
}

/// Returns 1,000 users.
pub(crate) fn users() -> MemoryUsers {
    let user = |id| StoredUser::new(id, address(id), Some(cheap_hash("old").unwrap()));
    MemoryUsers::new((0..1_000).map(user))
}

/// Returns a builder without a handler, with the key of the tests.
pub(crate) fn builder(queue: &GraphileDelivery) -> PasswordResetBuilder {
    builder_with(queue, key())
}

pub(crate) fn builder_with(queue: &GraphileDelivery, keys: impl Into<KeyRing>) -> PasswordResetBuilder {
    PasswordReset::builder(users(), keys)
        .link("https://app.example.com/reset-password#token={token}")
        .hasher(cheap_hash)
        .quotas(poem_password_reset::throttle::Quotas::off())
        .linked_handlers(false)
        .delivery(queue.clone())
}

/// Returns the error with which the handler fails.
type Fault = fn() -> BoxError;

/// The mails that the services of a test sent, and how their handler behaves.
#[derive(Clone, Default)]
pub(crate) struct Mails {
    sent: Arc<Mutex<Vec<String>>>,
    calls: Arc<AtomicUsize>,
    fails: Arc<Mutex<Option<Fault>>>,
    delay: Arc<Mutex<Duration>>,
}

impl Mails {
    /// Returns a handler that sends mails.
    pub(crate) fn handler(
        &self,
    ) -> impl Fn(Arc<ResetTokenCreated>) -> futures::BoxFuture<Result<(), BoxError>> + Send + Sync + 'static + use<>
    {
        let mails = self.clone();
        move |event| {
            let mails = mails.clone();
            Box::pin(async move {
                mails.calls.fetch_add(1, Ordering::SeqCst);
                let delay = *mails.delay.lock().unwrap();
                tokio::time::sleep(delay).await;
                let fails = *mails.fails.lock().unwrap();
                if let Some(error) = fails {
                    return Err(error());
                }
                mails.sent.lock().unwrap().push(event.user().email().to_owned());
                Ok(())
            })
        }
    }

    pub(crate) fn fail_with(&self, error: impl Into<Option<Fault>>) {
        *self.fails.lock().unwrap() = error.into();
    }

    pub(crate) fn delay(&self, delay: Duration) {
        *self.delay.lock().unwrap() = delay;
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Returns the addresses to which mails were sent, sorted.
    pub(crate) fn sent(&self) -> Vec<String> {
        let mut sent = self.sent.lock().unwrap().clone();
        sent.sort();
        sent
    }
}

/// The type of the handler's future.
mod futures {
    pub(crate) type BoxFuture<T> = std::pin::Pin<Box<dyn Future<Output = T> + Send>>;
}

pub(crate) async fn request(reset: &PasswordReset, email: &str) {
    reset.request(email, Client::none()).await.unwrap();
}

/// Waits until `condition` holds.
pub(crate) async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < STEP_TIMEOUT, "not within {STEP_TIMEOUT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Returns the number of jobs in the queue, waiting or running.
pub(crate) async fn jobs(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM password_reset_queue._private_jobs").fetch_one(pool).await.unwrap()
}

pub(crate) async fn wait_until_empty(pool: &PgPool) {
    wait_until("the queue is empty", async || jobs(pool).await == 0).await;
}

/// Returns every row of every table in the schema of the queue, as JSON.
pub(crate) async fn rows(pool: &PgPool) -> Vec<Value> {
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = 'password_reset_queue'")
            .fetch_all(pool)
            .await
            .unwrap();
    assert!(tables.contains(&"_private_jobs".to_owned()), "{tables:?}");
    let mut rows = Vec::new();
    for table in tables {
        let sql = format!("SELECT row_to_json(t)::text FROM password_reset_queue.{table} t");
        let found: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(pool).await.unwrap();
        rows.extend(found.iter().map(|row| serde_json::from_str(row).unwrap()));
    }
    rows
}
