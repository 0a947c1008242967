//! [`Mail`]: a finished mail, and its headers.

use std::fmt;

use lettre::Message;
use lettre::address::{Address, Envelope};
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};

use super::error::MailError;

/// The headers of every mail, beside those of its own.
///
/// `Auto-Submitted` keeps vacation responders from answering (RFC 3834, section 5). The others switch off click tracking at
/// Mailgun, SendGrid, Postmark, Mandrill, SparkPost and Mailjet: a tracked link reveals the token to the provider, and several
/// rewriters lose the part after `#`.
const HEADERS: [(&str, &str); 7] = [
    ("Auto-Submitted", "auto-generated"),
    ("X-Mailgun-Track-Clicks", "no"),
    ("X-SMTPAPI", r#"{"filters": {"clicktrack": {"settings": {"enable": 0}}}}"#),
    ("X-PM-TrackLinks", "None"),
    ("X-MC-Track", "none"),
    ("X-MSYS-API", r#"{"options": {"click_tracking": false}}"#),
    ("X-Mailjet-TrackClick", "0"),
];

/// The mails that a [`Mailer`](super::Mailer) sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MailKind {
    /// The link to set a new password, sent for each [`ResetTokenCreated`](crate::ResetTokenCreated).
    Reset,
    /// The notice that the password was changed, sent for each [`PostPasswordReset`](crate::PostPasswordReset).
    Changed,
}

impl MailKind {
    pub(super) const ALL: [Self; 2] = [Self::Reset, Self::Changed];

    /// Returns the kind as one word, for log fields and for tags at a provider: `reset` or `changed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Changed => "changed",
        }
    }
}

/// A finished mail, with a text and an HTML part. A [`MailTransport`](super::MailTransport) sends it.
///
/// The parts contain the link, whose holder can set the password. `Debug` shows the kind and the message id only.
#[derive(Clone)]
pub struct Mail {
    kind: MailKind,
    from: String,
    to: String,
    subject: String,
    text: String,
    html: String,
    message_id: String,
    language: String,
    message: Message,
}

impl Mail {
    /// Builds a mail to the address on record.
    ///
    /// Parsing the address rejects line breaks and lists, which would add headers or recipients to the mail.
    pub(super) fn new(
        kind: MailKind,
        from: &Mailbox,
        to: &str,
        language: &str,
        subject: String,
        text: String,
        html: String,
    ) -> Result<Self, MailError> {
        let address = recipient(to)?;
        let message_id = message_id(from)?;
        let mut builder = Message::builder()
            .from(from.clone())
            .to(Mailbox::new(None, address))
            .subject(subject.clone())
            .message_id(Some(message_id.clone()))
            .raw_header(header("Content-Language", language));
        for (name, value) in HEADERS {
            builder = builder.raw_header(header(name, value));
        }
        // lettre adds `Date`.
        let message = builder.multipart(MultiPart::alternative_plain_html(text.clone(), html.clone()))?;
        let (from, to, language) = (from.to_string(), to.to_owned(), language.to_owned());
        Ok(Self { kind, from, to, subject, text, html, message_id, language, message })
    }

    /// Returns the kind of the mail.
    pub fn kind(&self) -> MailKind {
        self.kind
    }

    /// Returns the sender: `Acme <no-reply@acme.example>`.
    pub fn from(&self) -> &str {
        &self.from
    }

    /// Returns the recipient: the address on record, and only the address.
    pub fn to(&self) -> &str {
        &self.to
    }

    /// Returns the subject. It is one line.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Returns the text part. Lines end with LF.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the HTML part.
    pub fn html(&self) -> &str {
        &self.html
    }

    /// Returns the `Message-ID`, in angle brackets. Its domain is the sender's.
    ///
    /// Some providers replace it. It is the same in every try of one handler call, so that a mail that arrives twice can be
    /// recognized.
    pub fn message_id(&self) -> &str {
        &self.message_id
    }

    /// Returns the further headers, for a provider whose API takes them: `Auto-Submitted`, `Content-Language`, and the
    /// switches against click tracking.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        HEADERS.into_iter().chain([("Content-Language", &*self.language)])
    }

    /// Returns the whole mail as a MIME message (RFC 5322), with all headers. Lines end with CR LF.
    pub fn mime(&self) -> Vec<u8> {
        self.message.formatted()
    }

    /// Returns the sender's and the recipient's address for SMTP.
    #[cfg_attr(not(feature = "smtp"), allow(dead_code))]
    pub(super) fn envelope(&self) -> &Envelope {
        self.message.envelope()
    }
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail").field("kind", &self.kind).field("message_id", &self.message_id).finish_non_exhaustive()
    }
}

