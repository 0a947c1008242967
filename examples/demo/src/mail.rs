//! The mailer of the library, and the transport of the demo: an outbox, with the delay and the failure that flags ask for.

use std::sync::Arc;
use std::time::Duration;

use poem_password_reset::BoxError;
use poem_password_reset::mail::{Mail, MailTransport, Mailer};
use time::{OffsetDateTime, UtcOffset};

use crate::outbox::Outbox;

const FROM: &str = "Password reset demo <no-reply@example.com>";

/// Returns the mailer. `site` is the base URL of the pages.
pub(crate) fn mailer(transport: Transport, site: &str) -> Mailer {
    Mailer::new(transport).from(FROM).forgot_password(format!("{site}/forgot-password"))
}

/// Delivers mails to the outbox.
pub(crate) struct Transport {
    pub(crate) outbox: Arc<Outbox>,
    /// Pause before each mail.
    pub(crate) delay: Duration,
    /// Fail instead of sending.
    pub(crate) fail: bool,
}

impl MailTransport for Transport {
    type Error = BoxError;

    async fn send(&self, mail: &Mail) -> Result<(), BoxError> {
        tokio::time::sleep(self.delay).await;
        if self.fail {
            return Err("the mail handlers are set to fail (--mail-fail)".into());
        }
        match &*self.outbox {
            Outbox::Memory(mails) => mails.push(mail),
            Outbox::Directory(directory) => directory.send(mail).await?,
            Outbox::Server(smtp) => smtp.send(mail).await?,
        }
        Ok(())
    }
}

/// Formats a time in UTC to the minute: `22 November 2026, 21:26 UTC`.
pub(crate) fn minute(time: OffsetDateTime) -> String {
    let time = time.to_offset(UtcOffset::UTC);
    let (hour, minute, _) = time.to_hms();
    format!("{} {} {}, {hour:02}:{minute:02} UTC", time.day(), time.month(), time.year())
}
