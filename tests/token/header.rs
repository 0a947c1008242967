//! The token header is fixed per key, byte for byte. Any other header is refused, even with a valid signature.

use poem_password_reset::{KeyRing, Refusal, TokenCodec};
use time::Duration;

use crate::forger::{Forger, NOW, ann, at, decode, encode, outcome, parts, payload, refusal, sign_parts};

/// Asserts that each header is refused over the claims of a valid token: with a correct signature, with the signature
/// of the valid token, and without one.
fn assert_refused(forger: &Forger, headers: impl IntoIterator<Item = String>) {
    let codec = forger.codec();
    let good = codec.issue(&ann(), at(NOW), Duration::HOUR).expect("Ann can have a token");
    let claims = payload(good.expose());
    assert_eq!(forger.sign(forger.header(), &claims), good.expose(), "with the accepted header the token is valid");
    let [_, _, good_tag] = parts(good.expose());
    for header in headers {
        assert_ne!(header, forger.header());
        let token = forger.sign(&header, &claims);
        let [other, claims, right_tag] = parts(&token);
        for tag in [right_tag, good_tag, "", "AAAA"] {
            let token = format!("{other}.{claims}.{tag}");
            assert_eq!(refusal(&codec, &token), Refusal::Header, "{header:?} with the signature {tag:?}");
        }
    }
}

