//! [`SigningKey`] and [`KeyRing`]: the signing keys of an application.

use std::fmt;

use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use base64::{Engine as _, alphabet, decoded_len_estimate};
use hmac::Hmac;
use sha2::Sha256;
use zeroize::Zeroizing;

#[cfg(feature = "graphile")]
use super::mac::SubKey;
use super::mac::{FieldMac, Purpose, keyed, sub_key};
use crate::error::KeyError;

/// The minimum length of a [`SigningKey`] in bytes: the output size of SHA-256 (RFC 7518, section 3.2).
pub const MIN_KEY_BYTES: usize = 32;

/// The number of characters of a key id. 36 bits distinguish the keys of a ring and reveal nothing about the key.
const KEY_ID_CHARS: usize = 6;

/// The secret that signs and binds reset tokens: at least 32 bytes, the same on every instance.
///
/// Every constructor refuses a weak key: fewer than [`MIN_KEY_BYTES`] bytes, or one byte repeated (RFC 7518, section 3.2;
/// OWASP ASVS 11.2.3). There is no default key.
///
/// `Debug` shows only the [id](SigningKey::id). The bytes are wiped on drop.
///
/// ```
/// use poem_password_reset::SigningKey;
///
/// let key = SigningKey::from_base64("zJc0Tr1dVvX3cZ5nqFq0Wk2pQm9yA7sLhUuE4iB8oGM")?;
/// assert_eq!(format!("{key:?}"), format!("SigningKey({:?})", key.id()));
/// assert!(SigningKey::from_bytes(b"too short").is_err());
/// # Ok::<(), poem_password_reset::KeyError>(())
/// ```
pub struct SigningKey {
    master: Zeroizing<Vec<u8>>,
    id: String,
}

impl SigningKey {
    /// Creates a key from raw bytes.
    ///
    /// # Errors
    ///
    /// [`KeyError::TooShort`] under 32 bytes, [`KeyError::Repeated`] for one byte repeated.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let [first, rest @ ..] = bytes else {
            return Err(KeyError::TooShort { bytes: 0 });
        };
        if bytes.len() < MIN_KEY_BYTES {
            return Err(KeyError::TooShort { bytes: bytes.len() });
        }
        if rest.iter().all(|byte| byte == first) {
            return Err(KeyError::Repeated);
        }
        let master = Zeroizing::new(bytes.to_vec());
        let mut id = BASE64_URL_SAFE_NO_PAD.encode(sub_key(&master, Purpose::KeyId).expose_bytes());
        id.truncate(KEY_ID_CHARS);
        Ok(Self { master, id })
    }

    /// Creates a key from base64, in the standard or the URL-safe alphabet, padded or not.
    ///
    /// White space around the text and line breaks within it are ignored, because the `base64` command adds line breaks.
    /// Spaces within the text are an error: a passphrase is not a key.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotBase64`], and those of [`from_bytes`](Self::from_bytes).
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        const EITHER_PADDING: GeneralPurposeConfig =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, EITHER_PADDING);
        const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, EITHER_PADDING);

        let text: Zeroizing<String> =
            Zeroizing::new(text.trim().chars().filter(|char| !['\r', '\n'].contains(char)).collect());
        let alphabet = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
        // A buffer that is wiped on drop. On an error `Engine::decode` would free its own buffer without wiping it.
        let mut bytes = Zeroizing::new(vec![0; decoded_len_estimate(text.len())]);
        // The decoder's error quotes a byte of the key, so it is discarded.
        let length = alphabet.decode_slice(text.as_bytes(), &mut bytes).map_err(|_| KeyError::NotBase64)?;
        Self::from_bytes(&bytes[..length])
    }

    /// Creates a key from an environment variable that contains base64.
    ///
    /// `head -c 32 /dev/urandom | base64` prints a new key.
    ///
    /// # Errors
    ///
    /// [`KeyError::Variable`], which names the variable and the problem: not set, not base64, too short.
    pub fn from_env(variable: &str) -> Result<Self, KeyError> {
        let in_variable =
            |reason: KeyError| KeyError::Variable { variable: variable.to_owned(), reason: Box::new(reason) };
        let text = std::env::var_os(variable).ok_or_else(|| in_variable(KeyError::Missing))?;
        let text = Zeroizing::new(text.into_string().map_err(|_| in_variable(KeyError::NotBase64))?);
        Self::from_base64(&text).map_err(in_variable)
    }

    /// Generates a random key of 32 bytes, for tests and demos. When the process ends, the key and every link are lost.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoRandomness`] if the operating system's random source fails.
    pub fn generate() -> Result<Self, KeyError> {
        Self::generate_with(|bytes| getrandom::fill(bytes).map_err(|_| KeyError::NoRandomness))
    }

    fn generate_with(fill: impl FnOnce(&mut [u8]) -> Result<(), KeyError>) -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0; MIN_KEY_BYTES]);
        fill(bytes.as_mut_slice())?;
        Self::from_bytes(bytes.as_slice())
    }

    /// Returns the key's id, the `kid` of its tokens: six characters derived from the key that do not reveal it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns a MAC over fields, keyed with the sub-key for `purpose`.
    pub(crate) fn field_mac(&self, purpose: Purpose) -> FieldMac {
        FieldMac(self.mac(purpose))
    }

    /// Returns the sub-key for [`Purpose::Sealing`].
    #[cfg(feature = "graphile")]
    pub(super) fn sealing_key(&self) -> SubKey {
        sub_key(&self.master, Purpose::Sealing)
    }

    /// Returns an HMAC keyed with the sub-key for `purpose`.
    pub(crate) fn mac(&self, purpose: Purpose) -> Hmac<Sha256> {
        keyed(sub_key(&self.master, purpose).expose_bytes().as_slice())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.id).finish()
    }
}

