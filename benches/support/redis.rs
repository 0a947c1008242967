//! `POST /` with quotas in Redis, against a bare endpoint that makes the same number of calls on one connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use poem_openapi::OpenApi;
use poem_openapi::payload::Json;
use poem_password_reset::throttle::{Quota, Quotas, RedisThrottle, Throttle, ThrottleKey, Verdict};
use poem_password_reset::{BoxError, PasswordReset};
use redis::Script;
use redis::aio::MultiplexedConnection;
use tokio::runtime::Runtime;

use super::http::{Effort, compare, known_requests, known_users, unknown_requests};
use super::interleave::{Comparison, Session};
use super::server::{Email, StatusBody, bare_with, ok};
use super::users::builder;

/// The addresses of the requests.
#[derive(Clone, Copy)]
pub enum Addresses {
    /// Each request leads to a mail, which the bare endpoint does not send.
    Known,
    Unknown,
}

/// Calls of Redis for one request.
#[derive(Clone, Copy)]
pub enum Calls {
    /// The quota of the client.
    One,
    /// The quotas of the client and of the address, as by default.
    Two,
}

/// Compares the responses per second of processor time, that of Redis not included.
pub fn throughput(runtime: &Runtime, url: &str, calls: Calls, addresses: Addresses, effort: Effort) -> Comparison {
    Comparison::of_sessions(effort.sessions, || {
        loop {
            let (session, has_failed) = session(runtime, url, calls, addresses, effort);
            if !has_failed {
                return session;
            }
            // The throttle in memory would be measured instead.
            eprintln!("a count took longer than 50 ms; this session is measured again");
        }
    })
}

/// Returns the figures of one session, and whether a count failed.
fn session(runtime: &Runtime, url: &str, calls: Calls, addresses: Addresses, effort: Effort) -> (Session, bool) {
    let has_failed = Arc::new(AtomicBool::new(false));
    let (reset, bare) = runtime.block_on(async {
        let throttle = RedisThrottle::open(url).expect("the URL is valid");
        let reset = service(Watched { throttle, has_failed: Arc::clone(&has_failed) }, calls).await;
        let client = redis::Client::open(url).expect("the URL is valid");
        let connection = client.get_multiplexed_async_connection().await.expect("the server answers");
        (reset, Bare { connection, script: Script::new(SCRIPT), calls })
    });
    let requests = match addresses {
        Addresses::Known => known_requests(),
        Addresses::Unknown => unknown_requests(),
    };
    let session = compare(runtime, &reset, bare_with(bare), requests, effort);
    (session, has_failed.load(Ordering::SeqCst))
}

/// A password reset that discards its mails, with quotas that no bench reaches.
async fn service(throttle: Watched, calls: Calls) -> PasswordReset {
    let quota = Quota::per(u16::MAX, Duration::from_secs(1)).expect("a window of one second is valid");
    let quotas = Quotas::off().request_per_client(quota);
    let quotas = match calls {
        Calls::One => quotas,
        Calls::Two => quotas.mails_per_address(quota),
    };
    let builder = builder(&known_users()).quotas(quotas).throttle(throttle).on_reset_token_created(async |_| {});
    builder.build().await.expect("the settings are complete")
}

/// A throttle that remembers whether a count failed.
struct Watched {
    throttle: RedisThrottle,
    has_failed: Arc<AtomicBool>,
}

impl Throttle for Watched {
    type Error = BoxError;

    async fn count(&self, key: &ThrottleKey, quota: Quota) -> Result<Verdict, BoxError> {
        let counted = self.throttle.count(key, quota).await;
        if counted.is_err() {
            self.has_failed.store(true, Ordering::SeqCst);
        }
        counted
    }

    async fn check(&self) -> Result<(), BoxError> {
        self.throttle.check().await
    }
}

/// The least that counts within a window.
const SCRIPT: &str = "local uses = redis.call('INCR', KEYS[1])
    if uses == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
    if uses > tonumber(ARGV[1]) then return redis.call('PTTL', KEYS[1]) end
    return 0";

struct Bare {
    connection: MultiplexedConnection,
    script: Script,
    calls: Calls,
}

#[OpenApi]
impl Bare {
    #[oai(path = "/", method = "post")]
    async fn request(&self, body: Json<Email>) -> Json<StatusBody> {
        for name in ["bare/client/127.1.0.1", "bare/mail/127.1.0.1"].into_iter().take(self.calls as usize + 1) {
            let mut invocation = self.script.key(name);
            let counted = invocation.arg(u16::MAX).arg(1000).invoke_async::<u64>(&mut self.connection.clone()).await;
            counted.expect("the server answers");
        }
        ok(&body.email)
    }
}
