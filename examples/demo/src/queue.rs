//! Where accepted requests wait for their mail: in memory, or in PostgreSQL.

use std::str::FromStr as _;
use std::time::Duration;

use poem_password_reset::delivery::{GraphileDelivery, GraphileError};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection as _, PgConnection};
use thiserror::Error;
use tokio::time::timeout;

/// Time limit for the connection to the server at start.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// The requests that a worker handles at once by default, one connection that listens, and one that stores requests.
const CONNECTIONS: u32 = 10;

/// Why the queue could not be opened. No variant repeats the URL, which may contain a password.
#[derive(Debug, Error)]
pub(crate) enum QueueError {
    #[error("expected memory: or postgres://USER[:PASSWORD]@HOST[:PORT]/NAME")]
    Url,
    #[error("the server does not answer: {0}")]
    NoServer(sqlx::Error),
    #[error("the server did not answer within {} seconds", CONNECT_DEADLINE.as_secs())]
    Timeout,
    #[error(transparent)]
    Tables(GraphileError),
}

/// A queue in PostgreSQL, and its connections.
pub(crate) struct Queue {
    pub(crate) delivery: GraphileDelivery,
    pool: PgPool,
}

impl Queue {
    /// Opens the queue of `--queue`, or returns `None` for the one in memory.
    pub(crate) async fn open(url: &str) -> Result<Option<Self>, QueueError> {
        if url == "memory:" {
            return Ok(None);
        }
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(QueueError::Url);
        }
        let options = PgConnectOptions::from_str(url).map_err(|_| QueueError::Url)?;
        // A pool would try again for its whole time limit and then report no reason.
        let connecting = timeout(CONNECT_DEADLINE, PgConnection::connect_with(&options));
        let connection = connecting.await.map_err(|_| QueueError::Timeout)?.map_err(QueueError::NoServer)?;
        connection.close().await.map_err(QueueError::NoServer)?;
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect_lazy_with(options);
        let delivery = GraphileDelivery::new(pool.clone());
        delivery.migrate().await.map_err(QueueError::Tables)?;
        Ok(Some(Self { delivery, pool }))
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}
