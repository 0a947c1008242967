//! [`RedisThrottle`]: counters in Redis, shared by all instances.

mod connection;
mod error;

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::{Client, ErrorKind, RedisError, Script, ScriptInvocation};
use tokio::time::timeout;

use self::connection::{Connection, Connections};
use self::error::reason;
use super::{Quota, Throttle, ThrottleKey, Verdict};
use crate::error::BoxError;

/// The timeout of one count, because a client waits for it.
const TIMEOUT: Duration = Duration::from_millis(50);

/// Counts one use, unless the quota is used up. Returns 0 for a use within the quota, or else the milliseconds until the window
/// is over, one more than `PTTL`: a key still exists in its last millisecond. The window begins at the first use and is the
/// lifetime of the key, so that only the clock of the server matters.
static COUNT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local uses = tonumber(redis.call('GET', KEYS[1]) or '0')
         if uses >= tonumber(ARGV[1]) then
             local left = redis.call('PTTL', KEYS[1])
             if left >= 0 then return math.min(left + 1, tonumber(ARGV[2])) end
             redis.call('PEXPIRE', KEYS[1], ARGV[2])
             return tonumber(ARGV[2])
         end
         redis.call('INCR', KEYS[1])
         if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
         return 0",
    )
});

/// Takes back one use. Like in memory, a counter that returns to zero ends its window.
static GIVE_BACK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local uses = tonumber(redis.call('GET', KEYS[1]) or '0')
         if uses > 1 then redis.call('DECR', KEYS[1]) else redis.call('DEL', KEYS[1]) end
         return 0",
    )
});

/// Returns what [`COUNT`] would return, without counting.
static PEEK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local uses = tonumber(redis.call('GET', KEYS[1]) or '0')
         if uses < tonumber(ARGV[1]) then return 0 end
         local left = redis.call('PTTL', KEYS[1])
         if left >= 0 then return math.min(left + 1, tonumber(ARGV[2])) end
         return tonumber(ARGV[2])",
    )
});

/// Sets the counter to zero. That ends its window, so that the next use begins a new one.
static CLEAR: LazyLock<Script> = LazyLock::new(|| Script::new("return redis.call('DEL', KEYS[1])"));

/// The tries of a call that can be repeated. A use that counts twice is safe, because the limit still holds.
const REPEATABLE: usize = 2;

/// The tries of a call that must not be repeated. A use that is given back twice would raise the limit.
const ONCE: usize = 1;

/// A throttle that counts in Redis, for all instances together (feature `redis`).
///
/// ```no_run
/// use poem_password_reset::throttle::RedisThrottle;
/// # use poem_password_reset::{PasswordReset, SigningKey, store::MemoryUsers};
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// # let (users, key) = (MemoryUsers::default(), SigningKey::generate()?);
///
/// let reset = PasswordReset::builder(users, key)
///     .link("https://app.example.com/reset-password#token={token}")
///     .on_reset_token_created(async |event| println!("{}", event.link()))
///     .throttle(RedisThrottle::open("redis://127.0.0.1:6379")?)
///     .build()
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// # Counting
///
/// Counts are exact: a script compares and counts in one step and one round trip. A window begins with its first use and ends
/// by the clock of the Redis server, so the clocks of the instances do not matter. Each key expires with its window.
///
/// The key is the text of the [`ThrottleKey`], for example `password-reset/request/192.0.2.7`, after the
/// [prefix](Self::key_prefix). It contains no email address. Services that share a server need different
/// [namespaces](crate::PasswordResetBuilder::throttle_namespace).
///
/// # Outages
///
/// A count has 50 ms. If Redis fails or takes longer, the throttle in memory counts for up to five seconds, so an outage never
/// switches the limits off. A new connection is made in the background, also after a fail-over (`READONLY`). A count whose
/// answer came too late may still be counted. A count whose connection closes is tried once more on a new connection. If the
/// first try had reached the server, the use counts twice. The log has one line when an outage begins and one when it ends.
///
/// Use the eviction policy `noeviction`, or a server of its own: another policy can evict counters, which then start again. A
/// fail-over to a replica can lose the last counts, because Redis replicates asynchronously.
///
/// Redis Cluster is not supported, because the client does not follow redirections: use one server, with replicas if needed.
///
/// [`build()`](crate::PasswordResetBuilder::build) fails if Redis does not answer, refuses the password, or cannot write. It
/// counts once under the key `password-reset/check`, after the prefix, which access rules must allow. The commands are `GET`,
/// `INCR`, `DECR`, `DEL`, `PTTL`, `PEXPIRE`, `EVALSHA` and `SCRIPT LOAD`.
#[derive(Clone)]
pub struct RedisThrottle {
    connections: Arc<Connections>,
    prefix: String,
}

