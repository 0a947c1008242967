//! The operation **diagnose**: the reason why no mail arrived.

use std::fmt;
use std::time::Duration;

use super::failures::LastFailure;
use super::no_mail::NoMail;
use super::{Inner, PasswordReset};
use crate::email::EmailAddress;
use crate::redact::redacted_error;
use crate::throttle::{Scope, Standing};
use crate::user::StoredUser;

impl PasswordReset {
    /// Explains the effect of a request for this address now, for users who asked and got no mail.
    ///
    /// For an administrator's page or a command, **never for an endpoint that users can reach**: the result reveals who has
    /// an account. Issues no token, sends no mail and counts no quota. Looks up the address once for each spelling of its
    /// domain, without retries.
    ///
    /// ```
    /// use poem_password_reset::store::MemoryUsers;
    /// use poem_password_reset::{Obstacle, PasswordReset, SigningKey, StoredUser};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let ann = StoredUser::new(7, "ann@example.com", Some("her hash".to_owned())).with_active(false);
    /// let reset = PasswordReset::builder(MemoryUsers::new([ann]), SigningKey::generate()?)
    ///     .link("https://app.example.com/reset-password#token={token}")
    ///     .on_reset_token_created(async |_| {})
    /// #   .linked_handlers(false)
    ///     .build()
    ///     .await?;
    ///
    /// let diagnosis = reset.diagnose("ann@example.com").await;
    /// assert!(!diagnosis.would_send());
    /// assert_eq!(diagnosis.users()[0].obstacle(), Some(Obstacle::Inactive));
    /// println!("{diagnosis}");
    /// # assert!(diagnosis.to_string().contains("user 7: no mail, because the user is not active"));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn diagnose(&self, email: &str) -> Diagnosis {
        self.inner.diagnose(email).await
    }
}

/// The result of [`PasswordReset::diagnose`]. `Display` writes a text for an administrator, one finding a line.
///
/// Neither `Display` nor `Debug` shows an email address, so the text can be logged.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    is_address: bool,
    users: Vec<DiagnosedUser>,
    store_failure: Option<String>,
    quota: MailQuota,
    handlers: Vec<String>,
    last_failure: Option<LastFailure>,
}

/// A user that the store found for the address.
#[derive(Clone, Debug)]
pub struct DiagnosedUser {
    id: String,
    obstacle: Option<Obstacle>,
}

/// The reason why a user gets no mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// The user is not active.
    Inactive,
    /// The user has no usable password, and first passwords are not allowed.
    NoPassword,
    /// The address on record differs in more than case, for example by white space around it.
    AnotherAddress,
    /// The address on record is not a valid mail address, or the id is not valid in a token.
    NotMailable,
    /// The users before this one used up the limit of mails for one request.
    TooManyUsers,
}

/// The state of the quota of mails for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MailQuota {
    /// The quota is switched off.
    Off,
    /// The next request causes mail.
    Open,
    /// Requests cause no mail until the window ends.
    UsedUp {
        /// The time until the window ends.
        retry_after: Duration,
    },
    /// The application's throttle does not implement `peek`, or failed.
    Unknown,
}

impl Diagnosis {
    /// Returns whether a request for this address would cause mail now, if no handler fails.
    pub fn would_send(&self) -> bool {
        self.is_address
            && !matches!(self.quota, MailQuota::UsedUp { .. })
            && self.users.iter().any(|user| user.obstacle.is_none())
    }

    /// Returns whether the text is an email address. If not, a request for it is answered 400.
    pub fn is_address(&self) -> bool {
        self.is_address
    }

    /// Returns the users that the store found, in its order.
    pub fn users(&self) -> &[DiagnosedUser] {
        &self.users
    }

    /// Returns the error of the store, if a look-up failed.
    pub fn store_failure(&self) -> Option<&str> {
        self.store_failure.as_deref()
    }

    /// Returns the state of the quota of mails for the address.
    pub fn quota(&self) -> MailQuota {
        self.quota
    }

    /// Returns the handlers of [`ResetTokenCreated`](crate::ResetTokenCreated) with file and line.
    pub fn handlers(&self) -> &[String] {
        &self.handlers
    }

    /// Returns the last failed request for the address. Kept in memory for 1,000 addresses, until the next success.
    pub fn last_failure(&self) -> Option<&LastFailure> {
        self.last_failure.as_ref()
    }
}

