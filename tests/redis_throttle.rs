//! `RedisThrottle` on a real server: exact counts for several processes, and every kind of outage.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion")]

#[path = "redis_throttle/connections.rs"]
mod connections;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/doubles.rs"]
mod doubles;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/log.rs"]
mod log;
#[path = "redis_throttle/proxy.rs"]
mod proxy;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/random.rs"]
mod random;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/redis.rs"]
mod redis_server;
#[path = "support/server.rs"]
mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use doubles::{builder, no_mail, people};
use log::Log;
use poem_password_reset::throttle::{MemoryThrottle, Quota, Quotas, RedisThrottle, Throttle, ThrottleKey, Verdict};
use poem_password_reset::{Client, PasswordReset, Problem, ResetError};
use random::Random;
use redis_server::Redis;
use tokio::time::{Instant, sleep};

/// Time limit for each wait of a test. Long, because machines that run tests are busy.
const LIMIT: Duration = Duration::from_secs(60);

fn key(number: u64) -> ThrottleKey {
    let [.., three, two, one] = number.to_be_bytes();
    ThrottleKey::of_client("test", "request", Some([10, three, two, one].into()))
}

/// A key that no other test uses.
fn new_key() -> ThrottleKey {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    key(NEXT.fetch_add(1, Ordering::SeqCst))
}

