//! Rate limits: the number of requests of a client, and of mails to an address, in a window of time.
//!
//! A [`Quota`] is a limit and a window. [`Quotas`] holds the quota of each operation. A [`Throttle`] counts the uses of a
//! [`ThrottleKey`]. [`MemoryThrottle`], the default, counts in this process. A throttle of your own can count for all
//! instances together. If it fails, the throttle in memory counts instead for up to five seconds, so a failure never
//! switches the limits off.

mod fallback;
mod key;
mod memory;
mod quota;
#[cfg(feature = "redis")]
mod redis;

use std::future::Future;
use std::time::Duration;

pub(crate) use self::fallback::{Counter, Standing, Throttles};
pub use self::key::ThrottleKey;
pub(crate) use self::key::is_namespace;
pub use self::memory::MemoryThrottle;
pub use self::quota::{Quota, QuotaError, Quotas};
#[cfg(feature = "redis")]
pub use self::redis::RedisThrottle;
use crate::error::BoxError;

/// Counts the uses of keys and compares them with quotas.
///
/// Implement the methods as plain `async fn`s. The library stops a call after 60 ms. A timeout and a panic count as an
/// error. After an error in [`count`](Self::count) the throttle in memory counts instead for up to five seconds.
pub trait Throttle: Send + Sync + 'static {
    /// The error if the throttle cannot count. It is logged and never shown to a client.
    type Error: Into<BoxError> + Send;

    /// Counts one use of `key` and returns whether it is within the quota.
    ///
    /// The count must be exact under concurrency: of all calls in one window, exactly [`Quota::limit`] are within the
    /// quota.
    ///
    /// Do not count a use over the quota. Otherwise [`give_back`](Self::give_back) has no effect on a counter that has run
    /// past its limit.
    ///
    /// Keys of addresses are MACs under the current signing key. A new key starts these counters again, and instances
    /// with different current keys count separately.
    fn count(&self, key: &ThrottleKey, quota: Quota) -> impl Future<Output = Result<Verdict, Self::Error>> + Send;

    /// Takes back one use of `key` that [`count`](Self::count) found within the quota, because the request failed on the
    /// server's side and no mail was sent. Does nothing if the counter is zero or its window is over.
    ///
    /// The default does nothing: the use stays counted until its window ends.
    fn give_back(&self, key: &ThrottleKey) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = key;
        async { Ok(()) }
    }

    /// Returns whether the next use of `key` would be within the quota, without counting it, for
    /// [`diagnose`](crate::PasswordReset::diagnose). The default returns `None`: not known.
    fn peek(
        &self,
        key: &ThrottleKey,
        quota: Quota,
    ) -> impl Future<Output = Result<Option<Verdict>, Self::Error>> + Send {
        let _ = (key, quota);
        async { Ok(None) }
    }

    /// Sets the counter of `key` to zero, because the user has reset the password and the address may get mail again.
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

/// The result of a count: whether the use is within its quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// The use is within the quota.
    Within,
    /// The use is over the quota.
    Over {
        /// The time until the window ends and the next use is within the quota.
        retry_after: Duration,
    },
}

/// An operation that has a quota.
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