impl DiagnosedUser {
    /// Returns the id of the user.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the reason why this user gets no mail, or `None` if the user gets mail.
    pub fn obstacle(&self) -> Option<Obstacle> {
        self.obstacle
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inactive => "the user is not active",
            Self::NoPassword => {
                "the user has no password to reset; allow_first_password(true) lets users set a first one"
            }
            Self::AnotherAddress => "the address on record differs, for example by white space around it",
            Self::NotMailable => "the address on record is not a valid mail address, or the id is not valid in a token",
            Self::TooManyUsers => "too many users share the address; users_per_address(n) allows more",
        })
    }
}

impl fmt::Display for MailQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("switched off"),
            Self::Open => f.write_str("not used up"),
            Self::UsedUp { retry_after } => {
                write!(f, "used up: no mail for the next {} minutes", retry_after.as_secs().div_ceil(60))
            }
            Self::Unknown => f.write_str("unknown: the application's throttle does not implement `peek`, or it failed"),
        }
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_address {
            return f.write_str("The text is not an email address. A request for it is answered 400.\n");
        }
        writeln!(f, "A request now would lead to {}.", if self.would_send() { "mail" } else { "no mail" })?;
        if let Some(reason) = &self.store_failure {
            writeln!(f, "The user store failed: {reason}")?;
        } else if self.users.is_empty() {
            writeln!(
                f,
                "The store knows no user with this address. Look for white space around the address on record."
            )?;
        }
        for user in &self.users {
            match user.obstacle {
                None => writeln!(f, "user {}: mail", user.id)?,
                Some(obstacle) => writeln!(f, "user {}: no mail, because {obstacle}", user.id)?,
            }
        }
        writeln!(f, "quota of the address: {}", self.quota)?;
        writeln!(f, "sent by: {}", self.handlers.join(", "))?;
        if let Some(LastFailure { at, reason }) = &self.last_failure {
            writeln!(
                f,
                "The last request for this address failed at {} UTC: {reason}",
                at.truncate_to_second().time()
            )?;
        }
        Ok(())
    }
}

impl Inner {
    async fn diagnose(&self, email: &str) -> Diagnosis {
        let mut diagnosis = Diagnosis {
            is_address: false,
            users: Vec::new(),
            store_failure: None,
            quota: MailQuota::Unknown,
            handlers: self.handlers.of_created(),
            last_failure: None,
        };
        let Some(address) = EmailAddress::parse(email, self.addresses) else { return diagnosis };
        diagnosis.is_address = true;
        let key = self.address_key(&address.folded());
        diagnosis.quota = match self.throttles.standing(Scope::Mail, &key).await {
            Standing::Off => MailQuota::Off,
            Standing::Open => MailQuota::Open,
            Standing::UsedUp { retry_after } => MailQuota::UsedUp { retry_after },
            Standing::Unknown => MailQuota::Unknown,
        };
        diagnosis.last_failure = self.failures.get(&key);

        let mut found: Vec<StoredUser> = Vec::new();
        for spelling in std::iter::once(address.as_str().to_owned()).chain(address.other_spellings()) {
            match self.users.find_by_email(&spelling).await {
                Ok(users) => {
                    for user in users {
                        if found.iter().all(|known| known.id() != user.id()) {
                            found.push(user);
                        }
                    }
                }
                Err(error) => diagnosis.store_failure = Some(redacted_error(&error, [address.as_str(), &*spelling])),
            }
        }
        let mut mailed = 0;
        for user in found {
            let mut obstacle = self.obstacle(&address, &user);
            if obstacle.is_none() {
                mailed += 1;
                obstacle = (mailed > self.users_per_address).then_some(Obstacle::TooManyUsers);
            }
            diagnosis.users.push(DiagnosedUser { id: user.id().to_owned(), obstacle });
        }
        diagnosis
    }

    fn obstacle(&self, address: &EmailAddress, user: &StoredUser) -> Option<Obstacle> {
        if !address.is_same(user.email()) {
            return Some(Obstacle::AnotherAddress);
        }
        match self.ineligibility(user) {
            Some(NoMail::Inactive) => Some(Obstacle::Inactive),
            Some(_) => Some(Obstacle::NoPassword),
            None => (!self.is_issuable(user)).then_some(Obstacle::NotMailable),
        }
    }
}
