//! Proxy headers: with arbitrary bytes, and with lists of proxies after a prefix from the client. The result is checked against
//! the addresses that the list was built from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use poem::http::header::FORWARDED;
use poem::http::{HeaderMap, HeaderName, HeaderValue};
use poem_password_reset::{PasswordReset, PasswordResetBuilder};

use crate::http::doubles::{builder, no_mail, people};
use crate::input::Input;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const CF_CONNECTING_IP: HeaderName = HeaderName::from_static("cf-connecting-ip");

/// The trusted proxies.
const PROXIES: [&str; 3] = ["10.0.0.0/8", "2001:db8:1::/48", "192.0.2.7"];

static TRUSTS_NO_PROXY: LazyLock<PasswordReset> = LazyLock::new(|| built(builder(people())));
static TRUSTS_PROXIES: LazyLock<PasswordReset> = LazyLock::new(|| built(builder(people()).trusted_proxies(PROXIES)));
static READS_ONE_HEADER: LazyLock<PasswordReset> =
    LazyLock::new(|| built(builder(people()).trusted_proxies(PROXIES).client_address_header("CF-Connecting-IP")));

fn built(builder: PasswordResetBuilder) -> PasswordReset {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the runtime starts");
    runtime.block_on(builder.on_reset_token_created(no_mail).build()).expect("the settings are complete")
}

/// Returns whether an address is in [`PROXIES`], with a separate implementation.
fn is_proxy(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.octets()[0] == 10 || address == Ipv4Addr::new(192, 0, 2, 7),
        IpAddr::V6(address) => address.segments()[..3] == [0x2001, 0xdb8, 1],
    }
}

fn client(reset: &PasswordReset, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let address = reset.client(Some(peer), headers).address().expect("a request with a peer has a client address");
    assert_eq!(address, address.to_canonical(), "the address is canonical");
    address
}

/// Headers from an untrusted peer are ignored, and a client behind trusted proxies cannot choose its address.
pub fn holds(input: &[u8]) {
    let mut input = Input::new(input);
    match input.digit(2) {
        0 => arbitrary_headers(&mut input),
        _ => list_of_proxies(&mut input),
    }
}

/// Each line of the input is one header line. Its first byte chooses the header.
fn arbitrary_headers(input: &mut Input<'_>) {
    let is_trusted = input.digit(4) != 0;
    let peer = address(input, is_trusted);
    let mut lines = Vec::new();
    while !input.is_empty() {
        let name = if input.digit(2) == 0 { X_FORWARDED_FOR } else { FORWARDED };
        lines.push((name, input.until(b'\n')));
    }
    let headers = headers_of(&lines);
    assert_eq!(TRUSTS_PROXIES.client(None, &headers).address(), None);
    assert_eq!(client(&TRUSTS_NO_PROXY, peer, &headers), peer.to_canonical());
    assert_eq!(
        client(&READS_ONE_HEADER, peer, &headers),
        peer.to_canonical(),
        "lists are ignored if a header is configured"
    );
    check_configured_header(is_trusted, peer, &lines);
    let found = client(&TRUSTS_PROXIES, peer, &headers);
    if !is_trusted {
        return assert_eq!(found, peer.to_canonical());
    }
    let written: Vec<IpAddr> = headers.values().flat_map(|value| addresses_in(value.as_bytes())).collect();
    assert!(found == peer.to_canonical() || written.contains(&found), "{found} is not in {headers:?}");

    // If all lines have the same header, the effect of an additional element is known.
    let Some((name, _)) = lines.first().filter(|(name, _)| headers.keys().all(|other| other == name)) else { return };
    let element = |address: &str| if *name == FORWARDED { format!("for=\"{address}\"") } else { address.to_owned() };
    let with = |before: &[u8], after: &[u8]| {
        let list = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b", "[..]);
        client(&TRUSTS_PROXIES, peer, &headers_of(&[(name.clone(), &[before, &list, after].concat())]))
    };
    assert_eq!(with(b"", b""), found, "lines of one header form one list");
    assert_eq!(with(b"", format!(", {}", element("198.51.100.77")).as_bytes()).to_string(), "198.51.100.77");
    if !is_proxy(found) {
        assert_eq!(
            with(b"", format!(", {}", element("10.9.9.9")).as_bytes()),
            found,
            "an additional trusted proxy changes nothing"
        );
        for before in [&b"203.0.113.66"[..], b"for=203.0.113.66", b"\xff", b"\"", b"for=\"203.0.113.66", b"\\", b",;="]
        {
            assert_eq!(with(&[before, b","].concat(), b""), found, "{:?} before it", String::from_utf8_lossy(before));
        }
    }
}

/// Sends the same lines in the configured header. It counts only as one line with one address from a trusted proxy.
fn check_configured_header(is_trusted: bool, peer: IpAddr, lines: &[(HeaderName, &[u8])]) {
    let lines: Vec<_> = lines.iter().map(|(_, value)| (CF_CONNECTING_IP, *value)).collect();
    let headers = headers_of(&lines);
    let found = client(&READS_ONE_HEADER, peer, &headers);
    let values: Vec<_> = headers.values().collect();
    let value = match values[..] {
        [value] if !value.as_bytes().contains(&b',') => value,
        _ => return assert_eq!(found, peer.to_canonical(), "{values:?}"),
    };
    let addresses: Vec<IpAddr> = addresses_in(value.as_bytes()).collect();
    assert!(found == peer.to_canonical() || is_trusted && addresses.contains(&found), "{found} is not in {value:?}");
    let named = value.to_str().ok().and_then(|text| text.parse::<IpAddr>().ok()).filter(|_| is_trusted);
    assert!(named.is_none_or(|named| found == named.to_canonical()), "{found} is not {value:?}");
}

