//! The warning about a proxy whose clients all count as one, because a setting is missing.

use std::net::IpAddr;
use std::time::Duration;

use http::HeaderMap;
use http::header::HeaderName;

use crate::timeout::CoolDown;

/// Headers in which proxies pass on the address of a client, in the case that `HeaderName` uses.
const FORWARDING_HEADERS: [&str; 7] =
    ["x-forwarded-for", "forwarded", "x-real-ip", "cf-connecting-ip", "true-client-ip", "fly-client-ip", "x-client-ip"];

/// Time between two warnings. Any client can send such a header, so each request could cause one.
const COOL_DOWN: Duration = Duration::from_secs(3600);

/// Logs that a proxy is not known, at most once an hour.
#[derive(Debug)]
pub(super) struct ProxyWarning {
    silent: CoolDown,
}

impl ProxyWarning {
    pub(super) fn new() -> Self {
        Self { silent: CoolDown::inactive() }
    }

    /// Warns if a peer that is not trusted sent a forwarding header and is on a private network, as proxies are.
    pub(super) fn untrusted(&self, peer: IpAddr, headers: &HeaderMap, configured: Option<&HeaderName>) {
        // First: the peers of a service without a proxy are public, and their headers need no look.
        if !is_private(peer) {
            return;
        }
        let Some(header) = forwarding_header(headers, configured) else { return };
        if self.silent.try_start(COOL_DOWN) {
            tracing::warn!(
                %peer,
                %header,
                "a peer that is not a trusted proxy sent a forwarding header: if it is your proxy, all clients behind it \
                 share one quota; set .trusted_proxies([\"{peer}\"])"
            );
        }
    }

    /// Warns if a trusted proxy sent a forwarding header, but no usable address in a header that is read.
    pub(super) fn unnamed(&self, peer: IpAddr, headers: &HeaderMap, configured: Option<&HeaderName>) {
        let Some(header) = forwarding_header(headers, configured) else { return };
        if self.silent.try_start(COOL_DOWN) {
            let read = configured.map_or("x-forwarded-for, forwarded", HeaderName::as_str);
            tracing::warn!(
                %peer,
                %header,
                read,
                "a trusted proxy sent no client address in a header that is read, so all clients behind it share one \
                 quota; name the header that your proxy sets, with .client_address_header(\"..\")"
            );
        }
    }
}

/// The first header of the request that a proxy might have set.
fn forwarding_header<'h>(headers: &'h HeaderMap, configured: Option<&HeaderName>) -> Option<&'h HeaderName> {
    headers.keys().find(|name| FORWARDING_HEADERS.contains(&name.as_str()) || configured == Some(name))
}

/// Whether an address is on this machine or on a private network. Besides RFC 1918 and RFC 4193 these are link-local
/// addresses and 100.64.0.0/10 (RFC 6598), which load balancers and container networks use.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            let is_shared = first == 100 && second & 0xc0 == 64;
            address.is_loopback() || address.is_private() || address.is_link_local() || is_shared
        }
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_private_covers_the_ranges_of_proxies() {
        for (address, expected) in [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("172.16.0.1", true),
            ("172.32.0.1", false),
            ("192.168.1.1", true),
            ("169.254.1.1", true),
            ("100.64.0.1", true),
            ("100.127.255.255", true),
            ("100.128.0.1", false),
            ("100.63.255.255", false),
            ("101.64.0.1", false),
            ("203.0.113.9", false),
            ("::1", true),
            ("fd00::1", true),
            ("fe80::1", true),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_private(address.parse().unwrap()), expected, "{address}");
        }
    }
}
