//! Mails from templates (feature `mail`): [`Mailer`] writes them, a [`MailTransport`] sends them.

mod error;
#[cfg(feature = "testing")]
mod memory;
mod message;
mod name;
mod origin;
mod outbox;
#[cfg(feature = "smtp")]
mod smtp;
mod template;
mod transport;
mod words;

use http::Uri;
use lettre::message::Mailbox;
use time::OffsetDateTime;

use self::error::MailError;
#[cfg(feature = "testing")]
pub use self::memory::MemoryOutbox;
pub use self::message::{Mail, MailKind};
pub use self::outbox::OutboxDirectory;
#[cfg(feature = "smtp")]
pub use self::smtp::{SmtpConfigError, SmtpTransport};
pub use self::template::MailPart;
use self::template::{ChangedVariables, ResetVariables, Templates, Variables};
use self::transport::DynTransport;
pub use self::transport::MailTransport;
use crate::client::Client;
use crate::error::{BoxError, Permanent, Problem};
use crate::event::{PostPasswordReset, ResetTokenCreated};
use crate::user::StoredUser;

/// Writes the mail with the link and the notice after a reset, and sends them through a [`MailTransport`].
///
/// Give it to the builder with [`.mailer(..)`](crate::PasswordResetBuilder::mailer). It counts as the handler that sends the
/// mail; annotated functions work beside it.
///
/// ```no_run
/// use poem_password_reset::mail::{Mailer, OutboxDirectory};
/// use poem_password_reset::store::SqliteUsers;
/// use poem_password_reset::{PasswordReset, SigningKey};
///
/// # async fn start(users: SqliteUsers) -> Result<(), Box<dyn std::error::Error>> {
/// let mailer = Mailer::new(OutboxDirectory::open("outbox")?)
///     .from("Acme <no-reply@acme.example>")
///     .brand("Acme")
///     .forgot_password("https://app.example.com/forgot-password");
/// let reset = PasswordReset::builder(users, SigningKey::from_env("PASSWORD_RESET_KEY")?)
///     .link("https://app.example.com/reset-password#token={token}")
///     .mailer(mailer)
///     .build()
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// # The mails
///
/// Each mail has a text and an HTML part. The mail with the link says who asked (network address and browser, if known), when
/// the link expires, and what to do if it was someone else. The link is on a line of its own in both parts. The notice
/// ([NIST SP 800-63B-4](https://pages.nist.gov/800-63-4/sp800-63b.html), section 4.6, and OWASP's Forgot Password Cheat
/// Sheet ask for one) says when and from where the password was changed.
///
/// Headers: `Date`, `Message-ID` in the sender's domain, `Auto-Submitted: auto-generated` (RFC 3834), `Content-Language`, and
/// the switches against click tracking of Mailgun, SendGrid, Postmark, Mandrill, SparkPost and Mailjet.
///
/// # Defaults
///
/// | setting | default |
/// | --- | --- |
/// | [`from`](Self::from) | none: must be given |
/// | [`brand`](Self::brand) | none |
/// | [`forgot_password`](Self::forgot_password) | none: the notice has no link |
/// | [`language`](Self::language) | `en` |
/// | [`template`](Self::template) | the built-in templates, in English |
#[must_use]
pub struct Mailer {
    transport: Box<dyn DynTransport>,
    from: Option<String>,
    brand: Option<String>,
    forgot_password: Option<String>,
    language: String,
    templates: Vec<(MailKind, MailPart, String)>,
}

impl Mailer {
    /// Creates a mailer that sends through `transport`.
    pub fn new(transport: impl MailTransport) -> Self {
        Self {
            transport: Box::new(transport),
            from: None,
            brand: None,
            forgot_password: None,
            language: "en".to_owned(),
            templates: Vec::new(),
        }
    }

    /// Sets the sender: `Acme <no-reply@acme.example>`, or the address alone. Required.
    ///
    /// The mail server must be allowed to send for this domain (SPF, DKIM), or the mails end in the spam folder.
    pub fn from(mut self, sender: impl Into<String>) -> Self {
        self.from = Some(sender.into());
        self
    }

