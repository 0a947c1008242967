//! [`Claims`] of a token, and their JSON form.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::base64url::decode_exactly;
use super::id::UserId;

/// The length of the binding in bytes. 128 bits suffice, because the MAC is keyed and only compared.
pub(super) const BINDING_BYTES: usize = 16;

/// The length of the binding in base64url.
const BINDING_SYMBOLS: usize = 22;

/// The capacity that the JSON of most claims needs: 134 bytes with a UUID as id.
const USUAL_JSON_BYTES: usize = 144;

/// The claims of a token, except for the audience.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) user_id: UserId,
    pub(super) issued_at: i64,
    pub(super) expires_at: i64,
    pub(super) binding: [u8; BINDING_BYTES],
}

/// The claims as JSON. Each member is required once, and no other is allowed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Json<'t> {
    #[serde(borrow)]
    sub: Cow<'t, str>,
    iat: i64,
    exp: i64,
    #[serde(borrow)]
    aud: Cow<'t, str>,
    #[serde(borrow)]
    bnd: Cow<'t, str>,
}

impl Claims {
    pub(super) fn to_json(&self, audience: &str) -> Vec<u8> {
        let mut bnd = [0; BINDING_SYMBOLS];
        BASE64_URL_SAFE_NO_PAD.encode_slice(self.binding, &mut bnd).expect("16 bytes encode to 22 symbols");
        // Written by hand, because a serializer looks for escapes in every member name and value.
        let mut json = Vec::with_capacity(USUAL_JSON_BYTES);
        json.extend_from_slice(br#"{"sub":"#);
        write(&mut json, self.user_id.as_str());
        json.extend_from_slice(br#","iat":"#);
        write(&mut json, &self.issued_at);
        json.extend_from_slice(br#","exp":"#);
        write(&mut json, &self.expires_at);
        json.extend_from_slice(br#","aud":""#);
        json.extend_from_slice(audience.as_bytes());
        json.extend_from_slice(br#"","bnd":""#);
        json.extend_from_slice(&bnd);
        json.extend_from_slice(br#""}"#);
        json
    }

    /// Parses claims in any order and spacing that JSON allows.
    ///
    /// Returns `None` if a claim is missing, unknown, repeated or of the wrong type, or if the audience is another.
    pub(super) fn from_json(json: &[u8], audience: &str) -> Option<Self> {
        Self::from_own_json(json, audience).or_else(|| Self::from_any_json(json, audience))
    }

    /// Parses claims in the exact form that [`to_json`](Self::to_json) writes, if the id needs no escape.
    ///
    /// A JSON parser takes as long for them as the MAC of the binding, so verification would miss its target of 1.35 times
    /// the two HMACs.
    fn from_own_json(json: &[u8], audience: &str) -> Option<Self> {
        let rest = json.strip_prefix(br#"{"sub":""#)?;
        let (user_id, rest) = rest.split_at(rest.iter().position(|byte| *byte == b'"')?);
        let user_id = UserId::from_plain_json(user_id)?;
        let (issued_at, rest) = plain_number(rest.strip_prefix(br#"","iat":"#)?)?;
        let (expires_at, rest) = plain_number(rest.strip_prefix(br#","exp":"#)?)?;
        let rest = rest.strip_prefix(br#","aud":""#)?.strip_prefix(audience.as_bytes())?;
        let rest = rest.strip_prefix(br#"","bnd":""#)?;
        let binding = decode_exactly::<BINDING_SYMBOLS, BINDING_BYTES>(rest.strip_suffix(br#""}"#)?)?;
        Some(Self { user_id, issued_at, expires_at, binding })
    }

    fn from_any_json(json: &[u8], audience: &str) -> Option<Self> {
        // A derived `Deserialize` accepts an array too.
        if json.trim_ascii_start().first() != Some(&b'{') {
            return None;
        }
        let Json { sub, iat, exp, aud, bnd } = serde_json::from_slice(json).ok()?;
        let binding = decode_exactly::<BINDING_SYMBOLS, BINDING_BYTES>(bnd.as_bytes())?;
        let user_id = UserId::new(&sub)?;
        (aud == audience).then_some(Self { user_id, issued_at: iat, expires_at: exp, binding })
    }
}

fn write(json: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(json, value).expect("strings and numbers serialize");
}

/// Reads a number of ten digits without a leading zero, which covers every second of the years 2001 to 2286. Returns it
/// with the rest of the text, or `None` for any other number.
fn plain_number(json: &[u8]) -> Option<(i64, &[u8])> {
    let (digits, rest) = json.split_first_chunk::<10>()?;
    if digits[0] == b'0' {
        return None;
    }
    let number = digits
        .iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))?;
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::token::kind::RESET;

    const AUDIENCE: &str = RESET.audience;

    const BND: &str = "AAECAwQFBgcICQoLDA0ODw";

    #[test]
    fn own_json_is_read_without_the_parser() {
        let (first, last) = (i64::pow(10, 9), i64::pow(10, 10) - 1);
        let claims = Claims {
            user_id: UserId::new("7").unwrap(),
            issued_at: first,
            expires_at: last,
            binding: [7; BINDING_BYTES],
        };
        assert_eq!(Claims::from_own_json(&claims.to_json(AUDIENCE), AUDIENCE), Some(claims));
    }

    #[test]
    fn other_spellings_are_read_by_the_parser() {
        let json = |sub: &str, iat: &str| {
            format!(r#"{{"sub":"{sub}","iat":{iat},"exp":1800003600,"aud":"password-reset","bnd":"{BND}"}}"#)
        };
        assert!(Claims::from_own_json(json("7", "1800000000").as_bytes(), AUDIENCE).is_some());
        for json in [
            json(r"\u0037", "1800000000"),
            json("7", "0"),
            json("7", "999999999"),
            json("7", "-1800000000"),
            json("7", "-180000000"),
            json("7", " 1800000000"),
            json("7", " 180000000"),
            json("7", "10000000000"),
            json("7", "1800000000") + "\n",
            json("7", "1800000000").replace("AAEC", r"\u0041AEC"),
            r#"{"exp":2,"iat":1,"sub":"7","bnd":"AAECAwQFBgcICQoLDA0ODw","aud":"password\u002dreset"}"#.to_owned(),
        ] {
            assert_eq!(Claims::from_own_json(json.as_bytes(), AUDIENCE), None, "{json}");
            assert!(Claims::from_json(json.as_bytes(), AUDIENCE).is_some(), "{json}");
        }
    }

    #[test]
    fn invalid_json_and_invalid_claims_are_refused() {
        let json = |sub: &str, iat: &str, aud: &str, bnd: &str| {
            // The expiry has ten digits, so that the fast path reads beyond it.
            format!(r#"{{"sub":"{sub}","iat":{iat},"exp":1800003600,"aud":"{aud}","bnd":"{bnd}"}}"#)
        };
        let good = json("7", "1", AUDIENCE, BND);
        assert!(Claims::from_json(good.as_bytes(), AUDIENCE).is_some());
        for json in [
            json("7", "01", AUDIENCE, BND),
            json("7", "0180000000", AUDIENCE, BND),
            json("7", ":800000000", AUDIENCE, BND),
            json("7", "1:00000000", AUDIENCE, BND),
            json("7", "1/00000000", AUDIENCE, BND),
            json("7", "18000:0000", AUDIENCE, BND),
            json("7", "18000/0000", AUDIENCE, BND),
            json("7", "+1", AUDIENCE, BND),
            json("7", "1.0", AUDIENCE, BND),
            json("7", "1e0", AUDIENCE, BND),
            json("7", "", AUDIENCE, BND),
            json("7", "10000000000000000000", AUDIENCE, BND),
            json("\n", "1", AUDIENCE, BND),
            json("7", "1", "invitation", BND),
            json("7", "1", AUDIENCE, "AAECAwQFBgcICQoLDA0ODx"),
            json("7", "1", AUDIENCE, "AAECAwQFBgcICQoLDA0OD"),
            json("7", "1", AUDIENCE, "AAECAwQFBgcICQoLDA0ODwA"),
            good.clone() + "}",
            format!("[\"7\",1,2,\"{AUDIENCE}\",\"{BND}\"]"),
        ] {
            assert_eq!(Claims::from_json(json.as_bytes(), AUDIENCE), None, "{json}");
        }
        let mut not_utf8 = good.into_bytes();
        not_utf8[8] = 0xff;
        assert_eq!(Claims::from_json(&not_utf8, AUDIENCE), None);
    }

    proptest! {
        /// The fast path returns what the parser returns, or nothing.
        #[test]
        fn fast_path_agrees_with_the_parser(
            sub in r#"([^"\\]|["\\]|\\u00e9|\PC){0,8}"#,
            iat in r"-?[0-9]{1,20}|[0-9]{10}|[0-9.eE+-]{1,4}",
            exp in r"[0-9]{10}|[0-9]{1,20}",
            aud in r#"password-reset|password-reset|[a-z-]{0,14}|"|\\"#,
            bnd in r#"[A-Za-z0-9_-]{21}[AQgw]|[A-Za-z0-9_-]{22}|(\\|"|[A-Z]){0,23}"#,
            end in r#"\}|\} |,|\}\}"#,
        ) {
            let json = format!(r#"{{"sub":"{sub}","iat":{iat},"exp":{exp},"aud":"{aud}","bnd":"{bnd}"{end}"#);
            let parsed = Claims::from_any_json(json.as_bytes(), AUDIENCE);
            if let Some(claims) = Claims::from_own_json(json.as_bytes(), AUDIENCE) {
                prop_assert_eq!(Some(&claims), parsed.as_ref());
            }
            prop_assert_eq!(Claims::from_json(json.as_bytes(), AUDIENCE), parsed);
        }

        #[test]
        fn written_claims_are_read_back(
            user_id in r"\PC{1,20}",
            issued_at in any::<i64>(),
            expires_at in any::<i64>(),
            binding in any::<[u8; BINDING_BYTES]>(),
        ) {
            let Some(user_id) = UserId::new(&user_id) else { return Ok(()) };
            let claims = Claims { user_id, issued_at, expires_at, binding };
            let json = claims.to_json(AUDIENCE);
            prop_assert_eq!(Claims::from_json(&json, AUDIENCE), Some(claims));
        }
    }
}
