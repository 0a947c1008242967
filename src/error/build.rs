//! [`BuildError`]: settings with which a `PasswordReset` cannot start.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

/// Every [`Problem`] that prevented the start of a [`PasswordReset`](crate::PasswordReset).
///
/// `Debug` is the same as `Display`, so a `main` that returns this error prints the list, one line for each problem.
pub struct BuildError {
    problems: Vec<Problem>,
}

impl BuildError {
    pub(crate) fn new(problems: Vec<Problem>) -> Self {
        Self { problems }
    }

    /// Returns the problems, each once.
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

/// One problem that prevents the start of a [`PasswordReset`](crate::PasswordReset).
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// No handler would send the mail.
    #[error(
        "no handler for ResetTokenCreated: annotate an async fn with #[on_reset_token_created]. If there is one \
         already, its crate is not linked: add `use my_handlers as _;`, because Rust drops a dependency that the code \
         never mentions"
    )]
    NoHandler,
    /// A handler needs a value that the builder was not given.
    #[error("no value of type {wanted}, needed by {handler} ({location}): add .data(value) to the builder")]
    MissingData {
        /// Type of the missing value.
        wanted: &'static str,
        /// Name of the handler.
        handler: String,
        /// File and line of the handler.
        location: String,
    },
    /// The link for the mail is not set.
    #[error("no link: set the URL of the page that asks for the new password with .link(\"https://..{{token}}\")")]
    NoLink,
    /// The link has no placeholder for the token.
    #[error(
        "the link {link:?} does not contain {{token}}: add the placeholder, as in \
         https://app.example.com/reset#token={{token}}"
    )]
    LinkWithoutToken {
        /// The link.
        link: String,
    },
    /// The link is not an absolute URL, or its host contains a user name or the token.
    #[error(
        "the link {link:?} is not an absolute https URL: write it as https://host/path, without a user name and without \
         {{token}} before the path"
    )]
    LinkNotAbsolute {
        /// The link.
        link: String,
    },
    /// The token would cross the network unencrypted. [`insecure_link(true)`](crate::PasswordResetBuilder::insecure_link)
    /// allows this for private hosts.
    #[error(
        "the link {link:?} is not https, so anyone on the network could read the token: use https. For a private host (a \
         private IP address, a single-label name, `*.local` or `*.internal`), `.insecure_link(true)` allows http"
    )]
    LinkNotHttps {
        /// The link.
        link: String,
    },
    /// The lifetime is shorter than 1 second or longer than 24 hours.
    #[error("a lifetime of {lifetime} is out of range: choose at least 1 second and at most 24 hours")]
    Lifetime {
        /// The lifetime.
        lifetime: time::Duration,
    },
    /// The setting `max_age` is under a second.
    #[error(
        "max_age is {max_age:?}, but a request must be allowed to become at least 1 second old: the default is \
         .max_age(Duration::from_secs(3600))"
    )]
    MaxAge {
        /// The setting.
        max_age: Duration,
    },
    /// The hasher returns the same hash for the same password.
    #[error(
        "the password hasher returned the same hash for one password twice: use a new random salt for each hash. Without \
         it, equal passwords have equal hashes, and a token survives a reset to the same password"
    )]
    UnsaltedHasher,
    /// The hasher returned an error.
    #[error("the password hasher failed to hash a test password: {reason}")]
    HasherFails {
        /// Text of the error.
        reason: String,
    },
    /// A setting is zero.
    #[error("{setting} is zero: set a value greater than zero")]
    Zero {
        /// Name of the setting.
        setting: &'static str,
    },
    /// The throttle namespace is empty, too long, or contains a character that keys do not allow.
    #[error("the throttle namespace {namespace:?} is invalid: use 1 to 64 ASCII letters, digits, `-`, `_` and `.`")]
    ThrottleNamespace {
        /// The value that was given.
        namespace: String,
    },
    /// A trusted proxy is neither an IP address nor a network.
    #[error(
        "the trusted proxy {proxy:?} is neither an IP address nor a network: write it like 192.0.2.1 or 10.0.0.0/8"
    )]
    TrustedProxy {
        /// The value that was given.
        proxy: String,
    },
    /// The header for the address of the client is not a header name, or is a header that contains a list.
    #[error(
        "the client address header {header:?} cannot be used: set the name of the header in which your proxy sends one \
         address, for example \"CF-Connecting-IP\". X-Forwarded-For and Forwarded are lists and need no setting"
    )]
    ClientAddressHeader {
        /// The value that was given.
        header: String,
    },
    /// The hasher ignores the end of long passwords that the policy accepts.
    #[error(
        "the password hasher returns bcrypt hashes, and bcrypt ignores everything after 72 bytes: limit the length of \
         passwords with .policy(PasswordPolicy::default().max_bytes(72))"
    )]
    HasherTruncates,
    /// The user store failed its check at start, or did not complete it in time.
    #[error(
        "the user store failed its check at start: {reason}. Fix the store or its settings, or start without the check: \
         .check_at_start(false)"
    )]
    StoreFails {
        /// Text of the error.
        reason: String,
    },
    /// The throttle failed its check at start, or did not complete it in time.
    #[error(
        "the throttle failed its check at start: {reason}. Fix the throttle or its settings, or start without the check: \
         .check_at_start(false)"
    )]
    ThrottleFails {
        /// Text of the error.
        reason: String,
    },
    /// The delivery failed its check at start, or did not complete it in time.
    #[error(
        "the delivery failed its check at start: {reason}. Fix the delivery or its settings, or start without the check: \
         .check_at_start(false)"
    )]
    DeliveryFails {
        /// Text of the error.
        reason: String,
    },
    /// The password policy accepts no password.
    #[error(
        "the password policy accepts no password: it requires at least {min} characters and allows at most {max} \
         characters or bytes"
    )]
    PolicyLength {
        /// Minimum number of characters.
        min: usize,
        /// Maximum number of characters or bytes.
        max: usize,
    },
    /// The mailer has no sender.
    #[error("the mailer has no sender: set one with .from(\"Acme <no-reply@acme.example>\")")]
    NoMailSender,
    /// The sender of the mailer is not an address with an optional name.
    #[error("the sender {from:?} of the mailer is not a mail address: write it like Acme <no-reply@acme.example>")]
    MailSender {
        /// The value that was given.
        from: String,
    },
    /// A setting of the mailer is empty, contains a line break or another control character, or is not a language tag.
    #[error(
        "the mailer's setting {setting} cannot be {value:?}: set a text without control characters for the brand, an \
         absolute URL for the page, or a language tag"
    )]
    MailSetting {
        /// Name of the setting.
        setting: &'static str,
        /// The value that was given.
        value: String,
    },
    /// A template of a mail cannot be rendered, or lacks the link.
    #[error("the mail template {template} is broken: {reason}")]
    MailTemplate {
        /// Name of the template: kind and part.
        template: String,
        /// The error, and its line.
        reason: String,
    },
}