    /// Sets the name of the site, in subjects and texts: "Reset your Acme password". Default: none.
    pub fn brand(mut self, brand: impl Into<String>) -> Self {
        self.brand = Some(brand.into());
        self
    }

    /// Sets the address of the page that asks for a reset, for the notice: a reader who did not change the password gets a
    /// link to it. An absolute URL. Default: none, and the notice has no link, as a careful reader of phishing mails would
    /// expect.
    pub fn forgot_password(mut self, url: impl Into<String>) -> Self {
        self.forgot_password = Some(url.into());
        self
    }

    /// Sets the language of your templates (RFC 5646, for example `de` or `pt-BR`), for `Content-Language` and for the
    /// variable `language`. Default: `en`. The built-in templates and the texts of `expires_in`, `expires_at`, `changed_at` and
    /// `origin` are English.
    pub fn language(mut self, tag: impl Into<String>) -> Self {
        self.language = tag.into();
        self
    }

    /// Replaces one template. [`build()`](crate::PasswordResetBuilder::build) renders each template with sample values and
    /// fails if one is broken, uses an unknown variable, or lacks the link.
    ///
    /// The syntax is that of [minijinja](https://docs.rs/minijinja), close to Jinja2: `{{ brand }}`, `{% if name %}`. The HTML
    /// part escapes variables; `|safe` switches that off for one of them. Templates cannot include each other.
    ///
    /// | variable | mail | value |
    /// | --- | --- | --- |
    /// | `brand` | both | the [brand](Self::brand), or none |
    /// | `language` | both | the [language](Self::language) |
    /// | `subject` | both | the subject, in the other two parts |
    /// | `email` | both | the address on record |
    /// | `name` | both | the username, or none if there is none or if it does not look like a name |
    /// | `origin` | both | who asked: `the address 192.0.2.7 (Firefox on Windows)`, or none |
    /// | `address`, `browser` | both | the two parts of `origin`, or none |
    /// | `link` | reset | the link, as secret as the token |
    /// | `expires_in`, `expires_in_minutes` | reset | `60 minutes` or `2 hours`; the number |
    /// | `expires_at` | reset | `22 November 2026, 21:26 UTC` |
    /// | `changed_at` | changed | `22 November 2026, 21:26 UTC` |
    /// | `forgot_password` | changed | the [page](Self::forgot_password), or none |
    ///
    /// The username is checked, because anyone can sign up with someone else's address and a username like `win at
    /// evil.example`. The user agent is never quoted, for the same reason; `browser` has fixed words.
    ///
    /// ```
    /// use poem_password_reset::mail::{MailKind, MailPart, Mailer};
    ///
    /// # fn branded(mailer: Mailer) -> Mailer {
    /// mailer
    ///     .template(MailKind::Reset, MailPart::Subject, "{{ brand }}: your new password")
    ///     .template(MailKind::Reset, MailPart::Text, "Open this link within {{ expires_in }}:\n\n{{ link }}\n")
    /// # }
    /// ```
    pub fn template(mut self, kind: MailKind, part: MailPart, source: impl Into<String>) -> Self {
        self.templates.push((kind, part, source.into()));
        self
    }