/// Parses the address on record. A domain in Unicode becomes Punycode if the part before the `@` is ASCII: such an address
/// needs no support for international addresses at the mail server (RFC 6531, section 3.2).
fn recipient(address: &str) -> Result<Address, MailError> {
    let parsed: Address = address.parse().map_err(|_| MailError::Address)?;
    if address.is_ascii() || !parsed.user().is_ascii() {
        return Ok(parsed);
    }
    let domain = idna::domain_to_ascii(parsed.domain()).map_err(|_| MailError::Address)?;
    Address::new(parsed.user(), domain).map_err(|_| MailError::Address)
}

/// Returns a new `Message-ID` in the domain of the sender (RFC 5322, section 3.6.4).
fn message_id(from: &Mailbox) -> Result<String, MailError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    Ok(format!("<{:032x}@{}>", u128::from_be_bytes(random), from.email.domain()))
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// Parses a sender like `Acme <no-reply@acme.example>` or `no-reply@acme.example`. The name may contain any characters but
/// control characters, without quotes. A domain in Unicode becomes Punycode.
pub(super) fn sender(text: &str) -> Option<Mailbox> {
    if text.chars().any(char::is_control) {
        return None;
    }
    let text = text.trim();
    let (name, address) = match text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
        Some((name, address)) => (name.trim(), address),
        None => ("", text),
    };
    let name = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
    let name = (!name.is_empty()).then(|| name.to_owned());
    Some(Mailbox::new(name, recipient(address).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(to: &str) -> Result<Mail, MailError> {
        let from = sender("Acme <no-reply@acme.example>").unwrap();
        Mail::new(MailKind::Reset, &from, to, "en", "subject".into(), "text".into(), "<p>html</p>".into())
    }

    #[test]
    fn address_with_line_break_or_second_address_is_rejected() {
        for address in ["ann@example.com\r\nBcc: eve@example.com", "ann@example.com, eve@example.com", "ann", ""] {
            assert!(matches!(mail(address), Err(MailError::Address)), "{address:?}");
        }
    }

    #[test]
    fn unicode_domain_becomes_punycode_unless_the_local_part_is_unicode_too() {
        for (to, sent_to) in [
            ("ann@example.com", "ann@example.com"),
            ("ann@b\u{fc}cher.example", "ann@xn--bcher-kva.example"),
            ("\u{e4}nn@b\u{fc}cher.example", "\u{e4}nn@b\u{fc}cher.example"),
        ] {
            let mail = mail(to).unwrap();
            assert_eq!(mail.to(), to);
            assert_eq!(mail.envelope().to()[0].to_string(), sent_to);
        }
    }

    #[test]
    fn sender_has_an_address_and_perhaps_a_name() {
        for (text, expected) in [
            ("no-reply@acme.example", "no-reply@acme.example"),
            ("<no-reply@acme.example>", "no-reply@acme.example"),
            ("Acme <no-reply@acme.example>", "Acme <no-reply@acme.example>"),
            ("\"Acme, Inc.\" <no-reply@acme.example>", "\"Acme, Inc.\" <no-reply@acme.example>"),
            ("Acme, Inc. <no-reply@acme.example>", "\"Acme, Inc.\" <no-reply@acme.example>"),
            ("\u{5e0}\u{5de}\u{5dc} <no-reply@acme.example>", "\u{5e0}\u{5de}\u{5dc} <no-reply@acme.example>"),
        ] {
            assert_eq!(sender(text).map(|sender| sender.to_string()).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "Acme", "Acme <>", "Acme <no-reply>", "a@b.example\r\nBcc: c@d.example", "A\n <a@b.example>"] {
            assert!(sender(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn message_ids_differ_and_are_in_the_domain_of_the_sender() {
        let (one, other) = (mail("ann@example.com").unwrap(), mail("ann@example.com").unwrap());
        assert_ne!(one.message_id(), other.message_id());
        assert!(one.message_id().ends_with("@acme.example>"));
        assert!(!format!("{one:?}").contains("ann@"));
    }
}
