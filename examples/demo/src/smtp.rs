//! Sends mails through a mail server: a connection a try, timeouts on everything, and few tries.

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

/// How long a try may take. Three of them, and what is between them, must fit into the 30 seconds that a handler has:
/// else the log would tell of a handler that hangs, and not why.
const TRY: Duration = Duration::from_secs(8);

/// How long the server may take to answer a QUIT.
const GOODBYE: Duration = Duration::from_millis(500);

/// The way to a mail server.
#[derive(Debug)]
pub(crate) struct Smtp {
    server: Server,
    /// How long a try may take: lettre has a deadline for the connection alone, and waits for replies for ever.
    patience: Duration,
}

impl Smtp {
    pub(crate) fn new(server: Server) -> Self {
        Self { server, patience: TRY }
    }

    /// Hands the mail over. If a connection breaks when the server has read the mail and not yet said so, it may get it
    /// twice, which RFC 5321 prefers to never. Both have one `Message-ID`.
    pub(crate) async fn send(&self, message: &Message) -> Result<(), GaveUp> {
        let content = message.formatted();
        retry(|| self.attempt(message.envelope(), &content)).await
    }

    async fn attempt(&self, envelope: &Envelope, content: &[u8]) -> Result<(), SmtpError> {
        let attempt = async {
            let mut connection = self.connect().await?;
            let sent = self.hand_over(&mut connection, envelope, content).await;
            Ok((connection, sent))
        };
        let (mut connection, sent) =
            timeout(self.patience, attempt).await.unwrap_or(Err(SmtpError::TimedOut(self.patience)))?;
        // What became of the mail is known by now. A server that says nothing to this must not get it a second time.
        let _ = timeout(GOODBYE, connection.quit()).await;
        sent
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, SmtpError> {
        let stream =
            TcpStream::connect((self.server.host(), self.server.port())).await.map_err(SmtpError::Connection)?;
        // Who has no name in the DNS says its address (RFC 5321, section 4.1.4).
        let client = match stream.local_addr().map_err(SmtpError::Connection)?.ip() {
            IpAddr::V4(address) => ClientId::Ipv4(address),
            IpAddr::V6(address) => ClientId::Ipv6(address),
        };
        AsyncSmtpConnection::connect_with_transport(Box::new(Replies::new(stream)), &client)
            .await
            .map_err(|error| SmtpError::at(Step::Greeting, &error))
    }

    /// From the sign-in to the reply to the mail. Command by command, because lettre's `send` waits, after a refusal, for
    /// the reply to a QUIT: when that does not come, the refusal would be forgotten, and be followed by another try.
    async fn hand_over(
        &self,
        connection: &mut AsyncSmtpConnection,
        envelope: &Envelope,
        content: &[u8],
    ) -> Result<(), SmtpError> {
        if let Some(credentials) = self.server.credentials() {
            let signed_in = connection.auth(DEFAULT_MECHANISMS, credentials).await;
            signed_in.map_err(|error| SmtpError::at(Step::SignIn, &error))?;
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

/// An address that is not ASCII takes a server that says that it can do that (RFC 6531).
fn parameters(connection: &AsyncSmtpConnection, envelope: &Envelope) -> Result<Vec<MailParameter>, SmtpError> {
    let mut addresses = envelope.from().into_iter().chain(envelope.to());
    if addresses.all(|address| AsRef::<str>::as_ref(address).is_ascii()) {
        return Ok(Vec::new());
    }
    if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
        return Err(SmtpError::NotInternational);
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

    async fn listener(patience: Duration) -> (TcpListener, Smtp) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::parse(&format!("smtp://{}", listener.local_addr().unwrap())).unwrap();
        (listener, Smtp { server, patience })
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_waited_for_so_long_and_no_longer() {
        let (listener, smtp) = listener(Duration::from_millis(50)).await;
        let message = message();
        let silent = async {
            let mut connections = Vec::new();
            loop {
                connections.push(listener.accept().await.unwrap());
            }
        };
        let gave_up = tokio::select! {
            sent = timeout(Duration::from_secs(60), smtp.send(&message)) => sent.expect("it gives up").unwrap_err(),
            () = silent => unreachable!("it accepts for ever"),
        };
        assert_eq!(gave_up.to_string(), "the mail server was not done within 50ms (tries: 3)");
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_is_not_reached() {
        let (listener, smtp) = listener(TRY).await;
        let message = message();
        let hangs_up = async {
            loop {
                drop(listener.accept().await.unwrap());
            }
        };
        let gave_up = tokio::select! {
            sent = smtp.send(&message) => sent.unwrap_err(),
            () = hangs_up => unreachable!("it accepts for ever"),
        };
        assert_eq!(gave_up.tries, 3, "{gave_up}");
        assert!(gave_up.error.is_transient(), "{gave_up}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_tries_fit_into_the_time_that_a_handler_has() {
        let begun = tokio::time::Instant::now();
        // The longest that a try can take, and the longest pauses.
        let gave_up = retry(|| async {
            tokio::time::sleep(TRY + GOODBYE).await;
            Err::<(), _>(SmtpError::TimedOut(TRY))
        });
        assert_eq!(gave_up.await.unwrap_err().tries, 3);
        assert!(begun.elapsed() < Duration::from_secs(29), "{:?}", begun.elapsed());
    }
}
