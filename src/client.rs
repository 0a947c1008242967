//! [`Client`]: the sender of an HTTP request, also behind proxies.

mod warning;

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName, USER_AGENT};
use ipnet::IpNet;

use self::warning::ProxyWarning;

/// Maximum length of a stored `User-Agent`, in characters.
const MAX_USER_AGENT_CHARS: usize = 256;

pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The sender of an HTTP request: its address and user agent.
///
/// The address is as reliable as the [trusted proxies](crate::PasswordResetBuilder::trusted_proxies). The user agent is
/// text that the client chose. An operation called from code has neither.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    address: Option<IpAddr>,
    user_agent: Option<Box<str>>,
}

impl Client {
    /// Creates a client. An IPv4 address mapped into IPv6 becomes the IPv4 address. The user agent loses its control
    /// characters and is cut to 256 characters.
    pub fn new(address: Option<IpAddr>, user_agent: Option<&str>) -> Self {
        let clean = |text: &str| -> Box<str> {
            text.chars().filter(|letter| !letter.is_control()).take(MAX_USER_AGENT_CHARS).collect()
        };
        Self { address: address.map(|address| address.to_canonical()), user_agent: user_agent.map(clean) }
    }

    /// Returns a client without address and user agent, for operations called from code.
    pub fn none() -> Self {
        Self::default()
    }

    /// Returns the client of a request from `peer` with these headers.
    pub(crate) fn of_request(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &TrustedProxies) -> Self {
        let user_agent = headers.get(USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
        Self::new(trusted.client_of(peer, headers), user_agent.as_deref())
    }

    /// Returns the address, if it is known.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Returns the user agent that the client sent, without control characters and cut to 256 characters.
    pub fn user_agent(&self) -> Option<&str> {
        self.user_agent.as_deref()
    }
}

/// The proxies whose headers name the address of the client, and the header to read.
#[derive(Debug)]
pub(crate) struct TrustedProxies {
    networks: Vec<IpNet>,
    /// A header that holds one address. `None` reads `X-Forwarded-For` and `Forwarded`.
    header: Option<HeaderName>,
    warning: ProxyWarning,
}

impl TrustedProxies {
    pub(crate) fn new(networks: Vec<IpNet>, header: Option<HeaderName>) -> Self {
        Self { networks, header, warning: ProxyWarning::new() }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Returns the address that the peer names if the peer is a trusted proxy, else the peer. Warns if a setting seems to be
    /// missing.
    fn client_of(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Option<IpAddr> {
        let (peer, header) = (peer?.to_canonical(), self.header.as_ref());
        if !self.trusts(peer) {
            self.warning.untrusted(peer, headers, header);
            return Some(peer);
        }
        let named = match header {
            Some(header) => only_address(headers, header),
            None => self.address_in_lists(peer, headers),
        };
        Some(named.unwrap_or_else(|| {
            self.warning.unnamed(peer, headers, header);
            peer
        }))
    }

    /// Returns the rightmost address in `X-Forwarded-For` or `Forwarded` that is not a trusted proxy, because any client can
    /// write the addresses further left. Returns `None` without such a header.
    fn address_in_lists(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        let x_forwarded_for = list_of(headers, &X_FORWARDED_FOR)
            .map(|list| self.rightmost_untrusted(peer, list.rsplit(',').map(parse_address)));
        let forwarded = list_of(headers, &FORWARDED).map(|list| {
            self.rightmost_untrusted(peer, rsplit_unquoted(&list, b',').map(|element| parse_forwarded(element?)))
        });
        match (x_forwarded_for, forwarded) {
            (None, None) => None,
            (Some(address), None) | (None, Some(address)) => Some(address),
            // A proxy writes one of the two headers and may forward the other one as the client sent it. If they differ, either
            // can be forged, so the address of the proxy counts.
            (Some(one), Some(other)) => Some(if one == other { one } else { peer }),
        }
    }

    fn rightmost_untrusted(&self, peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>) -> IpAddr {
        let mut nearest = peer;
        for hop in hops {
            // An unreadable element ends the chain. The last address before it counts.
            let Some(address) = hop else { break };
            nearest = address;
            if !self.trusts(address) {
                break;
            }
        }
        nearest
    }
}

/// Returns the address in the header `name`. Returns `None` unless there is exactly one such header with exactly one address: a
/// client may have added a second one, and the two cannot be distinguished.
fn only_address(headers: &HeaderMap, name: &HeaderName) -> Option<IpAddr> {
    let mut lines = headers.get_all(name).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    parse_address(line.to_str().ok()?)
}

/// Joins the lines of the header `name` into one list (RFC 9110, section 5.3). A byte that is not UTF-8 makes only its own element
/// unreadable. Otherwise a client could send one to be counted as the proxy.
fn list_of(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines = headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned());
    lines.reduce(|list, line| list + "," + &line)
}

/// Splits `text` at each separator outside of quotes, from the right. Yields `None` for an element with an unclosed quote.
///
/// Quotes matter because a proxy quotes the `Host` that the client chose. The split starts at the right so that a quote
/// which the client left open, further left, does not affect the elements of the proxy.
fn rsplit_unquoted(text: &str, separator: u8) -> impl Iterator<Item = Option<&str>> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let is_escaped = |at: usize| text[..at].bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
        let mut quoted = false;
        let found = text.bytes().enumerate().rev().find(|(at, byte)| {
            quoted ^= *byte == b'"' && !is_escaped(*at);
            *byte == separator && !quoted
        });
        rest = found.map(|(at, _)| &text[..at]);
        Some((!quoted).then(|| found.map_or(text, |(at, _)| &text[at + 1..])))
    })
}