    /// Checks the settings and parses the templates.
    ///
    /// # Errors
    ///
    /// Every problem found.
    pub(crate) fn prepare(self) -> Result<PreparedMailer, Vec<Problem>> {
        let mut problems = Vec::new();
        let from = self.from.as_deref().and_then(message::sender);
        if from.is_none() {
            problems.push(match self.from {
                None => Problem::NoMailSender,
                Some(from) => Problem::MailSender { from },
            });
        }
        let settings = [("brand", self.brand.as_deref()), ("forgot_password", self.forgot_password.as_deref())];
        for (setting, value) in settings {
            if let Some(value) = value.filter(|value| value.is_empty() || value.chars().any(char::is_control)) {
                problems.push(Problem::MailSetting { setting, value: value.to_owned() });
            }
        }
        let page = self.forgot_password.as_deref().filter(|page| !page.chars().any(char::is_control));
        if let Some(page) = page.filter(|page| !page.is_empty() && !is_page(page)) {
            problems.push(Problem::MailSetting { setting: "forgot_password", value: page.to_owned() });
        }
        if !is_language(&self.language) {
            problems.push(Problem::MailSetting { setting: "language", value: self.language.clone() });
        }
        let templates = Templates::new(self.templates).map_err(|broken| {
            let broken = broken.into_iter();
            problems.extend(broken.map(|(template, reason)| Problem::MailTemplate { template, reason }));
        });
        match (from, templates) {
            (Some(from), Ok(templates)) if problems.is_empty() => Ok(PreparedMailer {
                transport: self.transport,
                from,
                brand: self.brand,
                forgot_password: self.forgot_password,
                language: self.language,
                templates,
            }),
            _ => Err(problems),
        }
    }
}

/// Returns whether a text is the absolute URL of a page. A mail has no base for relative ones.
fn is_page(url: &str) -> bool {
    let uri = url.parse::<Uri>().ok();
    uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    })
}

/// Returns whether a text has the characters of a language tag (RFC 5646).
fn is_language(tag: &str) -> bool {
    let is_subtag = |part: &str| matches!(part.len(), 1..=8) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    tag.split('-').all(is_subtag)
}

/// A [`Mailer`] whose settings were checked.
pub(crate) struct PreparedMailer {
    transport: Box<dyn DynTransport>,
    from: Mailbox,
    brand: Option<String>,
    forgot_password: Option<String>,
    language: String,
    templates: Templates,
}

impl PreparedMailer {
    /// Mails the link.
    pub(crate) async fn send_link(&self, event: &ResetTokenCreated, now: OffsetDateTime) -> Result<(), BoxError> {
        let minutes = words::minutes(event.expires_at() - now);
        let variables = Variables {
            reset: Some(ResetVariables {
                link: event.link(),
                expires_in: words::in_words(minutes),
                expires_in_minutes: minutes,
                expires_at: words::minute(event.expires_at()),
            }),
            ..self.variables(event.user(), event.client())
        };
        self.send(MailKind::Reset, event.user(), variables).await
    }

    /// Mails the notice that the password was changed.
    pub(crate) async fn send_notice(&self, event: &PostPasswordReset, now: OffsetDateTime) -> Result<(), BoxError> {
        let variables = Variables {
            changed: Some(ChangedVariables {
                changed_at: words::minute(now),
                forgot_password: self.forgot_password.as_deref(),
            }),
            ..self.variables(event.user(), event.client())
        };
        self.send(MailKind::Changed, event.user(), variables).await
    }

    fn variables<'a>(&'a self, user: &'a StoredUser, client: &Client) -> Variables<'a> {
        Variables {
            brand: self.brand.as_deref(),
            language: &self.language,
            name: name::name(user),
            email: user.email(),
            origin: origin::origin(client),
            address: client.address().map(|address| address.to_string()),
            browser: origin::browser(client),
            ..Variables::default()
        }
    }

    async fn send(&self, kind: MailKind, user: &StoredUser, variables: Variables<'_>) -> Result<(), BoxError> {
        // The next try would fail too.
        let mail = self.write(kind, user, variables).map_err(Permanent::new)?;
        self.transport.send(&mail).await.map_err(MailError::Transport)?;
        tracing::info!(mail = kind.as_str(), user = user.id(), message_id = mail.message_id(), "mail sent");
        Ok(())
    }

    fn write(&self, kind: MailKind, user: &StoredUser, variables: Variables<'_>) -> Result<Mail, MailError> {
        let rendered = self.templates.render(kind, variables)?;
        Mail::new(kind, &self.from, user.email(), &self.language, rendered.subject, rendered.text, rendered.html)
    }
}
