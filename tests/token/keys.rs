//! Every constructor refuses a weak key, and no error contains key bytes.

use std::process::Command;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
use poem_password_reset::{KeyError, KeyRing, MIN_KEY_BYTES, SigningKey};
use proptest::prelude::*;

use crate::forger::{encode, hmac};

/// Encodes the bytes in all accepted base64 forms.
fn spellings(bytes: &[u8]) -> [String; 5] {
    let standard = BASE64_STANDARD.encode(bytes);
    let around = format!(" \t{standard}\r\n");
    let no_padding = BASE64_STANDARD_NO_PAD.encode(bytes);
    [standard, no_padding, BASE64_URL_SAFE.encode(bytes), BASE64_URL_SAFE_NO_PAD.encode(bytes), around]
}

#[test]
fn key_that_is_short_or_one_repeated_byte_is_refused() {
    assert_eq!(MIN_KEY_BYTES, 32);
    for byte in 0..=255 {
        for length in 0..32 {
            let bytes = vec![byte; length];
            assert_eq!(SigningKey::from_bytes(&bytes).unwrap_err(), KeyError::TooShort { bytes: length });
        }
        for length in [32, 33, 64, 65, 1_000] {
            let mut bytes = vec![byte; length];
            assert_eq!(SigningKey::from_bytes(&bytes).unwrap_err(), KeyError::Repeated);
            for text in spellings(&bytes) {
                assert_eq!(SigningKey::from_base64(&text).unwrap_err(), KeyError::Repeated);
            }
            // A single different bit at any position is enough.
            for position in [0, 1, length / 2, length - 1] {
                bytes[position] ^= 1;
                assert!(SigningKey::from_bytes(&bytes).is_ok());
                bytes[position] ^= 1;
            }
        }
    }
}

#[test]
fn key_that_is_not_base64_is_refused() {
    let good = BASE64_STANDARD.encode(hmac(b"", b""));
    assert!(SigningKey::from_base64(&good).is_ok());
    let (before, after) = good.split_at(20);
    // The `base64` command breaks long keys into lines.
    for text in [format!("{before}\n{after}\n"), format!("\t{before}\r\n{after} ")] {
        assert!(SigningKey::from_base64(&text).is_ok(), "{text:?}");
    }
    for text in [
        format!("{before} {after}"),
        format!("{before}.{after}"),
        format!("{before}={after}"),
        format!("{before}\0{after}"),
        format!("{good}="),
        format!("{good}=="),
        format!("{}B=", &good[..42]),
        format!("\"{good}\""),
        format!("base64:{good}"),
        "change me".to_owned(),
        "correct horse battery staple correct horse battery".to_owned(),
        "correct horse battery staple, correct horse battery staple".to_owned(),
        "+-".repeat(30),
        "/_".repeat(30),
    ] {
        assert_eq!(SigningKey::from_base64(&text).unwrap_err(), KeyError::NotBase64, "{text:?}");
    }
    for text in ["", " ", "\n\t"] {
        assert_eq!(SigningKey::from_base64(text).unwrap_err(), KeyError::TooShort { bytes: 0 });
    }
}

/// Safe Rust cannot change the environment of a running program, so each case runs in a child process.
#[test]
fn weak_key_from_the_environment_is_refused() {
    const VARIABLE: &str = "POEM_PASSWORD_RESET_TEST_KEY";
    const CHILD: &str = "POEM_PASSWORD_RESET_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        match SigningKey::from_env(VARIABLE) {
            Ok(key) => println!("<{}>", key.id()),
            Err(error) => println!("<{error}|{error:?}>"),
        }
        return;
    }
    let child = |value: Option<&str>| {
        let mut command = Command::new(std::env::current_exe().expect("a test is a program"));
        command.args(["--exact", "keys::weak_key_from_the_environment_is_refused", "--nocapture"]);
        command.env(CHILD, "1").env_remove(VARIABLE);
        if let Some(value) = value {
            command.env(VARIABLE, value);
        }
        let output = command.output().expect("the child runs");
        let output = String::from_utf8(output.stdout).expect("the child prints text");
        let (_, output) = output.split_once('<').expect("the child prints an answer");
        output.split_once('>').expect("the child prints an answer").0.to_owned()
    };
    let bytes = hmac(b"", b"a key for the environment");
    let id = SigningKey::from_bytes(&bytes).unwrap().id().to_owned();
    for text in spellings(&bytes) {
        assert_eq!(child(Some(&text)), id);
    }
    let repeated = encode([b'k'; 32]);
    let short = encode(&bytes[..31]);
    for (value, expected) in [
        (None, "is not set"),
        (Some(""), "0 bytes"),
        (Some("   "), "0 bytes"),
        (Some(&*short), "31 bytes"),
        (Some(&*repeated), "one byte repeated"),
        (Some("hunter2 hunter2 hunter2 hunter2 hunter2"), "not base64"),
    ] {
        let message = child(value);
        assert!(message.contains(VARIABLE) && message.contains(expected), "{value:?}: {message}");
        if let Some(value) = value.filter(|value| value.trim().len() > 8) {
            assert!(!message.contains(&value[..8]), "{message}");
        }
    }
}

#[test]
fn generated_keys_are_different() {
    let ids: std::collections::HashSet<String> =
        (0..1_000).map(|_| SigningKey::generate().unwrap().id().to_owned()).collect();
    // With 1,000 ids of 36 bits, one equal pair is expected once in 140,000 runs.
    assert!(ids.len() >= 999, "{}", ids.len());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    /// Every base64 form gives the same key. The key id is the start of a MAC, which does not reveal the key.
    #[test]
    fn key_is_the_same_in_every_base64_form(bytes in proptest::collection::vec(any::<u8>(), 32..200)) {
        prop_assume!(bytes.iter().any(|byte| *byte != bytes[0]));
        let key = SigningKey::from_bytes(&bytes).unwrap();
        prop_assert_eq!(key.id(), &encode(hmac(&bytes, b"poem-password-reset/v1/key-id"))[..6]);
        for text in spellings(&bytes) {
            let again = SigningKey::from_base64(&text);
            prop_assert!(again.is_ok(), "{}", text);
            // A key ring recognizes it as a duplicate.
            let again = KeyRing::new(SigningKey::from_bytes(&bytes).unwrap()).previous(again.unwrap());
            prop_assert_eq!(again.unwrap_err(), KeyError::Duplicate { id: key.id().to_owned() });
        }
    }

    /// The error contains the number of bytes only.
    #[test]
    fn key_under_32_bytes_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..32)) {
        let expected = KeyError::TooShort { bytes: bytes.len() };
        prop_assert_eq!(SigningKey::from_bytes(&bytes).unwrap_err(), expected.clone());
        for text in spellings(&bytes) {
            prop_assert_eq!(SigningKey::from_base64(&text).unwrap_err(), expected.clone());
        }
    }

    #[test]
    fn key_error_does_not_contain_the_key(text in prop_oneof![any::<String>(), "[A-Za-z0-9+/=_-]{0,80}", "\\PC{40,60}"]) {
        let Err(error) = SigningKey::from_base64(&text) else { return Ok(()) };
        let message = format!("{error} {error:?}");
        let same = SigningKey::from_base64(if matches!(error, KeyError::NotBase64) { "!" } else { "AAAA" });
        match (&error, same.unwrap_err()) {
            // The error text is the same for every input.
            (KeyError::NotBase64, other) => prop_assert_eq!(message, format!("{other} {other:?}")),
            (KeyError::TooShort { .. } | KeyError::Repeated, _) => {}
            (other, _) => prop_assert!(false, "{}", other),
        }
    }
}
