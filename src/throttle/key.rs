//! [`ThrottleKey`]: the name of a counter.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use super::Scope;

/// The namespace of the library's keys, unless the builder sets another.
pub(crate) const DEFAULT_NAMESPACE: &str = "password-reset";

/// The longest namespace in bytes: long enough for the name of a service, and an index of keys stays small.
const MAX_NAMESPACE_BYTES: usize = 64;

/// The name of a counter: a namespace, a purpose, and a client or the MAC of an email address.
///
/// The namespace separates services that share one throttle, for example one Redis server. The library's own keys have
/// the namespace of [`throttle_namespace`](crate::PasswordResetBuilder::throttle_namespace) and the purposes `request`,
/// `mail`, `validate` and `confirm`. A key holds no email address.
///
/// [`Display`](fmt::Display) writes the key as text, for stores whose keys are text:
///
/// | key of | text |
/// | --- | --- |
/// | an IPv4 client | `password-reset/request/192.0.2.7` |
/// | an IPv6 client | `password-reset/validate/2001:db8:1:2::/64` |
/// | all clients whose address is not known | `password-reset/confirm/unknown` |
/// | an email address | `password-reset/mail/` and 32 hexadecimal digits |
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ThrottleKey {
    namespace: Cow<'static, str>,
    purpose: &'static str,
    subject: Subject,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Subject {
    Unknown,
    Ipv4(Ipv4Addr),
    /// The first half of an IPv6 address.
    Ipv6(u64),
    /// The first half of a MAC.
    Address(u128),
}

impl ThrottleKey {
    /// Creates the key of a client, for a quota of the application's own.
    ///
    /// An IPv6 client is a /64 network. An IPv4-mapped IPv6 address is the same client as the IPv4 address. All clients
    /// whose address is `None` are one client. Neither `namespace` nor `purpose` should contain a `/`, so that different
    /// keys have different texts.
    ///
    /// ```
    /// use poem_password_reset::throttle::ThrottleKey;
    ///
    /// let key = ThrottleKey::of_client("shop", "login", "192.0.2.7".parse().ok());
    /// assert_eq!(key.to_string(), "shop/login/192.0.2.7");
    /// ```
    pub fn of_client(namespace: impl Into<Cow<'static, str>>, purpose: &'static str, address: Option<IpAddr>) -> Self {
        let subject = match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => Subject::Ipv4(address),
            Some(IpAddr::V6(address)) => Subject::Ipv6((address.to_bits() >> 64) as u64),
            None => Subject::Unknown,
        };
        Self { namespace: namespace.into(), purpose, subject }
    }

    /// Creates the key of an email address from its MAC. Without the MAC's key the address cannot be computed from it.
    pub(crate) fn of_address(namespace: impl Into<Cow<'static, str>>, mac: &[u8; 32]) -> Self {
        let half: [u8; 16] = std::array::from_fn(|index| mac[index]);
        let subject = Subject::Address(u128::from_be_bytes(half));
        Self { namespace: namespace.into(), purpose: Scope::Mail.name(), subject }
    }
}

impl fmt::Display for ThrottleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/", self.namespace, self.purpose)?;
        match self.subject {
            Subject::Unknown => f.write_str("unknown"),
            Subject::Ipv4(address) => write!(f, "{address}"),
            Subject::Ipv6(network) => {
                let [a, b, c, d] = [48, 32, 16, 0].map(|shift| network >> shift & 0xffff);
                write!(f, "{a:x}:{b:x}:{c:x}:{d:x}::/64")
            }
            Subject::Address(mac) => write!(f, "{mac:032x}"),
        }
    }
}

/// Returns whether a text can be the namespace of the builder. Without `/`, white space and control characters it stays
/// one part of a key's text in every store.
pub(crate) fn is_namespace(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=MAX_NAMESPACE_BYTES).contains(&text.len()) && text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(address: &str) -> String {
        ThrottleKey::of_client("a", "request", Some(address.parse().unwrap())).to_string()
    }

    #[test]
    fn client_is_an_ipv4_address_or_an_ipv6_64() {
        assert_eq!(text("192.0.2.7"), "a/request/192.0.2.7");
        assert_eq!(text("::ffff:192.0.2.7"), text("192.0.2.7"));
        assert_eq!(text("2001:db8::1"), text("2001:0DB8:0:0:ffff:ffff:ffff:ffff"));
        assert_ne!(text("2001:db8::1"), text("2001:db8:0:1::1"));
        assert_ne!(text("192.0.2.7"), text("192.0.2.8"));
    }

    #[test]
    fn display_writes_the_documented_text() {
        let text = |purpose, address: &str| {
            ThrottleKey::of_client(DEFAULT_NAMESPACE, purpose, address.parse().ok()).to_string()
        };
        assert_eq!(text("request", "192.0.2.7"), "password-reset/request/192.0.2.7");
        assert_eq!(text("validate", "2001:db8:1:2:3:4:5:6"), "password-reset/validate/2001:db8:1:2::/64");
        assert_eq!(text("confirm", "no address"), "password-reset/confirm/unknown");
        let mac = std::array::from_fn(|index| index as u8);
        let mail = ThrottleKey::of_address("staff".to_owned(), &mac);
        assert_eq!(mail.to_string(), "staff/mail/000102030405060708090a0b0c0d0e0f");
    }

    #[test]
    fn keys_that_differ_in_one_part_are_not_equal() {
        let address = "192.0.2.7".parse().ok();
        let key = ThrottleKey::of_client("staff", "login", address);
        assert_eq!(key, ThrottleKey::of_client("staff".to_owned(), "login", address));
        assert_ne!(key, ThrottleKey::of_client("shop", "login", address));
        assert_ne!(key, ThrottleKey::of_client("staff", "confirm", address));
        assert_ne!(key, ThrottleKey::of_client("staff", "login", None));
        assert_ne!(ThrottleKey::of_address("staff", &[7; 32]), ThrottleKey::of_address("shop", &[7; 32]));
    }

    #[test]
    fn namespace_is_1_to_64_letters_digits_and_marks() {
        let longest = "n".repeat(64);
        for namespace in [DEFAULT_NAMESPACE, "a", "Shop_2.eu-west", &longest] {
            assert!(is_namespace(namespace), "{namespace}");
        }
        let too_long = "n".repeat(65);
        for namespace in ["", "a/b", "a b", "a\n", "b\u{fc}cher", "a:b", &too_long] {
            assert!(!is_namespace(namespace), "{namespace}");
        }
    }
}
