//! Sends mails through a mail server: one connection per attempt, timeouts on every step, and few attempts.

mod error;
mod replies;
mod retry;
mod server;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use lettre::Message;
use lettre::address::Envelope;
use lettre::transport::smtp::authentication::DEFAULT_MECHANISMS;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use tokio::net::TcpStream;
use tokio::time::timeout;

use self::error::{SmtpError, Step};
use self::replies::Replies;
pub(crate) use self::retry::GaveUp;
use self::retry::retry;
pub(crate) use self::server::{Server, ServerError};

/// Timeout of an attempt. Three attempts and the pauses between them must fit into the 30 seconds of a handler: otherwise
/// the log would report a handler timeout instead of the reason.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(8);

/// Timeout for the reply to QUIT.
const QUIT_TIMEOUT: Duration = Duration::from_millis(500);

/// A client for one mail server.
#[derive(Debug)]
pub(crate) struct Smtp {
    server: Server,
    /// Timeout of an attempt. lettre has a timeout for the connection only and waits for replies forever.
    attempt_timeout: Duration,
}

impl Smtp {
    pub(crate) fn new(server: Server) -> Self {
        Self { server, attempt_timeout: ATTEMPT_TIMEOUT }
    }

    /// Sends a mail.
    ///
    /// If the connection breaks after the server has read the mail and before it replies, the server may receive the mail
    /// twice, which RFC 5321 prefers to a loss. Both copies have the same `Message-ID`.
    pub(crate) async fn send(&self, message: &Message) -> Result<(), GaveUp> {
        let content = message.formatted();
        retry(|| self.attempt(message.envelope(), &content)).await
    }

    async fn attempt(&self, envelope: &Envelope, content: &[u8]) -> Result<(), SmtpError> {
        let attempt = async {
            let mut connection = self.connect().await?;
            let sent = self.transmit(&mut connection, envelope, content).await;
            Ok((connection, sent))
        };
        let (mut connection, sent) =
            timeout(self.attempt_timeout, attempt).await.unwrap_or(Err(SmtpError::TimedOut(self.attempt_timeout)))?;
        // The outcome is known. A server that does not reply to QUIT must not receive the mail a second time.
        let _ = timeout(QUIT_TIMEOUT, connection.quit()).await;
        sent
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, SmtpError> {
        let stream =
            TcpStream::connect((self.server.host(), self.server.port())).await.map_err(SmtpError::Connection)?;
        // A client without a DNS name sends its address (RFC 5321, section 4.1.4).
        let client = match stream.local_addr().map_err(SmtpError::Connection)?.ip() {
            IpAddr::V4(address) => ClientId::Ipv4(address),
            IpAddr::V6(address) => ClientId::Ipv6(address),
        };
        AsyncSmtpConnection::connect_with_transport(Box::new(Replies::new(stream)), &client)
            .await
            .map_err(|error| SmtpError::at(Step::Greeting, &error))
    }

    /// Signs in and transmits the mail.
    ///
    /// Sends each command itself. lettre's `send` waits for the reply to QUIT after a rejection: without that reply, the
    /// rejection would become a timeout, and the mail would be tried again.
    async fn transmit(
        &self,
        connection: &mut AsyncSmtpConnection,
        envelope: &Envelope,
        content: &[u8],
    ) -> Result<(), SmtpError> {
        if let Some(credentials) = self.server.credentials() {
            let signed_in = connection.auth(DEFAULT_MECHANISMS, credentials).await;
            signed_in.map_err(|error| SmtpError::at(Step::Auth, &error))?;
        }
        let parameters = parameters(connection, envelope)?;
        let sender = Mail::new(envelope.from().cloned(), parameters);
        connection.command(sender).await.map_err(|error| SmtpError::at(Step::Sender, &error))?;
        for recipient in envelope.to() {
            let recipient = Rcpt::new(recipient.clone(), Vec::new());
            connection.command(recipient).await.map_err(|error| SmtpError::at(Step::Recipient, &error))?;
        }
        connection.command(Data).await.map_err(|error| SmtpError::at(Step::Data, &error))?;
        connection.message(content).await.map_err(|error| SmtpError::at(Step::Mail, &error))?;
        Ok(())
    }
}

impl fmt::Display for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}

/// Returns the parameters of MAIL FROM. Addresses that are not ASCII need a server that supports SMTPUTF8 (RFC 6531).
fn parameters(connection: &AsyncSmtpConnection, envelope: &Envelope) -> Result<Vec<MailParameter>, SmtpError> {
    let mut addresses = envelope.from().into_iter().chain(envelope.to());
    if addresses.all(|address| AsRef::<str>::as_ref(address).is_ascii()) {
        return Ok(Vec::new());
    }
    if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
        return Err(SmtpError::NoSmtpUtf8);
    }
    Ok(vec![MailParameter::SmtpUtfEight, MailParameter::Body(MailBodyParameter::EightBitMime)])
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn message() -> Message {
        let message =
            Message::builder().from("demo@example.com".parse().unwrap()).to("ann@example.com".parse().unwrap());
        message.body(String::new()).unwrap()
    }

    async fn listener(attempt_timeout: Duration) -> (TcpListener, Smtp) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::parse(&format!("smtp://{}", listener.local_addr().unwrap())).unwrap();
        (listener, Smtp { server, attempt_timeout })
    }

    #[tokio::test]
    async fn silent_server_is_given_up_after_three_timeouts() {
        let (listener, smtp) = listener(Duration::from_millis(50)).await;
        let message = message();
        let silent = async {
            let mut connections = Vec::new();
            loop {
                connections.push(listener.accept().await.unwrap());
            }
        };
        let gave_up = tokio::select! {
            sent = timeout(Duration::from_secs(60), smtp.send(&message)) => sent.expect("`send` ends").unwrap_err(),
            () = silent => unreachable!("the loop has no end"),
        };
        assert_eq!(gave_up.to_string(), "the mail server did not finish within 50ms (attempts: 3)");
    }

    #[tokio::test]
    async fn server_that_closes_the_connection_is_tried_three_times() {
        let (listener, smtp) = listener(ATTEMPT_TIMEOUT).await;
        let message = message();
        let hangs_up = async {
            loop {
                drop(listener.accept().await.unwrap());
            }
        };
        let gave_up = tokio::select! {
            sent = smtp.send(&message) => sent.unwrap_err(),
            () = hangs_up => unreachable!("the loop has no end"),
        };
        assert_eq!(gave_up.attempts, 3, "{gave_up}");
        assert!(gave_up.error.is_transient(), "{gave_up}");
    }

    #[tokio::test(start_paused = true)]
    async fn all_attempts_fit_into_the_timeout_of_a_handler() {
        let begun = tokio::time::Instant::now();
        // The longest possible attempts.
        let gave_up = retry(|| async {
            tokio::time::sleep(ATTEMPT_TIMEOUT + QUIT_TIMEOUT).await;
            Err::<(), _>(SmtpError::TimedOut(ATTEMPT_TIMEOUT))
        });
        assert_eq!(gave_up.await.unwrap_err().attempts, 3);
        assert!(begun.elapsed() < Duration::from_secs(29), "{:?}", begun.elapsed());
    }
}
