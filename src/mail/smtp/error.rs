//! Errors of an attempt to send a mail.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::time::Duration;

use lettre::transport::smtp::Error;
use thiserror::Error;

/// Why an attempt failed.
///
/// Contains only the numeric codes of a reply, never its text: servers quote the recipient's address, links and even
/// credentials, also in encodings that a search for these would miss.
#[derive(Debug, Error)]
pub(super) enum SmtpError {
    #[error("could not connect to the mail server: {0}")]
    Connection(io::Error),
    #[error("the connection to the mail server broke at {step}: {kind}")]
    Broken { step: Step, kind: io::ErrorKind },
    #[error("the mail server did not finish within {0:?}")]
    TimedOut(Duration),
    #[error("the mail server answered {code}{} to {step}", Enhanced(*.enhanced))]
    Rejected { step: Step, code: u16, enhanced: Option<[u16; 3]> },
    #[error("the reply of the mail server to {0} is not valid SMTP")]
    Invalid(Step),
    #[error("the mail server offers no STARTTLS: to send without encryption, add ?tls=none to the URL")]
    NoStartTls,
    #[error("no encrypted connection to the mail server: {0}")]
    Tls(io::Error),
    #[error("the mail server offers no supported way to sign in")]
    NoAuthMechanism,
    #[error("the mail server does not support addresses with non-ASCII characters")]
    NoSmtpUtf8,
}

/// Steps of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Greeting,
    StartTls,
    Auth,
    Sender,
    Recipient,
    Data,
    Mail,
}

impl SmtpError {
    /// Converts an error of lettre, without the text of the server's reply.
    pub(super) fn at(step: Step, error: &Error) -> Self {
        if let Some(code) = error.status() {
            let reply = error.source().map(ToString::to_string).unwrap_or_default();
            return Self::Rejected { step, code: code.into(), enhanced: enhanced(&reply) };
        }
        match error.source().and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind) {
            Some(io::ErrorKind::InvalidData) => Self::Invalid(step),
            Some(kind) => Self::Broken { step, kind },
            None if error.is_client() && step == Step::Auth => Self::NoAuthMechanism,
            None => Self::Invalid(step),
        }
    }

    /// Converts an error of the TLS handshake.
    pub(super) fn tls(error: io::Error) -> Self {
        match error.kind() {
            // The certificate, or bytes that are not TLS.
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Self::Tls(error),
            kind => Self::Broken { step: Step::StartTls, kind },
        }
    }

    /// Returns `true` if another attempt may succeed at once: the connection failed, or the server replied with a temporary
    /// error (4xx).
    ///
    /// A permanent error would occur again, and servers block clients that repeat such mails.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Connection(_) | Self::Broken { .. } | Self::TimedOut(_) => true,
            Self::Rejected { code, .. } => (400..500).contains(code),
            Self::Invalid(_) | Self::NoStartTls | Self::Tls(_) | Self::NoAuthMechanism | Self::NoSmtpUtf8 => false,
        }
    }

    /// Returns `true` if the server refused this mail for good (RFC 5321, section 4.2.1: replies 5yz). Other errors are the
    /// server's or the settings', and the mail may be accepted later.
    pub(super) fn is_permanent(&self) -> bool {
        match self {
            Self::Rejected { step, code, .. } => {
                *code >= 500 && matches!(step, Step::Recipient | Step::Data | Step::Mail)
            }
            Self::NoSmtpUtf8 => true,
            _ => false,
        }
    }

    /// Returns `true` if the server had closed a connection before it was used again.
    pub(super) fn is_stale(&self) -> bool {
        match self {
            Self::Broken { step, .. } => *step == Step::Sender,
            // RFC 5321, section 3.8: a server that shuts down or that waited too long.
            Self::Rejected { step, code, .. } => *step == Step::Sender && *code == 421,
            _ => false,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Greeting => "the greeting",
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::Sender => "MAIL FROM",
            Self::Recipient => "RCPT TO",
            Self::Data => "DATA",
            Self::Mail => "the mail",
        })
    }
}

/// Parses the enhanced status code that a reply may begin with (RFC 2034): `5.1.1`.
fn enhanced(reply: &str) -> Option<[u16; 3]> {
    let word = reply.split(' ').next()?;
    let numbers = word.split('.').map(|number| match number.len() {
        1..=3 if number.bytes().all(|byte| byte.is_ascii_digit()) => number.parse().ok(),
        _ => None,
    });
    numbers.collect::<Option<Vec<u16>>>()?.try_into().ok()
}

struct Enhanced(Option<[u16; 3]>);

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |[class, subject, detail]| write!(f, " {class}.{subject}.{detail}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_contains_only_the_codes_of_a_reply() {
        for (reply, expected) in [
            ("5.1.1 <ann@example.com> is unknown", "answered 550 5.1.1 to RCPT TO"),
            ("5.7.100", "answered 550 5.7.100 to RCPT TO"),
            ("<ann@example.com> is unknown", "answered 550 to RCPT TO"),
            ("5.1 ann", "answered 550 to RCPT TO"),
            ("5.1.1.1 ann", "answered 550 to RCPT TO"),
            ("5.1.1000 ann", "answered 550 to RCPT TO"),
            ("5.+1.1 ann", "answered 550 to RCPT TO"),
            ("5..1 ann", "answered 550 to RCPT TO"),
            ("", "answered 550 to RCPT TO"),
        ] {
            let error = SmtpError::Rejected { step: Step::Recipient, code: 550, enhanced: enhanced(reply) };
            assert_eq!(error.to_string(), format!("the mail server {expected}"));
        }
    }

    #[test]
    fn connection_errors_and_4xx_replies_are_transient() {
        let rejected = |code| SmtpError::Rejected { step: Step::Data, code, enhanced: None };
        for (error, transient) in [
            (SmtpError::Connection(io::ErrorKind::ConnectionRefused.into()), true),
            (SmtpError::Broken { step: Step::Mail, kind: io::ErrorKind::UnexpectedEof }, true),
            (SmtpError::TimedOut(Duration::from_secs(1)), true),
            (rejected(421), true),
            (rejected(499), true),
            (rejected(500), false),
            (rejected(599), false),
            (SmtpError::Invalid(Step::Greeting), false),
            (SmtpError::NoAuthMechanism, false),
            (SmtpError::NoSmtpUtf8, false),
            (SmtpError::NoStartTls, false),
            (SmtpError::tls(io::ErrorKind::InvalidData.into()), false),
            (SmtpError::tls(io::ErrorKind::UnexpectedEof.into()), true),
        ] {
            assert_eq!(error.is_transient(), transient, "{error}");
        }
    }

    #[test]
    fn only_a_mail_that_was_refused_fails_permanently() {
        let rejected = |step, code| SmtpError::Rejected { step, code, enhanced: None };
        for (error, permanent) in [
            (rejected(Step::Recipient, 550), true),
            (rejected(Step::Data, 554), true),
            (rejected(Step::Mail, 552), true),
            (rejected(Step::Mail, 452), false),
            (rejected(Step::Greeting, 554), false),
            (rejected(Step::Auth, 535), false),
            (rejected(Step::Sender, 553), false),
            (SmtpError::NoSmtpUtf8, true),
            (SmtpError::NoStartTls, false),
            (SmtpError::TimedOut(Duration::from_secs(1)), false),
        ] {
            assert_eq!(error.is_permanent(), permanent, "{error}");
        }
    }
}
