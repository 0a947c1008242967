//! The warning about a missing proxy setting, without which all clients behind the proxy share one quota.

use std::net::IpAddr;
use std::time::Duration;

use http::HeaderMap;
use http::header::HeaderName;

use crate::timeout::CoolDown;

/// Headers in which proxies forward the address of a client, in lower case.
const FORWARDING_HEADERS: [&str; 7] =
    ["x-forwarded-for", "forwarded", "x-real-ip", "cf-connecting-ip", "true-client-ip", "fly-client-ip", "x-client-ip"];

/// Minimum time between two warnings. Any client can send such a header, so every request could cause a warning.
const COOL_DOWN: Duration = Duration::from_secs(3600);

/// Warns about a missing proxy setting, at most once an hour.
#[derive(Debug)]
pub(super) struct ProxyWarning {
    cool_down: CoolDown,
}

impl ProxyWarning {
    pub(super) fn new() -> Self {
        Self { cool_down: CoolDown::inactive() }
    }

    /// Warns about a forwarding header from an untrusted peer on a private network, which is probably a proxy.
    pub(super) fn untrusted(&self, peer: IpAddr, headers: &HeaderMap, configured: Option<&HeaderName>) {
        // Checked first because it is cheaper than a search of the headers, and peers are public if there is no proxy.
        if !is_private(peer) {
            return;
        }
        let Some(header) = forwarding_header(headers, configured) else { return };
        if self.cool_down.try_start(COOL_DOWN) {
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
        if self.cool_down.try_start(COOL_DOWN) {
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

/// Returns the name of the first header that a proxy might have set.
fn forwarding_header<'h>(headers: &'h HeaderMap, configured: Option<&HeaderName>) -> Option<&'h HeaderName> {
    headers.keys().find(|name| FORWARDING_HEADERS.contains(&name.as_str()) || configured == Some(name))
}

/// Returns whether an address is on this machine or on a private network (RFC 1918, RFC 4193). Includes link-local addresses and
/// 100.64.0.0/10 (RFC 6598), which load balancers and container networks use.
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
