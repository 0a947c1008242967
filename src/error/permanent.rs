//! [`Permanent`]: the error of a handler that must not be called again.

use std::error::Error;
use std::fmt;

use super::{BoxError, chain};

/// An error that no retry can correct, returned by a handler of
/// [`ResetTokenCreated`](crate::ResetTokenCreated).
///
/// A handler that returns any other error is called again, with growing pauses, until the request is older than
/// [`max_age`](crate::PasswordResetBuilder::max_age). Wrap the error in `Permanent` if the next call would fail too, for
/// example because the mail server refused the recipient (RFC 5321, section 4.2.1: replies 5yz). The wrapped error may also
/// be a [source](Error::source) of the returned one.
///
/// ```
/// use poem_password_reset::{BoxError, Permanent, ResetTokenCreated, on_reset_token_created};
///
/// #[on_reset_token_created]
/// async fn send_mail(event: &ResetTokenCreated, mailer: &Mailer) -> Result<(), BoxError> {
///     match mailer.send(event.user().email(), event.link()).await {
///         Err(error) if error.is_refused => Err(Permanent::new(error).into()),
///         sent => Ok(sent?),
///     }
/// }
/// # #[derive(Debug)]
/// # struct MailError { is_refused: bool }
/// # impl std::fmt::Display for MailError {
/// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("the mail was not sent") }
/// # }
/// # impl std::error::Error for MailError {}
/// # struct Mailer;
/// # impl Mailer {
/// #     async fn send(&self, _to: &str, _link: &str) -> Result<(), MailError> { Ok(()) }
/// # }
/// ```
#[derive(Debug)]
pub struct Permanent(BoxError);

impl Permanent {
    /// Marks `error` as permanent.
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self(error.into())
    }

    /// Returns whether the error, or one of its sources, is permanent.
    pub(crate) fn is_in(error: &BoxError) -> bool {
        chain(error).any(|error| error.is::<Self>())
    }
}

impl fmt::Display for Permanent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Permanent {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] BoxError);

    #[test]
    fn permanent_is_found_in_the_chain_of_sources() {
        assert!(Permanent::is_in(&Permanent::new("refused").into()));
        assert!(Permanent::is_in(&Outer(Permanent::new("refused").into()).into()));
        assert!(!Permanent::is_in(&Outer("busy".into()).into()));
        assert_eq!(Permanent::new("refused").to_string(), "refused");
    }

    #[test]
    fn chain_of_sources_without_end_is_not_followed_forever() {
        #[derive(Debug)]
        struct Cyclic;
        impl fmt::Display for Cyclic {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("cyclic")
            }
        }
        impl Error for Cyclic {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(self)
            }
        }
        assert!(!Permanent::is_in(&Cyclic.into()));
    }
}
