//! The claims must be exactly those of a reset token. All tokens here are correctly signed, as a bug elsewhere or
//! another program with the same key could sign them.

use poem_password_reset::{Refusal, SignedClaims};
use time::Duration;

use crate::forger::{Forger, NOW, ann, at, decode, encode, outcome, payload};

const HOUR: i64 = 3_600;

/// A builder of claims from names and raw JSON values, which may be invalid.
#[derive(Clone)]
pub(crate) struct Claims(pub(crate) Vec<(String, String)>);

impl Claims {
    /// Returns the claims of a valid token of Ann, in the order of issue.
    pub(crate) fn good(forger: &Forger) -> Self {
        let token = forger.codec().issue(&ann(), at(NOW), Duration::HOUR).expect("Ann can have a token");
        let issued: serde_json::Value = serde_json::from_str(&payload(token.expose())).expect("claims are JSON");
        let claims = ["sub", "iat", "exp", "aud", "bnd"].map(|name| (name.to_owned(), issued[name].to_string()));
        let claims = Self(claims.to_vec());
        assert_eq!(
            claims.json(),
            payload(token.expose()),
            "the claims are unchanged, so a refusal is caused by the change under test"
        );
        claims
    }

    pub(crate) fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.0.iter_mut().find(|(n, _)| n == name).expect("only known claims are replaced").1 = value.to_string();
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.retain(|(n, _)| n != name);
        self
    }

    pub(crate) fn plus(mut self, name: &str, value: impl ToString) -> Self {
        self.0.push((name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn value(&self, name: &str) -> String {
        self.0.iter().find(|(n, _)| n == name).expect("only known claims are asked for").1.clone()
    }

    pub(crate) fn json(&self) -> String {
        let members: Vec<String> = self.0.iter().map(|(name, value)| format!(r#""{name}":{value}"#)).collect();
        format!("{{{}}}", members.join(","))
    }
}

pub(crate) fn verify_claims(forger: &Forger, claims: &Claims) -> Result<SignedClaims, Refusal> {
    outcome(&forger.codec(), &forger.sign_claims(claims.json())).map_err(|error| error.refusal())
}

#[track_caller]
fn assert_refused(forger: &Forger, claims: &Claims, expected: Refusal) {
    assert_eq!(verify_claims(forger, claims).expect_err(&claims.json()), expected, "{}", claims.json());
}

/// Text, floats, exponents, null and out-of-range numbers are refused for both times.
#[test]
fn time_that_is_not_an_integer_is_refused() {
    let forger = Forger::new();
    let good = Claims::good(&forger);
    for (name, time) in [("iat", NOW), ("exp", NOW + HOUR)] {
        let huge = "9".repeat(400);
        let values = [
            format!(r#""{time}""#),
            format!("{time}.0"),
            format!("{time}.5"),
            format!("{time}e0"),
            format!("{time}E0"),
            format!("{}e2", time / 100),
            "1.8e9".to_owned(),
            format!("0{time}"),
            format!("+{time}"),
            format!("0x{time:x}"),
            format!("{time}L"),
            format!("{time}_0"),
            format!("[{time}]"),
            format!(r#"{{"$date":{time}}}"#),
            "null".to_owned(),
            "true".to_owned(),
            "false".to_owned(),
            "\"\"".to_owned(),
            "{}".to_owned(),
            "[]".to_owned(),
            "-0".to_owned(),
            "-0.0".to_owned(),
            "NaN".to_owned(),
            "Infinity".to_owned(),
            "1e400".to_owned(),
            "-1e400".to_owned(),
            "9223372036854775808".to_owned(),
            "-9223372036854775809".to_owned(),
            "18446744073709551615".to_owned(),
            "18446744073709551616".to_owned(),
            "340282366920938463463374607431768211456".to_owned(),
            huge,
            String::new(),
        ];
        for value in values {
            assert_refused(&forger, &good.clone().with(name, value), Refusal::Claims);
        }
    }
}

/// The limit applies even to correctly signed tokens.
#[test]
fn signed_lifetime_outside_one_second_to_one_day_is_refused() {
    let forger = Forger::new();
    let good = Claims::good(&forger);
    let times = |iat: i64, exp: i64| good.clone().with("iat", iat).with("exp", exp);
    const DAY: i64 = 24 * HOUR;
    for (iat, exp) in [(NOW, NOW + 1), (NOW, NOW + DAY), (NOW - DAY + 1, NOW + 1), (NOW - 1, NOW + 1)] {
        assert!(verify_claims(&forger, &times(iat, exp)).is_ok(), "{iat} to {exp}");
    }
    for (iat, exp) in [
        (NOW, NOW),
        (NOW, NOW - 1),
        (NOW, 0),
        (NOW, -1),
        (NOW, NOW + DAY + 1),
        (NOW - 1, NOW + DAY),
        (NOW - DAY, NOW + 1),
        (0, NOW + HOUR),
        (-1, NOW + HOUR),
        (NOW, 253_402_300_799),
        (NOW, 253_402_300_800),
        (NOW, i64::MAX),
        (0, i64::MAX),
        (-1, i64::MAX),
        (i64::MIN, NOW + HOUR),
        (i64::MIN, i64::MAX),
        (i64::MAX, i64::MIN),
        (i64::MIN, i64::MIN),
        (i64::MAX, i64::MAX),
    ] {
        assert_refused(&forger, &times(iat, exp), Refusal::Claims);
    }
    // Lifetimes within the limits, far in the past or the future.
    assert_refused(&forger, &times(i64::MIN, i64::MIN + HOUR), Refusal::Expired);
    assert_refused(&forger, &times(-HOUR, -1), Refusal::Expired);
    assert_refused(&forger, &times(0, HOUR), Refusal::Expired);
    assert_refused(&forger, &times(i64::MAX - HOUR, i64::MAX), Refusal::NotYetIssued);
}

/// The clocks of two instances may differ by up to a minute.
#[test]
fn token_issued_over_a_minute_ahead_is_refused() {
    let forger = Forger::new();
    let good = Claims::good(&forger);
    let ahead = |by: i64| good.clone().with("iat", NOW + by).with("exp", NOW + by + HOUR);
    for by in [-HOUR + 1, -1, 0, 1, 59, 60] {
        assert!(verify_claims(&forger, &ahead(by)).is_ok(), "{by} s ahead");
    }
    for by in [61, 62, 3_600, 86_400, 1 << 40] {
        assert_refused(&forger, &ahead(by), Refusal::NotYetIssued);
    }
}

#[test]
fn missing_repeated_or_unknown_claim_is_refused() {
    let forger = Forger::new();
    let good = Claims::good(&forger);
    assert!(verify_claims(&forger, &good).is_ok());
    for name in ["sub", "iat", "exp", "aud", "bnd"] {
        let value = good.value(name);
        assert_refused(&forger, &good.clone().without(name), Refusal::Claims);
        assert_refused(&forger, &good.clone().with(name, "null"), Refusal::Claims);
        // Repeated claim: with the same value, and with another value before or after it.
        assert_refused(&forger, &good.clone().plus(name, &value), Refusal::Claims);
        for other in ["null", "0", "\"8\"", "1800007200", "{}"] {
            assert_refused(&forger, &good.clone().plus(name, other), Refusal::Claims);
            assert_refused(&forger, &good.clone().with(name, other).plus(name, &value), Refusal::Claims);
        }
        // An escaped name is recognized as a repeated claim.
        let hidden = format!("\\u{:04x}{}", name.as_bytes()[0], &name[1..]);
        assert_refused(&forger, &good.clone().plus(&hidden, &value), Refusal::Claims);
        // Claim names are compared exactly.
        for other in [name.to_uppercase(), format!("{name} "), format!(" {name}"), format!("{name}\\u0000")] {
            assert_refused(&forger, &good.clone().without(name).plus(&other, &value), Refusal::Claims);
        }
    }
    let others = [
        ("jti", "\"1\""),
        ("nbf", "0"),
        ("iss", "\"me\""),
        ("typ", "\"reset+jwt\""),
        ("alg", "\"none\""),
        ("purpose", "\"invitation\""),
        ("scope", "\"admin\""),
        ("email", "\"ann@example.com\""),
        ("", "0"),
        ("__proto__", "{}"),
        ("constructor", "null"),
        ("Sub", "\"8\""),
        ("EXP", "0"),
        ("user", "null"),
        ("0", "\"8\""),
    ];
    for (name, value) in others {
        assert_refused(&forger, &good.clone().plus(name, value), Refusal::Claims);
    }
}

#[test]
fn other_audience_is_refused() {
    let forger = Forger::new();
    let good = Claims::good(&forger);
    for aud in [
        "[\"password-reset\"]",
        "[\"password-reset\",\"login\"]",
        "[]",
        "{}",
        "\"\"",
        "\"login\"",
        "\"password-reset \"",
        "\"password-rese\"",
        "\"password-resets\"",
        "\"Password-Reset\"",
        "\"password_reset\"",
        "\"password-reset\\u0000\"",
        "\"invitation\"",
        "0",
        "true",
    ] {
        assert_refused(&forger, &good.clone().with("aud", aud), Refusal::Claims);
    }
}

#[test]
fn subject_that_is_not_a_valid_id_is_refused() {
    let forger = Forger::new();
    let good = Claims::good(&forger);
    let text = |id: &str| serde_json::to_string(id).expect("text serializes");
    for id in ["8", "0b", &"x".repeat(128), &"é".repeat(64), "a b", "7\u{2028}", "\"\\", "💡"] {
        assert_eq!(verify_claims(&forger, &good.clone().with("sub", text(id))).unwrap().user_id(), id);
    }
    for id in [
        "",
        &"x".repeat(129),
        &("x".to_owned() + &"é".repeat(64)),
        "\0",
        "7\0",
        "7\n",
        "\r",
        "\t",
        "\u{1b}[2J",
        "\u{7f}",
        "\u{85}",
        "7\u{9f}",
    ] {
        assert_refused(&forger, &good.clone().with("sub", text(id)), Refusal::Claims);
    }
    for sub in [
        "7",
        "7.0",
        "-7",
        "true",
        "[]",
        "[\"7\"]",
        "{}",
        "{\"id\":\"7\"}",
        "'7'",
        "7\"",
        "\"7",
        "\"7\n\"",
        "\"\\x37\"",
        "\"\\ud800\"",
        "\"\\udc00\\ud800\"",
        "\"\\u00\"",
    ] {
        assert_refused(&forger, &good.clone().with("sub", sub), Refusal::Claims);
    }
}

/// The claim is 16 bytes in canonical base64url. Any other 16 bytes parse, but match no user.
#[test]
fn binding_claim_that_is_not_16_bytes_is_refused() {
    let forger = Forger::new();
    let good = Claims::good(&forger);
    let bnd = good.value("bnd").trim_matches('"').to_owned();
    let raw = decode(&bnd);
    let text = |bnd: &str| good.clone().with("bnd", format!("\"{bnd}\""));
    for length in (0..16).chain(17..=40).chain([64, 300]) {
        let other: Vec<u8> = raw.iter().copied().cycle().take(length).collect();
        assert_refused(&forger, &text(&encode(other)), Refusal::Claims);
    }
    for other in [
        format!("{bnd}="),
        format!("{bnd}=="),
        format!(" {bnd}"),
        format!("{bnd} "),
        format!("{bnd}\\n"),
        format!("{}.{}", &bnd[..11], &bnd[11..]),
        raw.iter().map(|byte| format!("{byte:02x}")).collect(),
        "not base64 at all!!!!!".to_owned(),
        "AAAAAAAAAAAAAAAAAAAA+w".to_owned(),
        "AAAAAAAAAAAAAAAAAAAA/w".to_owned(),
        "éééééééééééAAAAAAAAAAA".to_owned(),
    ] {
        assert_refused(&forger, &text(&other), Refusal::Claims);
    }
    // The last of 22 characters holds two bits of the value and four that must be zero.
    for stray in "BCDEFGHIJKLMNOPRSTUVWXYZabcdefhijklmnopqrstuvxyz0123456789-_".chars() {
        assert_refused(&forger, &text(&format!("{}{stray}", &bnd[..21])), Refusal::Claims);
    }
    for value in ["0", "null", "true", "[]", "{}", "[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]"] {
        assert_refused(&forger, &good.clone().with("bnd", value), Refusal::Claims);
    }
    for other in [[0; 16], [255; 16]] {
        let codec = forger.codec();
        let claims = verify_claims(&forger, &text(&encode(other))).unwrap();
        assert_eq!(codec.bind(claims, ann()).unwrap_err().refusal(), Refusal::Stale);
    }
}
