//! Error types, grouped by who has to act.
//!
//! * The operator: [`KeyError`], and [`BuildError`] with a list of every [`Problem`]. Both stop the program at start.
//! * The calling code: [`IssueError`].
//! * The client: [`InvalidToken`], and [`ResetError`], the error of the three operations.
//!
//! No error contains a token, a password, a key or an email address, neither in `Display` nor in `Debug` nor as a source.
//! [`Permanent`] marks an error of a handler. [`ApplicationError`] wraps errors of the application, which may contain any of these; only
//! [`ApplicationError::expose`] returns the wrapped error. `endpoint/response.rs` alone maps errors to HTTP responses.

#[cfg(feature = "reset")]
mod build;
mod key;
#[cfg(feature = "reset")]
mod password;
#[cfg(feature = "reset")]
mod permanent;
#[cfg(feature = "reset")]
mod reset;
mod token;

pub use self::key::KeyError;
pub use self::token::{InvalidToken, IssueError, Refusal};
#[cfg(feature = "reset")]
pub use self::{
    build::{BuildError, Problem},
    password::PasswordRefusal,
    permanent::Permanent,
    reset::{ApplicationError, ResetError, Unavailable},
};

/// Boxed error, as user stores, hashers and handlers return it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The most errors of a chain that are read. The chain of a faulty error may have no end.
#[cfg(feature = "reset")]
const MAX_CHAIN: usize = 32;

/// Returns the error and its sources.
#[cfg(feature = "reset")]
pub(crate) fn chain(error: &BoxError) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let first: &(dyn std::error::Error + 'static) = &**error;
    std::iter::successors(Some(first), |&error| error.source()).take(MAX_CHAIN)
}
