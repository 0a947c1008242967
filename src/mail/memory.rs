//! [`MemoryOutbox`]: mails for the tests of an application.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::{Mail, MailTransport};

/// A [`MailTransport`] that keeps the mails in memory, for tests (feature `testing`). Clones share the mails.
///
/// ```
/// use poem_password_reset::mail::{Mailer, MemoryOutbox};
/// use poem_password_reset::store::MemoryUsers;
/// use poem_password_reset::{Client, PasswordReset, SigningKey, StoredUser};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ann = StoredUser::new(7, "ann@example.com", Some("her hash".to_owned()));
/// let outbox = MemoryOutbox::new();
/// let reset = PasswordReset::builder(MemoryUsers::new([ann]), SigningKey::generate()?)
///     .link("https://app.example.com/reset-password#token={token}")
///     .mailer(Mailer::new(outbox.clone()).from("Acme <no-reply@acme.example>"))
/// #   .linked_handlers(false)
///     .build()
///     .await?;
/// reset.request("ann@example.com", Client::none()).await?;
///
/// let mail = outbox.next().await;
/// assert_eq!((mail.to(), mail.subject()), ("ann@example.com", "Reset your password"));
/// assert!(mail.text().contains("https://app.example.com/reset-password#token="));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryOutbox(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    mails: Mutex<VecDeque<Mail>>,
    arrived: Notify,
}

impl MemoryOutbox {
    /// Creates an empty outbox.
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes and returns the oldest mail. Waits for one if there is none: mails are sent after the client was answered.
    pub async fn next(&self) -> Mail {
        loop {
            // Created before the look, so that no arrival is missed in between.
            let arrived = self.0.arrived.notified();
            if let Some(mail) = self.pop() {
                return mail;
            }
            arrived.await;
        }
    }

    /// Removes and returns the mails that arrived so far, oldest first.
    pub fn take(&self) -> Vec<Mail> {
        std::iter::from_fn(|| self.pop()).collect()
    }

    fn pop(&self) -> Option<Mail> {
        // No code panics while it holds the lock.
        self.0.mails.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl MailTransport for MemoryOutbox {
    type Error = Infallible;

    async fn send(&self, mail: &Mail) -> Result<(), Infallible> {
        self.0.mails.lock().unwrap_or_else(PoisonError::into_inner).push_back(mail.clone());
        self.0.arrived.notify_waiters();
        Ok(())
    }
}
