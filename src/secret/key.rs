//! [`SigningKey`] and [`KeyRing`]: the keys of an application, and where they come from.

use std::fmt;

use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use base64::{Engine as _, alphabet, decoded_len_estimate};
use hmac::Hmac;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::mac::{FieldMac, Purpose, keyed, sub_key};
use crate::error::KeyError;

/// The fewest bytes a [`SigningKey`] may have: as many as SHA-256 puts out (RFC 7518, section 3.2).
pub const MIN_KEY_BYTES: usize = 32;

/// How many characters of the key's own MAC make its id. 36 bits tell keys of one ring apart and say nothing of the key.
const KEY_ID_CHARS: usize = 6;

/// The secret that reset tokens are signed and bound with: at least 32 bytes, the same on every instance.
///
/// A key that would be weak cannot be made: every constructor refuses fewer than [`MIN_KEY_BYTES`] bytes and one byte
/// repeated (RFC 7518, section 3.2; OWASP ASVS 11.2.3). There is no default key.
///
/// `Debug` shows the key's [id](SigningKey::id) only, and the bytes are wiped on drop.
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
    /// A key from raw bytes.
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

    /// A key from base64: the standard or the URL-safe alphabet, padded or not. White space around it and line
    /// breaks in it are ignored: the `base64` command makes some. Spaces are not: a passphrase is no key.
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
            Zeroizing::new(text.trim().chars().filter(|letter| !['\r', '\n'].contains(letter)).collect());
        let alphabet = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
        // Into a buffer of our own: the decoder drops a half-decoded one unwiped.
        let mut bytes = Zeroizing::new(vec![0; decoded_len_estimate(text.len())]);
        // The decoder's own message quotes a byte of the input, which is a key: it is dropped.
        let length = alphabet.decode_slice(text.as_bytes(), &mut bytes).map_err(|_| KeyError::NotBase64)?;
        Self::from_bytes(&bytes[..length])
    }

    /// A key from an environment variable that holds base64.
    ///
    /// `head -c 32 /dev/urandom | base64` makes one.
    ///
    /// # Errors
    ///
    /// [`KeyError::Variable`], which names the variable and says what is wrong: not set, empty, not base64, too short.
    pub fn from_env(variable: &str) -> Result<Self, KeyError> {
        let because = |reason: KeyError| KeyError::Variable { variable: variable.to_owned(), reason: Box::new(reason) };
        let text = std::env::var_os(variable).ok_or_else(|| because(KeyError::Missing))?;
        let text = Zeroizing::new(text.into_string().map_err(|_| because(KeyError::NotBase64))?);
        Self::from_base64(&text).map_err(because)
    }

    /// A new random key of 32 bytes, for tests and demonstrations: it is gone with the process, and so is every link.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoRandomness`] when the operating system's random source fails.
    pub fn generate() -> Result<Self, KeyError> {
        Self::generate_with(|bytes| getrandom::fill(bytes).map_err(|_| KeyError::NoRandomness))
    }

    fn generate_with(fill: impl FnOnce(&mut [u8]) -> Result<(), KeyError>) -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0; MIN_KEY_BYTES]);
        fill(bytes.as_mut_slice())?;
        Self::from_bytes(bytes.as_slice())
    }

    /// The key's id, the `kid` of its tokens: six characters that follow from the key and do not reveal it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A MAC of fields that is keyed with this key's sub-key for `purpose`.
    pub(crate) fn field_mac(&self, purpose: Purpose) -> FieldMac {
        FieldMac(self.mac(purpose))
    }

    /// A MAC that is keyed with this key's sub-key for `purpose`.
    pub(crate) fn mac(&self, purpose: Purpose) -> Hmac<Sha256> {
        keyed(sub_key(&self.master, purpose).expose_bytes().as_slice())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.id).finish()
    }
}

/// The signing keys of an application: one that signs, and older ones whose tokens still verify.
///
/// To rotate, put the new key first on every instance and keep the old one as [`previous`](KeyRing::previous) for as
/// long as a token lives. To add it without a moment in which one instance issues what another refuses, first roll out
/// the new key as `previous`, then swap the two.
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
    /// A ring that signs and verifies with `current`.
    pub fn new(current: SigningKey) -> Self {
        Self { keys: vec![current] }
    }

    /// Adds a key that verifies and no longer signs.
    ///
    /// # Errors
    ///
    /// [`KeyError::Duplicate`] if the ring already holds a key with this id: a rotation that changed nothing.
    pub fn previous(mut self, key: SigningKey) -> Result<Self, KeyError> {
        if self.ids().any(|id| id == key.id()) {
            return Err(KeyError::Duplicate { id: key.id });
        }
        self.keys.push(key);
        Ok(self)
    }

    /// The ids of the keys, the one that signs first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(SigningKey::id)
    }

    /// The key that signs.
    #[cfg_attr(not(feature = "reset"), allow(dead_code))]
    pub(crate) fn current(&self) -> &SigningKey {
        &self.keys[0]
    }

    /// The keys, the one that signs first. Never empty.
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
    fn weak_keys_cannot_be_made() {
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
    fn base64_of_either_alphabet_padded_or_not() {
        let raw: Vec<u8> = (0..34).map(|i| 255 - i * 3).collect();
        let url = BASE64_URL_SAFE_NO_PAD.encode(&raw);
        let standard = base64::prelude::BASE64_STANDARD.encode(&raw);
        assert!(standard.contains(['+', '/']) && standard.ends_with('='), "the sample shows the difference");
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
    fn a_missing_variable_is_named() {
        let error = SigningKey::from_env("POEM_PASSWORD_RESET_NO_SUCH_VARIABLE").unwrap_err();
        assert!(error.to_string().contains("POEM_PASSWORD_RESET_NO_SUCH_VARIABLE"), "{error}");
        assert!(error.to_string().contains("not set"), "{error}");
    }

    #[test]
    fn generate_reports_a_failing_random_source() {
        assert_eq!(SigningKey::generate_with(|_| Err(KeyError::NoRandomness)).unwrap_err(), KeyError::NoRandomness);
        // A source that "works" and yields nothing is as bad, and is refused for what it is.
        assert_eq!(SigningKey::generate_with(|_| Ok(())).unwrap_err(), KeyError::Repeated);
        assert_ne!(SigningKey::generate().unwrap().id(), SigningKey::generate().unwrap().id());
    }

    #[test]
    fn a_ring_refuses_a_key_it_has() {
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
