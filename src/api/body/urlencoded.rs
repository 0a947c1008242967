//! Bodies that are `application/x-www-form-urlencoded`, as forms send them (WHATWG URL, section 5).

use percent_encoding::percent_decode;

use super::fields::{Fields, Value};

/// Reads `name=value&..`. Bytes that are not UTF-8 are no text: replacing them would store another password than was
/// sent.
pub(super) fn read(bytes: &[u8]) -> Fields {
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
    fn urlencoded_pairs() {
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
            assert_eq!(read(body.as_bytes()), Fields { email: value, ..Fields::default() }, "{body}");
        }
        assert_eq!(read(b"email=\xe9").email, Some(Value::Other));
        assert_eq!(read(b"password=p&token=t"), Fields { email: None, token: text("t"), password: text("p") });
    }
}
