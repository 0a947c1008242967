//! Removes secrets from the text of an application's error, for the log.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;

use crate::error::{BoxError, chain};

/// The longest text that is logged, in characters.
const MAX_CHARS: usize = 500;

/// The longest text of a check at start, in characters: it may name each column that is missing, with its cure.
const MAX_CHARS_AT_START: usize = 4_000;

/// The replacement of a secret.
const REDACTED: &str = "[..]";

/// The text that is logged if a secret may be left in an encoding that cannot be cut out.
const WITHHELD: &str = "withheld: the text of the error quotes a secret in another encoding";

/// The minimum length of a squeezed secret that is searched for in encodings. A shorter one occurs in texts by chance.
const MIN_NEEDLE: usize = 5;

/// The maximum nesting of encodings that are decoded, as in a percent-encoded JSON string.
const MAX_NESTING: usize = 3;

/// Returns an error and its sources in one line, without the given secrets: mail servers, databases and HTTP clients
/// quote their input in errors.
///
/// Replaces a secret in any ASCII case, also with `%40` for `@`. If the text then still contains the secret in another encoding
/// (percent, quoted-printable, `\u` escapes, HTML entities, hexadecimal, base64, a list of bytes) or with other punctuation, the
/// whole text is withheld.
pub(crate) fn redacted_error<'s>(error: &BoxError, secrets: impl IntoIterator<Item = &'s str>) -> String {
    let mut text = with_sources(error);
    let secrets: Vec<&str> = secrets.into_iter().filter(|secret| !secret.is_empty()).collect();
    for secret in &secrets {
        text = without(&text, secret);
        if secret.contains('@') {
            text = without(&text, &secret.replace('@', "%40"));
        }
    }
    if secrets.iter().any(|secret| is_encoded_in(&text, secret)) {
        return WITHHELD.to_owned();
    }
    // Truncates last: the search would not find half a secret.
    one_line(&text, MAX_CHARS)
}

/// Returns an error and its sources in one line, for the developer who starts the program: no user is involved yet.
pub(crate) fn redacted_error_in_full(error: &BoxError) -> String {
    one_line(&with_sources(error), MAX_CHARS_AT_START)
}

fn with_sources(error: &BoxError) -> String {
    let mut text = error.to_string();
    for error in chain(error).skip(1) {
        text += &format!(": {error}");
    }
    text
}

fn one_line(text: &str, most: usize) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(most).collect()
}

/// Replaces a secret in any ASCII case.
fn without(text: &str, secret: &str) -> String {
    // Folding ASCII keeps the position of every byte.
    let (folded, secret) = (text.to_ascii_lowercase(), secret.to_ascii_lowercase());
    let mut cleaned = String::with_capacity(text.len());
    let mut end = 0;
    for (start, found) in folded.match_indices(&secret) {
        cleaned += &text[end..start];
        cleaned += REDACTED;
        end = start + found.len();
    }
    cleaned + &text[end..]
}

/// Returns whether a text contains a secret in an encoding.
fn is_encoded_in(text: &str, secret: &str) -> bool {
    let needles: Vec<String> = encodings(secret)
        .iter()
        .map(|form| squeezed(form))
        .filter(|needle| needle.chars().count() >= MIN_NEEDLE)
        .collect();
    let mut text = text.to_owned();
    for _ in 0..=MAX_NESTING {
        let haystack = squeezed(&text);
        if needles.iter().any(|needle| haystack.contains(needle)) {
            return true;
        }
        let decoded = decoded(&text);
        if decoded == text {
            return false;
        }
        text = decoded;
    }
    false
}

/// Returns the secret itself, in hexadecimal, as a list of bytes, and in base64: for each of the three alignments the part
/// that does not depend on neighboring bytes.
fn encodings(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let mut forms = vec![secret.to_owned(), String::new(), String::new()];
    for byte in bytes {
        // Writing to a `String` cannot fail.
        let _ = write!(forms[1], "{byte:02x}");
        let _ = write!(forms[2], "{byte}");
    }
    for offset in 0..3 {
        let padded = [&[0; 2][..offset], bytes].concat();
        let encoded = BASE64_STANDARD_NO_PAD.encode(&padded);
        // The first and the last characters also encode bits of the neighbors.
        let (start, end) = ([0, 2, 3][offset], padded.len() * 8 / 6);
        forms.push(encoded.get(start..end).unwrap_or_default().to_owned());
    }
    forms
}

