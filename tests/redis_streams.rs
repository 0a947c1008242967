//! The example that puts accepted requests into a stream of Redis, on a real server.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion")]

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/doubles.rs"]
mod doubles;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/redis.rs"]
mod redis_server;
#[path = "../examples/redis_streams.rs"]
mod redis_streams;
#[path = "support/server.rs"]
mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use doubles::{builder, people};
use poem_password_reset::{BoxError, Client, PasswordReset};
use redis_server::Redis;
use redis_streams::{RedisStream, connect, work};
use tokio::task::JoinHandle;

/// The pause after which a request is run again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

async fn worker(reset: &PasswordReset, url: &str, name: &'static str) -> JoinHandle<()> {
    let (reset, connection) = (reset.clone(), connect(url).await.unwrap());
    tokio::spawn(async move { work(&reset, connection, name, RETRY_AFTER).await.unwrap() })
}

async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn request_is_mailed_after_a_failure_and_after_the_death_of_its_worker() {
    let Some(redis) = Redis::start(&[]) else { return };
    let url = redis.url();
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    // The first call fails, the second does not end, the others succeed.
    let handler = move |_| {
        let call = count.fetch_add(1, Ordering::SeqCst);
        async move {
            match call {
                0 => Err(BoxError::from("451 try again later")),
                1 => std::future::pending().await,
                _ => Ok(()),
            }
        }
    };
    let reset = builder(people())
        .max_age(Duration::from_secs(3600))
        .on_reset_token_created(handler)
        .delivery(RedisStream { connection: connect(&url).await.unwrap() })
        .build()
        .await
        .unwrap();
    let killed = worker(&reset, &url, "worker-1").await;
    reset.request("ann@example.com", Client::none()).await.unwrap();
    wait_until("the second call", || calls.load(Ordering::SeqCst) == 2).await;
    killed.abort();
    assert!(killed.await.unwrap_err().is_cancelled());
    let _second = worker(&reset, &url, "worker-2").await;
    wait_until("the mail", || reset.ledger().delivered == 1).await;
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    let begun = Instant::now();
    // The entry is deleted after the mail.
    while redis.command::<usize>(&["XLEN", "password-reset:requests"]).await > 0 {
        assert!(begun.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