/// Counts like the library does: an error is tried again until the server answers.
async fn count(throttle: &RedisThrottle, key: &ThrottleKey, quota: Quota) -> Verdict {
    let start = Instant::now();
    loop {
        match throttle.count(key, quota).await {
            Ok(verdict) => return verdict,
            Err(error) => assert!(start.elapsed() < LIMIT, "{error}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn is_within(throttle: &RedisThrottle, key: &ThrottleKey, quota: Quota) -> bool {
    count(throttle, key, quota).await == Verdict::Within
}

#[tokio::test]
async fn count_gives_the_same_verdicts_as_the_throttle_in_memory() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (shared, memory) = (RedisThrottle::new(redis.client()), MemoryThrottle::new());
    let mut random = Random::new(15);
    // A window that does not end during the test, because the two clocks differ.
    let quotas = [1, 2, 5].map(|limit| Quota::per_hour(limit).unwrap());
    for step in 0..3_000 {
        let quota = quotas[random.below(3)];
        let key = key(1_000_000 + random.below(5) as u64);
        match random.below(8) {
            0 => {
                shared.give_back(&key).await.unwrap();
                memory.give_back_now(&key);
            }
            1 if random.below(8) == 0 => {
                shared.clear(&key).await.unwrap();
                memory.clear_now(&key);
            }
            2 => {
                let (shared, memory) = (shared.peek(&key, quota).await.unwrap(), memory.peek_now(&key, quota));
                assert_eq!(shared == Some(Verdict::Within), memory == Verdict::Within, "step {step}");
            }
            _ => {
                let (shared, memory) = (count(&shared, &key, quota).await, memory.count_now(&key, quota));
                assert_eq!(shared == Verdict::Within, memory == Verdict::Within, "step {step}");
            }
        }
    }
}

#[tokio::test]
async fn window_begins_with_the_first_use_and_ends_by_the_clock_of_the_server() {
    let Some(redis) = Redis::start(&[]) else { return };
    let throttle = RedisThrottle::new(redis.client()).key_prefix("app:");
    let (key, quota) = (new_key(), Quota::per(2, Duration::from_secs(2)).unwrap());
    assert!(is_within(&throttle, &key, quota).await && is_within(&throttle, &key, quota).await);
    let Verdict::Over { retry_after } = count(&throttle, &key, quota).await else { panic!("over the quota") };
    assert!(!retry_after.is_zero() && retry_after <= Duration::from_secs(2), "{retry_after:?}");
    let names: Vec<String> = redis.command(&["KEYS", "*"]).await;
    assert_eq!(names, [format!("app:{key}")]);
    sleep(retry_after + Duration::from_millis(50)).await;
    let names: Vec<String> = redis.command(&["KEYS", "*"]).await;
    assert!(names.is_empty(), "a key expires with its window: {names:?}");
    assert!(is_within(&throttle, &key, quota).await);
}

#[tokio::test]
async fn counter_without_expiry_gets_one() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (throttle, key, quota) = (RedisThrottle::new(redis.client()), new_key(), Quota::per_hour(2).unwrap());
    let _: () = redis.command(&["SET", &key.to_string(), "7"]).await;
    assert!(!is_within(&throttle, &key, quota).await);
    let left: i64 = redis.command(&["PTTL", &key.to_string()]).await;
    assert!(left > 0, "{left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_counts_of_several_connections_are_exact() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (key, quota) = (new_key(), Quota::per_hour(100).unwrap());
    let within = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (throttle, key, within) = (RedisThrottle::new(redis.client()), key.clone(), Arc::clone(&within));
            tokio::spawn(async move {
                for _ in 0..50 {
                    within.fetch_add(u64::from(is_within(&throttle, &key, quota).await), Ordering::SeqCst);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    // A count whose answer came too late is counted on the server, so fewer may be reported, and never more.
    let reported = within.load(Ordering::SeqCst);
    let stored: u64 = redis.command(&["GET", &key.to_string()]).await;
    assert_eq!(stored, 100);
    assert!(reported <= 100, "{reported}");
}

/// Builds a service that allows three requests for each client.
async fn service(throttle: RedisThrottle) -> PasswordReset {
    builder(people())
        .quotas(Quotas::off().request_per_client(Quota::per_hour(3).unwrap()))
        .throttle(throttle)
        .on_reset_token_created(no_mail)
        .build()
        .await
        .unwrap()
}

fn client(number: u8) -> Client {
    Client::new(Some([192, 0, 2, number].into()), None)
}

/// Returns the number of requests of a client that are accepted.
async fn accepted(reset: &PasswordReset, client: Client) -> usize {
    let mut accepted = 0;
    for _ in 0..10 {
        match reset.request("nobody@example.com", client.clone()).await {
            Ok(_) => accepted += 1,
            Err(ResetError::Throttled { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    accepted
}

/// Checks that Redis counts: of ten requests of a client three are accepted, and the server has counted them. Tries several
/// clients, because on a busy machine an answer of the server can come too late.
async fn assert_redis_counts(redis: &Redis, reset: &PasswordReset) {
    let start = Instant::now();
    for number in 50.. {
        let accepted = accepted(reset, client(number)).await;
        let counted: Option<u64> = redis.command(&["GET", &format!("password-reset/request/192.0.2.{number}")]).await;
        if (accepted, counted) == (3, Some(3)) {
            return;
        }
        assert!(start.elapsed() < LIMIT, "{accepted} {counted:?}");
        sleep(Duration::from_secs(1)).await;
    }
}

/// Waits until Redis counts again: the key of a new client appears on the server.
async fn until_redis_counts(redis: &Redis, reset: &PasswordReset) {
    let start = Instant::now();
    for number in 100.. {
        let _ = reset.request("nobody@example.com", client(number)).await;
        let counted: bool = redis.command(&["EXISTS", &format!("password-reset/request/192.0.2.{number}")]).await;
        if counted {
            return;
        }
        assert!(start.elapsed() < LIMIT, "Redis counts again");
        sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test]
async fn two_services_share_a_quota() {
    let Some(redis) = Redis::start(&[]) else { return };
    let log = Log::default();
    let _guard = log.of_thread();
    let one = service(RedisThrottle::new(redis.client())).await;
    let other = service(RedisThrottle::new(redis.client())).await;
    let start = Instant::now();
    for number in 1.. {
        let mut count = 0;
        for reset in [&one, &other, &one, &other, &one, &other] {
            count += usize::from(reset.request("nobody@example.com", client(number)).await.is_ok());
        }
        if count == 3 {
            return;
        }
        // On a busy machine an answer can come too late. Then memory counts, and the log says so.
        assert!(log.text().contains("the throttle failed"), "{count} uses of 3");
        assert!(start.elapsed() < LIMIT, "{count}");
        sleep(Duration::from_secs(6)).await;
    }
}

#[tokio::test]
async fn killed_server_is_replaced_by_memory_and_used_again_after_its_restart() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let log = Log::default();
    let _guard = log.of_thread();
    let reset = service(RedisThrottle::new(redis.client())).await;
    assert_redis_counts(&redis, &reset).await;
    redis.kill();
    assert_eq!(accepted(&reset, client(2)).await, 3, "the throttle in memory counts");
    assert_eq!(accepted(&reset, client(3)).await, 3);
    redis.start_again();
    until_redis_counts(&redis, &reset).await;
    let text = log.text();
    assert_eq!(text.matches("ERROR the throttle failed").count(), 1, "{text}");
    assert_eq!(text.matches("INFO the throttle works again").count(), 1, "{text}");
}

#[tokio::test]
async fn stopped_server_delays_no_request_and_is_used_again_when_it_continues() {
    let Some(redis) = Redis::start(&[]) else { return };
    let reset = service(RedisThrottle::new(redis.client())).await;
    assert_redis_counts(&redis, &reset).await;
    redis.signal("STOP");
    assert_eq!(accepted(&reset, client(2)).await, 3);
    redis.signal("CONT");
    until_redis_counts(&redis, &reset).await;
}

#[tokio::test]
async fn paused_clients_are_counted_in_memory() {
    let Some(redis) = Redis::start(&[]) else { return };
    let reset = service(RedisThrottle::new(redis.client())).await;
    assert_redis_counts(&redis, &reset).await;
    let _: () = redis.command(&["CLIENT", "PAUSE", "2000"]).await;
    assert_eq!(accepted(&reset, client(2)).await, 3);
    sleep(Duration::from_secs(2)).await;
    until_redis_counts(&redis, &reset).await;
}

#[tokio::test]
async fn full_memory_of_the_server_switches_no_limit_off() {
    let Some(redis) = Redis::start(&["--maxmemory-policy", "noeviction"]) else { return };
    let reset = service(RedisThrottle::new(redis.client())).await;
    assert_redis_counts(&redis, &reset).await;
    let _: () = redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_eq!(accepted(&reset, client(2)).await, 3);
    let _: () = redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    until_redis_counts(&redis, &reset).await;
}

#[tokio::test]
async fn flushed_scripts_are_sent_again() {
    let Some(redis) = Redis::start(&[]) else { return };
    let (throttle, key, quota) = (RedisThrottle::new(redis.client()), new_key(), Quota::per_hour(2).unwrap());
    assert!(is_within(&throttle, &key, quota).await);
    let _: () = redis.command(&["SCRIPT", "FLUSH"]).await;
    assert!(is_within(&throttle, &key, quota).await);
    assert!(!is_within(&throttle, &key, quota).await);
}

#[tokio::test]
async fn server_that_became_a_replica_is_left_for_a_new_connection() {
    let (Some(redis), Some(other)) = (Redis::start(&[]), Redis::start(&[])) else { return };
    let reset = service(RedisThrottle::new(redis.client())).await;
    assert_redis_counts(&redis, &reset).await;
    let connections = async || -> u64 {
        let info: String = redis.command(&["INFO", "stats"]).await;
        let line = info.lines().find_map(|line| line.strip_prefix("total_connections_received:")).unwrap();
        line.trim().parse().unwrap()
    };
    let _: () = redis.command(&["REPLICAOF", "127.0.0.1", &other.port.to_string()]).await;
    let before = connections().await;
    assert_eq!(accepted(&reset, client(2)).await, 3, "the throttle in memory counts");
    let start = Instant::now();
    // Each call of `connections` makes one as well.
    let mut own = 1;
    while connections().await - before <= own {
        own += 1;
        assert!(start.elapsed() < LIMIT, "a new connection is made");
        sleep(Duration::from_millis(50)).await;
    }
    let _: () = redis.command(&["REPLICAOF", "NO", "ONE"]).await;
    until_redis_counts(&redis, &reset).await;
}

#[test]
fn error_of_an_invalid_url_contains_no_password() {
    for url in ["http://:a-secret@127.0.0.1", "redis://user:a-secret@127.0.0.1:port", "a-secret"] {
        let error = RedisThrottle::open(url).unwrap_err();
        assert!(!error.to_string().contains("a-secret"), "{error}");
    }
}

async fn problem(throttle: RedisThrottle) -> String {
    let error = builder(people()).throttle(throttle).on_reset_token_created(no_mail).build().await.unwrap_err();
    match error.problems() {
        [Problem::ThrottleFails { reason }] => reason.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn build_fails_if_the_server_is_away_or_refuses() {
    let unused = format!("redis://:a-secret@127.0.0.1:{}", server::free_port());
    let refused = problem(RedisThrottle::new(redis::Client::open(unused).unwrap())).await;
    assert!(refused.to_lowercase().contains("connection refused") && !refused.contains("a-secret"), "{refused}");

    let Some(redis) = Redis::start(&["--requirepass", "the-right-one"]) else { return };
    let open = |password: &str| redis::Client::open(format!("redis://:{password}@127.0.0.1:{}", redis.port)).unwrap();
    let wrong = problem(RedisThrottle::new(open("a-wrong-one"))).await;
    assert!(wrong.contains("uthentication") && !wrong.contains("a-wrong-one"), "{wrong}");
    let missing = problem(RedisThrottle::new(redis.client())).await;
    assert!(missing.contains("NOAUTH") || missing.contains("uthentication"), "{missing}");
    service(RedisThrottle::new(open("the-right-one"))).await;
}

#[tokio::test]
async fn build_fails_on_a_replica_that_cannot_write() {
    let (Some(primary), Some(replica)) = (Redis::start(&[]), Redis::start(&[])) else { return };
    let _: () = replica.command(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]).await;
    let reason = problem(RedisThrottle::new(replica.client())).await;
    assert!(reason.contains("READONLY") || reason.contains("read only"), "{reason}");
}

#[tokio::test]
async fn server_that_sends_garbage_fails_the_build_and_no_request() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
                sleep(LIMIT).await;
            });
        }
    });
    let throttle = || RedisThrottle::new(redis::Client::open(url.as_str()).unwrap());
    assert!(!problem(throttle()).await.is_empty());
    let reset = builder(people())
        .quotas(Quotas::off().request_per_client(Quota::per_hour(3).unwrap()))
        .throttle(throttle())
        .check_at_start(false)
        .on_reset_token_created(no_mail)
        .build()
        .await
        .unwrap();
    assert_eq!(accepted(&reset, client(1)).await, 3);
}

#[tokio::test]
async fn keys_and_debug_contain_no_address_and_no_password() {
    let Some(redis) = Redis::start(&["--requirepass", "a-secret"]) else { return };
    let open = || redis::Client::open(format!("redis://:a-secret@127.0.0.1:{}", redis.port)).unwrap();
    let throttle = RedisThrottle::new(open());
    let shown = format!("{throttle:?}");
    let reset = builder(people())
        .quotas(Quotas::default())
        .throttle(throttle)
        .on_reset_token_created(no_mail)
        .build()
        .await
        .unwrap();
    reset.request("ann@example.com", client(1)).await.unwrap();
    let mut connection = open().get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
    let text = keys.join("\n");
    assert!(text.contains("password-reset/mail/") && text.contains("password-reset/request/192.0.2.1"), "{text}");
    for secret in ["ann", "example", "a-secret"] {
        assert!(!text.contains(secret) && !shown.contains(secret), "{secret}: {text} {shown}");
    }
}
