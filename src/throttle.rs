//! Throttles: how often a client may ask, and how often an address gets mail.
//!
//! [`Quota`] says how often, [`Quotas`] what for, a [`Throttle`] counts. The default one, [`MemoryThrottle`], counts in
//! this process; one of your own can count for all instances. One that fails is replaced, for a few seconds, by the one
//! in memory: never by none.

mod memory;

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::pin::{Pin, pin};
use std::time::Duration;

pub use self::memory::MemoryThrottle;
use crate::contain::contained_future;
use crate::counters;
use crate::error::BoxError;
use crate::reason::reason;
use crate::wait::{Until, within};

/// So many uses in a window of time, which begins with the first of them.
///
/// ```
/// use poem_password_reset::throttle::Quota;
///
/// assert_eq!(Quota::per_hour(10).unwrap().window().as_secs(), 3600);
/// assert!(Quota::per_minute(0).is_none(), "a quota that nobody can meet is none");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    limit: NonZeroU16,
    window: Duration,
}

impl Quota {
    /// So many uses a minute; `None` for zero.
    pub const fn per_minute(limit: u16) -> Option<Self> {
        Self::per(limit, Duration::from_secs(60))
    }

    /// So many uses an hour; `None` for zero.
    pub const fn per_hour(limit: u16) -> Option<Self> {
        Self::per(limit, Duration::from_secs(3600))
    }

    /// So many uses in a window of a second to a year, in whole seconds; `None` for anything else.
    pub const fn per(limit: u16, window: Duration) -> Option<Self> {
        const YEAR: u64 = 365 * 24 * 3600;
        match NonZeroU16::new(limit) {
            Some(limit) if window.as_secs() >= 1 && window.as_secs() <= YEAR => {
                Some(Self { limit, window: Duration::from_secs(window.as_secs()) })
            }
            _ => None,
        }
    }

    /// How many uses.
    pub const fn limit(self) -> u16 {
        self.limit.get()
    }

    /// In what time.
    pub const fn window(self) -> Duration {
        self.window
    }
}

/// The quotas of a password reset; `None` switches one off.
///
/// # Defaults
///
/// | quota | default |
/// | --- | --- |
/// | [`request_per_client`](Self::request_per_client) | 10 an hour |
/// | [`mails_per_address`](Self::mails_per_address) | 3 an hour |
/// | [`validate_per_client`](Self::validate_per_client) | 60 a minute |
/// | [`confirm_per_client`](Self::confirm_per_client) | 10 a minute |
///
/// A client is an IPv4 address, or the first 64 bits of an IPv6 address: as much as one customer gets of either. Clients
/// whose address is not known, over a Unix socket or poem's `TestClient`, count as one. Only well-formed requests count,
/// and none that was answered 503.
///
/// ```
/// use poem_password_reset::throttle::{Quota, Quotas};
///
/// let quotas = Quotas::default().request_per_client(Quota::per_hour(30)).validate_per_client(None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    request_per_client: Option<Quota>,
    mails_per_address: Option<Quota>,
    validate_per_client: Option<Quota>,
    confirm_per_client: Option<Quota>,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            request_per_client: Quota::per_hour(10),
            mails_per_address: Quota::per_hour(3),
            validate_per_client: Quota::per_minute(60),
            confirm_per_client: Quota::per_minute(10),
        }
    }
}

impl Quotas {
    /// No quotas at all: for tests, or behind something that throttles already.
    #[must_use]
    pub fn off() -> Self {
        Self { request_per_client: None, mails_per_address: None, validate_per_client: None, confirm_per_client: None }
    }

    /// How often a client may ask for a reset; over that, 429.
    #[must_use]
    pub fn request_per_client(mut self, quota: Option<Quota>) -> Self {
        self.request_per_client = quota;
        self
    }

    /// How many requests for one address lead to mail; over that, silence. One request counts once, however many users
    /// share the address, and an address that nobody has counts like any other.
    #[must_use]
    pub fn mails_per_address(mut self, quota: Option<Quota>) -> Self {
        self.mails_per_address = quota;
        self
    }

