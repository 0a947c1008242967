//! [`SmtpTransport`]: sends mails through a mail server, with timeouts on every step and few attempts.

mod connection;
mod error;
mod pool;
mod replies;
mod retry;
mod server;
mod tls;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::connection::Connection;
use self::error::SmtpError;
use self::pool::Pool;
use self::retry::retry;
pub use self::server::SmtpConfigError;
use self::server::{Encryption, Server};
use self::tls::Tls;
use super::{Mail, MailTransport};
use crate::error::{BoxError, Permanent};

/// Default timeout of an attempt. Three attempts and the pauses between them must fit into the 30 seconds of a handler:
/// otherwise the log would report a handler timeout instead of the reason.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(8);

/// A [`MailTransport`] that sends through a mail server (feature `smtp`).
///
/// ```
/// use poem_password_reset::mail::{Mailer, SmtpTransport};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let transport = SmtpTransport::from_url("smtps://user:p%40ssword@smtp.example.com")?;
/// let mailer = Mailer::new(transport).from("Acme <no-reply@acme.example>");
/// # Ok(())
/// # }
/// ```
///
/// # URL
///
/// | URL | encryption | default port |
/// | --- | --- | --- |
/// | `smtps://HOST` | TLS from the first byte (RFC 8314) | 465 |
/// | `smtp://HOST` | STARTTLS, required | 587 |
/// | `smtp://localhost`, `127.0.0.1`, `[::1]` | none: the mail does not leave the machine | 25 |
/// | `smtp://HOST?tls=none` | none: anyone on the network can read the links | 25 |
/// | `smtp://localhost?tls=required` | STARTTLS, required | 587 |
///
/// User and password, percent-encoded, come before the host: `smtps://USER:PASSWORD@HOST:PORT`. `Debug`, `Display`, errors
/// and the log contain host and port only.
///
/// # Failures
///
/// A temporary error is tried again after 0.5 and 1 second, three attempts in all. The error of the last attempt contains the
/// numeric codes of the server's reply, never its text, because servers quote addresses and links. A mail that the server
/// refused for good fails with [`Permanent`] and is not tried again.
///
/// If the connection breaks after the server has read the mail and before it replies, the server may receive the mail twice,
/// which RFC 5321 prefers to a loss. Both copies have the same `Message-ID`.
///
/// # Defaults
///
/// | setting | default |
/// | --- | --- |
/// | [`attempt_timeout`](Self::attempt_timeout) | 8 seconds |
/// | [`connections`](Self::connections) | 8 |
/// | [`idle_timeout`](Self::idle_timeout) | 10 seconds |
/// | [`root_certificate`](Self::root_certificate) | the root certificates of the system |
#[derive(Debug)]
#[must_use]
pub struct SmtpTransport {
    server: Server,
    tls: Option<Tls>,
    attempt_timeout: Duration,
    /// One permit for each connection that sends.
    permits: Semaphore,
    pool: Arc<Pool>,
}

impl SmtpTransport {
    /// Creates a transport for the server in a URL. Does not connect. Reads the root certificates of the system if the URL
    /// asks for encryption.
    ///
    /// # Errors
    ///
    /// Fails if the URL has another form than described [above](Self#url).
    pub fn from_url(url: &str) -> Result<Self, SmtpConfigError> {
        let server = Server::parse(url)?;
        let tls = match server.encryption() {
            Encryption::None => None,
            Encryption::StartTls | Encryption::Tls => Some(Tls::new(server.host())?),
        };
        if tls.is_none() && !server.is_this_machine() {
            tracing::warn!(%server, "mails are sent without encryption: anyone on the network can read their links");
        }
        Ok(Self {
            server,
            tls,
            attempt_timeout: ATTEMPT_TIMEOUT,
            permits: Semaphore::new(8),
            pool: Pool::new(Duration::from_secs(10)),
        })
    }

    /// Trusts a root certificate in PEM format, beside those of the system, for a mail server with a private certificate
    /// authority. Has no effect without encryption.
    ///
    /// # Errors
    ///
    /// Fails if the text contains no certificate, or one that is not valid.
    pub fn root_certificate(mut self, pem: impl AsRef<[u8]>) -> Result<Self, SmtpConfigError> {
        if let Some(tls) = &mut self.tls {
            tls.trust(pem.as_ref())?;
        }
        Ok(self)
    }

    /// Sets the timeout of one attempt, from the wait for a connection to the reply to the mail. Three attempts should fit
    /// into the [`handler_timeout`](crate::PasswordResetBuilder::handler_timeout). Default: 8 seconds.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// Sets the most connections that send at once. Mail servers refuse clients that open too many. At least 1. Default: 8.
    pub fn connections(mut self, most: usize) -> Self {
        self.permits = Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS));
        self
    }

    /// Sets how long a connection is kept for the next mail. Servers close idle connections, many after 30 seconds or more.
    /// Zero opens a connection for each mail. Default: 10 seconds.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.pool = Pool::new(timeout);
        self
    }

    async fn attempt(&self, mail: &Mail, content: &[u8]) -> Result<(), SmtpError> {
        let attempt = async {
            let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
            if let Some(connection) = self.pool.take() {
                match self.transmit(connection, mail, content).await {
                    // The server closed the connection while it waited. The mail was not sent yet.
                    Err(error) if error.is_stale() => {}
                    sent => return sent,
                }
            }
            let connection = Connection::open(&self.server, self.tls.as_ref()).await?;
            self.transmit(connection, mail, content).await
        };
        let timed_out = Err(SmtpError::TimedOut(self.attempt_timeout));
        timeout(self.attempt_timeout, attempt).await.unwrap_or(timed_out)
    }

    async fn transmit(&self, mut connection: Connection, mail: &Mail, content: &[u8]) -> Result<(), SmtpError> {
        let sent = connection.transmit(mail.envelope(), content).await;
        match &sent {
            Ok(()) => self.pool.put(connection),
            Err(SmtpError::Rejected { .. }) => pool::close(connection),
            // Broken or out of step.
            Err(_) => {}
        }
        sent
    }
}

impl MailTransport for SmtpTransport {
    type Error = BoxError;

    async fn send(&self, mail: &Mail) -> Result<(), BoxError> {
        let content = mail.mime();
        let sent = retry(|| self.attempt(mail, &content)).await;
        sent.map_err(|gave_up| match gave_up.error.is_permanent() {
            true => Permanent::new(gave_up).into(),
            false => gave_up.into(),
        })
    }
}

/// Shows host and port.
impl fmt::Display for SmtpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_attempts_fit_into_the_timeout_of_a_handler() {
        let begun = tokio::time::Instant::now();
        // The longest possible attempts.
        let gave_up = retry(|| async {
            tokio::time::sleep(ATTEMPT_TIMEOUT).await;
            Err::<(), _>(SmtpError::TimedOut(ATTEMPT_TIMEOUT))
        });
        assert_eq!(gave_up.await.unwrap_err().attempts, 3);
        assert!(begun.elapsed() < Duration::from_secs(29), "{:?}", begun.elapsed());
    }
}
