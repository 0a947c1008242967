//! The claims of a reset token, and their JSON.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::base64url::decode_exactly;
use super::id::UserId;

/// The `aud` of the claims.
const AUDIENCE: &str = "password-reset";

/// How much of the binding MAC stands in the token: 128 bits, as it is keyed and only ever compared.
pub(super) const BINDING_BYTES: usize = 16;

/// How many letters of base64url that makes.
const BINDING_LETTERS: usize = 22;

/// Room for the JSON of most claims: with a UUID for an id it takes 134 bytes.
const USUAL_JSON_BYTES: usize = 144;

/// What a reset token says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) user_id: UserId,
    pub(super) issued_at: i64,
    pub(super) expires_at: i64,
    pub(super) binding: [u8; BINDING_BYTES],
}

/// The claims as they stand in a token: all required, no others, none twice.
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
    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut bnd = [0; BINDING_LETTERS];
        BASE64_URL_SAFE_NO_PAD.encode_slice(self.binding, &mut bnd).expect("16 bytes are 22 letters");
        // Member by member: to a serializer each name and each text of ours is a string that may need escapes.
        let mut json = Vec::with_capacity(USUAL_JSON_BYTES);
        json.extend_from_slice(br#"{"sub":"#);
        write(&mut json, self.user_id.as_str());
        json.extend_from_slice(br#","iat":"#);
        write(&mut json, &self.issued_at);
        json.extend_from_slice(br#","exp":"#);
        write(&mut json, &self.expires_at);
        json.extend_from_slice(br#","aud":"password-reset","bnd":""#);
        json.extend_from_slice(&bnd);
        json.extend_from_slice(br#""}"#);
        json
    }

    /// Reads claims in any order and spacing that JSON allows. `None` if one is missing, unknown, repeated, of the wrong
    /// type or not ours.
    pub(super) fn from_json(json: &[u8]) -> Option<Self> {
        Self::from_own_json(json).or_else(|| Self::from_any_json(json))
    }

    /// Reads claims in the very form that [`to_json`](Self::to_json) gives them, which is that of every token of ours whose
    /// id needs no escape. A JSON parser takes as long for them as the MAC of the binding does.
    fn from_own_json(json: &[u8]) -> Option<Self> {
        let rest = json.strip_prefix(br#"{"sub":""#)?;
        let (user_id, rest) = rest.split_at(rest.iter().position(|byte| *byte == b'"')?);
        let user_id = UserId::from_plain_json(user_id)?;
        let (issued_at, rest) = plain_number(rest.strip_prefix(br#"","iat":"#)?)?;
        let (expires_at, rest) = plain_number(rest.strip_prefix(br#","exp":"#)?)?;
        let rest = rest.strip_prefix(br#","aud":"password-reset","bnd":""#)?;
        let binding = decode_exactly::<BINDING_LETTERS, BINDING_BYTES>(rest.strip_suffix(br#""}"#)?)?;
        Some(Self { user_id, issued_at, expires_at, binding })
    }

    fn from_any_json(json: &[u8]) -> Option<Self> {
        // Derived structs also read arrays, and five values in the right order are not claims.
        if json.trim_ascii_start().first() != Some(&b'{') {
            return None;
        }
        let Json { sub, iat, exp, aud, bnd } = serde_json::from_slice(json).ok()?;
        let binding = decode_exactly::<BINDING_LETTERS, BINDING_BYTES>(bnd.as_bytes())?;
        let user_id = UserId::new(&sub)?;
        (aud == AUDIENCE).then_some(Self { user_id, issued_at: iat, expires_at: exp, binding })
    }
}

fn write(json: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(json, value).expect("strings and numbers serialize");
}

/// A number of ten digits, as every second of the years 2001 to 2286 has, and what follows it. `None` for any other
/// number.
fn plain_number(json: &[u8]) -> Option<(i64, &[u8])> {
    let (digits, rest) = json.split_first_chunk::<10>()?;
    let [first, second, others @ ..] = digits;
    let (ones, tens) = (second.wrapping_sub(b'0'), first.wrapping_sub(b'0'));
    let others = eight_digits(*others)?;
    ((1..10).contains(&tens) && ones < 10)
        .then(|| (i64::from(tens * 10 + ones) * 100_000_000 + i64::from(others), rest))
}

/// Eight digits at a time: neighbors make pairs, pairs make fours, and fours the whole.
fn eight_digits(digits: [u8; 8]) -> Option<u32> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let letters = u64::from_le_bytes(digits);
    // Digits are 0x30 to 0x39: the upper half is 3, and still is when 6 is added. What carries into its neighbor is none.
    let upper_halves = [letters, letters.wrapping_add(EACH * 6)].map(|letters| letters & (EACH * 0xf0));
    if upper_halves != [EACH * 0x30; 2] {
        return None;
    }
    let values = letters & (EACH * 0x0f);
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    let whole = fours.wrapping_mul(10_000).wrapping_add(fours >> 32);
    Some(whole as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BND: &str = "AAECAwQFBgcICQoLDA0ODw";

    #[test]
    fn what_is_written_is_read_without_a_json_parser() {
        let (first, last) = (i64::pow(10, 9), i64::pow(10, 10) - 1);
        let claims = Claims {
            user_id: UserId::new("7").unwrap(),
            issued_at: first,
            expires_at: last,
            binding: [7; BINDING_BYTES],
        };
        assert_eq!(Claims::from_own_json(&claims.to_json()), Some(claims));
    }

    #[test]
    fn what_is_spelled_otherwise_is_left_to_the_parser() {
        let json = |sub: &str, iat: &str| {
            format!(r#"{{"sub":"{sub}","iat":{iat},"exp":1800003600,"aud":"password-reset","bnd":"{BND}"}}"#)
        };
        assert!(Claims::from_own_json(json("7", "1800000000").as_bytes()).is_some());
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
            assert_eq!(Claims::from_own_json(json.as_bytes()), None, "{json}");
            assert!(Claims::from_json(json.as_bytes()).is_some(), "{json}");
        }
    }

    #[test]
    fn what_is_no_json_or_not_ours_is_refused() {
        let json = |sub: &str, iat: &str, aud: &str, bnd: &str| {
            // An expiry of ten digits, as in all of ours: with another, what reads only those would not get to the rest.
            format!(r#"{{"sub":"{sub}","iat":{iat},"exp":1800003600,"aud":"{aud}","bnd":"{bnd}"}}"#)
        };
        let good = json("7", "1", AUDIENCE, BND);
        assert!(Claims::from_json(good.as_bytes()).is_some());
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
            assert_eq!(Claims::from_json(json.as_bytes()), None, "{json}");
        }
        let mut not_utf8 = good.into_bytes();
        not_utf8[8] = 0xff;
        assert_eq!(Claims::from_json(&not_utf8), None);
    }

    proptest! {
        /// What is read without the parser, the parser reads in the same way.
        #[test]
        fn the_parser_agrees(
            sub in r#"([^"\\]|["\\]|\\u00e9|\PC){0,8}"#,
            iat in r"-?[0-9]{1,20}|[0-9]{10}|[0-9.eE+-]{1,4}",
            exp in r"[0-9]{10}|[0-9]{1,20}",
            aud in r#"password-reset|password-reset|[a-z-]{0,14}|"|\\"#,
            bnd in r#"[A-Za-z0-9_-]{21}[AQgw]|[A-Za-z0-9_-]{22}|(\\|"|[A-Z]){0,23}"#,
            end in r#"\}|\} |,|\}\}"#,
        ) {
            let json = format!(r#"{{"sub":"{sub}","iat":{iat},"exp":{exp},"aud":"{aud}","bnd":"{bnd}"{end}"#);
            let parsed = Claims::from_any_json(json.as_bytes());
            if let Some(claims) = Claims::from_own_json(json.as_bytes()) {
                prop_assert_eq!(Some(&claims), parsed.as_ref());
            }
            prop_assert_eq!(Claims::from_json(json.as_bytes()), parsed);
        }

        #[test]
        fn what_was_written_comes_back(
            user_id in r"\PC{1,20}",
            issued_at in any::<i64>(),
            expires_at in any::<i64>(),
            binding in any::<[u8; BINDING_BYTES]>(),
        ) {
            let Some(user_id) = UserId::new(&user_id) else { return Ok(()) };
            let claims = Claims { user_id, issued_at, expires_at, binding };
            let json = claims.to_json();
            prop_assert_eq!(Claims::from_json(&json), Some(claims));
        }
    }
}
