//! [`MailError`]: why a handler of a `Mailer` failed.

use thiserror::Error;

use crate::error::BoxError;

/// Why a mail was not sent.
///
/// No variant contains the address or the link. None repeats its source either: the log prints the sources.
#[derive(Debug, Error)]
pub(super) enum MailError {
    #[error("the address on record is not a valid mail address")]
    Address,
    /// Contains no message of the template engine, which may quote values.
    #[error("the mail template {template} could not be rendered: {kind}{}", .line.map(|line| format!(", line {line}")).unwrap_or_default())]
    Template { template: String, kind: minijinja::ErrorKind, line: Option<usize> },
    #[error("the mail could not be built")]
    Message(#[from] lettre::error::Error),
    #[error("the system has no random numbers for the id of the mail")]
    Random(#[from] getrandom::Error),
    #[error("the mail could not be sent")]
    Transport(#[source] BoxError),
}
