//! The mails, and the two handlers that send them. An application writes this part itself.

mod name;
mod origin;

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use lettre::Message;
use lettre::address::{Address, AddressError};
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use poem_password_reset::{PostPasswordReset, ResetTokenCreated, on_post_password_reset, on_reset_token_created};
use thiserror::Error;
use time::OffsetDateTime;

use self::name::name;
use self::origin::origin;
use crate::outbox::{DeliveryError, Mail, Outbox};

const FROM: &str = "Password reset demo <no-reply@example.com>";

#[on_reset_token_created]
async fn mail_reset_link(event: &ResetTokenCreated, mailer: &Mailer) -> Result<(), MailError> {
    let name = name(event.user());
    let origin = origin(event.client());
    let origin = origin.as_deref();
    let link = event.link();
    let lifetime = in_words(event.expires_at() - OffsetDateTime::now_utc());
    let time = minute(event.expires_at());
    mailer
        .send(
            event.user().email(),
            "Reset your password",
            ResetText { name, origin, link, lifetime: &lifetime, time: &time }.render()?,
            ResetHtml { name, origin, link, lifetime: &lifetime, time: &time }.render()?,
        )
        .await
}

#[on_post_password_reset]
async fn mail_notice(event: &PostPasswordReset, mailer: &Mailer) -> Result<(), MailError> {
    let name = name(event.user());
    let origin = origin(event.client());
    let origin = origin.as_deref();
    let time = minute(OffsetDateTime::now_utc());
    let site = mailer.site.as_str();
    mailer
        .send(
            event.user().email(),
            "Your password was changed",
            NoticeText { name, origin, time: &time, site }.render()?,
            NoticeHtml { name, origin, time: &time, site }.render()?,
        )
        .await
}

#[derive(Template)]
#[template(path = "mail/reset.txt")]
struct ResetText<'a> {
    name: Option<&'a str>,
    origin: Option<&'a str>,
    link: &'a str,
    lifetime: &'a str,
    time: &'a str,
}

#[derive(Template)]
#[template(path = "mail/reset.html")]
struct ResetHtml<'a> {
    name: Option<&'a str>,
    origin: Option<&'a str>,
    link: &'a str,
    lifetime: &'a str,
    time: &'a str,
}

#[derive(Template)]
#[template(path = "mail/notice.txt")]
struct NoticeText<'a> {
    name: Option<&'a str>,
    origin: Option<&'a str>,
    time: &'a str,
    site: &'a str,
}

#[derive(Template)]
#[template(path = "mail/notice.html")]
struct NoticeHtml<'a> {
    name: Option<&'a str>,
    origin: Option<&'a str>,
    time: &'a str,
    site: &'a str,
}

/// Why a mail was not sent.
///
/// No variant contains the address or the link. None repeats its source either: the log prints the sources.
#[derive(Debug, Error)]
pub(crate) enum MailError {
    #[error("the mail handlers are set to fail (--mail-fail)")]
    SetToFail,
    #[error("the address on record is not a valid mail address")]
    Address(#[from] AddressError),
    #[error("the mail template could not be rendered")]
    Template(#[from] askama::Error),
    #[error("the mail could not be built")]
    Message(#[from] lettre::error::Error),
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
}

/// Sends mails. The handlers receive it as `&Mailer`.
pub(crate) struct Mailer {
    /// Base URL of the pages, for links other than the one with the token.
    pub(crate) site: String,
    pub(crate) outbox: Arc<Outbox>,
    /// Pause before each mail.
    pub(crate) delay: Duration,
    /// Fail instead of sending.
    pub(crate) fail: bool,
}

impl Mailer {
    async fn send(&self, to: &str, subject: &str, text: String, html: String) -> Result<(), MailError> {
        tokio::time::sleep(self.delay).await;
        if self.fail {
            return Err(MailError::SetToFail);
        }
        // Parsing rejects line breaks, which would let an address add headers to the mail.
        let address: Address = to.parse()?;
        let from: Mailbox = FROM.parse().expect("the sender address is valid");
        let message = Message::builder()
            .from(from)
            .to(Mailbox::new(None, address))
            .subject(subject)
            .message_id(None)
            .raw_header(auto_generated())
            .multipart(MultiPart::alternative_plain_html(text.clone(), html.clone()))?;
        let sent_at = OffsetDateTime::now_utc();
        let mail = Mail { to: to.to_owned(), subject: subject.to_owned(), sent_at, text, html };
        self.outbox.deliver(mail, &message).await?;
        tracing::info!(subject, "mail sent");
        Ok(())
    }
}

/// Returns the header that keeps vacation responders from answering (RFC 3834).
fn auto_generated() -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned())
}

/// Formats a time in UTC to the minute: `22 November 2026, 21:26 UTC`.
pub(crate) fn minute(time: OffsetDateTime) -> String {
    let time = time.to_offset(time::UtcOffset::UTC);
    let (hour, minute, _) = time.to_hms();
    format!("{} {} {}, {hour:02}:{minute:02} UTC", time.day(), time.month(), time.year())
}

/// Formats a duration, rounded to minutes: `60 minutes`. The recipient reads the mail some time after it was written.
fn in_words(left: time::Duration) -> String {
    match (left.whole_seconds().max(0) + 30) / 60 {
        0 | 1 => "1 minute".to_owned(),
        minutes if minutes > 60 && minutes % 60 == 0 => format!("{} hours", minutes / 60),
        minutes => format!("{minutes} minutes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_formatted_for_people() {
        let time = OffsetDateTime::from_unix_timestamp(1_795_382_760).unwrap();
        assert_eq!(minute(time), "22 November 2026, 21:26 UTC");
        for (seconds, words) in [(-5, "1 minute"), (59, "1 minute"), (3_599, "60 minutes"), (7_200, "2 hours")] {
            assert_eq!(in_words(time::Duration::seconds(seconds)), words);
        }
    }

    #[test]
    fn greeting_has_the_name_or_nothing() {
        let text = |name| NoticeText { name, origin: None, time: "", site: "" }.render().unwrap();
        assert!(text(Some("ann")).starts_with("Hello ann,\n"));
        assert!(text(None).starts_with("Hello,\n"));
        let html = |name| NoticeHtml { name, origin: None, time: "", site: "" }.render().unwrap();
        assert!(html(Some("ann")).contains("<p>Hello ann,</p>"));
        assert!(html(None).contains("<p>Hello,</p>"));
        assert!(!html(Some("<b>ann</b>")).contains("<b>ann"), "the templates escape markup too");
    }

    #[tokio::test]
    async fn address_with_line_break_or_second_address_is_rejected() {
        let outbox = Arc::new(Outbox::in_memory());
        let mailer = Mailer { site: String::new(), outbox: outbox.clone(), delay: Duration::ZERO, fail: false };
        for address in ["ann@example.com\r\nBcc: eve@example.com", "ann@example.com, eve@example.com", "ann", ""] {
            let sent = mailer.send(address, "", String::new(), String::new()).await;
            assert!(matches!(sent, Err(MailError::Address(_))), "{address:?}");
        }
        assert!(outbox.mails().is_empty());
    }
}
