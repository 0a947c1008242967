//! The keys of `--key`: the one that signs first, then those that are accepted as well, separated by commas.

use poem_password_reset::{KeyError, KeyRing, SigningKey};
use thiserror::Error;

/// Why the keys cannot be used. Names a key by its position and never quotes it.
#[derive(Debug, Error)]
pub(crate) enum KeyListError {
    /// The only key, or the generated one.
    #[error(transparent)]
    Single(#[from] KeyError),
    /// One key of several.
    #[error("key {number} of {count}: {error}")]
    OneOf { number: usize, count: usize, error: KeyError },
}

/// Returns a ring with the keys of the text, or with a new random key.
pub(crate) fn ring(text: Option<&str>) -> Result<KeyRing, KeyListError> {
    let Some(text) = text else { return Ok(SigningKey::generate()?.into()) };
    let Some((current, others)) = text.split_once(',') else { return Ok(SigningKey::from_base64(text)?.into()) };
    let count = 2 + others.matches(',').count();
    let at = |number| move |error| KeyListError::OneOf { number, count, error };
    let ring = KeyRing::new(SigningKey::from_base64(current).map_err(at(1))?);
    (2..).zip(others.split(',')).try_fold(ring, |ring, (number, other)| {
        SigningKey::from_base64(other).and_then(|other| ring.previous(other)).map_err(at(number))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "zJc0Tr1dVvX3cZ5nqFq0Wk2pQm9yA7sLhUuE4iB8oGM";
    const NEW: &str = "-_Jc0Tr1dVvX3cZ5nqFq0Wk2pQm9yA7sLhUuE4iB8oGM";

    fn id(key: &str) -> String {
        SigningKey::from_base64(key).unwrap().id().to_owned()
    }

    #[test]
    fn first_key_signs_and_order_is_kept() {
        for (text, keys) in [
            (OLD.to_owned(), &[OLD][..]),
            (format!("{NEW},{OLD}"), &[NEW, OLD]),
            (format!("{OLD}, {NEW}\n"), &[OLD, NEW]),
        ] {
            let expected: Vec<String> = keys.iter().map(|key| id(key)).collect();
            assert!(ring(Some(&text)).unwrap().ids().eq(&expected), "{expected:?}");
        }
    }

    #[test]
    fn unusable_key_is_named_by_its_position_and_not_quoted() {
        for (text, expected) in [
            (format!("{OLD},{NEW},hunter2!"), "key 3 of 3: the signing key is not base64"),
            (format!("hunter2!,{OLD}"), "key 1 of 2: the signing key is not base64"),
            (format!("{OLD},"), "key 2 of 2: the signing key is too short: it has 0 bytes"),
            (format!("{NEW},{OLD},{NEW}"), "key 3 of 3: the key ring already contains the key"),
            ("hunter2!".to_owned(), "the signing key is not base64"),
            (String::new(), "the signing key is too short: it has 0 bytes"),
        ] {
            let error = ring(Some(&text)).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
            assert!(![OLD, NEW, "hunter2"].iter().any(|secret| error.contains(secret)), "{error}");
        }
    }
}
