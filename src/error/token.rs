//! Errors of reset tokens: [`IssueError`] and [`InvalidToken`].

use std::fmt;

use thiserror::Error;

/// Reason why a token could not be issued.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum IssueError {
    /// The user's id is empty, longer than 128 bytes, or contains control characters.
    #[error("the user's id cannot be used in a token: it must have 1 to 128 bytes and no control characters")]
    Id,
    /// The user's email address is malformed, or contains a control character, a quote or an angle bracket.
    /// `PasswordResetBuilder::lenient_addresses` accepts more addresses.
    #[error("the user's email address cannot be used in a mail: it is malformed or has a forbidden character")]
    Address,
    /// The lifetime is shorter than 1 second or longer than 24 hours.
    #[error("the lifetime is out of range: choose at least 1 second and at most 24 hours")]
    Lifetime,
    /// The user is not active, or has no password and first passwords are not allowed.
    #[error("the user is not eligible for a password reset: the account is inactive or has no password")]
    Ineligible,
}

/// Error for a reset token that was refused.
///
/// The client receives the same text for every reason, because distinguishable reasons would be an oracle for attackers.
/// [`refusal`](InvalidToken::refusal) returns the reason, for the log.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the reset token is not valid")]
pub struct InvalidToken {
    refusal: Refusal,
}

impl InvalidToken {
    pub(crate) fn new(refusal: Refusal) -> Self {
        Self { refusal }
    }

    /// Returns the reason. It belongs in the log and must not reach the client.
    pub fn refusal(&self) -> Refusal {
        self.refusal
    }
}

/// Reason why a reset token was refused. It belongs in the log and must not reach the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The token is longer than 1 KiB. It is refused before it is read.
    TooLong,
    /// The token does not consist of three parts separated by dots.
    Malformed,
    /// The header differs from the fixed header of every key in the ring: another algorithm, type or key id, or a key
    /// that was removed.
    Header,
    /// The signature does not match the header and the claims: the token is forged or damaged.
    Signature,
    /// The signature is valid, but the claims are not those of a reset token.
    Claims,
    /// The token was issued more than 60 seconds in the future.
    NotYetIssued,
    /// The token has expired.
    Expired,
    /// No user has the id in the token.
    UnknownUser,
    /// The user's id, email address, password or other bound state has changed since the token was issued. The token was
    /// used already, or it is out of date.
    Stale,
    /// The user is deactivated, or has no password to reset.
    Ineligible,
    /// A concurrent confirmation with a token of the same user succeeded first.
    LostRace,
}

impl Refusal {
    /// Returns the reason as one word, for log fields and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::TooLong => "too_long",
            Refusal::Malformed => "malformed",
            Refusal::Header => "header",
            Refusal::Signature => "signature",
            Refusal::Claims => "claims",
            Refusal::NotYetIssued => "not_yet_issued",
            Refusal::Expired => "expired",
            Refusal::UnknownUser => "unknown_user",
            Refusal::Stale => "stale",
            Refusal::Ineligible => "ineligible",
            Refusal::LostRace => "lost_race",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
