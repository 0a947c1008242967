//! [`ResetError`]: the error of the operations request, validate and confirm.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use super::{BoxError, InvalidToken, PasswordRefusal};

/// Error of a request, a validation or a confirmation.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ResetError {
    /// The text in the request is not an email address. The client can correct it.
    #[error("the text is not an email address")]
    InvalidEmail,
    /// No user has this email address. Returned only with
    /// [`reveal_unknown_users(true)`](crate::PasswordResetBuilder::reveal_unknown_users).
    #[error("no user has this email address")]
    UnknownUser,
    /// The token was refused. The client can request a new one.
    #[error(transparent)]
    InvalidToken(#[from] InvalidToken),
    /// The new password breaks these rules, or a handler vetoed it. The token remains valid.
    #[error("the new password was refused: {}", join(.0))]
    PasswordRefused(Vec<PasswordRefusal>),
    /// The client exceeded its rate limit.
    #[error("the rate limit is exceeded; try again in {} s", .retry_after.as_secs_f64().ceil())]
    Throttled {
        /// Time until the next request is allowed.
        retry_after: Duration,
    },
    /// The operation is not possible now. A retry is safe.
    #[error("the service is unavailable ({reason}); try again in {} s", .retry_after.as_secs_f64().ceil())]
    Unavailable {
        /// Reason, for the log.
        reason: Unavailable,
        /// Time to wait before a retry.
        retry_after: Duration,
    },
    /// Code of the application failed: the hasher, a policy rule or a handler of `PrePasswordReset`. Nothing was changed.
    ///
    /// The log contains the error, without the secrets in it.
    #[error("code of the application failed during the password reset")]
    Failed(ApplicationError),
}

fn join(refusals: &[PasswordRefusal]) -> String {
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

impl ResetError {
    /// Returns the kind of error as one word, for log fields and metrics. For [`Unavailable`](Self::Unavailable) it is
    /// the [reason](Unavailable::as_str).
    pub fn as_str(&self) -> &'static str {
        match self {
            ResetError::InvalidEmail => "invalid_email",
            ResetError::UnknownUser => "unknown_user",
            ResetError::InvalidToken(_) => "invalid_token",
            ResetError::PasswordRefused(_) => "password_refused",
            ResetError::Throttled { .. } => "throttled",
            ResetError::Unavailable { reason, .. } => reason.as_str(),
            ResetError::Failed(_) => "failed",
        }
    }
}

/// Error returned by code of the application.
///
/// It may contain an address, a token or a password. Therefore `Debug` and `Display` show nothing of the wrapped error,
/// and [`source`](std::error::Error::source) does not return it. Only [`expose`](Self::expose) does.
pub struct ApplicationError(BoxError);

impl ApplicationError {
    pub(crate) fn new(error: impl Into<BoxError>) -> Self {
        Self(error.into())
    }

    /// Returns the wrapped error. It may contain secrets: keep it out of logs.
    pub fn expose(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        &*self.0
    }
}

impl fmt::Display for ApplicationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an error in code of the application")
    }
}

impl fmt::Debug for ApplicationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApplicationError(..)")
    }
}

impl std::error::Error for ApplicationError {}

/// Reason why an operation is not possible now. It belongs in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unavailable {
    /// The queue of accepted requests is full.
    QueueFull,
    /// The application's [`Delivery`](crate::delivery::Delivery) returned an error or did not respond.
    DeliveryDown,
    /// The queue of passwords to hash is full.
    HashersBusy,
    /// The user store returns errors or does not respond.
    StoreDown,
    /// The store received the write but did not report its result. A retry is safe: it succeeds, or the token is refused
    /// and the new password works.
    UnknownOutcome,
    /// The service is shutting down.
    ShuttingDown,
}

impl Unavailable {
    /// Returns the reason as one word, for log fields and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Unavailable::QueueFull => "queue_full",
            Unavailable::DeliveryDown => "delivery_down",
            Unavailable::HashersBusy => "hashers_busy",
            Unavailable::StoreDown => "store_down",
            Unavailable::UnknownOutcome => "unknown_outcome",
            Unavailable::ShuttingDown => "shutting_down",
        }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
