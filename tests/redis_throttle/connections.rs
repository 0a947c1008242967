//! Connections that end before or within a reply, and replies that contain addresses.

use std::time::Duration;

use poem_password_reset::BoxError;
use poem_password_reset::throttle::{MemoryThrottle, Quota, RedisThrottle, Throttle as _, ThrottleKey, Verdict};
use tokio::time::Instant;

use crate::proxy::Proxy;
use crate::random::Random;
use crate::redis_server::Redis;
use crate::{LIMIT, count, is_within, new_key};

/// Whether an answer came too late, as on a busy machine.
fn is_late(error: &BoxError) -> bool {
    error.to_string().contains("in time")
}

/// Repeats a test that fails only because an answer came too late.
async fn until_in_time<T>(mut test: impl AsyncFnMut() -> Result<T, BoxError>) -> T {
    let start = Instant::now();
    loop {
        match test().await {
            Ok(value) => return value,
            Err(error) => assert!(is_late(&error) && start.elapsed() < LIMIT, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Servers and proxies close connections that are idle for long.
#[tokio::test]
async fn connection_that_the_server_closed_fails_no_count() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (throttle, quota) = (RedisThrottle::new(redis.client()), Quota::per_hour(1_000).unwrap());
    until_in_time(async || {
        for _ in 0..5 {
            let verdict = throttle.count(&new_key(), quota).await?;
            assert_eq!(verdict, Verdict::Within);
            let _: u64 = redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        }
        Ok(())
    })
    .await;
}

/// `build()` repeats the check in the background until it succeeds, with no count that would replace the connection.
#[tokio::test]
async fn check_after_a_restart_of_the_server_uses_a_new_connection() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let throttle = RedisThrottle::new(redis.client());
    throttle.check().await.unwrap();
    redis.kill();
    redis.start_again();
    let start = Instant::now();
    while let Err(error) = throttle.check().await {
        assert!(start.elapsed() < Duration::from_secs(20), "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The reply is `:0` and a line end. Wherever the connection ends, the count has a verdict and the use counts twice at most. A
/// use that is given back twice would raise the limit, so `give_back` fails instead.
#[tokio::test]
async fn connection_cut_within_a_reply_never_raises_the_limit() {
    let Some(redis) = Redis::start(&[]) else { return };
    let proxy = Proxy::to(redis.port).await;
    let throttle = RedisThrottle::open(&proxy.url()).unwrap();
    let quota = Quota::per_hour(10).unwrap();
    let uses = async |key: &ThrottleKey| redis.command::<Option<u64>>(&["GET", &key.to_string()]).await;
    for bytes in 0..4 {
        until_in_time(async || {
            // Loads the scripts and makes a connection, whose handshake is not cut.
            let key = new_key();
            let _ = throttle.count(&key, quota).await?;
            let _ = throttle.count(&key, quota).await?;
            throttle.give_back(&key).await?;
            assert_eq!(uses(&key).await, Some(1));

            proxy.cut_next_reply_after(bytes);
            assert_eq!(throttle.count(&key, quota).await?, Verdict::Within, "cut after {bytes} bytes");
            assert_eq!(uses(&key).await, Some(3), "cut after {bytes} bytes");

            proxy.cut_next_reply_after(bytes);
            let error = throttle.give_back(&key).await.unwrap_err();
            assert_eq!(uses(&key).await, Some(2), "cut after {bytes} bytes: {error}");
            Ok(())
        })
        .await;
    }
}

/// The server has read the use, but does not answer while it is stopped.
#[tokio::test]
async fn use_of_a_stopped_server_is_counted_when_it_continues() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (throttle, key, quota) = (RedisThrottle::new(redis.client()), new_key(), Quota::per_hour(3).unwrap());
    assert!(is_within(&throttle, &key, quota).await);
    redis.signal("STOP");
    let start = Instant::now();
    let error = throttle.count(&key, quota).await.unwrap_err();
    assert!(is_late(&error) && start.elapsed() >= Duration::from_millis(50), "{error}");
    redis.signal("CONT");
    let start = Instant::now();
    while redis.command::<u64>(&["GET", &key.to_string()]).await != 2 {
        assert!(start.elapsed() < LIMIT, "the late use is counted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn count_is_one_command() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (throttle, key, quota) = (RedisThrottle::new(redis.client()), new_key(), Quota::per_hour(100).unwrap());
    until_in_time(async || {
        let _ = throttle.count(&key, quota).await?;
        let _: () = redis.command(&["CONFIG", "RESETSTAT"]).await;
        for _ in 0..20 {
            let _ = throttle.count(&key, quota).await?;
        }
        let statistics: String = redis.command(&["INFO", "commandstats"]).await;
        assert!(statistics.contains("cmdstat_evalsha:calls=20,"), "{statistics}");
        assert!(!statistics.contains("cmdstat_eval:") && !statistics.contains("cmdstat_script"), "{statistics}");
        Ok(())
    })
    .await;
}

/// A node of a cluster answers with the address of another node. Another program may answer with anything.
#[tokio::test]
async fn error_contains_no_address_and_no_text_of_the_server() {
    for (reply, expected) in [
        ("-MOVED 3999 10.1.2.3:6381\r\n", "Redis is one node of a cluster (MOVED): connect to a server with all keys"),
        ("-ERR 10.1.2.3 says hunter2\r\n", "Redis answered with the error ERR"),
        ("-hunter2 10.1.2.3\r\n", "the call of Redis failed: "),
        ("HTTP/1.1 400 hunter2\r\n\r\n", "the server sent a reply that is not one of Redis"),
    ] {
        let url = server_that_replies(reply).await;
        let throttle = RedisThrottle::open(&url).unwrap();
        let (key, quota) = (new_key(), Quota::per_hour(1).unwrap());
        let error = throttle.check().await.unwrap_err();
        assert!(error.to_string().starts_with(expected), "{reply:?}: {error}");
        for error in [error, throttle.count(&key, quota).await.unwrap_err()] {
            let text = format!("{error} {error:?}");
            assert!(!text.contains("10.1.2.3") && !text.contains("hunter2"), "{reply:?}: {text}");
        }
    }
}

/// Starts a server that sends this reply whenever it reads something. Returns its URL.
async fn server_that_replies(reply: &'static str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    // One reply for each command, as the handshake sends several at once.
                    let commands = buffer[..read].iter().filter(|&&byte| byte == b'*').count();
                    if stream.write_all(reply.repeat(commands.max(1)).as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

/// The unit of the clock steps. Windows are a few steps, so the time that the test takes does not matter.
const STEP: Duration = Duration::from_secs(3600);

/// Random calls on both throttles, and steps of both clocks: windows end at the same time.
#[tokio::test]
async fn windows_end_as_those_of_the_throttle_in_memory() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (shared, memory) = (RedisThrottle::new(redis.client()), MemoryThrottle::new());
    let mut random = Random::seeded();
    let (mut over, mut steps) = (0, 0);
    // A new key for each round, because a late answer ends a round.
    for _ in 0..150 {
        let key = new_key();
        let round = async {
            for _ in 0..20 {
                let quota = Quota::per(1 + random.below(3) as u16, STEP * (1 + random.below(3) as u32)).unwrap();
                match random.below(8) {
                    0 => {
                        steps += 1;
                        redis.advance(STEP).await;
                        tokio::time::pause();
                        tokio::time::advance(STEP).await;
                        tokio::time::resume();
                    }
                    1 => {
                        shared.give_back(&key).await?;
                        memory.give_back_now(&key);
                    }
                    _ => {
                        let counted = shared.count(&key, quota).await?;
                        over += u32::from(counted != Verdict::Within);
                        assert_same(counted, memory.count_now(&key, quota), quota);
                    }
                }
            }
            Ok::<(), BoxError>(())
        };
        if let Err(error) = round.await {
            assert!(is_late(&error), "{error}");
        }
    }
    assert!(over > 100 && steps > 50, "{over} uses over the quota, {steps} steps");
}

/// Asserts that two verdicts are equal but for the time that passed between two calls. Redis reports at most the window of
/// this quota, also if the counter began with a longer one.
fn assert_same(shared: Verdict, memory: Verdict, quota: Quota) {
    match (shared, memory) {
        (Verdict::Over { retry_after: shared }, Verdict::Over { retry_after: memory }) => {
            let memory = memory.min(quota.window());
            assert!(shared.abs_diff(memory) < STEP / 2, "{shared:?} and {memory:?}");
        }
        _ => assert_eq!(shared, memory),
    }
}

/// The log names the reason for a missing connection, not only that it is missing.
#[tokio::test]
async fn count_without_a_connection_returns_the_reason() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let (throttle, quota) = (RedisThrottle::new(redis.client()), Quota::per_hour(3).unwrap());
    let _ = count(&throttle, &new_key(), quota).await;
    redis.kill();
    let start = Instant::now();
    loop {
        let error = throttle.count(&new_key(), quota).await.unwrap_err().to_string();
        if error.contains("onnection refused") {
            break;
        }
        assert!(start.elapsed() < LIMIT, "{error}");
    }
}
