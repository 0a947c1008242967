//! [`Link`]: the template of the link in the mail.

use std::net::IpAddr;

use http::Uri;

use crate::error::Problem;
use crate::secret::ResetToken;

const PLACEHOLDER: &str = "{token}";

/// A URL with one or more placeholders for the token.
pub(super) struct Link {
    /// The text before, between and after the placeholders.
    pieces: Vec<String>,
    is_insecure: bool,
}

impl Link {
    /// Reads a link template. It must be `https`, unless its host is this machine: a token must not cross a network
    /// unencrypted. `allow_insecure` also accepts `http` to a private host.
    pub(super) fn parse(template: Option<String>, allow_insecure: bool) -> Result<Self, Problem> {
        let template = template.ok_or(Problem::NoLink)?;
        let Some((before_token, _)) = template.split_once(PLACEHOLDER) else {
            return Err(Problem::LinkWithoutToken { link: template });
        };
        // `Uri` refuses braces, so the token's placeholder is replaced. Only scheme and host are checked.
        let uri = template.replace(PLACEHOLDER, "token").parse::<Uri>().ok();
        let Some((scheme, authority)) = uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.authority()?))) else {
            return Err(Problem::LinkNotAbsolute { link: template });
        };
        // Text before an @ looks like the host but is not. A token within the host would be sent to name servers.
        let is_host = !authority.host().is_empty()
            && !authority.as_str().contains('@')
            && before_token.len() > scheme.len() + "://".len() + authority.as_str().len();
        let is_insecure = match scheme {
            "http" => !is_loopback(authority.host()),
            "https" => false,
            _ => return Err(Problem::LinkNotAbsolute { link: template }),
        };
        if !is_host {
            return Err(Problem::LinkNotAbsolute { link: template });
        }
        if is_insecure && !(allow_insecure && is_private(authority.host())) {
            return Err(Problem::LinkNotHttps { link: template });
        }
        Ok(Self { pieces: template.split(PLACEHOLDER).map(str::to_owned).collect(), is_insecure })
    }

    /// Returns whether the link is `http` to another machine.
    pub(super) fn is_insecure(&self) -> bool {
        self.is_insecure
    }

    /// Returns the link with this token. A token has no characters that need escaping in a URL.
    pub(super) fn with(&self, token: &ResetToken) -> ResetToken {
        ResetToken::new(self.pieces.join(token.expose()))
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || ip_address(host).is_some_and(|address| address.is_loopback())
}

/// Returns whether a host is on a private network by its name or number: `*.local` (RFC 6762), `*.internal` (reserved by
/// ICANN), a name of one label, or an address of RFC 1918 or RFC 4193.
fn is_private(host: &str) -> bool {
    match ip_address(host) {
        Some(IpAddr::V4(address)) => return address.is_private(),
        Some(IpAddr::V6(address)) => return address.is_unique_local(),
        None => {}
    }
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    host.split('.').all(is_label)
        && match host.rsplit_once('.') {
            Some((_, last)) => ["local", "internal"].iter().any(|private| last.eq_ignore_ascii_case(private)),
            // Browsers read a number, such as `134744072` or `0x08080808`, as a public IPv4 address.
            None => host.starts_with(|first: char| first.is_ascii_alphabetic()),
        }
}

/// Reads an IP address, in brackets if it is of version 6. An IPv4-mapped address counts as IPv4.
fn ip_address(host: &str) -> Option<IpAddr> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_and_loopback_links_are_accepted() {
        for link in [
            "https://app.example.com/reset-password#token={token}",
            "https://app.example.com/reset/{token}/",
            "https://app.example.com:8443/?t={token}",
            "http://localhost:3000/reset-password#token={token}",
            "http://127.0.0.1/{token}",
            "http://[::1]:3000/{token}",
            "https://app.example.com/{token}/?again={token}",
        ] {
            let made = Link::parse(Some(link.to_owned()), false).ok().unwrap().with(&ResetToken::new("a.b.c"));
            assert_eq!(made.expose(), link.replace("{token}", "a.b.c"));
        }
    }

    #[test]
    fn other_links_are_refused() {
        let problem = |link: &str| Link::parse(Some(link.to_owned()), false).err().unwrap();
        assert_eq!(Link::parse(None, false).err().unwrap(), Problem::NoLink);
        for link in ["https://app.example.com/reset", "", "https://app.example.com/{ token }"] {
            assert!(matches!(problem(link), Problem::LinkWithoutToken { .. }), "{link}");
        }
        for link in [
            "/reset/{token}",
            "app.example.com/{token}",
            "ftp://app.example.com/{token}",
            "{token}",
            "https:///{token}",
            "https://localhost@example.com/{token}",
            "https://{token}",
            "https://{token}.example.com/",
            "https://app.example.com{token}",
            "https://app.example.com:{token}/",
            "javascript:alert('{token}')",
        ] {
            assert!(matches!(problem(link), Problem::LinkNotAbsolute { .. }), "{link}");
        }
        for link in
            ["http://app.example.com/{token}", "http://localhost.example.com/{token}", "http://10.0.0.1/{token}"]
        {
            assert!(matches!(problem(link), Problem::LinkNotHttps { .. }), "{link}");
        }
    }

    const PRIVATE: [&str; 14] = [
        "192.168.1.5:3000",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255:8080",
        "[fd00::1]:3000",
        "[::ffff:192.168.1.5]",
        "printer.local",
        "My-Laptop.LOCAL:3000",
        "app.staging.internal",
        "intranet",
        "mail_host:8080",
        "localhost:3000",
        "127.0.0.1",
        "[::1]",
    ];

    const PUBLIC: [&str; 20] = [
        "app.example.com",
        "8.8.8.8",
        "172.32.0.1",
        "192.169.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "[2001:db8::1]",
        "[fe80::1]",
        "[::ffff:8.8.8.8]",
        "134744072",
        "0x08080808",
        "8.8.2056",
        "0x8.8.8.8",
        "local.example.com",
        "printer.local.example.com",
        "printer.notlocal",
        "printer.local.",
        ".local",
        "printer..local",
        "printer.internals",
    ];

    #[test]
    fn insecure_links_are_accepted_for_private_hosts_only() {
        let parse = |link: String, allow| Link::parse(Some(link), allow);
        for host in PRIVATE {
            let link = parse(format!("http://{host}/reset#token={{token}}"), true);
            let is_loopback = ["localhost:3000", "127.0.0.1", "[::1]"].contains(&host);
            assert_eq!(link.ok().map(|link| link.is_insecure()), Some(!is_loopback), "{host}");
            let by_default = parse(format!("http://{host}/{{token}}"), false).err();
            assert_eq!(matches!(by_default, Some(Problem::LinkNotHttps { .. })), !is_loopback, "{host}");
            let secure = parse(format!("https://{host}/{{token}}"), true);
            assert_eq!(secure.ok().map(|link| link.is_insecure()), Some(false), "{host}");
        }
        for host in PUBLIC {
            assert!(parse(format!("http://{host}/{{token}}"), true).is_err(), "{host}");
        }
        for link in ["http://{token}/", "http://{token}.local/", "http://printer.local@example.com/{token}"] {
            let problem = parse(link.to_owned(), true).err();
            assert!(matches!(problem, Some(Problem::LinkNotAbsolute { .. })), "{link}");
        }
    }
}
