//! Parser for `application/x-www-form-urlencoded` (WHATWG URL, section 5).

use percent_encoding::percent_decode;

use super::fields::{Fields, Value};

/// Parses `name=value&..`. A value that is not UTF-8 is not text: replacing its bytes would store a password other than the one
/// sent.
pub(super) fn parse(bytes: &[u8]) -> Fields {
    let decode = |text: &[u8]| {
        let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        let decoded: Vec<u8> = percent_decode(&spaced).collect();
        String::from_utf8(decoded).ok()
    };
    let mut fields = Fields::default();
    for pair in bytes.split(|byte| *byte == b'&') {
        let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let Some(name) = decode(&pair[..equals]) else { continue };
        let value = || decode(pair.get(equals + 1..).unwrap_or_default()).map_or(Value::Other, Value::Text);
        fields.set(&name, value);
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_and_the_last_of_equal_names_wins() {
        let text = |text: &str| Some(Value::Text(text.to_owned()));
        for (body, value) in [
            ("email=x+y%2B%20", text("x y+ ")),
            ("email=1&&email=2", text("2")),
            ("email=%zz", text("%zz")),
            ("email=h=i", text("h=i")),
            ("email", text("")),
            ("%65m%61il=1", text("1")),
            ("email=%FF", Some(Value::Other)),
            ("=d&e=mail&Email=1&%FF=1", None),
            ("", None),
        ] {
            assert_eq!(parse(body.as_bytes()), Fields { email: value, ..Fields::default() }, "{body}");
        }
        assert_eq!(parse(b"email=\xe9").email, Some(Value::Other));
        assert_eq!(parse(b"password=p&token=t"), Fields { email: None, token: text("t"), password: text("p") });
    }
}