/// Parses `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:4711`.
fn parse_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse().ok().map(|socket: SocketAddr| socket.ip()))?;
    Some(IpAddr::to_canonical(&address))
}

/// Parses an element of `Forwarded` (RFC 7239, section 4): `for="[2001:db8::1]:4711";proto=https`, with exactly one `for`.
fn parse_forwarded(element: &str) -> Option<IpAddr> {
    let parameters = rsplit_unquoted(element, b';').filter_map(|parameter| parameter?.split_once('='));
    let mut nodes = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    let (Some((_, node)), None) = (nodes.next(), nodes.next()) else { return None };
    let node = node.trim();
    parse_address(node.strip_prefix('"').and_then(|node| node.strip_suffix('"')).unwrap_or(node))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn client(peer: &str, trusted: &[&str], headers: &[(&str, &str)]) -> String {
        client_with_header(None, peer, trusted, headers)
    }

    fn client_with_header(header: Option<&str>, peer: &str, trusted: &[&str], headers: &[(&str, &str)]) -> String {
        let networks = trusted.iter().map(|network| network.parse().unwrap()).collect();
        let trusted = TrustedProxies::new(networks, header.map(|name| name.parse().unwrap()));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        Client::of_request(Some(peer.parse().unwrap()), &map, &trusted).address().unwrap().to_string()
    }

    #[test]
    fn forwarding_headers_of_untrusted_peers_are_ignored() {
        for headers in [
            ("X-Forwarded-For", "203.0.113.9"),
            ("Forwarded", "for=203.0.113.9"),
            ("X-Real-IP", "203.0.113.9"),
            ("X-Client-IP", "203.0.113.9"),
        ] {
            assert_eq!(client("198.51.100.1", &[], &[headers]), "198.51.100.1");
            assert_eq!(client("198.51.100.1", &["10.0.0.0/8"], &[headers]), "198.51.100.1");
        }
        assert_eq!(client("10.0.0.1", &["10.0.0.0/8"], &[("X-Real-IP", "203.0.113.9")]), "10.0.0.1");
    }

    #[test]
    fn rightmost_untrusted_address_behind_trusted_proxies_is_the_client() {
        let trusted = ["10.0.0.0/8", "2001:db8:1::/48"];
        for (headers, address) in [
            (&[("X-Forwarded-For", "203.0.113.9")][..], "203.0.113.9"),
            (&[("X-Forwarded-For", "1.1.1.1, 203.0.113.9, 10.0.0.2")], "203.0.113.9"),
            (&[("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "203.0.113.9")], "203.0.113.9"),
            (&[("X-Forwarded-For", "203.0.113.9:4711")], "203.0.113.9"),
            (&[("X-Forwarded-For", "::ffff:203.0.113.9")], "203.0.113.9"),
            (&[("X-Forwarded-For", "[2001:db8::9]:4711, 2001:db8:1::1")], "2001:db8::9"),
            (&[("X-Forwarded-For", "203.0.113.9, not an address, 10.0.0.2")], "10.0.0.2"),
            (&[("X-Forwarded-For", "")], "10.0.0.1"),
            (&[("X-Forwarded-For", "10.0.0.3, 10.0.0.2")], "10.0.0.3"),
            (&[("Forwarded", "for=1.1.1.1, for=203.0.113.9;proto=https")], "203.0.113.9"),
            (&[("Forwarded", "proto=https;For=\"[2001:db8::9]:4711\"")], "2001:db8::9"),
            (&[("Forwarded", "for=unknown")], "10.0.0.1"),
            (&[("Forwarded", "for=_hidden, for=10.0.0.2")], "10.0.0.2"),
            (&[("Forwarded", "for=203.0.113.9"), ("X-Forwarded-For", "203.0.113.9")], "203.0.113.9"),
            (&[("Forwarded", "for=1.1.1.1"), ("X-Forwarded-For", "203.0.113.9")], "10.0.0.1"),
        ] {
            assert_eq!(client("10.0.0.1", &trusted, headers), address, "{headers:?}");
        }
        assert_eq!(client("::ffff:10.0.0.1", &trusted, &[("X-Forwarded-For", "203.0.113.9")]), "203.0.113.9");
    }

    /// A proxy quotes the `Host` that the client chose, and appends to a list that the client began.
    #[test]
    fn address_written_by_the_client_is_ignored() {
        for header in [
            ("Forwarded", r#"for=203.0.113.9;host="a, for=1.1.1.1""#),
            ("Forwarded", r#"for=203.0.113.9;host="a, for=1.1.1.1, b";proto=https, for=10.0.0.2;host="c,d""#),
            ("Forwarded", r#"for=203.0.113.9;host="a\", for=1.1.1.1""#),
            ("Forwarded", r#"for=203.0.113.9;host="\\""#),
            ("Forwarded", r#"host="a;for=1.1.1.1";for=203.0.113.9"#),
            ("Forwarded", r#"host="a;for=1.1.1.1;b=\"";for=203.0.113.9"#),
            ("Forwarded", r#"for="1.1.1.1, for=203.0.113.9"#),
            ("Forwarded", r#"for="1.1.1.1, for="203.0.113.9", for="10.0.0.2""#),
            ("Forwarded", "for=\u{e9}, for=203.0.113.9"),
            ("X-Forwarded-For", "\u{e9}, 203.0.113.9, 10.0.0.2"),
            ("X-Forwarded-For", "\", 203.0.113.9"),
        ] {
            assert_eq!(client("10.0.0.1", &["10.0.0.0/8"], &[header]), "203.0.113.9", "{header:?}");
        }
        for header in [
            ("Forwarded", "for=1.1.1.1;for=203.0.113.9"),
            ("Forwarded", r#"for=203.0.113.9, for="1.1.1.1"#),
            ("Forwarded", r#"for=203.0.113.9, for=1.1.1.1""#),
            ("Forwarded", "for=\u{e9}"),
        ] {
            assert_eq!(client("10.0.0.1", &["10.0.0.0/8"], &[header]), "10.0.0.1", "{header:?} is unreadable");
        }
    }

    #[test]
    fn configured_header_of_a_trusted_proxy_names_the_client() {
        let client = |peer: &str, headers: &[(&str, &str)]| {
            client_with_header(Some("CF-Connecting-IP"), peer, &["10.0.0.0/8", "2001:db8:1::/48"], headers)
        };
        for (value, address) in [
            ("203.0.113.9", "203.0.113.9"),
            (" 203.0.113.9 ", "203.0.113.9"),
            ("203.0.113.9:4711", "203.0.113.9"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("2001:db8::9", "2001:db8::9"),
            ("[2001:db8::9]:4711", "2001:db8::9"),
        ] {
            for peer in ["10.0.0.1", "::ffff:10.0.0.1", "2001:db8:1::1"] {
                assert_eq!(client(peer, &[("cf-connecting-ip", value)]), address, "{peer} {value}");
            }
            assert_eq!(client("198.51.100.1", &[("CF-Connecting-IP", value)]), "198.51.100.1", "not trusted");
        }
    }

    #[test]
    fn configured_header_without_exactly_one_address_makes_the_proxy_the_client() {
        let client = |headers: &[(&str, &str)]| {
            client_with_header(Some("CF-Connecting-IP"), "10.0.0.1", &["10.0.0.0/8"], headers)
        };
        for value in [
            "",
            "203.0.113.9, 203.0.113.10",
            "203.0.113.9,",
            "203.0.113.9 203.0.113.10",
            "203.0.113",
            "203.0.113.9/32",
            "unknown",
            "for=203.0.113.9",
            "\"203.0.113.9\"",
            "203.0.113.9\u{e9}",
            "fe80::1%eth0",
        ] {
            assert_eq!(client(&[("CF-Connecting-IP", value)]), "10.0.0.1", "{value:?}");
        }
        let [one, same] = [("CF-Connecting-IP", "203.0.113.9"); 2];
        assert_eq!(client(&[one, same]), "10.0.0.1", "two values, equal or not");
        assert_eq!(client(&[]), "10.0.0.1");
        // The proxy may forward lists that the client sent.
        for other in ["X-Forwarded-For", "X-Real-IP"] {
            assert_eq!(client(&[(other, "203.0.113.7")]), "10.0.0.1", "{other} is not read");
            assert_eq!(client(&[one, (other, "203.0.113.7")]), "203.0.113.9");
        }
        assert_eq!(client(&[one, ("Forwarded", "for=203.0.113.7")]), "203.0.113.9");
    }

    #[test]
    fn user_agent_loses_control_characters_and_is_cut() {
        let client = Client::new(None, Some(&("a\r\nb\u{7}".to_owned() + &"x".repeat(1000))));
        let agent = client.user_agent().unwrap();
        assert!(agent.starts_with("abx") && agent.chars().count() == MAX_USER_AGENT_CHARS);
    }
}
