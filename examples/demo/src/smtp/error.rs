//! Why a mail server did not take a mail.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::time::Duration;

use lettre::transport::smtp::Error;
use thiserror::Error;

/// What a try failed of. Of what the server said there are only the numbers: servers like to quote the address, a link
/// that they suspect, even what somebody signed in with, and in encodings in which nobody would find it.
#[derive(Debug, Error)]
pub(crate) enum SmtpError {
    #[error("the mail server cannot be reached: {0}")]
    Connection(io::Error),
    #[error("the connection to the mail server broke at {step}: {kind}")]
    Broken { step: Step, kind: io::ErrorKind },
    #[error("the mail server was not done within {0:?}")]
    TimedOut(Duration),
    #[error("the mail server answered {code}{} to {step}", Enhanced(*.enhanced))]
    Refused { step: Step, code: u16, enhanced: Option<[u16; 3]> },
    #[error("what the mail server answered to {0} is not SMTP")]
    Nonsense(Step),
    #[error("the mail server has no way to sign in that is known here")]
    NoSignIn,
    #[error("the mail server takes no addresses that are not ASCII")]
    NotInternational,
}

/// How far a try came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Greeting,
    SignIn,
    Sender,
    Recipient,
    Data,
    Mail,
}

impl SmtpError {
    /// What lettre says about a step, without the server's words.
    pub(super) fn at(step: Step, error: &Error) -> Self {
        if let Some(code) = error.status() {
            let said = error.source().map(ToString::to_string).unwrap_or_default();
            return Self::Refused { step, code: code.into(), enhanced: enhanced(&said) };
        }
        match error.source().and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind) {
            Some(io::ErrorKind::InvalidData) => Self::Nonsense(step),
            Some(kind) => Self::Broken { step, kind },
            None if error.is_client() && step == Step::SignIn => Self::NoSignIn,
            None => Self::Nonsense(step),
        }
    }

    /// Whether another try may do better: the server cannot be reached, or says that it cannot right now. What it
    /// refuses for good it would refuse again, and who insists gets blocked.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Connection(_) | Self::Broken { .. } | Self::TimedOut(_) => true,
            Self::Refused { code, .. } => (400..500).contains(code),
            Self::Nonsense(_) | Self::NoSignIn | Self::NotInternational => false,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Greeting => "the greeting",
            Self::SignIn => "AUTH",
            Self::Sender => "MAIL FROM",
            Self::Recipient => "RCPT TO",
            Self::Data => "DATA",
            Self::Mail => "the mail",
        })
    }
}

/// The status code that a reply may begin with (RFC 2034): `5.1.1`.
fn enhanced(said: &str) -> Option<[u16; 3]> {
    let word = said.split(' ').next()?;
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
    fn of_what_the_server_says_there_are_only_numbers() {
        for (said, expected) in [
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
            let error = SmtpError::Refused { step: Step::Recipient, code: 550, enhanced: enhanced(said) };
            assert_eq!(error.to_string(), format!("the mail server {expected}"));
        }
    }

    #[test]
    fn only_what_may_pass_is_transient() {
        let refused = |code| SmtpError::Refused { step: Step::Data, code, enhanced: None };
        for (error, transient) in [
            (SmtpError::Connection(io::ErrorKind::ConnectionRefused.into()), true),
            (SmtpError::Broken { step: Step::Mail, kind: io::ErrorKind::UnexpectedEof }, true),
            (SmtpError::TimedOut(Duration::from_secs(1)), true),
            (refused(421), true),
            (refused(499), true),
            (refused(500), false),
            (refused(599), false),
            (SmtpError::Nonsense(Step::Greeting), false),
            (SmtpError::NoSignIn, false),
            (SmtpError::NotInternational, false),
        ] {
            assert_eq!(error.is_transient(), transient, "{error}");
        }
    }
}
