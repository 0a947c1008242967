//! Throttles: how often a client may ask, and how often an address gets mail.
//!
//! [`Quota`] says how often, [`Quotas`] what for, a [`Throttle`] counts. The default one, [`MemoryThrottle`], counts in
//! this process; one of your own can count for all instances. One that fails is replaced, for a few seconds, by the one
//! in memory: never by none.

mod memory;
mod quota;

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::{Pin, pin};
use std::time::Duration;

pub use self::memory::MemoryThrottle;
pub use self::quota::{Quota, QuotaError, Quotas};
use crate::catch_panic::catch_panic_future;
use crate::error::BoxError;
use crate::metrics;
use crate::redact::redacted_error;
use crate::timeout::{CoolDown, with_timeout};

/// Counts uses, and says which are within their quota.
///
/// The methods are plain `async fn`s. A call that takes more than 20 ms is given up, and counts as an error, as a panic
/// does; after an error the throttle in memory counts instead for up to five seconds.
pub trait Throttle: Send + Sync + 'static {
    /// What the throttle says when it cannot count. It is logged, and never shown to a client.
    type Error: Into<BoxError> + Send;

    /// Counts one use of `key` and says whether it is within the quota. Exact under concurrency: of any number of calls
    /// in one window, so many are within the quota as the quota has.
    fn count(&self, key: &ThrottleKey, quota: Quota) -> impl Future<Output = Result<Verdict, Self::Error>> + Send;

    /// Takes back one use of `key` that [`count`](Self::count) found within the quota: a request ended without a mail
    /// through no fault of the asker. Does nothing if the counter is zero or its window is over.
    ///
    /// The default does nothing: the use stays counted until its window ends.
    fn give_back(&self, key: &ThrottleKey) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = key;
        async { Ok(()) }
    }

    /// Reports whether the next use of `key` would be within the quota, without counting it: for
    /// [`diagnose`](crate::PasswordReset::diagnose). `None` if that is not known, which is the default.
    fn peek(
        &self,
        key: &ThrottleKey,
        quota: Quota,
    ) -> impl Future<Output = Result<Option<Verdict>, Self::Error>> + Send {
        let _ = (key, quota);
        async { Ok(None) }
    }

    /// Sets the counter of `key` to zero: a user has reset the password, so the address may get mail again.
    ///
    /// The default does nothing: the counter stays until its window ends.
    fn clear(&self, key: &ThrottleKey) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = key;
        async { Ok(()) }
    }

    /// Checks at start that the throttle can count, for example that its server answers.
    ///
    /// [`build()`](crate::PasswordResetBuilder::build) calls this method once and refuses to start if it fails or takes
    /// more than five seconds. The text of the error is shown to the developer, so it should name the cure. The default
    /// does nothing.
    fn check(&self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        async { Ok(()) }
    }
}

/// Whether a use is within its quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It is.
    Within,
    /// It is not.
    Over {
        /// When the window ends, and there is room again.
        retry_after: Duration,
    },
}

/// What is counted: a purpose and a client, or a purpose and the MAC of an address. Holds no email address.
///
/// A store that wants text takes what [`to_string`](ToString::to_string) gives: `login/192.0.2.7`,
/// `validate/2001:db8:1:2::/64`, `confirm/unknown`, `mail/` and 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ThrottleKey {
    purpose: &'static str,
    who: Who,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Who {
    Unknown,
    Ipv4(Ipv4Addr),
    /// The first half of an address.
    Ipv6(u64),
    /// Half a MAC.
    Address(u128),
}

impl ThrottleKey {
    /// A key of the application's own: `("login", client.address())` for example. IPv6 counts per /64, an IPv4 address
    /// mapped into IPv6 as the IPv4 address; everybody whose address is not known is one client.
    pub fn of_client(purpose: &'static str, address: Option<IpAddr>) -> Self {
        let who = match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => Who::Ipv4(address),
            Some(IpAddr::V6(address)) => Who::Ipv6((address.to_bits() >> 64) as u64),
            None => Who::Unknown,
        };
        Self { purpose, who }
    }

    /// A key for an email address, from which nobody can read it back.
    pub(crate) fn of_address(mac: &[u8; 32]) -> Self {
        let half: [u8; 16] = std::array::from_fn(|place| mac[place]);
        Self { purpose: Scope::Mail.name(), who: Who::Address(u128::from_be_bytes(half)) }
    }
}

impl fmt::Display for ThrottleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { purpose, who } = self;
        match who {
            Who::Unknown => write!(f, "{purpose}/unknown"),
            Who::Ipv4(address) => write!(f, "{purpose}/{address}"),
            Who::Ipv6(network) => {
                let [a, b, c, d] = [48, 32, 16, 0].map(|shift| network >> shift & 0xffff);
                write!(f, "{purpose}/{a:x}:{b:x}:{c:x}:{d:x}::/64")
            }
            Who::Address(mac) => write!(f, "{purpose}/{mac:032x}"),
        }
    }
}