/// The signing keys of an application: the current key, and older keys whose tokens are still accepted.
///
/// To rotate keys, make the new key current on every instance and keep the old one as [`previous`](KeyRing::previous) for
/// the lifetime of a token. With several instances, first deploy the new key as `previous` everywhere, then swap the two.
/// Otherwise one instance issues tokens that another one rejects for a moment.
///
/// ```
/// use poem_password_reset::{KeyRing, SigningKey};
///
/// let old = SigningKey::generate()?;
/// let ring = KeyRing::new(SigningKey::generate()?).previous(old)?;
/// assert_eq!(ring.ids().count(), 2);
/// # Ok::<(), poem_password_reset::KeyError>(())
/// ```
#[derive(Debug)]
pub struct KeyRing {
    keys: Vec<SigningKey>,
}

impl KeyRing {
    /// Creates a ring that signs and verifies with `current`.
    pub fn new(current: SigningKey) -> Self {
        Self { keys: vec![current] }
    }

    /// Adds a key that verifies but does not sign.
    ///
    /// # Errors
    ///
    /// [`KeyError::Duplicate`] if the ring already contains a key with this id.
    pub fn previous(mut self, key: SigningKey) -> Result<Self, KeyError> {
        if self.ids().any(|id| id == key.id()) {
            return Err(KeyError::Duplicate { id: key.id });
        }
        self.keys.push(key);
        Ok(self)
    }

    /// Returns the ids of the keys. The current key is first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(SigningKey::id)
    }

    /// Returns the key that signs.
    #[cfg_attr(not(feature = "reset"), allow(dead_code))]
    pub(crate) fn current(&self) -> &SigningKey {
        &self.keys[0]
    }

    /// Returns the keys. The current key is first. The list is never empty.
    pub(crate) fn keys(&self) -> &[SigningKey] {
        &self.keys
    }
}

