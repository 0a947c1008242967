//! What can go wrong, sorted by whose fault it is.
//!
//! * The operator's: [`KeyError`], and [`BuildError`] with every [`Problem`] at once. Both stop the program at start.
//! * The calling code's: [`IssueError`].
//! * The client's, or nobody's: [`InvalidToken`], and [`ResetError`], what the three operations can answer.
//!
//! No error shows a token, a password, a key or an email address: not in `Display`, not in `Debug`, not in a source. The
//! one error that is not ours, the application's, is reached only by [`ApplicationError::expose`]. What becomes of an error over HTTP is decided in one
//! place, `endpoint/response.rs`.

use std::fmt;

use thiserror::Error;

/// Any error, as user stores, hashers and handlers may return it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a signing key or a key ring could not be made.
///
/// `Debug` is `Display`: a `main` that returns this error prints a sentence with the cure.
#[derive(Clone, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no key.
    #[error("there is no signing key; `head -c 32 /dev/urandom | base64` makes one")]
    Missing,
    /// The text is not base64.
    #[error("the signing key is not base64; `head -c 32 /dev/urandom | base64` makes one")]
    NotBase64,
    /// The key is shorter than the hash it is used with (RFC 7518, section 3.2).
    #[error(
        "the signing key has {bytes} bytes; it needs at least 32, and `head -c 32 /dev/urandom | base64` makes one"
    )]
    TooShort {
        /// How many bytes it has.
        bytes: usize,
    },
    /// The key is one byte, repeated: a placeholder that was never replaced.
    #[error("the signing key is one byte repeated; `head -c 32 /dev/urandom | base64` makes one")]
    Repeated,
    /// The operating system's random source failed.
    #[error("the operating system gave no random bytes for a signing key; start again")]
    NoRandomness,
    /// The key ring holds this key already.
    #[error("the key with id {id:?} is in the ring already: was the old key replaced by itself?")]
    Duplicate {
        /// The id of the key.
        id: String,
    },
    /// The key in an environment variable is not usable.
    #[error("{}", describe_variable(variable, reason))]
    Variable {
        /// The name of the variable.
        variable: String,
        /// What is wrong with it.
        reason: Box<KeyError>,
    },
}

impl fmt::Debug for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn describe_variable(variable: &str, reason: &KeyError) -> String {
    match reason {
        KeyError::Missing => format!(
            "the environment variable {variable} is not set. It holds the signing key; this makes one: \
             export {variable}=$(head -c 32 /dev/urandom | base64)"
        ),
        reason => format!("the environment variable {variable} does not give a signing key: {reason}"),
    }
}

/// Why a token could not be issued.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum IssueError {
    /// The user's id is empty, over 128 bytes, or has control characters.
    #[error("the user's id cannot stand in a token: it must have 1 to 128 bytes and no control characters")]
    Id,
    /// The user's email address is none that mail could be sent to safely: it has a control character, a quote or an
    /// angle bracket, or is no address at all. `PasswordResetBuilder::lenient_addresses` accepts a few more.
    #[error("the user's email address is not fit to stand in a mail")]
    Address,
    /// The lifetime is under a second or over 24 hours.
    #[error("a reset token lives for at least a second and at most 24 hours")]
    Lifetime,
    /// The user is not active, or has no password and first passwords are not allowed.
    #[error("the user is not eligible for a password reset")]
    Ineligible,
}

/// A reset token was refused.
///
/// Whoever sent the token learns this one sentence and nothing else, whatever the reason: five distinguishable reasons
/// would be an oracle. The reason is for the log, from [`refusal`](InvalidToken::refusal).
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the reset token is not valid")]
pub struct InvalidToken {
    refusal: Refusal,
}

impl InvalidToken {
    pub(crate) fn because(refusal: Refusal) -> Self {
        Self { refusal }
    }

    /// Why: for the log, never for the client.
    pub fn refusal(&self) -> Refusal {
        self.refusal
    }
}

/// Why a reset token was refused: for the log, never for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// Longer than 1 KiB; refused unread.
    TooLong,
    /// Not three parts separated by dots.
    Malformed,
    /// The header is not, byte for byte, that of a key in the ring: another algorithm, type or key id, or a removed key.
    Header,
    /// The signature is not that of the header and the claims: forged, or damaged on the way.
    Signature,
    /// Signed with our key, and yet the claims are not those of a reset token.
    Claims,
    /// Issued more than 60 seconds in the future.
    NotYetIssued,
    /// Past its expiry.
    Expired,
    /// Nobody has this id (any more).
    UnknownUser,
    /// The user's id, email address, password or other bound state changed since the token was issued: it was used, or
    /// is stale.
    Stale,
    /// The user is deactivated, or has no password to reset.
    Ineligible,
    /// Another confirm with a token of this user was faster.
    LostRace,
}

