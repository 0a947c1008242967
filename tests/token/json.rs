//! Parsing of the claims: exactly one JSON object, unchanged values, and no panic for any input, signed or not.

use poem_password_reset::{IssueError, Refusal, SignedClaims, StoredUser};
use proptest::prelude::*;
use time::Duration;

use crate::claims::{Claims, verify_claims};
use crate::forger::{Forger, HASH, NOW, ann, at, outcome, refusal};

#[test]
fn claims_that_are_not_one_json_object_are_refused() {
    let forger = Forger::new();
    let codec = forger.codec();
    let good = Claims::good(&forger);
    let json = good.json();
    let values: Vec<&str> = good.0.iter().map(|(_, value)| &**value).collect();
    let utf16: Vec<u8> = json.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let quoted = serde_json::to_string(&json).unwrap();
    let in_sub = |bytes: &[u8]| {
        let (before, after) = json.split_once('7').unwrap();
        [before.as_bytes(), bytes, after.as_bytes()].concat()
    };
    let payloads: Vec<Vec<u8>> = [
        // Empty text and other JSON types. The array has all values in the order of the claims.
        "",
        " ",
        "null",
        "true",
        "7",
        "\"\"",
        "[]",
        "{}",
        &quoted,
        &format!("[{}]", values.join(",")),
        &format!(" [{}]", values.join(",")),
        &format!("[{json}]"),
        &format!("{{\"claims\":{json}}}"),
        // Almost JSON.
        "{",
        "}",
        &json[1..],
        &json[..json.len() - 1],
        &json.replace('"', "'"),
        &json.replace("\"sub\"", "sub"),
        &json.replace(',', ";"),
        &json.replace(',', ",,"),
        &json.replace('}', ",}"),
        &json.replace('{', "{,"),
        &format!("/**/{json}"),
        &format!("{json}//"),
        &format!("\u{feff}{json}"),
        &format!("\u{a0}{json}"),
        &format!("\u{b}{json}"),
        &format!("\u{c}{json}"),
        // Text before or after the object.
        &format!("{json}x"),
        &format!("{json},"),
        &format!("{json}}}"),
        &format!("{json}{json}"),
        &format!("{json}\n{json}"),
        &format!("{json}\0"),
        &format!("{json}null"),
        &format!("\0{json}"),
        &format!("\u{1e}{json}"),
        // Deep nesting, also in place of a value.
        &"[".repeat(600),
        &"{\"a\":".repeat(110),
        &format!("{}{}", "[".repeat(280), "]".repeat(280)),
        &good.clone().with("sub", "[".repeat(500)).json(),
        &good.clone().plus("x", "[".repeat(500)).json(),
        &good.clone().plus("x", format!("{}{}", "[".repeat(200), "]".repeat(200))).json(),
    ]
    .into_iter()
    .map(|text| text.as_bytes().to_vec())
    .chain([
        utf16,
        // Invalid UTF-8: stray byte, overlong form, surrogate, truncated sequence.
        in_sub(b"\xff"),
        in_sub(b"7\xff"),
        in_sub(b"\xc0\x80"),
        in_sub(b"\xc1\xb7"),
        in_sub(b"\xed\xa0\x80"),
        in_sub(b"\xe2\x82"),
        in_sub(b"\xf4\x90\x80\x80"),
        [json.as_bytes(), b"\xff"].concat(),
        vec![0; 300],
    ])
    .collect();
    assert!(payloads.len() > 50);
    for payload in payloads {
        let token = forger.sign_claims(&payload);
        assert_eq!(refusal(&codec, &token), Refusal::Claims, "{:?}", String::from_utf8_lossy(&payload));
    }
    assert!(outcome(&codec, &forger.sign_claims(&json)).is_ok());
}

/// The signature covers the text of the claims, so only a holder of the key can choose its order, white space and
/// escapes. Each such token still has only one accepted encoding.
#[test]
fn signed_claims_in_any_order_and_spacing_are_accepted() {
    let forger = Forger::new();
    let codec = forger.codec();
    let good = Claims::good(&forger);
    let mut accepted = 0;
    for order in orders(good.0.clone()) {
        let claims = verify_claims(&forger, &Claims(order)).unwrap();
        assert_eq!(codec.bind(claims, ann()).unwrap().user().id(), "7");
        accepted += 1;
    }
    assert_eq!(accepted, 120);
    let json = good.json();
    for json in [
        json.replace(',', ",\r\n\t "),
        json.replace(':', " : "),
        format!(" \n\t\r{json}\n"),
        json.replace("\"7\"", "\"\\u0037\""),
        json.replace("password-reset", "password\\u002dreset"),
        json.replace("\"sub\"", "\"\\u0073ub\""),
    ] {
        let claims = outcome(&codec, &forger.sign_claims(&json)).unwrap();
        assert_eq!(claims.user_id(), "7");
        assert!(codec.bind(claims, ann()).is_ok(), "{json}");
    }
}

/// Returns all permutations of a list.
fn orders<T: Clone>(list: Vec<T>) -> Vec<Vec<T>> {
    if list.is_empty() {
        return vec![list];
    }
    (0..list.len())
        .flat_map(|first| {
            let mut rest = list.clone();
            let first = rest.remove(first);
            orders(rest).into_iter().map(move |rest| [vec![first.clone()], rest].concat())
        })
        .collect()
}