/// What has a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Request,
    Mail,
    Validate,
    Confirm,
}

impl Scope {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Mail => "mail",
            Self::Validate => "validate",
            Self::Confirm => "confirm",
        }
    }
}

/// How long a throttle may take to answer.
const CALL_TIMEOUT: Duration = Duration::from_millis(20);

/// For how long a throttle that failed is not asked again.
const AWAY_FOR: Duration = Duration::from_secs(5);

/// The application's throttle as the operations use it, with the one in memory behind it.
pub(crate) struct Throttles {
    quotas: Quotas,
    custom: Option<Box<dyn DynThrottle>>,
    memory: MemoryThrottle,
    away: CoolDown,
}

impl Throttles {
    pub(crate) fn new(quotas: Quotas) -> Self {
        Self { quotas, custom: None, memory: MemoryThrottle::new(), away: CoolDown::inactive() }
    }

    pub(crate) fn set_quotas(&mut self, quotas: Quotas) {
        self.quotas = quotas;
    }

    pub(crate) fn set_custom(&mut self, throttle: impl Throttle) {
        self.custom = Some(Box::new(throttle));
    }

    /// Counts a use, unless its quota is off.
    pub(crate) async fn count(&self, scope: Scope, key: impl FnOnce() -> ThrottleKey) -> Verdict {
        self.count_where(scope, key).await.0
    }

    /// Counts a use, unless its quota is off, and reports which counter holds it: [`give_back`](Self::give_back)
    /// needs to know.
    pub(crate) async fn count_where(
        &self,
        scope: Scope,
        key: impl FnOnce() -> ThrottleKey,
    ) -> (Verdict, Option<Counter>) {
        let Some(quota) = self.quotas.of(scope) else { return (Verdict::Within, None) };
        let key = key();
        match &self.custom {
            // Boxed: the future is large, and most services have no throttle of their own.
            Some(custom) if self.away.remaining().is_none() => Box::pin(self.count_with(&**custom, &key, quota)).await,
            _ => (self.memory.count_now(&key, quota), Some(Counter::Memory)),
        }
    }

    async fn count_with(
        &self,
        custom: &dyn DynThrottle,
        key: &ThrottleKey,
        quota: Quota,
    ) -> (Verdict, Option<Counter>) {
        match call(CALL_TIMEOUT, custom.count(key, quota)).await {
            // No client is kept out for longer than the window, whatever a throttle answers.
            Ok(Verdict::Over { retry_after }) => {
                (Verdict::Over { retry_after: retry_after.min(quota.window()) }, Some(Counter::Custom))
            }
            Ok(Verdict::Within) => (Verdict::Within, Some(Counter::Custom)),
            Err(error) => {
                self.failed(&error);
                (self.memory.count_now(key, quota), Some(Counter::Memory))
            }
        }
    }

    /// Takes back a use that `counter` holds in memory; reports whether it did. No await: usable in a destructor.
    pub(crate) fn give_back_in_memory(&self, counter: Counter, key: &ThrottleKey) -> bool {
        if counter == Counter::Memory {
            self.memory.give_back_now(key);
        }
        counter == Counter::Memory
    }

    /// Takes back a use that `counter` holds.
    pub(crate) async fn give_back(&self, counter: Counter, key: &ThrottleKey) {
        if self.give_back_in_memory(counter, key) {
            return;
        }
        // A throttle that fails keeps the use. It is not marked as away here: the next count finds that out.
        if let Some(custom) = &self.custom
            && let Err(error) = Box::pin(call(CALL_TIMEOUT, custom.give_back(key))).await
        {
            tracing::warn!(reason = redacted_error(&error, []), "the throttle failed to give a use back");
            metrics::failed_throttle();
        }
    }

    /// Sets the counters of a key to zero, in memory and in the application's throttle.
    pub(crate) async fn clear(&self, scope: Scope, key: impl FnOnce() -> ThrottleKey) {
        if self.quotas.of(scope).is_none() {
            return;
        }
        let key = key();
        self.memory.clear_now(&key);
        if let Some(custom) = &self.custom
            && self.away.remaining().is_none()
            && let Err(error) = Box::pin(call(CALL_TIMEOUT, custom.clear(&key))).await
        {
            tracing::warn!(reason = redacted_error(&error, []), "the throttle failed to clear a counter");
            metrics::failed_throttle();
        }
    }

