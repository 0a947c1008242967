//! [`Sealer`]: authenticated encryption of what leaves the process for a while (XChaCha20-Poly1305, RFC 8439 with a nonce of
//! 24 bytes).
//!
//! The nonce is random. Two of 24 bytes are practically never the same, so no counter has to be kept.

use std::fmt;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};

use super::KeyRing;
use crate::error::BoxError;

/// The number of bytes of a nonce.
const NONCE_BYTES: usize = 24;

/// The sealing keys of a [`KeyRing`]. The current key seals; all of them open.
pub(crate) struct Sealer {
    /// The id of each key with its cipher. The current key is first.
    keys: Vec<(String, XChaCha20Poly1305)>,
}

/// Sealed bytes, and the id of their key.
pub(crate) struct Sealed {
    pub(crate) key: String,
    pub(crate) bytes: Vec<u8>,
}

/// The reason why bytes cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// The ring has no key with this id.
    UnknownKey,
    /// The bytes or the data beside them were changed.
    Changed,
}

impl Sealer {
    pub(crate) fn new(keys: &KeyRing) -> Self {
        let cipher = |key: &super::SigningKey| XChaCha20Poly1305::new(key.sealing_key().expose_bytes().into());
        Self { keys: keys.keys().iter().map(|key| (key.id().to_owned(), cipher(key))).collect() }
    }

    /// Seals `plain` with the current key. `beside` stays readable, and cannot be changed either.
    ///
    /// # Errors
    ///
    /// The random source of the operating system fails.
    pub(crate) fn seal(&self, plain: &[u8], beside: &[u8]) -> Result<Sealed, BoxError> {
        let (key, cipher) = &self.keys[0];
        let mut bytes = vec![0; NONCE_BYTES];
        getrandom::fill(&mut bytes).map_err(|_| "the operating system's random source failed")?;
        let nonce = XNonce::try_from(&bytes[..]).expect("the buffer has the length of a nonce");
        let sealed = cipher.encrypt(&nonce, Payload { msg: plain, aad: beside });
        bytes.extend(sealed.map_err(|_| "the request is too long to be sealed")?);
        Ok(Sealed { key: key.clone(), bytes })
    }

    /// Opens what [`seal`](Self::seal) returned, in any process with the same key.
    pub(crate) fn open(&self, key: &str, bytes: &[u8], beside: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (_, cipher) = self.keys.iter().find(|(id, _)| id == key).ok_or(OpenError::UnknownKey)?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_BYTES).ok_or(OpenError::Changed)?;
        let nonce = XNonce::try_from(nonce).expect("the slice has the length of a nonce");
        cipher.decrypt(&nonce, Payload { msg: sealed, aad: beside }).map_err(|_| OpenError::Changed)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(id, _)| id)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SigningKey;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&(0..32).map(|i| seed.wrapping_add(i)).collect::<Vec<u8>>()).unwrap()
    }

    #[test]
    fn sealed_bytes_are_opened_by_every_ring_with_the_key() {
        let old = Sealer::new(&key(1).into());
        let both = Sealer::new(&KeyRing::new(key(2)).previous(key(1)).unwrap());
        let sealed = old.seal(b"ann@example.com", b"beside").unwrap();
        assert_eq!(sealed.key, key(1).id());
        assert_eq!(both.open(&sealed.key, &sealed.bytes, b"beside").unwrap(), b"ann@example.com");
        let sealed = both.seal(b"ann@example.com", b"beside").unwrap();
        assert_eq!(sealed.key, key(2).id(), "the current key seals");
        assert_eq!(old.open(&sealed.key, &sealed.bytes, b"beside").unwrap_err(), OpenError::UnknownKey);
    }

    #[test]
    fn changed_bytes_are_not_opened() {
        let sealer = Sealer::new(&key(1).into());
        let sealed = sealer.seal(b"ann@example.com", b"beside").unwrap();
        assert_eq!(sealer.open(&sealed.key, &sealed.bytes, b"Beside").unwrap_err(), OpenError::Changed);
        for position in 0..sealed.bytes.len() {
            let mut changed = sealed.bytes.clone();
            changed[position] ^= 1;
            assert_eq!(sealer.open(&sealed.key, &changed, b"beside").unwrap_err(), OpenError::Changed);
            let cut = &sealed.bytes[..position];
            assert_eq!(sealer.open(&sealed.key, cut, b"beside").unwrap_err(), OpenError::Changed);
        }
    }

    #[test]
    fn sealing_twice_gives_different_bytes_and_neither_shows_the_text() {
        let sealer = Sealer::new(&key(1).into());
        let [one, other] = [(); 2].map(|()| sealer.seal(b"ann@example.com", b"").unwrap().bytes);
        assert_ne!(one, other);
        assert!(!one.windows(3).any(|bytes| bytes == b"ann"));
        assert!(!format!("{sealer:?}").contains("XChaCha"));
    }
}