    /// How often a client may have a token validated; over that, 429.
    #[must_use]
    pub fn validate_per_client(mut self, quota: Option<Quota>) -> Self {
        self.validate_per_client = quota;
        self
    }

    /// How often a client may try to set a new password; over that, 429.
    #[must_use]
    pub fn confirm_per_client(mut self, quota: Option<Quota>) -> Self {
        self.confirm_per_client = quota;
        self
    }

    fn of(&self, scope: Scope) -> Option<Quota> {
        match scope {
            Scope::Request => self.request_per_client,
            Scope::Mail => self.mails_per_address,
            Scope::Validate => self.validate_per_client,
            Scope::Confirm => self.confirm_per_client,
        }
    }
}

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

/// What is counted: a purpose and a client, or a purpose and the MAC of an address. Holds no e-mail address.
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

    /// A key for an e-mail address, from which nobody can read it back.
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
    away: Until,
}

impl Throttles {
    pub(crate) fn new(quotas: Quotas) -> Self {
        Self { quotas, custom: None, memory: MemoryThrottle::new(), away: Until::never() }
    }

    pub(crate) fn set_quotas(&mut self, quotas: Quotas) {
        self.quotas = quotas;
    }

    pub(crate) fn set_custom(&mut self, throttle: impl Throttle) {
        self.custom = Some(Box::new(throttle));
    }

    /// Counts a use, unless its quota is off.
    pub(crate) async fn count(&self, scope: Scope, key: impl FnOnce() -> ThrottleKey) -> Verdict {
        let Some(quota) = self.quotas.of(scope) else { return Verdict::Within };
        let key = key();
        match &self.custom {
            // In a box: it is large, and mostly there is none to ask.
            Some(custom) if self.away.left().is_none() => Box::pin(self.count_with(&**custom, &key, quota)).await,
            _ => self.memory.count_now(&key, quota),
        }
    }

    async fn count_with(&self, custom: &dyn DynThrottle, key: &ThrottleKey, quota: Quota) -> Verdict {
        self.ask(custom, key, quota).await.unwrap_or_else(|error| {
            tracing::error!(reason = reason(&error, []), "the throttle failed; counting in memory for a while");
            counters::failed_throttle();
            self.away.begin(AWAY_FOR);
            self.memory.count_now(key, quota)
        })
    }

    async fn ask(&self, custom: &dyn DynThrottle, key: &ThrottleKey, quota: Quota) -> Result<Verdict, BoxError> {
        // A throttle that panics would answer every request with 500.
        let counted = within(CALL_TIMEOUT, pin!(contained_future(custom.count(key, quota)))).await;
        let verdict = counted.map_err(|_| "it did not answer in time")?.map_err(|_| "it panicked")??;
        match verdict {
            // Nobody is kept out for longer than the window, whatever a throttle says.
            Verdict::Over { retry_after } => Ok(Verdict::Over { retry_after: retry_after.min(quota.window()) }),
            Verdict::Within => Ok(Verdict::Within),
        }
    }
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
}

impl<T: Throttle> DynThrottle for T {
    fn count<'a>(&'a self, key: &'a ThrottleKey, quota: Quota) -> Boxed<'a, Verdict> {
        Box::pin(async move { Throttle::count(self, key, quota).await.map_err(Into::into) })
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

    #[test]
    fn quotas_that_make_no_sense_cannot_be_made() {
        for quota in [
            Quota::per_hour(0),
            Quota::per(1, Duration::ZERO),
            Quota::per(1, Duration::from_millis(999)),
            Quota::per(1, Duration::from_secs(31_536_001)),
        ] {
            assert_eq!(quota, None);
        }
        let year = Duration::from_secs(31_536_000);
        assert_eq!(Quota::per(1, year).map(Quota::window), Some(year));
    }
}