fn headers_of(lines: &[(HeaderName, &[u8])]) -> HeaderMap {
    let line = |(name, value): &(HeaderName, &[u8])| Some((name.clone(), HeaderValue::from_bytes(value).ok()?));
    let mut headers = HeaderMap::new();
    for (name, value) in lines.iter().filter_map(line) {
        headers.append(name, value);
    }
    headers
}

/// Returns everything that can be parsed as an address, with or without a port.
fn addresses_in(text: &[u8]) -> impl Iterator<Item = IpAddr> {
    let words = text.split(|byte| !byte.is_ascii_hexdigit() && !b".:".contains(byte)).map(String::from_utf8_lossy);
    words
        .flat_map(|word| {
            let without_port = word.rsplit_once(':').map(|(address, _)| address.to_owned());
            [Some(word.into_owned()), without_port].into_iter().flatten().filter_map(|word| word.parse().ok())
        })
        .map(|address: IpAddr| address.to_canonical())
}

/// Builds a list from the right: trusted proxies, then a client that is not a proxy, then text from that client.
fn list_of_proxies(input: &mut Input<'_>) {
    let peer = address(input, true);
    let name = if input.digit(2) == 0 { X_FORWARDED_FOR } else { FORWARDED };
    let (mut list, mut expected, mut ended) = (Vec::new(), peer.to_canonical(), false);
    for _ in 0..input.digit(10) {
        let hop = match input.digit(8) {
            0 => None,
            1..4 => Some(address(input, false)),
            _ => Some(address(input, true)),
        };
        match hop {
            _ if ended => {}
            Some(address) => (expected, ended) = (address.to_canonical(), !is_proxy(address)),
            None => ended = true,
        }
        let element = if name == FORWARDED { forwarded_element(input, hop) } else { node(input, hop) };
        list.insert(0, element);
    }
    // The text from the client stays in front of the list.
    let mut list = list.join(if input.digit(2) == 0 { ", " } else { "," }).into_bytes();
    if ended {
        list = [input.rest(), b", ", &list].concat();
    }
    let headers = headers_of(&[(name, &list)]);
    if !list.is_empty() && !headers.is_empty() {
        let found = client(&TRUSTS_PROXIES, peer, &headers);
        assert_eq!(found, expected, "{}", String::from_utf8_lossy(&list));
    }
}

/// Returns an element of `Forwarded`: `for=` with other parameters, which may quote text from the client.
fn forwarded_element(input: &mut Input<'_>, hop: Option<IpAddr>) -> String {
    let quoted = |input: &mut Input<'_>| {
        let text = String::from_utf8_lossy(input.until(b'\n')).into_owned();
        let text = text.chars().filter(|letter| (' '..='~').contains(letter));
        let text: String =
            text.flat_map(|letter| ['"', '\\'].contains(&letter).then_some('\\').into_iter().chain([letter])).collect();
        format!("\"{text}\"")
    };
    let mut node = node(input, hop);
    if input.digit(2) == 0 || node.contains([':', '[', ']']) {
        node = format!("\"{node}\"");
    }
    let mut parameters = vec![format!("{}={node}", ["for", "For", "FOR", " for"][input.digit(4)])];
    for _ in 0..input.digit(4) {
        let parameter = match input.digit(4) {
            0 => "proto=https".to_owned(),
            1 => "by=203.0.113.43".to_owned(),
            2 => format!("host={}", quoted(input)),
            _ => format!("ext={}", quoted(input)),
        };
        parameters.insert(input.digit(4).min(parameters.len()), parameter);
    }
    parameters.join(if input.digit(2) == 0 { ";" } else { "; " })
}

/// Returns an address in a format that proxies use, or a text that is not an address.
fn node(input: &mut Input<'_>, hop: Option<IpAddr>) -> String {
    match (hop, input.digit(3)) {
        (None, which) => ["unknown", "_hidden", "203.0.113.256"][which].to_owned(),
        (Some(IpAddr::V6(address)), 1) => format!("[{address}]"),
        (Some(IpAddr::V6(address)), 2) => format!("[{address}]:4711"),
        (Some(IpAddr::V4(address)), 1) => format!("{address}:4711"),
        (Some(address), _) => address.to_string(),
    }
}

/// Returns an address that is in [`PROXIES`], or one that is not.
fn address(input: &mut Input<'_>, is_proxy: bool) -> IpAddr {
    let (kind, last) = (input.digit(4), input.byte());
    let v4 = |first: [u8; 3]| Ipv4Addr::from([first[0], first[1], first[2], last]);
    match (is_proxy, kind) {
        (true, 0) => v4([10, 0, 0]).into(),
        (true, 1) => Ipv4Addr::new(192, 0, 2, 7).into(),
        (true, 2) => v4([10, last, 0]).to_ipv6_mapped().into(),
        (true, _) => Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, last.into()).into(),
        (false, 0) => v4([203, 0, 113]).into(),
        (false, 1) => Ipv4Addr::new(192, 0, 2, 8).into(),
        (false, 2) => v4([198, 51, 100]).to_ipv6_mapped().into(),
        (false, _) => Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, last.into()).into(),
    }
}