impl Refusal {
    /// The reason as one word, for log fields and metrics.
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

#[cfg(feature = "reset")]
pub use operations::{ApplicationError, BuildError, Problem, ResetError, Unavailable};

#[cfg(feature = "reset")]
mod operations {
    use std::fmt;
    use std::time::Duration;

    use thiserror::Error;

    use super::{BoxError, InvalidToken};

    /// What a request, a validation or a confirmation answers when it does not succeed.
    #[derive(Debug, Error)]
    #[non_exhaustive]
    pub enum ResetError {
        /// The client's: what it gave is not an email address.
        #[error("not an email address")]
        InvalidEmail,
        /// The client's: nobody has this address. Only with
        /// [`reveal_unknown_users(true)`](crate::PasswordResetBuilder::reveal_unknown_users).
        #[error("no user has this email address")]
        UnknownUser,
        /// The client's: the token was refused.
        #[error(transparent)]
        InvalidToken(#[from] InvalidToken),
        /// The client's: the new password breaks these rules, or a handler vetoed it. The token stays good.
        #[error("the new password was refused: {}", .0.join(" "))]
        PasswordRefused(Vec<String>),
        /// The client's: it is over its quota.
        #[error("over the quota; try again in {} s", .retry_after.as_secs_f64().ceil())]
        Throttled {
            /// When the quota has room again.
            retry_after: Duration,
        },
        /// Nobody's: it cannot be done now, and trying again is safe.
        #[error("not available now ({because}); try again in {} s", .retry_after.as_secs_f64().ceil())]
        Unavailable {
            /// What is in the way: for the log.
            because: Unavailable,
            /// When to try again.
            retry_after: Duration,
        },
        /// The application's: a hasher, a policy rule or a handler of `PrePasswordReset` failed. Nothing was changed.
        ///
        /// The log has the error without the secrets that it quotes.
        #[error("the application failed to reset the password")]
        Failed(ApplicationError),
    }

    /// An error of the application's own code.
    ///
    /// Such an error may quote an address, a token or a password. So `Debug` and `Display` show nothing of it, and it is
    /// no [`source`](std::error::Error::source) of this one; only [`expose`](Self::expose) gives it.
    pub struct ApplicationError(BoxError);

    impl ApplicationError {
        pub(crate) fn new(error: impl Into<BoxError>) -> Self {
            Self(error.into())
        }

        /// The error itself. Each call is a place where a secret can leak: keep it out of logs.
        pub fn expose(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
            &*self.0
        }
    }

    impl fmt::Display for ApplicationError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an error of the application's own code")
        }
    }

