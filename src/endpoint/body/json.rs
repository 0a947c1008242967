//! Parser for `application/json` (RFC 8259).

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::fields::{Fields, Value};
use crate::endpoint::ErrorResponse;

/// Parses a JSON object. Keeps each member as raw JSON until it is known to be a field that an operation reads: a number keeps
/// its digits, and an unknown member is not parsed further.
pub(super) fn parse(bytes: &[u8]) -> Result<Fields, ErrorResponse> {
    let text = str::from_utf8(bytes).map_err(|_| ErrorResponse::ParseError)?;
    serde_json::from_str(text).map_err(|_| {
        let document = serde_json::from_str::<&RawValue>(text);
        let is_other = document.is_ok_and(|document| !document.get().starts_with('{'));
        if is_other { ErrorResponse::NotAnObject } else { ErrorResponse::ParseError }
    })
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(Name(name)) = members.next_key()? {
            let raw: &RawValue = members.next_value()?;
            fields.set(&name, || json_value(raw));
        }
        Ok(fields)
    }
}

/// The name of a member, copied only if it contains an escape.
#[derive(Deserialize)]
struct Name<'j>(#[serde(borrow)] Cow<'j, str>);

fn json_value(raw: &RawValue) -> Value {
    let raw = raw.get();
    match raw.as_bytes().first() {
        // Not text if it contains an unpaired surrogate (RFC 8259, section 8.2).
        Some(b'"') => serde_json::from_str(raw).map_or(Value::Other, Value::Text),
        Some(b'-' | b'0'..=b'9') => Value::Number(raw.to_owned()),
        Some(b'n') => Value::Null,
        _ => Value::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_becomes_value() {
        let text = |text: &str| Value::Text(text.to_owned());
        for (json, value) in [
            (r#""a\u00e9""#, text("a\u{e9}")),
            ("\"\u{e9}\u{7f}\u{1f980}'\"", text("\u{e9}\u{7f}\u{1f980}'")),
            (r#""\"""#, text("\"")),
            (r#""\\""#, text("\\")),
            (r#""""#, text("")),
            ("12345678901234567890.50", Value::Number("12345678901234567890.50".to_owned())),
            ("-1e5", Value::Number("-1e5".to_owned())),
            ("null", Value::Null),
            ("[1]", Value::Other),
            (r#"{"email":1}"#, Value::Other),
            ("true", Value::Other),
            (r#""\ud800""#, Value::Other),
            (r#""first","email":"last""#, text("last")),
            (r#""first","other":"last""#, text("first")),
        ] {
            let fields = Fields { email: Some(value), ..Fields::default() };
            for name in ["email", "\\u0065mail"] {
                assert_eq!(parse(format!(" {{ \"{name}\" :{json}}} ").as_bytes()).unwrap(), fields, "{json}");
            }
        }
        let fields = parse(br#"{"token":"t","password":"p","Email":1,"":2}"#).unwrap();
        assert_eq!(fields, Fields { email: None, token: Some(text("t")), password: Some(text("p")) });
        assert_eq!(parse(b"{}").unwrap(), Fields::default());
    }

    #[test]
    fn invalid_json_is_a_parse_error_and_valid_json_must_be_an_object() {
        let deep_lists = "[".repeat(16_000);
        let deep_objects = "{\"a\":".repeat(3_000);
        for body in [
            "  ",
            "{",
            "{}x",
            "{'email':'a'}",
            "{email:1}",
            "{\"a\":1,}",
            "\u{feff}{}",
            "nul",
            "NaN",
            "01",
            "\"a\nb\"",
            "{\"email\":\"a\nb\"}",
            "{\"email\":\"a\0b\"}",
            "{\"email\":\"ab}",
            "{\"a\":\"\\x\"}",
            &deep_lists,
            &deep_objects,
        ] {
            assert!(matches!(parse(body.as_bytes()), Err(ErrorResponse::ParseError)), "{body:.20}");
        }
        assert!(matches!(parse(b"{\"email\":\"\xff\"}"), Err(ErrorResponse::ParseError)));
        assert!(matches!(parse(b"{\0\"\0e\0"), Err(ErrorResponse::ParseError)), "UTF-16");
        for body in ["null", "[]", "1", "\"text\"", "true", " [{}] "] {
            assert!(matches!(parse(body.as_bytes()), Err(ErrorResponse::NotAnObject)), "{body}");
        }
        let nested = format!("{{\"a\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
        assert!(parse(nested.as_bytes()).is_ok(), "the depth of an unknown member is not limited");
    }
}