/// Returns the letters and digits of a text, in lower case.
fn squeezed(text: &str) -> String {
    text.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Decodes `%40`, `=40`, `\x40`, `\u0040`, `\u{40}`, `&#64;`, `&#x40;` once, anywhere in the text.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        match escape(rest) {
            Some((letter, length)) => {
                bytes.extend(letter);
                rest = &rest[length..];
            }
            None => {
                let length = first.len_utf8();
                bytes.extend_from_slice(&rest.as_bytes()[..length]);
                rest = &rest[length..];
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns the bytes of the escape at the start of a text, and the length of the escape.
fn escape(text: &str) -> Option<(Vec<u8>, usize)> {
    let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok();
    let letter = |code: u32| Some(char::from_u32(code)?.to_string().into_bytes());
    let byte = |prefix: usize| {
        let digits = text.get(prefix..prefix + 2)?;
        Some((vec![u8::from_str_radix(digits, 16).ok()?], prefix + 2))
    };
    if text.starts_with(['%', '=']) {
        return byte(1);
    }
    if text.starts_with("\\x") {
        return byte(2);
    }
    if let Some(braced) = text.strip_prefix("\\u{") {
        let end = braced.find('}').filter(|end| *end <= 6)?;
        return Some((letter(number(&braced[..end], 16)?)?, 3 + end + 1));
    }
    if text.starts_with("\\u") {
        return Some((letter(number(text.get(2..6)?, 16)?)?, 6));
    }
    let entity = text.strip_prefix("&#")?;
    let end = entity.find(';').filter(|end| *end <= 7)?;
    let code = match entity[..end].strip_prefix(['x', 'X']) {
        Some(digits) => number(digits, 16)?,
        None => number(&entity[..end], 10)?,
    };
    Some((letter(code)?, 2 + end + 1))
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};

    use super::*;

    const SECRET: &str = "ann.lee+reset@example.com";

    fn logged(text: &str) -> String {
        redacted_error(&BoxError::from(text.to_owned()), ["", SECRET])
    }

    #[test]
    fn error_is_one_truncated_line_with_sources_and_without_secrets() {
        #[derive(Debug, thiserror::Error)]
        #[error("no row for ann%40example.com\r\nERROR forged line")]
        struct Outer(#[source] std::io::Error);
        let error: BoxError = Outer(std::io::Error::other("ann@example.com, ".repeat(1000))).into();
        let text = redacted_error(&error, ["", "ann@example.com"]);
        assert!(text.starts_with("no row for [..]  ERROR forged line: [..], [..], "), "{text}");
        assert_eq!(text.chars().count(), MAX_CHARS);
    }

    #[test]
    fn secret_is_removed_in_any_ascii_case() {
        for quoted in [SECRET.to_owned(), SECRET.to_uppercase(), "Ann.Lee+Reset%40Example.Com".to_owned()] {
            assert_eq!(logged(&format!("550 <{quoted}>: no Ä")), "550 <[..]>: no Ä");
        }
    }

    #[test]
    fn secret_in_another_encoding_withholds_the_text() {
        let per_byte = |prefix: &str| SECRET.bytes().map(|byte| format!("{prefix}{byte:02x}")).collect::<String>();
        let mut forms = vec![
            per_byte("%"),
            per_byte("="),
            per_byte("\\x"),
            per_byte("\\u00"),
            per_byte(""),
            per_byte("").to_uppercase(),
            per_byte(" "),
            SECRET.bytes().map(|byte| format!("&#{byte};")).collect(),
            SECRET.bytes().map(|byte| format!("&#X{byte:x};")).collect(),
            SECRET.bytes().map(|byte| format!("\\u{{{byte:x}}}")).collect(),
            format!("{:?}", SECRET.as_bytes()),
            SECRET.replace('+', "%2B"),
            SECRET.replace('@', "\\u0040"),
            SECRET.replace('@', "%2540"),
            SECRET.replace('@', "=\r\n@"),
            SECRET.replace('@', "&#64;").to_uppercase(),
        ];
        for before in ["", "x", "xy", "to:"] {
            forms.push(BASE64_STANDARD.encode(format!("{before}{SECRET}!")));
            forms.push(BASE64_URL_SAFE_NO_PAD.encode(format!("{before}{SECRET}")));
        }
        for form in forms {
            assert_eq!(logged(&format!("550 <{form}>")), WITHHELD, "{form}");
        }
    }

    #[test]
    fn text_without_secrets_is_unchanged() {
        for text in [
            "connection refused",
            "100% of =?",
            "\\u{",
            "\\u{110000}",
            "&#;",
            "&#x;",
            "%",
            "%4",
            "=é0",
            "\\xé",
            "ann@example.com",
        ] {
            assert_eq!(logged(text), text);
        }
        assert_eq!(redacted_error(&BoxError::from("a text about a cat"), ["cat"]), "a text about a [..]");
        assert_eq!(redacted_error(&BoxError::from("c-a-t"), ["cat"]), "c-a-t", "too short to look for in encodings");
    }
}
