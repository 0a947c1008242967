//! Puts accepted requests into a stream of Redis, as an example of a `Delivery` for another job engine.
//!
//! Run `REDIS_URL=redis://127.0.0.1/ cargo run --example redis_streams`.
//!
//! A request survives the process, and any number of workers share the work. What it does not promise, compared with
//! `GraphileDelivery`:
//!
//! * Redis may lose the requests of the last second if its machine fails, unless it runs with `appendfsync always`.
//! * The stream holds the addresses in clear text until the mail is sent.
//! * A failed request is tried again every 30 seconds, not with growing pauses. A mail that takes longer than that is sent
//!   twice.

use std::time::Duration;

use poem_password_reset::delivery::{AcceptedRequest, Delivery};
use poem_password_reset::store::MemoryUsers;
use poem_password_reset::{BoxError, Client, PasswordReset, SigningKey, StoredUser};
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamAutoClaimOptions, StreamAutoClaimReply, StreamId, StreamReadOptions, StreamReadReply};
use redis::{AsyncCommands as _, AsyncConnectionConfig, RedisResult};

const STREAM: &str = "password-reset:requests";
const GROUP: &str = "workers";

/// A stream of accepted requests.
#[derive(Clone)]
pub struct RedisStream {
    /// The connection, which several requests use at once.
    pub connection: MultiplexedConnection,
}

impl Delivery for RedisStream {
    type Error = BoxError;

    async fn enqueue(&self, request: AcceptedRequest) -> Result<(), BoxError> {
        let job = serde_json::to_string(&request)?;
        Ok(self.connection.clone().xadd(STREAM, "*", &[("job", job)]).await?)
    }
}

/// Sends the mails of the requests in the stream.
///
/// A request belongs to the worker that read it until it is acknowledged. One that was not for `retry_after` is run again, by any worker:
/// its mail failed, or its worker was killed.
///
/// # Errors
///
/// Redis does not answer. Call it again after a pause.
pub async fn work(
    reset: &PasswordReset,
    mut connection: MultiplexedConnection,
    worker: &str,
    retry_after: Duration,
) -> Result<(), BoxError> {
    let created: RedisResult<()> = connection.xgroup_create_mkstream(STREAM, GROUP, "0").await;
    created.or_else(|error| if error.code() == Some("BUSYGROUP") { Ok(()) } else { Err(error) })?;
    let idle = usize::try_from(retry_after.as_millis())?;
    loop {
        let one = StreamAutoClaimOptions::default().count(1);
        let again: StreamAutoClaimReply =
            connection.xautoclaim_options(STREAM, GROUP, worker, idle, "0-0", one).await?;
        let wait = StreamReadOptions::default().group(GROUP, worker).count(1).block(1_000);
        let jobs = match again.claimed {
            jobs if !jobs.is_empty() => jobs,
            _ => {
                let new: Option<StreamReadReply> = connection.xread_options(&[STREAM], &[">"], &wait).await?;
                new.into_iter().flat_map(|new| new.keys).flat_map(|stream| stream.ids).collect()
            }
        };
        for job in jobs {
            if run(reset, &job).await {
                connection.xack::<_, _, _, ()>(STREAM, GROUP, &[&job.id]).await?;
                // Acknowledged entries stay in a stream, with the address, until they are deleted.
                connection.xdel::<_, _, ()>(STREAM, &[&job.id]).await?;
            }
        }
    }
}

/// Returns whether the job is done for good.
async fn run(reset: &PasswordReset, job: &StreamId) -> bool {
    let request = job.get::<String>("job").and_then(|job| serde_json::from_str(&job).ok());
    match request {
        Some(request) => reset.deliver(request).await.is_ok(),
        // Another program wrote to the stream.
        None => true,
    }
}

/// Connects to Redis. A worker needs a connection of its own, because it waits for new requests on it.
///
/// # Errors
///
/// The URL is not valid, or Redis does not answer.
pub async fn connect(url: &str) -> Result<MultiplexedConnection, BoxError> {
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(5)));
    Ok(redis::Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await?)
}

#[tokio::main]
#[allow(dead_code, reason = "the test calls the functions")]
async fn main() -> Result<(), BoxError> {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1/".to_owned());
    let users = MemoryUsers::new([StoredUser::new(7, "ann@example.com", Some("her hash".to_owned()))]);
    let reset = PasswordReset::builder(users, SigningKey::generate()?)
        .link("https://app.example.com/reset-password#token={token}")
        .on_reset_token_created(async |event| println!("Mail to {}: {}", event.user().email(), event.link()))
        .linked_handlers(false)
        .delivery(RedisStream { connection: connect(&url).await? })
        .build()
        .await?;
    let (worker, connection) = (reset.clone(), connect(&url).await?);
    tokio::spawn(async move { work(&worker, connection, "worker-1", Duration::from_secs(30)).await });
    reset.request("ann@example.com", Client::none()).await?;
    while reset.ledger().delivered == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
