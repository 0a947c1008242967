//! [`Throttles`]: the application's throttle, with the throttle in memory as its fallback.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::key::DEFAULT_NAMESPACE;
use super::{MemoryThrottle, Quota, Quotas, Scope, Throttle, ThrottleKey, Verdict};
use crate::catch_panic::catch_panic_future;
use crate::error::BoxError;
use crate::metrics;
use crate::redact::redacted_error;
use crate::timeout::{CoolDown, with_timeout};

/// The timeout of a call of the application's throttle, because requests wait for it.
const CALL_TIMEOUT: Duration = Duration::from_millis(60);

/// The cool-down of a throttle that failed: for this time the throttle in memory counts instead.
const COOL_DOWN: Duration = Duration::from_secs(5);

/// The quotas and the throttles that count them.
pub(crate) struct Throttles {
    namespace: Cow<'static, str>,
    quotas: Quotas,
    custom: Option<Box<dyn DynThrottle>>,
    memory: MemoryThrottle,
    cool_down: CoolDown,
    /// Whether the last count of the application's throttle failed.
    is_failing: AtomicBool,
}

impl Throttles {
    pub(crate) fn new(quotas: Quotas) -> Self {
        Self {
            namespace: DEFAULT_NAMESPACE.into(),
            quotas,
            custom: None,
            memory: MemoryThrottle::new(),
            cool_down: CoolDown::inactive(),
            is_failing: AtomicBool::new(false),
        }
    }

    pub(crate) fn set_namespace(&mut self, namespace: Cow<'static, str>) {
        self.namespace = namespace;
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Returns the key of a client for an operation.
    pub(crate) fn client_key(&self, scope: Scope, address: Option<IpAddr>) -> ThrottleKey {
        ThrottleKey::of_client(self.namespace.clone(), scope.name(), address)
    }

    /// Returns the key of an email address from its MAC.
    pub(crate) fn address_key(&self, mac: &[u8; 32]) -> ThrottleKey {
        ThrottleKey::of_address(self.namespace.clone(), mac)
    }

    pub(crate) fn set_quotas(&mut self, quotas: Quotas) {
        self.quotas = quotas;
    }

    pub(crate) fn set_custom(&mut self, throttle: impl Throttle) {
        self.custom = Some(Box::new(throttle));
    }

    /// Counts a use, unless its quota is off, and returns which throttle counted it, for [`give_back`](Self::give_back).
    pub(crate) async fn count(&self, scope: Scope, key: impl FnOnce() -> ThrottleKey) -> (Verdict, Option<Counter>) {
        let Some(quota) = self.quotas.of(scope) else { return (Verdict::Within, None) };
        let key = key();
        match &self.custom {
            // Boxed, because this future is large and would be part of every request's future, also without a custom throttle.
            // The boxes here and around the worker of the queue save 4.8 % of the instructions of `POST /` with its mail.
            Some(custom) if self.cool_down.remaining().is_none() => {
                Box::pin(self.count_with(&**custom, &key, quota)).await
            }
            _ => (self.memory.count_now(&key, quota), Some(Counter::Memory)),
        }
    }

    async fn count_with(
        &self,
        custom: &dyn DynThrottle,
        key: &ThrottleKey,
        quota: Quota,
    ) -> (Verdict, Option<Counter>) {
        // Read before the call: the late answer to a call from before the outage does not end it.
        let was_failing = self.is_failing.load(Ordering::SeqCst);
        let counted = call(CALL_TIMEOUT, custom.count(key, quota)).await;
        if was_failing && counted.is_ok() {
            self.recovered();
        }
        match counted {
            // A faulty throttle must not block a client for longer than the window.
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

    /// Takes back a use if the throttle in memory counted it, and returns whether it did. Not async, so that a destructor
    /// can call it.
    pub(crate) fn give_back_in_memory(&self, counter: Counter, key: &ThrottleKey) -> bool {
        if counter == Counter::Memory {
            self.memory.give_back_now(key);
        }
        counter == Counter::Memory
    }

    /// Takes back a use that `counter` counted.
    pub(crate) async fn give_back(&self, counter: Counter, key: &ThrottleKey) {
        if self.give_back_in_memory(counter, key) {
            return;
        }
        // If the throttle fails, the use stays counted. Only a failed count starts the cool-down.
        if let Some(custom) = &self.custom
            && self.cool_down.remaining().is_none()
            && let Err(error) = Box::pin(call(CALL_TIMEOUT, custom.give_back(key))).await
        {
            tracing::warn!(reason = redacted_error(&error, []), "the throttle failed to give back a use");
            metrics::failed_throttle();
        }
    }

    /// Sets the counter of a key to zero, in memory and in the application's throttle.
    pub(crate) async fn clear(&self, scope: Scope, key: impl FnOnce() -> ThrottleKey) {
        if self.quotas.of(scope).is_none() {
            return;
        }
        let key = key();
        self.memory.clear_now(&key);
        if let Some(custom) = &self.custom
            && self.cool_down.remaining().is_none()
            && let Err(error) = Box::pin(call(CALL_TIMEOUT, custom.clear(&key))).await
        {
            tracing::warn!(reason = redacted_error(&error, []), "the throttle failed to clear a counter");
            metrics::failed_throttle();
        }
    }

    /// Returns the state of a quota for a key, without counting.
    pub(crate) async fn standing(&self, scope: Scope, key: &ThrottleKey) -> Standing {
        let Some(quota) = self.quotas.of(scope) else { return Standing::Off };
        let verdict = match &self.custom {
            Some(custom) if self.cool_down.remaining().is_none() => {
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

    /// Starts a cool-down. Logs the first failure of an outage only, because one follows after each cool-down.
    fn failed(&self, error: &BoxError) {
        if !self.is_failing.swap(true, Ordering::SeqCst) {
            let reason = redacted_error(error, []);
            tracing::error!(reason, "the throttle failed; until it works again, counting in memory");
        }
        metrics::failed_throttle();
        self.cool_down.start(COOL_DOWN);
    }

    /// Logs the end of an outage.
    fn recovered(&self) {
        if self.is_failing.swap(false, Ordering::SeqCst) {
            tracing::info!("the throttle works again");
        }
    }
}

/// Awaits a call of the application's throttle with a timeout. Converts a panic into an error, because a panic would
/// answer every request with 500.
async fn call<T>(limit: Duration, future: Boxed<'_, T>) -> Result<T, BoxError> {
    let result = with_timeout(limit, pin!(catch_panic_future(future))).await;
    result.map_err(|_| "it did not answer in time")?.map_err(|_| "it panicked")?
}

/// The state of a quota for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The quota is switched off.
    Off,
    /// The next use is within the quota.
    Open,
    /// The next use is over the quota.
    UsedUp { retry_after: Duration },
    /// The application's throttle does not implement `peek`, or failed.
    Unknown,
}

/// The throttle that counted a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    /// The throttle in this process.
    Memory,
    /// The application's throttle.
    Custom,
}

impl fmt::Debug for Throttles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttles").field("quotas", &self.quotas).finish_non_exhaustive()
    }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send + 'a>>;

/// [`Throttle`] as a trait object: its methods return boxed futures, because `async fn`s are not object safe.
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
