//! The mails, and the two handlers that send them: this is the part that an application writes itself.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use lettre::Message;
use lettre::address::{Address, AddressError};
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use poem_password_reset::{
    PostPasswordReset, ResetTokenCreated, StoredUser, on_post_password_reset, on_reset_token_created,
};
use thiserror::Error;
use time::OffsetDateTime;
use unicode_normalization::char::is_combining_mark;

use crate::outbox::{DeliveryError, Mail, Outbox};

const FROM: &str = "Password reset demo <no-reply@example.com>";

#[on_reset_token_created]
async fn mail_reset_link(event: &ResetTokenCreated, mailer: &Mailer) -> Result<(), MailError> {
    let name = name(event.user());
    let time = minute(event.expires_at());
    let lifetime = in_words(event.expires_at() - OffsetDateTime::now_utc());
    let link = event.link();
    mailer
        .send(
            event.user().email(),
            "Reset your password",
            ResetText { name, link, lifetime: &lifetime, time: &time }.render()?,
            ResetHtml { name, link, lifetime: &lifetime, time: &time }.render()?,
        )
        .await
}

#[on_post_password_reset]
async fn mail_notice(event: &PostPasswordReset, mailer: &Mailer) -> Result<(), MailError> {
    let name = name(event.user());
    let time = minute(OffsetDateTime::now_utc());
    let client = event.client().address().map(|address| address.to_string());
    let (client, site) = (client.as_deref(), mailer.site.as_str());
    mailer
        .send(
            event.user().email(),
            "Your password was changed",
            NoticeText { name, time: &time, client, site }.render()?,
            NoticeHtml { name, time: &time, client, site }.render()?,
        )
        .await
}

#[derive(Template)]
#[template(path = "mail/reset.txt")]
struct ResetText<'a> {
    name: Option<&'a str>,
    link: &'a str,
    lifetime: &'a str,
    time: &'a str,
}

#[derive(Template)]
#[template(path = "mail/reset.html")]
struct ResetHtml<'a> {
    name: Option<&'a str>,
    link: &'a str,
    lifetime: &'a str,
    time: &'a str,
}

#[derive(Template)]
#[template(path = "mail/notice.txt")]
struct NoticeText<'a> {
    name: Option<&'a str>,
    time: &'a str,
    client: Option<&'a str>,
    site: &'a str,
}

#[derive(Template)]
#[template(path = "mail/notice.html")]
struct NoticeHtml<'a> {
    name: Option<&'a str>,
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

/// Sends the mails. Both handlers take it as `&Mailer`.
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

/// Maximum length of a name in a mail, in characters.
const MAX_NAME: usize = 64;
/// Maximum number of digits of a name in a mail. Mail programs turn longer numbers into phone links.
const MAX_DIGITS: usize = 6;
/// Words that start a link and name nobody.
const LINK_WORDS: [&str; 9] = ["http", "https", "ftp", "www", "mailto", "tel", "sms", "javascript", "data"];

/// Returns the name to greet a user by, or `None` if the username does not look like a name.
///
/// Anyone can choose a username when signing up with the address of someone else. If the mail repeated it, a username
/// such as `win at evil.example` would be sent to that person by a trusted sender, and mail programs would turn the host
/// into a link. A name has letters and marks of any script, digits, single spaces, apostrophes and hyphens. A dot must
/// follow a letter and end a word, as in "Dr. J. Smith".
fn name(user: &StoredUser) -> Option<&str> {
    let name = user.username()?.trim_matches(' ');
    let mut digits = 0;
    let mut letters = 0;
    let mut previous = ' ';
    let mut rest = name.chars().peekable();
    while let Some(letter) = rest.next() {
        let allowed = match letter {
            // These count as letters or marks, but they are invisible.
            _ if is_invisible(letter) => false,
            '0'..='9' => {
                digits += 1;
                true
            }
            '-' | '\u{2010}' | '\'' | '\u{2019}' => true,
            ' ' => previous != ' ',
            '.' => is_letter(previous) && rest.peek().is_none_or(|next| *next == ' '),
            _ if letter.is_alphabetic() => {
                letters += 1;
                true
            }
            // A mark belongs to the letter before it.
            _ if is_combining_mark(letter) => is_letter(previous),
            _ => false,
        };
        if !allowed {
            return None;
        }
        previous = letter;
    }
    let starts_link = |word: &str| LINK_WORDS.iter().any(|link| word.eq_ignore_ascii_case(link));
    let fits = letters > 0 && digits <= MAX_DIGITS && name.chars().count() <= MAX_NAME;
    (fits && !name.split([' ', '-', '.', '\'']).any(starts_link)).then_some(name)
}