#[test]
fn header_with_other_algorithm_is_refused() {
    let forger = Forger::new();
    let kid = forger.kid();
    let with = |alg: &str| format!(r#"{{"typ":"reset+jwt","alg":{alg},"kid":"{kid}"}}"#);
    let names =
        "none None NONE nOnE nonE HS384 HS512 RS256 RS512 PS256 ES256 ES256K EdDSA HS1 hs256 Hs256 hS256 HMAC dir";
    assert_refused(&forger, names.split(' ').map(|name| with(&format!("\"{name}\""))));
    let almost = ["none ", " none", "", "HS256 ", " HS256", "HS256\\u0000", "\\u0048S256"];
    assert_refused(&forger, almost.map(|name| with(&format!("\"{name}\""))));
    let not_text = ["null", "true", "0", "256", "[]", r#"["HS256"]"#, r#"["none","HS256"]"#, "{}", r#"{"HS256":1}"#];
    assert_refused(&forger, not_text.map(with));
    let members = [
        r#""ALG":"HS256""#,
        r#""alg":"none","alg":"HS256""#,
        r#""alg":"HS256","alg":"none""#,
        r#""alg":"HS256","alg":"HS256""#,
    ];
    assert_refused(&forger, members.map(|members| format!(r#"{{"typ":"reset+jwt",{members},"kid":"{kid}"}}"#)));
    assert_refused(&forger, [format!(r#"{{"typ":"reset+jwt","kid":"{kid}"}}"#)]);
}

/// The members include those that name or fetch a key or change the signed content, and harmless ones.
#[test]
fn header_with_additional_member_is_refused() {
    let forger = Forger::new();
    let kid = forger.kid();
    let key = encode(forger.master());
    let jwk = format!(r#""jwk":{{"kty":"oct","k":"{key}"}}"#);
    let members = [
        &*jwk,
        r#""jwk":{"kty":"oct","k":"AAAA"}"#,
        r#""jku":"https://evil.example/keys.json""#,
        r#""jku":"http://127.0.0.1:9/keys.json""#,
        r#""x5u":"https://evil.example/cert.pem""#,
        r#""x5u":"file:///dev/zero""#,
        r#""x5c":["MIIB"]"#,
        r#""x5t":"AAAA""#,
        r##""x5t#S256":"AAAA""##,
        r#""crit":[]"#,
        r#""crit":["exp"]"#,
        r#""crit":["b64"],"b64":false"#,
        r#""crit":["http://example.com/unknown"],"http://example.com/unknown":true"#,
        r#""b64":false"#,
        r#""b64":true"#,
        r#""cty":"JWT""#,
        r#""cty":"reset+jwt""#,
        r#""zip":"DEF""#,
        r#""enc":"A256GCM""#,
        r#""p2c":2147483647"#,
        r#""url":"https://evil.example""#,
        r#""iss":"me""#,
        r#""nonce":"1""#,
        r#""":"""#,
        r#""typ":"reset+jwt""#,
    ];
    assert_refused(&forger, members.map(|one| format!(r#"{{"typ":"reset+jwt","alg":"HS256","kid":"{kid}",{one}}}"#)));
    assert_refused(&forger, members.map(|one| format!(r#"{{{one},"typ":"reset+jwt","alg":"HS256","kid":"{kid}"}}"#)));
}

#[test]
fn header_with_other_type_is_refused() {
    let forger = Forger::new();
    let kid = forger.kid();
    let types = ["JWT", "jwt", "at+jwt", "reset+JWT", "Reset+jwt", "application/reset+jwt", "reset jwt", "reset", ""];
    assert_refused(&forger, types.map(|typ| format!(r#"{{"typ":"{typ}","alg":"HS256","kid":"{kid}"}}"#)));
    let not_text = ["null", "1", "[]", r#"["reset+jwt"]"#];
    assert_refused(&forger, not_text.map(|typ| format!(r#"{{"typ":{typ},"alg":"HS256","kid":"{kid}"}}"#)));
    assert_refused(&forger, [format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#)]);
}

/// The key id only selects a key of the ring. It is never used as a path, a query or a URL.
#[test]
fn header_with_unknown_key_id_is_refused() {
    let forger = Forger::new();
    let kid = forger.kid();
    let with = |kid: &str| format!(r#"{{"typ":"reset+jwt","alg":"HS256","kid":{kid}}}"#);
    let long = "A".repeat(300);
    let near =
        [&kid[..5], &kid[1..], &format!("{kid}A"), &format!("{kid} "), &format!("{kid}\\u0000"), &kid.to_uppercase()]
            .map(str::to_owned);
    assert_refused(&forger, near.iter().map(|kid| with(&format!("\"{kid}\""))));
    let others = [
        "",
        "0",
        "null",
        "default",
        &Forger::other(1).kid(),
        &long,
        "../../../../../../dev/null",
        "/dev/zero",
        "file:///etc/passwd",
        "..\\\\..\\\\key",
        "https://evil.example/key",
        "' OR '1'='1",
        "'; DROP TABLE users; --",
        "x' UNION SELECT 'AAAA",
        "%00",
        "\\u0000",
        "\0",
        "$(id)",
        "{{7*7}}",
    ];
    assert_refused(&forger, others.map(|kid| with(&format!("\"{kid}\""))));
    assert_refused(&forger, ["null", "0", "true", "[]", "{}", &format!("[\"{kid}\"]")].map(with));
    assert_refused(&forger, [r#"{"typ":"reset+jwt","alg":"HS256"}"#.to_owned()]);
}

/// Equivalent JSON in another form, and text that is not JSON.
#[test]
fn header_with_other_order_or_spacing_is_refused() {
    let forger = Forger::new();
    let kid = forger.kid();
    let good = forger.header();
    let (typ, alg, kid) = (r#""typ":"reset+jwt""#, r#""alg":"HS256""#, format!(r#""kid":"{kid}""#));
    assert_eq!(good, format!("{{{typ},{alg},{kid}}}"));
    assert_refused(
        &forger,
        [
            format!("{{{typ},{kid},{alg}}}"),
            format!("{{{alg},{typ},{kid}}}"),
            format!("{{{alg},{kid},{typ}}}"),
            format!("{{{kid},{alg},{typ}}}"),
            format!("{{{kid},{typ},{alg}}}"),
            good.replace(':', ": "),
            good.replace(',', ", "),
            good.replace('{', "{ "),
            good.replace('}', "\n}"),
            format!("{good} "),
            format!(" {good}"),
            format!("{good}\n"),
            format!("\u{feff}{good}"),
            format!("{good}\0"),
            format!("{good}{good}"),
            format!("[{good}]"),
            good.replace("typ", "\\u0074yp"),
            good.replace("reset+jwt", "reset\\u002bjwt"),
            good.to_uppercase(),
        ],
    );
    assert_refused(&forger, ["", "{}", "[]", "null", "0", "\"\"", "not JSON", "\0"].map(str::to_owned));
}

/// Other encodings of the header that lenient decoders accept.
#[test]
fn header_with_other_encoding_is_refused() {
    let forger = Forger::new();
    let codec = forger.codec();
    let token = codec.issue(&ann(), at(NOW), Duration::HOUR).unwrap();
    let [header, claims, _] = parts(token.expose());
    assert_eq!(decode(header), forger.header().into_bytes());
    let signing = forger.sub_key("signing");
    let json = forger.header();
    let spellings = [
        format!("{header}="),
        format!("{header}=="),
        format!(" {header}"),
        format!("{header}\n"),
        format!("{}\r\n{}", &header[..8], &header[8..]),
        header.to_lowercase(),
        json.clone(),
        json.bytes().map(|byte| format!("{byte:02x}")).collect(),
        encode(encode(&json)),
    ];
    for spelling in spellings {
        assert_eq!(refusal(&codec, &sign_parts(&signing, &spelling, claims)), Refusal::Header, "{spelling:?}");
    }
}

/// In a ring with both keys, the header of one key with the signature of the other is refused.
#[test]
fn key_id_of_another_key_in_the_ring_is_refused() {
    let (one, two) = (Forger::new(), Forger::other(1));
    let codec = TokenCodec::new(KeyRing::new(one.key()).previous(two.key()).unwrap());
    let token = codec.issue(&ann(), at(NOW), Duration::HOUR).unwrap();
    let claims = payload(token.expose());
    assert!(outcome(&codec, &one.sign(one.header(), &claims)).is_ok());
    assert!(outcome(&codec, &two.sign(two.header(), &claims)).is_ok());
    assert_eq!(refusal(&codec, &one.sign(two.header(), &claims)), Refusal::Signature);
    assert_eq!(refusal(&codec, &two.sign(one.header(), &claims)), Refusal::Signature);
}