    impl fmt::Debug for ApplicationError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("ApplicationError(..)")
        }
    }

    impl std::error::Error for ApplicationError {}

    impl ResetError {
        /// What kind of error it is in one word, for log fields and metrics; of what is not available the
        /// [reason](Unavailable::as_str).
        pub fn as_str(&self) -> &'static str {
            match self {
                ResetError::InvalidEmail => "invalid_email",
                ResetError::UnknownUser => "unknown_user",
                ResetError::InvalidToken(_) => "invalid_token",
                ResetError::PasswordRefused(_) => "password_refused",
                ResetError::Throttled { .. } => "throttled",
                ResetError::Unavailable { because, .. } => because.as_str(),
                ResetError::Failed(_) => "failed",
            }
        }
    }

    /// What keeps an operation from being done now: for the log.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[non_exhaustive]
    pub enum Unavailable {
        /// As many requests wait as may wait.
        QueueFull,
        /// As many passwords wait for being hashed as may wait.
        HashersBusy,
        /// The user store does not answer, or answers with errors.
        StoreDown,
        /// The store was told to write and did not say whether it did. A second try is safe: it either works, or the
        /// token is refused and the new password signs in.
        UnknownOutcome,
        /// The service is shutting down.
        ShuttingDown,
    }

    impl Unavailable {
        /// The reason as one word, for log fields and metrics.
        pub fn as_str(self) -> &'static str {
            match self {
                Unavailable::QueueFull => "queue_full",
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

    /// Why a [`PasswordReset`](crate::PasswordReset) could not be built: every problem at once.
    ///
    /// `Debug` is `Display`: a `main` that returns this error prints what its author has to read.
    pub struct BuildError {
        problems: Vec<Problem>,
    }

    impl BuildError {
        pub(crate) fn new(problems: Vec<Problem>) -> Self {
            Self { problems }
        }

        /// The problems, each once.
        pub fn problems(&self) -> &[Problem] {
            &self.problems
        }
    }

    impl fmt::Display for BuildError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the password reset cannot start:")?;
            self.problems.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
        }
    }

    impl fmt::Debug for BuildError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            fmt::Display::fmt(self, f)
        }
    }

    impl std::error::Error for BuildError {}

    /// The setting for programs that start before their servers do.
    const WITHOUT_CHECK: &str = "Fix this, or start without the check: .check_at_start(false)";

    /// One thing that keeps a [`PasswordReset`](crate::PasswordReset) from starting.
    #[derive(Clone, Debug, Error, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum Problem {
        /// Nothing would send the mail.
        #[error(
            "no handler for ResetTokenCreated: annotate an async fn with #[on_reset_token_created]. If there is one, \
             its crate is not linked: Rust drops a dependency that no line of code mentions, so write \
             `use my_handlers as _;`"
        )]
        NoHandler,
        /// A handler wants a value that nobody gave.
        #[error("no value of type {wanted}, needed by {handler} ({location}): add .data(value) to the builder")]
        MissingData {
            /// The type of the value.
            wanted: &'static str,
            /// The handler that wants it.
            handler: String,
            /// Its file and line.
            location: String,
        },
        /// There is no link to mail.
        #[error("no link: say where the page is that asks for the new password, with .link(\"https://..{{token}}\")")]
        NoLink,
        /// The link does not say where the token goes.
        #[error("the link {link:?} has no {{token}}")]
        LinkWithoutToken {
            /// The link.
            link: String,
        },
        /// The link is not an address with a scheme and a host.
        #[error("the link {link:?} is not an absolute https address")]
        LinkNotAbsolute {
            /// The link.
            link: String,
        },
        /// Tokens would cross the network unencrypted.
        /// [`insecure_link(true)`](crate::PasswordResetBuilder::insecure_link) allows this for private hosts.
        #[error(
            "the link {link:?} is not https: the token in it would cross the network for everybody to read; \
             `.insecure_link(true)` allows http to a private host (an address of a private network, a name of one \
             label, `*.local`, `*.internal`) and to no other"
        )]
        LinkNotHttps {
            /// The link.
            link: String,
        },
        /// The lifetime is under a second or over 24 hours.
        #[error(
            "a lifetime of {lifetime} is out of range: a reset token lives for at least a second and at most 24 hours"
        )]
        Lifetime {
            /// The lifetime.
            lifetime: time::Duration,
        },
        /// The hasher gives the same hash for the same password twice.
        #[error(
            "the password hasher gave one password the same hash twice: it uses no salt, or always the same one, so \
             equal passwords are seen to be equal and a token survives a reset to the same password"
        )]
        UnsaltedHasher,
        /// The hasher does not work.
        #[error("the password hasher failed at its first word: {reason}")]
        HasherFails {
            /// What it said.
            reason: String,
        },
        /// A number that must not be zero is.
        #[error("{setting} is zero, so nothing would ever be done")]
        Zero {
            /// The setting.
            setting: &'static str,
        },
        /// A trusted proxy is neither an address nor a network.
        #[error("the trusted proxy {network:?} is neither an address nor a CIDR like 10.0.0.0/8")]
        Network {
            /// What was given.
            network: String,
        },
        /// The header for the address of a client is not the name of a header, or is one that holds a list.
        #[error(
            "the client address header {header:?} is not a header that holds one address: give the name that your proxy \
             sets, like \"CF-Connecting-IP\". X-Forwarded-For and Forwarded are lists: they are read without this setting"
        )]
        ClientAddressHeader {
            /// The header that was given.
            header: String,
        },
        /// The hasher ignores the end of passwords that the policy accepts.
        #[error(
            "the password hasher makes bcrypt hashes, and bcrypt looks at 72 bytes only: two long passwords that differ \
             behind them are the same to it. Limit the length: .policy(PasswordPolicy::default().max_bytes(72))"
        )]
        HasherCuts,
        /// The user store fails its check at start, or does not finish it in time.
        #[error("the user store fails its check at start: {reason}. {}", WITHOUT_CHECK)]
        StoreFails {
            /// The text of the error.
            reason: String,
        },
        /// The throttle fails its check at start, or does not finish it in time.
        #[error("the throttle fails its check at start: {reason}. {}", WITHOUT_CHECK)]
        ThrottleFails {
            /// The text of the error.
            reason: String,
        },
        /// The password policy accepts nothing.
        #[error("the password policy wants at least {min} and at most {max} characters")]
        PolicyLength {
            /// The fewest characters.
            min: usize,
            /// The most characters.
            max: usize,
        },
    }
}