fn is_letter(letter: char) -> bool {
    letter.is_alphabetic() || is_combining_mark(letter)
}

/// Letters and marks that have no shape of their own (`Default_Ignorable_Code_Point` in Unicode).
fn is_invisible(letter: char) -> bool {
    matches!(
        letter,
        '\u{034f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{e0100}'..='\u{e01ef}'
    )
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

    fn user(name: impl Into<String>) -> StoredUser {
        StoredUser::new(1, "ann@example.com", None).with_username(name.into())
    }

    #[test]
    fn username_that_looks_like_a_name_is_shown() {
        for shown in [
            "ann",
            "Ann Smith",
            "Ann-Marie O'Neill",
            "Ann\u{2010}Marie O\u{2019}Neill",
            "Dr. J. R. Smith Jr.",
            "'t Hooft",
            "petra2026",
            "httpd",
            "Zo\u{eb}",
            "Zoe\u{308}",
            "Nguye\u{302}\u{303}n V\u{103}n A",
            "Владимир",
            "山田太郎",
            "יוסי",
            "نور",
            "प्रिया",
            "ณัฐ",
            &"a".repeat(64),
            &"太".repeat(64),
        ] {
            assert_eq!(name(&user(shown)), Some(shown), "{shown:?}");
        }
        assert_eq!(name(&user("  ann ")), Some("ann"), "spaces around a name are dropped");
    }

    #[test]
    fn username_that_does_not_look_like_a_name_is_not_shown() {
        assert_eq!(name(&StoredUser::new(1, "ann@example.com", None)), None);
        for hidden in [
            "",
            " ",
            "\n",
            "2026",
            "-",
            "...",
            // Links, and text that mail programs turn into links.
            "http://evil.example/",
            "HTTPS://evil.example",
            "//evil.example",
            "evil.example",
            "www.evil",
            "evil.example.",
            "win at evil.example",
            "evil.example/login",
            "evil .example",
            "192.0.2.7",
            "[::1]",
            "localhost:3000",
            "eve@evil.example",
            "mailto:eve@evil.example",
            "mailto",
            "http",
            "Http evil",
            "www",
            "tel 911",
            "javascript:alert(1)",
            "call 0800 1234567",
            // Markup.
            "[click](http://evil.example)",
            "[click]",
            "<b>ann</b>",
            "**ann**",
            "_ann_",
            "`ann`",
            "&#97;nn",
            "=?utf-8?q?ann?=",
            "{{ann}}",
            "%2F",
            // Characters that look like a dot, slash, colon or at sign.
            "evil\u{3002}example",
            "evil\u{ff0e}example",
            "evil\u{ff61}example",
            "evil\u{2024}example",
            "evil\u{b7}example",
            "evil\u{2215}login",
            "http\u{ff1a}",
            "eve\u{ff20}evil",
            // Direction, invisible characters, line breaks and other white space.
            "ann\u{202e}",
            "\u{202d}ann",
            "\u{2066}ann\u{2069}",
            "ann\u{200f}",
            "an\u{200b}n",
            "an\u{200d}n",
            "an\u{ad}n",
            "\u{feff}ann",
            "an\u{fe0f}n",
            "an\u{34f}n",
            "\u{3164}",
            "\u{115f}",
            "\u{ffa0}",
            "\u{308}ann",
            "ann\u{a0}smith",
            "ann\u{2028}smith",
            "ann\u{3000}smith",
            "ann  smith",
            "ann\r\nsmith",
            "ann\tsmith",
            "ann\0",
            "ann\u{1b}[31m",
            "ann\u{e000}",
            "ann \u{1f600}",
            "\u{e0041}ann",
            "ann!",
            "ann, you won",
            &"a".repeat(65),
        ] {
            assert_eq!(name(&user(hidden)), None, "{hidden:?}");
        }
    }

    #[test]
    fn greeting_has_the_name_or_nothing() {
        let text = |name| NoticeText { name, time: "", client: None, site: "" }.render().unwrap();
        assert!(text(Some("ann")).starts_with("Hello ann,\n"));
        assert!(text(None).starts_with("Hello,\n"));
        let html = |name| NoticeHtml { name, time: "", client: None, site: "" }.render().unwrap();
        assert!(html(Some("ann")).contains("<p>Hello ann,</p>"));
        assert!(html(None).contains("<p>Hello,</p>"));
        assert!(!html(Some("<b>ann</b>")).contains("<b>ann"), "the templates escape markup all the same");
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