    /// The state of a quota for a key, without counting.
    pub(crate) async fn standing(&self, scope: Scope, key: &ThrottleKey) -> Standing {
        let Some(quota) = self.quotas.of(scope) else { return Standing::Off };
        let verdict = match &self.custom {
            Some(custom) if self.away.remaining().is_none() => {
                call(CALL_TIMEOUT, custom.peek(key, quota)).await.unwrap_or_default()
            }
            _ => Some(self.memory.peek_now(key, quota)),
        };
        match verdict {
            None => Standing::Unknown,
            Some(Verdict::Within) => Standing::Open,
            Some(Verdict::Over { retry_after }) => Standing::UsedUp { retry_after: retry_after.min(quota.window()) },
        }
    }

    /// Runs the check of the application's throttle, if there is one.
    pub(crate) async fn check(&self, limit: Duration) -> Result<(), BoxError> {
        match &self.custom {
            Some(custom) => call(limit, custom.check()).await,
            None => Ok(()),
        }
    }

    fn failed(&self, error: &BoxError) {
        tracing::error!(reason = redacted_error(error, []), "the throttle failed; counting in memory for a while");
        metrics::failed_throttle();
        self.away.start(AWAY_FOR);
    }
}

/// Calls the application's throttle with a timeout. A panic is an error: it would answer every request with 500.
async fn call<T>(limit: Duration, call: Boxed<'_, T>) -> Result<T, BoxError> {
    let answer = with_timeout(limit, pin!(catch_panic_future(call))).await;
    answer.map_err(|_| "it did not answer in time")?.map_err(|_| "it panicked")?
}

/// The state of a quota for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The quota is switched off.
    Off,
    /// The next use is within the quota.
    Open,
    /// The next use is not.
    UsedUp { retry_after: Duration },
    /// The application's throttle does not tell.
    Unknown,
}

/// The counter that holds a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    /// The one in this process.
    Memory,
    /// The application's.
    Custom,
}

impl fmt::Debug for Throttles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttles").field("quotas", &self.quotas).finish_non_exhaustive()
    }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send + 'a>>;

/// The twin of [`Throttle`] that can be a trait object.
trait DynThrottle: Send + Sync {
    fn count<'a>(&'a self, key: &'a ThrottleKey, quota: Quota) -> Boxed<'a, Verdict>;
    fn give_back<'a>(&'a self, key: &'a ThrottleKey) -> Boxed<'a, ()>;
    fn clear<'a>(&'a self, key: &'a ThrottleKey) -> Boxed<'a, ()>;
    fn peek<'a>(&'a self, key: &'a ThrottleKey, quota: Quota) -> Boxed<'a, Option<Verdict>>;
    fn check(&self) -> Boxed<'_, ()>;
}

impl<T: Throttle> DynThrottle for T {
    fn count<'a>(&'a self, key: &'a ThrottleKey, quota: Quota) -> Boxed<'a, Verdict> {
        Box::pin(async move { Throttle::count(self, key, quota).await.map_err(Into::into) })
    }

    fn give_back<'a>(&'a self, key: &'a ThrottleKey) -> Boxed<'a, ()> {
        Box::pin(async move { Throttle::give_back(self, key).await.map_err(Into::into) })
    }

    fn clear<'a>(&'a self, key: &'a ThrottleKey) -> Boxed<'a, ()> {
        Box::pin(async move { Throttle::clear(self, key).await.map_err(Into::into) })
    }

    fn peek<'a>(&'a self, key: &'a ThrottleKey, quota: Quota) -> Boxed<'a, Option<Verdict>> {
        Box::pin(async move { Throttle::peek(self, key, quota).await.map_err(Into::into) })
    }

    fn check(&self) -> Boxed<'_, ()> {
        Box::pin(async move { Throttle::check(self).await.map_err(Into::into) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(address: &str) -> String {
        ThrottleKey::of_client("request", Some(address.parse().unwrap())).to_string()
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_a_64_of_ipv6() {
        assert_eq!(key("192.0.2.7"), "request/192.0.2.7");
        assert_eq!(key("::ffff:192.0.2.7"), key("192.0.2.7"));
        assert_eq!(key("2001:db8::1"), key("2001:0DB8:0:0:ffff:ffff:ffff:ffff"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_ne!(key("192.0.2.7"), key("192.0.2.8"));
    }

    /// Two keys that differ could still both be misspelt; what is counted elsewhere goes by the spelling.
    #[test]
    fn a_key_is_spelled_as_is_promised() {
        let spelled = |purpose, address: &str| ThrottleKey::of_client(purpose, address.parse().ok()).to_string();
        assert_eq!(spelled("login", "192.0.2.7"), "login/192.0.2.7");
        assert_eq!(spelled("validate", "2001:db8:1:2:3:4:5:6"), "validate/2001:db8:1:2::/64");
        assert_eq!(spelled("confirm", "no address"), "confirm/unknown");
        let mac = std::array::from_fn(|place| place as u8);
        assert_eq!(ThrottleKey::of_address(&mac).to_string(), "mail/000102030405060708090a0b0c0d0e0f");
    }
}
