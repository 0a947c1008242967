//! Sub-keys of a master key, one for each [`Purpose`], and MACs keyed with them (HMAC-SHA256, RFC 2104).

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// The use of a sub-key. The master key is never used directly. If an application shares it with other parts, nothing
/// signed there is valid here, and nothing signed here is valid there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Signs reset tokens.
    Signing,
    /// Binds reset tokens to the state of a user.
    Binding,
    /// Hides email addresses in throttle keys.
    #[cfg_attr(not(feature = "reset"), allow(dead_code))]
    Throttle,
    /// Derives the key id, which does not reveal the key.
    KeyId,
    /// Seals requests that wait in a durable queue.
    #[cfg_attr(not(feature = "graphile"), allow(dead_code))]
    Sealing,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Purpose::Signing => b"poem-password-reset/v1/signing",
            Purpose::Binding => b"poem-password-reset/v1/binding",
            Purpose::Throttle => b"poem-password-reset/v1/throttle",
            Purpose::KeyId => b"poem-password-reset/v1/key-id",
            Purpose::Sealing => b"poem-password-reset/v1/sealing",
        }
    }
}

/// The 32 bytes of a sub-key, wiped on drop.
pub(super) struct SubKey(Zeroizing<[u8; 32]>);

impl SubKey {
    pub(super) fn expose_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

pub(super) fn sub_key(master: &[u8], purpose: Purpose) -> SubKey {
    SubKey(Zeroizing::new(keyed(master).chain_update(purpose.label()).finalize().into_bytes().into()))
}

pub(super) fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length (RFC 2104)")
}

/// A keyed MAC over length-prefixed fields, so that moving bytes from one field to the next changes the MAC.
#[derive(Clone)]
pub(crate) struct FieldMac(pub(super) Hmac<Sha256>);

impl FieldMac {
    /// Returns the MAC of `fields` followed by `more`. A missing field differs from an empty one.
    #[inline]
    pub(crate) fn of<const N: usize>(&self, fields: [Option<&[u8]>; N], more: &[Vec<u8>]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for field in fields {
            // `u64::MAX` marks a missing field. No real field has this length.
            let length = field.map_or(u64::MAX, |field| field.len() as u64);
            mac.update(&length.to_be_bytes());
            mac.update(field.unwrap_or_default());
        }
        for field in more {
            mac.update(&(field.len() as u64).to_be_bytes());
            mac.update(field);
        }
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SigningKey;

    /// Fixed vectors, computed with another HMAC implementation. A changed label would invalidate every outstanding link.
    #[test]
    fn sub_keys_equal_the_vectors_of_version_one() {
        let master: Vec<u8> = (0..32).collect();
        let hex = |purpose| -> String {
            sub_key(&master, purpose).expose_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
        };
        assert_eq!(hex(Purpose::Signing), "4ad04e1d22dd4fc4aa4011af68fb15bf8cfa16000cfdff849f90f11dd364bc75");
        assert_eq!(hex(Purpose::Binding), "7af48c7f122d62223e1be4472df72530feb3eabdbf67f4eae1e8febea180020c");
        assert_eq!(hex(Purpose::Throttle), "ee782082929e03516c4436f2733428a14229f8a99966a2b8f6c82e7392a95606");
        assert_eq!(hex(Purpose::KeyId), "971f0dbddf69a96fea99a6af27159f2cc09d299d0df31b43a2de71c3b99e6fec");
        assert_eq!(hex(Purpose::Sealing), "93a243ffef2eeb7c35b6e0cf8a9672559e8b275786fe98303a9f9ddf1777437a");
        assert_eq!(SigningKey::from_bytes(&master).unwrap().id(), "lx8Nvd");
    }
}