impl From<SigningKey> for KeyRing {
    fn from(current: SigningKey) -> Self {
        Self::new(current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(seed: u8) -> Vec<u8> {
        (0..32).map(|i| seed.wrapping_add(i)).collect()
    }

    #[test]
    fn weak_keys_are_refused() {
        for length in 0..MIN_KEY_BYTES {
            let weak = &bytes(1)[..length];
            assert_eq!(SigningKey::from_bytes(weak).unwrap_err(), KeyError::TooShort { bytes: length });
            let encoded = BASE64_URL_SAFE_NO_PAD.encode(weak);
            assert_eq!(SigningKey::from_base64(&encoded).unwrap_err(), KeyError::TooShort { bytes: length });
        }
        for byte in [0, 7, 255] {
            for length in [32, 33, 64, 200] {
                assert_eq!(SigningKey::from_bytes(&vec![byte; length]).unwrap_err(), KeyError::Repeated);
            }
        }
        assert!(SigningKey::from_bytes(&bytes(1)).is_ok());
    }

    #[test]
    fn base64_key_is_read_in_either_alphabet_padded_or_not() {
        let raw: Vec<u8> = (0..34).map(|i| 255 - i * 3).collect();
        let url = BASE64_URL_SAFE_NO_PAD.encode(&raw);
        let standard = base64::prelude::BASE64_STANDARD.encode(&raw);
        assert!(standard.contains(['+', '/']) && standard.ends_with('='), "the sample differs between the alphabets");
        let id = SigningKey::from_bytes(&raw).unwrap().id().to_owned();
        for text in [
            &url,
            &standard,
            &format!("{url}=="),
            &format!("  {standard}\n"),
            &format!("{}\n{}", &url[..20], &url[20..]),
        ] {
            assert_eq!(SigningKey::from_base64(text).unwrap().id(), id);
        }
        for text in ["not base64 at all, by no means whatever", "zJc0Tr1dVvX3cZ5nqFq0Wk2pQm9yA7sL+UuE4iB8o_M", "=", "é"]
        {
            assert_eq!(SigningKey::from_base64(text).unwrap_err(), KeyError::NotBase64);
        }
        assert_eq!(SigningKey::from_base64("").unwrap_err(), KeyError::TooShort { bytes: 0 });
    }

    #[test]
    fn missing_variable_is_named_in_the_error() {
        let error = SigningKey::from_env("POEM_PASSWORD_RESET_NO_SUCH_VARIABLE").unwrap_err();
        assert!(error.to_string().contains("POEM_PASSWORD_RESET_NO_SUCH_VARIABLE"), "{error}");
        assert!(error.to_string().contains("not set"), "{error}");
    }

    #[test]
    fn generate_with_failing_random_source_returns_an_error() {
        assert_eq!(SigningKey::generate_with(|_| Err(KeyError::NoRandomness)).unwrap_err(), KeyError::NoRandomness);
        // A source that reports success but leaves the buffer untouched yields a repeated byte.
        assert_eq!(SigningKey::generate_with(|_| Ok(())).unwrap_err(), KeyError::Repeated);
        assert_ne!(SigningKey::generate().unwrap().id(), SigningKey::generate().unwrap().id());
    }

    #[test]
    fn ring_refuses_a_duplicate_key() {
        let ring = KeyRing::new(SigningKey::from_bytes(&bytes(1)).unwrap());
        let ring = ring.previous(SigningKey::from_bytes(&bytes(2)).unwrap()).unwrap();
        for seed in [1, 2] {
            let again = SigningKey::from_bytes(&bytes(seed)).unwrap();
            let id = again.id().to_owned();
            let ring = KeyRing::new(SigningKey::from_bytes(&bytes(1)).unwrap())
                .previous(SigningKey::from_bytes(&bytes(2)).unwrap())
                .unwrap();
            assert_eq!(ring.previous(again).unwrap_err(), KeyError::Duplicate { id });
        }
        assert_eq!(ring.ids().count(), 2);
    }
}
