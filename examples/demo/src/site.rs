//! The base URL of the links in mails.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;
use url::{Host, Url};

/// Why a text is not a usable base URL. No variant repeats the text: a pasted URL may contain a password.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum SiteError {
    #[error("expected https://HOST[:PORT], or http://HOST[:PORT] for localhost and loopback addresses")]
    NotAnAddress,
    #[error("http is only allowed for localhost and loopback addresses, use https: links in mails contain a secret")]
    NotHttps,
    #[error("a user or password before the host is not allowed")]
    Credentials,
    #[error("nothing may follow the host and port: the pages of the demo are at the root of their host")]
    Path,
}

/// Parses the address of the demo in browsers, and returns it without a slash at its end.
pub(crate) fn public(text: &str) -> Result<String, SiteError> {
    // The URL parser would remove white space. In a flag it is a mistake.
    if text.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return Err(SiteError::NotAnAddress);
    }
    let url = Url::parse(text).map_err(|_| SiteError::NotAnAddress)?;
    let host = url.host().filter(|host| *host != Host::Domain("")).ok_or(SiteError::NotAnAddress)?;
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&host) => {}
        "http" => return Err(SiteError::NotHttps),
        _ => return Err(SiteError::NotAnAddress),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(SiteError::Credentials);
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(SiteError::Path);
    }
    Ok(url.origin().ascii_serialization())
}

/// Returns `true` for the hosts to which the library allows http links.
fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    }
}

/// Returns `true` if links to a server that listens on this address lead to this machine.
pub(crate) fn is_this_machine(address: IpAddr) -> bool {
    address.is_loopback() || address.is_unspecified()
}

/// Returns the URL at which a browser on this machine reaches a server that listens on `address`.
pub(crate) fn local(address: SocketAddr) -> String {
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(host, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_url_of_an_unspecified_address_is_loopback() {
        for (address, expected) in [
            ("127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("[::]:3000", "http://[::1]:3000"),
            ("[::1]:3000", "http://[::1]:3000"),
        ] {
            assert_eq!(local(address.parse().unwrap()), expected);
        }
    }

    #[test]
    fn public_url_with_https_or_loopback_host_is_accepted() {
        for (text, expected) in [
            ("https://reset.example.com", "https://reset.example.com"),
            ("https://Reset.Example.com/", "https://reset.example.com"),
            ("https://reset.example.com:8443/", "https://reset.example.com:8443"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("https://192.0.2.7", "https://192.0.2.7"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://127.0.0.1:3000/", "http://127.0.0.1:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
        ] {
            assert_eq!(public(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn other_public_urls_are_rejected() {
        for (text, expected) in [
            ("", SiteError::NotAnAddress),
            ("reset.example.com", SiteError::NotAnAddress),
            ("reset.example.com:443", SiteError::NotAnAddress),
            ("//reset.example.com", SiteError::NotAnAddress),
            ("https://", SiteError::NotAnAddress),
            ("ftp://localhost", SiteError::NotAnAddress),
            ("javascript:alert(1)", SiteError::NotAnAddress),
            ("https://reset.example.com\n", SiteError::NotAnAddress),
            ("https://reset .example.com", SiteError::NotAnAddress),
            ("http://reset.example.com", SiteError::NotHttps),
            ("http://localhost.example.com", SiteError::NotHttps),
            ("http://192.168.1.5:3000", SiteError::NotHttps),
            ("http://localhost@example.com", SiteError::NotHttps),
            ("https://ann@example.com", SiteError::Credentials),
            ("https://:hunter2@example.com", SiteError::Credentials),
            ("https://example.com/accounts", SiteError::Path),
            ("https://example.com/?", SiteError::Path),
            ("https://example.com/#", SiteError::Path),
        ] {
            assert_eq!(public(text), Err(expected), "{text}");
        }
    }
}
