//! The URL of a mail server, parsed strictly.

use std::fmt;

use lettre::transport::smtp::authentication::Credentials;
use percent_encoding::percent_decode_str;
use thiserror::Error;
use url::{Host, Url};

/// How the connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encryption {
    None,
    /// Required: a server without STARTTLS gets no mail and no password.
    StartTls,
    /// TLS from the first byte (RFC 8314, section 3).
    Tls,
}

/// A mail server and the credentials for it. The `Debug` of [`Credentials`] shows neither name nor password.
#[derive(Debug)]
pub(super) struct Server {
    host: Host<String>,
    port: u16,
    encryption: Encryption,
    credentials: Option<Credentials>,
}

/// Why an [`SmtpTransport`](super::SmtpTransport) could not be set up. No variant repeats the URL: it may contain a password.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SmtpConfigError {
    /// The URL has another form.
    #[error(
        "expected smtp://[USER:PASSWORD@]HOST[:PORT] or smtps://[USER:PASSWORD@]HOST[:PORT], with USER and PASSWORD \
         percent-encoded"
    )]
    Malformed,
    /// One of user and password is missing.
    #[error("USER and PASSWORD must both be present or both be missing")]
    IncompleteCredentials,
    /// The URL has a path, a fragment, or a query other than `?tls=none` and `?tls=required`. An ignored option could be one
    /// that requires encryption.
    #[error("nothing may follow the port but ?tls=none or ?tls=required, after smtp://")]
    Options,
    /// The certificate is not in PEM format.
    #[error("the root certificate is not valid: expected one or more certificates in PEM format")]
    Certificate,
}