impl RedisThrottle {
    /// Creates a throttle from a URL: `redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]`. Otherwise like [`new`](Self::new).
    ///
    /// `rediss://`, with TLS, needs a TLS feature of the crate `redis` in the application, for example `tokio-rustls-comp`.
    ///
    /// # Errors
    ///
    /// The text is not a URL of Redis. The error contains neither user nor password.
    pub fn open(url: &str) -> Result<Self, RedisError> {
        Client::open(url).map(Self::new)
    }

    /// Creates a throttle. It connects at the first use, or when [`build()`](crate::PasswordResetBuilder::build) checks it.
    pub fn new(client: Client) -> Self {
        Self { connections: Arc::new(Connections::new(client)), prefix: String::new() }
    }

    /// Sets a text before each key, for example for the access rules of the server. Default: empty.
    #[must_use]
    pub fn key_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    fn key(&self, key: &ThrottleKey) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Runs a script for one key within [`TIMEOUT`], and returns its number.
    async fn run(&self, script: &Script, key: String, quota: Option<Quota>, tries: usize) -> Result<u64, BoxError> {
        let mut invocation = script.key(key);
        if let Some(quota) = quota {
            invocation.arg(quota.limit()).arg(millis(quota.window()));
        }
        let mut used = None;
        let Ok(result) = timeout(TIMEOUT, self.try_run(&invocation, tries, &mut used)).await else {
            let Some(connection) = used else { return Err(self.connections.why_not_connected().into()) };
            // A stalled connection may never recover, and a dead one is found only after minutes.
            self.connections.discard(&connection);
            return Err("Redis did not answer in time".into());
        };
        result.map_err(|error| {
            if let Some(connection) = used.filter(|_| needs_new_connection(&error)) {
                self.connections.discard(&connection);
            }
            reason(&error).into()
        })
    }

    /// Runs a script. Leaves in `used` the connection of the last try.
    ///
    /// Servers and proxies close idle connections, so a closed connection is replaced at once, up to `tries` tries in total.
    async fn try_run(
        &self,
        invocation: &ScriptInvocation<'_>,
        tries: usize,
        used: &mut Option<Connection>,
    ) -> Result<u64, RedisError> {
        let mut number = 1;
        loop {
            let connection = used.insert(self.connections.get().await);
            match invocation.invoke_async(&mut connection.multiplexed()).await {
                Err(error) if number < tries && is_closed(&error) => self.connections.discard(connection),
                result => return result,
            }
            *used = None;
            number += 1;
        }
    }
}

/// Returns whether the connection ended before the reply, or within it.
fn is_closed(error: &RedisError) -> bool {
    error.is_connection_dropped() || error.kind() == ErrorKind::Parse
}

/// Returns whether a new connection may correct the error. A server that became a replica answers `READONLY` on every call.
fn needs_new_connection(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_connection_dropped()
        || error.is_unrecoverable_error()
        || matches!(error.code(), Some("READONLY" | "MASTERDOWN" | "LOADING" | "NOAUTH"))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn verdict(millis_left: u64) -> Verdict {
    match millis_left {
        0 => Verdict::Within,
        left => Verdict::Over { retry_after: Duration::from_millis(left) },
    }
}

impl Throttle for RedisThrottle {
    type Error = BoxError;

    async fn count(&self, key: &ThrottleKey, quota: Quota) -> Result<Verdict, BoxError> {
        self.run(&COUNT, self.key(key), Some(quota), REPEATABLE).await.map(verdict)
    }

    async fn give_back(&self, key: &ThrottleKey) -> Result<(), BoxError> {
        self.run(&GIVE_BACK, self.key(key), None, ONCE).await.map(drop)
    }

    async fn peek(&self, key: &ThrottleKey, quota: Quota) -> Result<Option<Verdict>, BoxError> {
        self.run(&PEEK, self.key(key), Some(quota), REPEATABLE).await.map(verdict).map(Some)
    }

    async fn clear(&self, key: &ThrottleKey) -> Result<(), BoxError> {
        self.run(&CLEAR, self.key(key), None, REPEATABLE).await.map(drop)
    }

    /// Connects, and counts once under a key of its own, because a replica and a restricted user can read but not write.
    async fn check(&self) -> Result<(), BoxError> {
        let connection = self.connections.connect_now().await.map_err(|error| reason(&error))?;
        let key = format!("{}{CHECK_KEY}", self.prefix);
        let mut invocation = COUNT.key(key);
        invocation.arg(u16::MAX).arg(1_000);
        let counted: Result<u64, _> = invocation.invoke_async(&mut connection.multiplexed()).await;
        counted.map(drop).map_err(|error| {
            // Otherwise each repeated check would fail on the connection of a server that was restarted.
            if needs_new_connection(&error) {
                self.connections.discard(&connection);
            }
            reason(&error).into()
        })
    }
}

/// The key that the check at start counts. It expires after a second.
const CHECK_KEY: &str = "password-reset/check";

impl fmt::Debug for RedisThrottle {
    /// Does not show the client, whose URL may contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisThrottle").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
