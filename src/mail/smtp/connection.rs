//! [`Connection`]: one connection to a mail server, encrypted, signed in, and ready for mails.

use std::io;
use std::net::{IpAddr, SocketAddr};

use lettre::address::Envelope;
use lettre::transport::smtp::authentication::DEFAULT_MECHANISMS;
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Starttls};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use tokio::net::TcpStream;

use super::error::{SmtpError, Step};
use super::replies::Replies;
use super::server::{Encryption, Server};
use super::tls::Tls;

pub(super) struct Connection {
    smtp: AsyncSmtpConnection,
    /// Number of mails that the server accepted.
    pub(super) mails: u32,
}

impl Connection {
    /// Connects, encrypts and signs in.
    pub(super) async fn open(server: &Server, tls: Option<&Tls>) -> Result<Self, SmtpError> {
        let stream = TcpStream::connect((server.host(), server.port())).await.map_err(SmtpError::Connection)?;
        // A mail is written in two pieces. Without this option the second waits for the server's delayed acknowledgment.
        stream.set_nodelay(true).map_err(SmtpError::Connection)?;
        let peer = stream.peer_addr().map_err(SmtpError::Connection)?;
        // A client without a DNS name sends its address (RFC 5321, section 4.1.4).
        let client = match stream.local_addr().map_err(SmtpError::Connection)?.ip() {
            IpAddr::V4(address) => ClientId::Ipv4(address),
            IpAddr::V6(address) => ClientId::Ipv6(address),
        };
        let stream: Box<dyn AsyncTokioStream> = match (server.encryption(), tls) {
            (Encryption::None, _) | (_, None) => Box::new(Replies::new(stream, peer)),
            (Encryption::Tls, Some(tls)) => Box::new(Replies::new(tls.connect(stream).await?, peer)),
            (Encryption::StartTls, Some(tls)) => {
                let stream = starttls(stream, peer, &client).await?;
                Box::new(Replies::after_starttls(tls.connect(stream).await?, peer))
            }
        };
        let mut smtp = greet(stream, &client).await?;
        if let Some(credentials) = server.credentials() {
            let signed_in = smtp.auth(DEFAULT_MECHANISMS, credentials).await;
            signed_in.map_err(|error| SmtpError::at(Step::Auth, &error))?;
        }
        Ok(Self { smtp, mails: 0 })
    }

    /// Transmits a mail.
    ///
    /// Sends each command itself. lettre's `send` waits for the reply to QUIT after a rejection: without that reply, the
    /// rejection would become a timeout, and the mail would be tried again.
    pub(super) async fn transmit(&mut self, envelope: &Envelope, content: &[u8]) -> Result<(), SmtpError> {
        let smtp = &mut self.smtp;
        let sender = Mail::new(envelope.from().cloned(), parameters(smtp, envelope)?);
        smtp.command(sender).await.map_err(|error| SmtpError::at(Step::Sender, &error))?;
        for recipient in envelope.to() {
            let recipient = Rcpt::new(recipient.clone(), Vec::new());
            smtp.command(recipient).await.map_err(|error| SmtpError::at(Step::Recipient, &error))?;
        }
        smtp.command(Data).await.map_err(|error| SmtpError::at(Step::Data, &error))?;
        smtp.message(content).await.map_err(|error| SmtpError::at(Step::Mail, &error))?;
        self.mails += 1;
        Ok(())
    }

    /// Says goodbye. The server's reply does not matter.
    pub(super) async fn quit(mut self) {
        let _ = self.smtp.quit().await;
    }
}

/// Reads the greeting and sends EHLO.
async fn greet(stream: Box<dyn AsyncTokioStream>, client: &ClientId) -> Result<AsyncSmtpConnection, SmtpError> {
    let connected = AsyncSmtpConnection::connect_with_transport(stream, client).await;
    connected.map_err(|error| SmtpError::at(Step::Greeting, &error))
}

/// Sends STARTTLS, and returns the stream for the handshake.
///
/// lettre's own `starttls` keeps what it has read after the reply. An attacker on the network could thus add replies that
/// count as if they were encrypted. Here the client with its buffer is dropped, and the handshake reads from the socket.
async fn starttls(stream: TcpStream, peer: SocketAddr, client: &ClientId) -> Result<TcpStream, SmtpError> {
    let (stream, plain) = duplicate(stream).map_err(SmtpError::Connection)?;
    let mut smtp = greet(Box::new(Replies::new(plain, peer)), client).await?;
    if !smtp.server_info().supports_feature(Extension::StartTls) {
        return Err(SmtpError::NoStartTls);
    }
    smtp.command(Starttls).await.map_err(|error| SmtpError::at(Step::StartTls, &error))?;
    drop(smtp);
    TcpStream::from_std(stream).map_err(SmtpError::Connection)
}

/// Returns two handles of the same connection.
fn duplicate(stream: TcpStream) -> io::Result<(std::net::TcpStream, TcpStream)> {
    let stream = stream.into_std()?;
    let other = TcpStream::from_std(stream.try_clone()?)?;
    Ok((stream, other))
}

/// Returns the parameters of MAIL FROM. Addresses that are not ASCII need a server that supports SMTPUTF8 (RFC 6531).
fn parameters(smtp: &AsyncSmtpConnection, envelope: &Envelope) -> Result<Vec<MailParameter>, SmtpError> {
    let mut addresses = envelope.from().into_iter().chain(envelope.to());
    if addresses.all(|address| AsRef::<str>::as_ref(address).is_ascii()) {
        return Ok(Vec::new());
    }
    if !smtp.server_info().supports_feature(Extension::SmtpUtfEight) {
        return Err(SmtpError::NoSmtpUtf8);
    }
    Ok(vec![MailParameter::SmtpUtfEight, MailParameter::Body(MailBodyParameter::EightBitMime)])
}
