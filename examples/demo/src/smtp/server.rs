//! The URL of a mail server, parsed strictly.

use std::fmt;

use lettre::transport::smtp::authentication::Credentials;
use percent_encoding::percent_decode_str;
use thiserror::Error;
use url::{Host, Url};

/// A mail server and the credentials for it. The `Debug` of [`Credentials`] shows neither name nor password.
#[derive(Debug)]
pub(crate) struct Server {
    host: Host<String>,
    port: u16,
    credentials: Option<Credentials>,
}

/// Why a URL was rejected. No variant repeats the URL: it may contain a password.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum ServerError {
    #[error("expected smtp://[USER:PASSWORD@]HOST[:PORT], with USER and PASSWORD percent-encoded")]
    Malformed,
    #[error("smtps is SMTP over TLS, which the demo does not support; use smtp://, which is not encrypted")]
    Tls,
    #[error("USER and PASSWORD must both be present or both be missing")]
    IncompleteCredentials,
    #[error("nothing may follow the port: TLS and other options are not supported")]
    Options,
}

impl Server {
    pub(crate) fn parse(url: &str) -> Result<Self, ServerError> {
        let url = Url::parse(url).map_err(|_| ServerError::Malformed)?;
        match url.scheme() {
            "smtp" => {}
            "smtps" => return Err(ServerError::Tls),
            _ => return Err(ServerError::Malformed),
        }
        let host = url.host().map(|host| host.to_owned()).filter(is_host).ok_or(ServerError::Malformed)?;
        let port = url.port().unwrap_or(25);
        // An ignored option could be one that requires encryption.
        if port == 0 || !matches!(url.path(), "" | "/") {
            return Err(if port == 0 { ServerError::Malformed } else { ServerError::Options });
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(ServerError::Options);
        }
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            ("", Some(_)) | (_, None | Some("")) => return Err(ServerError::IncompleteCredentials),
            (user, Some(password)) => Some(Credentials::new(decode(user)?, decode(password)?)),
        };
        Ok(Self { host, port, credentials })
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

    pub(super) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }
}

/// Shows host and port, for the page and the log.
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

/// Decodes percent-encoding and rejects control characters: NUL separates user and password in AUTH PLAIN.
fn decode(text: &str) -> Result<String, ServerError> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| ServerError::Malformed)?;
    if text.chars().any(char::is_control) { Err(ServerError::Malformed) } else { Ok(text.into_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_with_host_port_and_credentials_is_parsed() {
        for (url, host, shown) in [
            ("smtp://localhost", "localhost", "localhost:25"),
            ("smtp://localhost/", "localhost", "localhost:25"),
            ("SMTP://mail.example.com:587", "mail.example.com", "mail.example.com:587"),
            ("smtp://127.0.0.1:2525", "127.0.0.1", "127.0.0.1:2525"),
            ("smtp://[::1]:2525", "::1", "[::1]:2525"),
        ] {
            let server = Server::parse(url).unwrap();
            assert_eq!((server.host().as_str(), server.to_string().as_str()), (host, shown));
            assert!(server.credentials().is_none());
        }
        let server = Server::parse("smtp://ann%40example.com:p%3Aw%2Fd@localhost:2525").unwrap();
        let expected = Credentials::new("ann@example.com".to_owned(), "p:w/d".to_owned());
        assert!(server.credentials() == Some(&expected));
    }

    #[test]
    fn other_urls_are_rejected() {
        for (url, expected) in [
            ("", ServerError::Malformed),
            ("localhost:25", ServerError::Malformed),
            ("http://localhost", ServerError::Malformed),
            ("smtps://localhost", ServerError::Tls),
            ("smtp:localhost", ServerError::Malformed),
            ("smtp://", ServerError::Malformed),
            ("smtp://:25", ServerError::Malformed),
            ("smtp://user:hunter2@", ServerError::Malformed),
            ("smtp://user:hunter2@:25", ServerError::Malformed),
            ("smtp://local host", ServerError::Malformed),
            ("smtp://local%20host", ServerError::Malformed),
            ("smtp://-localhost", ServerError::Malformed),
            ("smtp://localhost:0", ServerError::Malformed),
            ("smtp://localhost:65536", ServerError::Malformed),
            ("smtp://localhost:port", ServerError::Malformed),
            ("smtp://user:hunter#2@localhost", ServerError::Malformed),
            ("smtp://user:hunter2%00@localhost", ServerError::Malformed),
            ("smtp://user:hunter2%FF@localhost", ServerError::Malformed),
            ("smtp://user@localhost", ServerError::IncompleteCredentials),
            ("smtp://user:@localhost", ServerError::IncompleteCredentials),
            ("smtp://:hunter2@localhost", ServerError::IncompleteCredentials),
            ("smtp://localhost:25/mail", ServerError::Options),
            ("smtp://localhost:25?tls=required", ServerError::Options),
            ("smtp://localhost:25#x", ServerError::Options),
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
