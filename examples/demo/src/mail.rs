//! The mails, and the two handlers that send them: this is the part that an application writes itself.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use lettre::Message;
use lettre::address::{Address, AddressError};
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use poem::web::Data;
use poem_password_reset::{
    PostPasswordReset, ResetTokenCreated, StoredUser, on_post_password_reset, on_reset_token_created,
};
use thiserror::Error;
use time::OffsetDateTime;

use crate::outbox::{DeliveryError, Mail, Outbox};

const FROM: &str = "Password reset demo <no-reply@example.com>";

#[on_reset_token_created]
async fn mail_reset_link(event: &ResetTokenCreated, mailer: Data<&Mailer>) -> Result<(), MailError> {
    let name = name(event.user());
    let time = minute(event.expires_at());
    let lifetime = in_words(event.expires_at() - OffsetDateTime::now_utc());
    let link = event.link();
    mailer
        .send(
            event.user().email(),
            "Reset your password",
            ResetText { name: &name, link, lifetime: &lifetime, time: &time }.render()?,
            ResetHtml { name: &name, link, lifetime: &lifetime, time: &time }.render()?,
        )
        .await
}

#[on_post_password_reset]
async fn mail_notice(event: &PostPasswordReset, mailer: Data<&Mailer>) -> Result<(), MailError> {
    let name = name(event.user());
    let time = minute(OffsetDateTime::now_utc());
    let client = event.client().address().map(|address| address.to_string());
    let (client, site) = (client.as_deref(), mailer.site.as_str());
    mailer
        .send(
            event.user().email(),
            "Your password was changed",
            NoticeText { name: &name, time: &time, client, site }.render()?,
            NoticeHtml { name: &name, time: &time, client, site }.render()?,
        )
        .await
}

#[derive(Template)]
#[template(path = "mail/reset.txt")]
struct ResetText<'a> {
    name: &'a str,
    link: &'a str,
    lifetime: &'a str,
    time: &'a str,
}

#[derive(Template)]
#[template(path = "mail/reset.html")]
struct ResetHtml<'a> {
    name: &'a str,
    link: &'a str,
    lifetime: &'a str,
    time: &'a str,
}

#[derive(Template)]
#[template(path = "mail/notice.txt")]
struct NoticeText<'a> {
    name: &'a str,
    time: &'a str,
    client: Option<&'a str>,
    site: &'a str,
}

#[derive(Template)]
#[template(path = "mail/notice.html")]
struct NoticeHtml<'a> {
    name: &'a str,
    time: &'a str,
    client: Option<&'a str>,
    site: &'a str,
}

/// Why a mail was not sent. No error repeats the address or the link. Nor its source, which the log shows by itself.
#[derive(Debug, Error)]
pub(crate) enum MailError {
    #[error("the mail handlers were told to fail (--mail-fail)")]
    ToldToFail,
    #[error("the address on record cannot get mail")]
    Address(#[from] AddressError),
    #[error("the mail could not be written")]
    Template(#[from] askama::Error),
    #[error("the mail could not be put together")]
    Message(#[from] lettre::error::Error),
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
}

/// What the handlers get as `Data<&Mailer>`.
pub(crate) struct Mailer {
    /// Where the pages are, for links other than that with the token.
    pub(crate) site: String,
    pub(crate) outbox: Arc<Outbox>,
    /// Sleep before each mail.
    pub(crate) delay: Duration,
    /// Fail instead of sending.
    pub(crate) fail: bool,
}

impl Mailer {
    async fn send(&self, to: &str, subject: &str, text: String, html: String) -> Result<(), MailError> {
        tokio::time::sleep(self.delay).await;
        if self.fail {
            return Err(MailError::ToldToFail);
        }
        // Parsed, not pasted: a line break in an address would otherwise start a header of the attacker's choice.
        let address: Address = to.parse()?;
        let from: Mailbox = FROM.parse().expect("the demo's own address is one");
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

/// Keeps holiday notices from answering (RFC 3834).
fn auto_generated() -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned())
}

/// How to greet a user: the username comes from a form, so it cannot have lines of its own in a mail.
fn name(user: &StoredUser) -> String {
    let name: String = user.username().unwrap_or_default().chars().filter(|letter| !letter.is_control()).collect();
    if name.trim().is_empty() { "there".to_owned() } else { name }
}

/// `22 November 2026, 21:26 UTC`
pub(crate) fn minute(time: OffsetDateTime) -> String {
    let time = time.to_offset(time::UtcOffset::UTC);
    let (hour, minute, _) = time.to_hms();
    format!("{} {} {}, {hour:02}:{minute:02} UTC", time.day(), time.month(), time.year())
}

/// `60 minutes`: to the minute, because a mail is read later than it was written.
fn in_words(left: time::Duration) -> String {
    match (left.whole_seconds().max(0) + 30) / 60 {
        0 | 1 => "minute".to_owned(),
        minutes if minutes > 60 && minutes % 60 == 0 => format!("{} hours", minutes / 60),
        minutes => format!("{minutes} minutes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well() {
        let time = OffsetDateTime::from_unix_timestamp(1_795_382_760).unwrap();
        assert_eq!(minute(time), "22 November 2026, 21:26 UTC");
        for (seconds, words) in [(-5, "minute"), (59, "minute"), (3_599, "60 minutes"), (7_200, "2 hours")] {
            assert_eq!(in_words(time::Duration::seconds(seconds)), words);
        }
    }

    #[test]
    fn a_username_is_one_line_and_no_markup() {
        let user =
            |name: Option<&str>| StoredUser::new(1, "ann@example.com", None).with_username(name.map(str::to_owned));
        assert_eq!(name(&user(Some("ann\r\nhttp://evil.example/"))), "annhttp://evil.example/");
        assert_eq!(name(&user(None)), "there");
        assert_eq!(name(&user(Some("\n"))), "there");
        let html = NoticeHtml { name: "<b>ann</b>", time: "", client: None, site: "" }.render().unwrap();
        assert!(!html.contains("<b>ann"));
    }

    #[tokio::test]
    async fn an_address_cannot_bring_headers_of_its_own() {
        let outbox = Arc::new(Outbox::in_memory());
        let mailer = Mailer { site: String::new(), outbox: outbox.clone(), delay: Duration::ZERO, fail: false };
        for address in ["ann@example.com\r\nBcc: eve@example.com", "ann@example.com, eve@example.com", "ann", ""] {
            let sent = mailer.send(address, "", String::new(), String::new()).await;
            assert!(matches!(sent, Err(MailError::Address(_))), "{address:?}");
        }
        assert!(outbox.mails().is_empty());
    }
}