/// Pins the format with tokens made by another implementation (Python's `hmac` and `json`). Tokens must stay valid
/// across an update, on updated and older instances.
#[test]
fn issued_token_matches_pinned_version_1_token() {
    let codec = Forger::new().codec();
    let user = || ann().bind_also("epoch 3").bind_also([0, 255]);
    let token = codec.issue(&user(), at(NOW), Duration::HOUR).unwrap();
    assert_eq!(token.expose(), GOLDEN);
    assert!(codec.bind(outcome(&codec, GOLDEN).unwrap(), user()).is_ok());

    let without_password = StoredUser::new("é\"\\", "bob@example.com", None);
    let token = codec.issue(&without_password, at(NOW), Duration::DAY).unwrap();
    assert_eq!(token.expose(), GOLDEN_WITHOUT_PASSWORD);
}

const GOLDEN: &str = "eyJ0eXAiOiJyZXNldCtqd3QiLCJhbGciOiJIUzI1NiIsImtpZCI6Imx4OE52ZCJ9.\
    eyJzdWIiOiI3IiwiaWF0IjoxODAwMDAwMDAwLCJleHAiOjE4MDAwMDM2MDAsImF1ZCI6InBhc3N3b3JkLXJlc2V0IiwiYm5kIjoieWl3UUd2ZzIzYTdtMnRJMHhVZ3k1dyJ9.\
    EkCKCmAlOL1zC8P_wjwk-qHnb26RhvV4lqv41ONVfvg";
const GOLDEN_WITHOUT_PASSWORD: &str = "eyJ0eXAiOiJyZXNldCtqd3QiLCJhbGciOiJIUzI1NiIsImtpZCI6Imx4OE52ZCJ9.\
    eyJzdWIiOiLDqVwiXFwiLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDA4NjQwMCwiYXVkIjoicGFzc3dvcmQtcmVzZXQiLCJibmQiOiJoYjVnSlZFSzJVOGpiYnVlSDg3djdRIn0.\
    ot3-q278r64NkJjUK69wT9YEyXidrb1eQowEY1bhhzg";

/// The longest ids in their longest JSON form stay within the size limit.
#[test]
fn token_with_longest_escaped_id_is_accepted() {
    let codec = Forger::new().codec();
    for id in ["\"".repeat(128), "\\".repeat(128), "é".repeat(64), "💡".repeat(32)] {
        let user = || StoredUser::new(&id, "ann@example.com", Some(HASH.to_owned()));
        let token = codec.issue(&user(), at(NOW), Duration::DAY).unwrap();
        assert!(token.expose().len() < 1024, "{} bytes", token.expose().len());
        let claims = outcome(&codec, token.expose()).unwrap();
        assert_eq!(claims.user_id(), id);
        assert!(codec.bind(claims, user()).is_ok());
    }
}

#[test]
fn issue_for_invalid_id_fails() {
    let codec = Forger::new().codec();
    for id in ["", &"x".repeat(129), &"é".repeat(65), "\0", "7\n", "\u{7f}", "\u{85}", "a\u{9f}b"] {
        let user = StoredUser::new(id, "ann@example.com", Some(HASH.to_owned()));
        assert_eq!(codec.issue(&user, at(NOW), Duration::HOUR).unwrap_err(), IssueError::Id, "{id:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    /// Issue fails for an invalid id; every other id is returned unchanged.
    #[test]
    fn verified_id_equals_issued_id(id in prop_oneof!["\\PC{0,40}", "[ -~]{120,130}", any::<String>()]) {
        let codec = Forger::new().codec();
        let issuable = !id.is_empty() && id.len() <= 128 && !id.chars().any(char::is_control);
        let user = StoredUser::new(&id, "ann@example.com", Some(HASH.to_owned()));
        match codec.issue(&user, at(NOW), Duration::HOUR) {
            Ok(token) => {
                prop_assert!(issuable);
                let claims = outcome(&codec, token.expose());
                prop_assert_eq!(claims.as_ref().map(SignedClaims::user_id), Ok(&*id));
            }
            Err(error) => {
                prop_assert!(!issuable);
                prop_assert_eq!(error, IssueError::Id);
            }
        }
    }

    #[test]
    fn arbitrary_text_is_refused_without_panic(text in prop_oneof![
        any::<String>(),
        "[A-Za-z0-9_.=-]{0,400}",
        "e[.A-Z]{0,9}[.][.]{0,3}",
    ]) {
        let codec = Forger::new().codec();
        prop_assert!(outcome(&codec, &text).is_err());
    }

    #[test]
    fn signed_arbitrary_bytes_are_refused_without_panic(bytes in prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        "[{}\\[\\]\",:a-z0-9.\\\\-]{0,200}".prop_map(String::into_bytes),
    ]) {
        let forger = Forger::new();
        let codec = forger.codec();
        prop_assert_eq!(outcome(&codec, &forger.sign_claims(bytes)).unwrap_err().refusal(), Refusal::Claims);
    }

    #[test]
    fn signed_times_are_accepted_only_within_the_limits(
        iat in prop_oneof![NOW - 100_000..NOW + 100, any::<i64>()],
        lifetime in prop_oneof![-10..100_000_i64, any::<i64>()],
    ) {
        let forger = Forger::new();
        let codec = forger.codec();
        let exp = iat.wrapping_add(lifetime);
        let claims = format!(
            r#"{{"sub":"7","iat":{iat},"exp":{exp},"aud":"password-reset","bnd":"AAAAAAAAAAAAAAAAAAAAAA"}}"#
        );
        let wide = i128::from(exp) - i128::from(iat);
        let expected = if !(1..=86_400).contains(&wide) {
            Err(Refusal::Claims)
        } else if iat > NOW + 60 {
            Err(Refusal::NotYetIssued)
        } else if exp <= NOW {
            Err(Refusal::Expired)
        } else {
            Ok(())
        };
        let actual = outcome(&codec, &forger.sign_claims(claims)).map(drop).map_err(|error| error.refusal());
        prop_assert_eq!(actual, expected);
    }
}
