//! [`Quota`] and [`Quotas`]: limits and their windows.

use std::fmt;
use std::num::NonZeroU16;
use std::time::Duration;

use thiserror::Error;

use super::Scope;

/// A limit of uses in a window of time. The window begins with the first use.
///
/// A `Quota` always has a limit. Only methods such as [`Quotas::without_request_per_client`] switch a quota off, so a
/// number from a configuration file cannot do it by mistake.
///
/// ```
/// use poem_password_reset::throttle::{Quota, QuotaError};
///
/// assert_eq!(Quota::per_hour(30)?.window().as_secs(), 3600);
/// assert_eq!(Quota::per_minute(0), Err(QuotaError::Zero));
/// # Ok::<(), QuotaError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    limit: NonZeroU16,
    window: Duration,
}

/// The reason why a [`Quota`] was refused.
///
/// `Debug` is the same as `Display`, so a `main` that returns this error prints what is wrong and how to fix it.
#[derive(Clone, Copy, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuotaError {
    /// A limit of zero, which would refuse every use; to switch a quota off, use the `without_` methods of [`Quotas`].
    #[error(
        "the limit of the quota is zero: set at least 1, or switch the quota off with a method such as Quotas::without_.."
    )]
    Zero,
    /// A window shorter than a second or longer than 365 days.
    #[error("the window of the quota is out of range: choose 1 second to 365 days")]
    Window,
}

impl fmt::Debug for QuotaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Quota {
    /// Allows `limit` uses a minute.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Zero`] for a limit of zero.
    pub const fn per_minute(limit: u16) -> Result<Self, QuotaError> {
        Self::per(limit, Duration::from_secs(60))
    }

    /// Allows `limit` uses an hour.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Zero`] for a limit of zero.
    pub const fn per_hour(limit: u16) -> Result<Self, QuotaError> {
        Self::per(limit, Duration::from_secs(3600))
    }

    /// Allows `limit` uses in a window of 1 second to 365 days. Fractions of a second are dropped.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Zero`] for a limit of zero, [`QuotaError::Window`] for a window out of range.
    pub const fn per(limit: u16, window: Duration) -> Result<Self, QuotaError> {
        const YEAR: u64 = 365 * 24 * 3600;
        let Some(limit) = NonZeroU16::new(limit) else { return Err(QuotaError::Zero) };
        let seconds = window.as_secs();
        if seconds < 1 || seconds > YEAR {
            return Err(QuotaError::Window);
        }
        Ok(Self { limit, window: Duration::from_secs(seconds) })
    }

    /// Creates a default quota, which is in range.
    const fn known(limit: u16, seconds: u64) -> Self {
        match Self::per(limit, Duration::from_secs(seconds)) {
            Ok(quota) => quota,
            Err(_) => panic!("the default quotas are in range"),
        }
    }

    /// Returns the number of uses in a window.
    pub const fn limit(self) -> u16 {
        self.limit.get()
    }

    /// Returns the length of the window.
    pub const fn window(self) -> Duration {
        self.window
    }
}

/// The quotas of a password reset.
///
/// # Defaults
///
/// | quota | default |
/// | --- | --- |
/// | [`request_per_client`](Self::request_per_client) | 30 an hour |
/// | [`mails_per_address`](Self::mails_per_address) | 3 an hour |
/// | [`validate_per_client`](Self::validate_per_client) | 60 a minute |
/// | [`confirm_per_client`](Self::confirm_per_client) | 20 a minute |
///
/// A client is an IPv4 address or an IPv6 /64 network, because a provider usually assigns that much to one customer. A
/// school or an office can share one address, so the defaults allow several people. All clients without a known address,
/// such as over a Unix socket or poem's `TestClient`, are one client. Malformed requests and requests that are answered 503
/// are not counted.
///
/// ```
/// use poem_password_reset::throttle::{Quota, Quotas};
///
/// let quotas = Quotas::default().request_per_client(Quota::per_hour(100)?).without_validate_per_client();
/// # Ok::<(), poem_password_reset::throttle::QuotaError>(())
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
        const REQUEST: Quota = Quota::known(30, 3600);
        const MAILS: Quota = Quota::known(3, 3600);
        const VALIDATE: Quota = Quota::known(60, 60);
        const CONFIRM: Quota = Quota::known(20, 60);
        Self {
            request_per_client: Some(REQUEST),
            mails_per_address: Some(MAILS),
            validate_per_client: Some(VALIDATE),
            confirm_per_client: Some(CONFIRM),
        }
    }
}