impl Server {
    pub(super) fn parse(url: &str) -> Result<Self, SmtpConfigError> {
        let url = Url::parse(url).map_err(|_| SmtpConfigError::Malformed)?;
        let is_smtps = match url.scheme() {
            "smtp" => false,
            "smtps" => true,
            _ => return Err(SmtpConfigError::Malformed),
        };
        let host = url.host().map(|host| host.to_owned()).filter(is_host).ok_or(SmtpConfigError::Malformed)?;
        if url.port() == Some(0) {
            return Err(SmtpConfigError::Malformed);
        }
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(SmtpConfigError::Options);
        }
        let encryption = match (is_smtps, url.query()) {
            (true, None) => Encryption::Tls,
            (false, Some("tls=none")) => Encryption::None,
            (false, Some("tls=required")) => Encryption::StartTls,
            (false, None) if is_this_machine(&host) => Encryption::None,
            (false, None) => Encryption::StartTls,
            _ => return Err(SmtpConfigError::Options),
        };
        let port = url.port().unwrap_or(match encryption {
            Encryption::None => 25,
            // Submission (RFC 6409), and submissions (RFC 8314).
            Encryption::StartTls => 587,
            Encryption::Tls => 465,
        });
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            ("", Some(_)) | (_, None | Some("")) => return Err(SmtpConfigError::IncompleteCredentials),
            (user, Some(password)) => Some(Credentials::new(decode(user)?, decode(password)?)),
        };
        Ok(Self { host, port, encryption, credentials })
    }

    /// Returns the host: a name, or an address without brackets.
    pub(super) fn host(&self) -> String {
        match &self.host {
            Host::Domain(name) => name.clone(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn encryption(&self) -> Encryption {
        self.encryption
    }

    pub(super) fn is_this_machine(&self) -> bool {
        is_this_machine(&self.host)
    }

    pub(super) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }
}

/// Shows host and port, for pages and the log.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Checks the characters of a host. The URL parser accepts nearly any host for a scheme that it does not know.
fn is_host(host: &Host<String>) -> bool {
    let Host::Domain(name) = host else { return true };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    name.starts_with(|first: char| first.is_ascii_alphanumeric()) && name.bytes().all(is_name)
}

/// Returns whether connections to a host stay on this machine. The URL parser leaves the address in `smtp://127.0.0.1` a
/// name, because it does not know the scheme.
fn is_this_machine(host: &Host<String>) -> bool {
    match host {
        Host::Domain(name) => {
            name.eq_ignore_ascii_case("localhost")
                || name.parse().is_ok_and(|address: std::net::Ipv4Addr| address.is_loopback())
        }
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.to_canonical().is_loopback(),
    }
}

/// Decodes percent-encoding and rejects control characters: NUL separates user and password in AUTH PLAIN.
fn decode(text: &str) -> Result<String, SmtpConfigError> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| SmtpConfigError::Malformed)?;
    if text.chars().any(char::is_control) { Err(SmtpConfigError::Malformed) } else { Ok(text.into_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_with_host_port_and_credentials_is_parsed() {
        for (url, host, shown, encryption) in [
            ("smtp://localhost", "localhost", "localhost:25", Encryption::None),
            ("smtp://localhost/", "localhost", "localhost:25", Encryption::None),
            ("SMTP://mail.example.com:2525", "mail.example.com", "mail.example.com:2525", Encryption::StartTls),
            ("smtp://127.0.0.1:2525", "127.0.0.1", "127.0.0.1:2525", Encryption::None),
            ("smtp://[::1]:2525", "::1", "[::1]:2525", Encryption::None),
            ("smtp://[::ffff:127.0.0.1]", "::ffff:127.0.0.1", "[::ffff:7f00:1]:25", Encryption::None),
            // Everything else is encrypted, unless the URL says otherwise.
            ("smtp://localhost?tls=required", "localhost", "localhost:587", Encryption::StartTls),
            ("smtp://mail.example.com", "mail.example.com", "mail.example.com:587", Encryption::StartTls),
            (
                "smtp://localhost.example.com",
                "localhost.example.com",
                "localhost.example.com:587",
                Encryption::StartTls,
            ),
            ("smtp://192.0.2.7", "192.0.2.7", "192.0.2.7:587", Encryption::StartTls),
            ("smtp://10.0.0.1?tls=none", "10.0.0.1", "10.0.0.1:25", Encryption::None),
            ("smtp://mail.example.com/?tls=none", "mail.example.com", "mail.example.com:25", Encryption::None),
            ("smtps://mail.example.com", "mail.example.com", "mail.example.com:465", Encryption::Tls),
            ("smtps://localhost:2465", "localhost", "localhost:2465", Encryption::Tls),
        ] {
            let server = Server::parse(url).unwrap();
            assert_eq!((server.host().as_str(), server.to_string().as_str()), (host, shown));
            assert_eq!(server.encryption(), encryption, "{url}");
            assert!(server.credentials().is_none());
        }
        let server = Server::parse("smtp://ann%40example.com:p%3Aw%2Fd@localhost:2525").unwrap();
        let expected = Credentials::new("ann@example.com".to_owned(), "p:w/d".to_owned());
        assert!(server.credentials() == Some(&expected));
    }

    #[test]
    fn other_urls_are_rejected() {
        use SmtpConfigError as Error;
        for (url, expected) in [
            ("", Error::Malformed),
            ("localhost:25", Error::Malformed),
            ("http://localhost", Error::Malformed),
            ("smtp:localhost", Error::Malformed),
            ("smtp://", Error::Malformed),
            ("smtp://:25", Error::Malformed),
            ("smtp://user:hunter2@", Error::Malformed),
            ("smtp://user:hunter2@:25", Error::Malformed),
            ("smtp://local host", Error::Malformed),
            ("smtp://local%20host", Error::Malformed),
            ("smtp://-localhost", Error::Malformed),
            ("smtp://localhost:0", Error::Malformed),
            ("smtp://localhost:65536", Error::Malformed),
            ("smtp://localhost:port", Error::Malformed),
            ("smtp://user:hunter#2@localhost", Error::Malformed),
            ("smtp://user:hunter2%00@localhost", Error::Malformed),
            ("smtp://user:hunter2%FF@localhost", Error::Malformed),
            ("smtp://user@localhost", Error::IncompleteCredentials),
            ("smtp://user:@localhost", Error::IncompleteCredentials),
            ("smtp://:hunter2@localhost", Error::IncompleteCredentials),
            ("smtp://localhost:25/mail", Error::Options),
            ("smtp://localhost:25?tls=opportunistic", Error::Options),
            ("smtp://localhost:25?tls=none&tls=required", Error::Options),
            ("smtp://localhost:25?TLS=none", Error::Options),
            ("smtp://localhost:25?", Error::Options),
            ("smtps://localhost?tls=none", Error::Options),
            ("smtps://localhost?tls=required", Error::Options),
            ("smtp://localhost:25#x", Error::Options),
        ] {
            let error = Server::parse(url).map(|server| server.to_string()).unwrap_err();
            assert_eq!(error, expected, "{url}");
            assert!(!error.to_string().contains("hunter"));
        }
    }

    #[test]
    fn debug_and_display_hide_the_credentials() {
        let server = Server::parse("smtp://theuser:hunter2@localhost:2525").unwrap();
        for shown in [format!("{server:?}"), format!("{server:#?}"), server.to_string()] {
            assert!(shown.contains("localhost") && !shown.contains("hunter2") && !shown.contains("theuser"), "{shown}");
        }
    }
}