impl Quotas {
    /// Switches every quota off, for tests or behind a gateway that has rate limits.
    #[must_use]
    pub fn off() -> Self {
        Self { request_per_client: None, mails_per_address: None, validate_per_client: None, confirm_per_client: None }
    }

    /// Sets the quota of reset requests of a client. Over the quota, the answer is 429. Default: 30 an hour.
    #[must_use]
    pub fn request_per_client(mut self, quota: Quota) -> Self {
        self.request_per_client = Some(quota);
        self
    }

    /// Switches off the quota of reset requests.
    #[must_use]
    pub fn without_request_per_client(mut self) -> Self {
        self.request_per_client = None;
        self
    }

    /// Sets the quota of requests for one address that cause mail. Over the quota, the answer is the same and no mail is
    /// sent. Default: 3 an hour.
    ///
    /// A request counts once, also if several users share the address. Each of them gets mail, up to
    /// [`users_per_address`](crate::PasswordResetBuilder::users_per_address). Addresses without a user are counted too. A
    /// successful reset sets the counter of the address to zero. If the mail server, the store or a shutdown prevents the
    /// mail, the request is not counted. Neither changes any answer.
    #[must_use]
    pub fn mails_per_address(mut self, quota: Quota) -> Self {
        self.mails_per_address = Some(quota);
        self
    }

    /// Switches off the quota of mails. **Anyone can then flood a user's mailbox.**
    #[must_use]
    pub fn without_mails_per_address(mut self) -> Self {
        self.mails_per_address = None;
        self
    }

    /// Sets the quota of validations of a client. Over the quota, the answer is 429. Default: 60 a minute.
    #[must_use]
    pub fn validate_per_client(mut self, quota: Quota) -> Self {
        self.validate_per_client = Some(quota);
        self
    }

    /// Switches off the quota of validations.
    #[must_use]
    pub fn without_validate_per_client(mut self) -> Self {
        self.validate_per_client = None;
        self
    }

    /// Sets the quota of confirmations of a client. Over the quota, the answer is 429. Default: 20 a minute.
    #[must_use]
    pub fn confirm_per_client(mut self, quota: Quota) -> Self {
        self.confirm_per_client = Some(quota);
        self
    }

    /// Switches off the quota of confirmations.
    #[must_use]
    pub fn without_confirm_per_client(mut self) -> Self {
        self.confirm_per_client = None;
        self
    }

    pub(super) fn of(&self, scope: Scope) -> Option<Quota> {
        match scope {
            Scope::Request => self.request_per_client,
            Scope::Mail => self.mails_per_address,
            Scope::Validate => self.validate_per_client,
            Scope::Confirm => self.confirm_per_client,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constructors_return_a_quota_in_range_or_an_error() {
        assert_eq!(Quota::per_hour(0), Err(QuotaError::Zero));
        assert_eq!(Quota::per_minute(0), Err(QuotaError::Zero));
        assert_eq!(Quota::per(0, Duration::ZERO), Err(QuotaError::Zero));
        for window in [Duration::ZERO, Duration::from_millis(999), Duration::from_secs(31_536_001)] {
            assert_eq!(Quota::per(1, window), Err(QuotaError::Window));
        }
        let year = Duration::from_secs(31_536_000);
        assert_eq!(Quota::per(1, year).map(Quota::window), Ok(year));
        assert_eq!(Quota::per(7, Duration::from_millis(1999)).map(Quota::window), Ok(Duration::from_secs(1)));
    }

    #[test]
    fn every_quota_is_switched_off_by_its_own_method_alone() {
        let scopes = [Scope::Request, Scope::Mail, Scope::Validate, Scope::Confirm];
        let all = Quotas::default();
        let without = [
            all.without_request_per_client(),
            all.without_mails_per_address(),
            all.without_validate_per_client(),
            all.without_confirm_per_client(),
        ];
        for (quotas, off) in without.into_iter().zip(scopes) {
            for scope in scopes {
                assert_eq!(quotas.of(scope).is_none(), scope == off, "{off:?}, {scope:?}");
            }
        }
        assert!(scopes.into_iter().all(|scope| Quotas::off().of(scope).is_none()));
    }
}
