//! Each token has one accepted text. Other base64 forms of the same bytes are refused in all three parts, even with a
//! valid signature (RFC 4648, section 3.5; RFC 7515, section 2).

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use poem_password_reset::{Refusal, StoredUser};
use proptest::prelude::*;
use time::Duration;

use crate::forger::{Forger, HASH, NOW, at, decode, encode, outcome, parts, refusal, sign_parts};

const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Returns other texts that a lenient decoder decodes to the same bytes.
fn aliases(part: &str) -> Vec<String> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let url_safe = GeneralPurpose::new(&URL_SAFE, LENIENT);
    let standard = GeneralPurpose::new(&STANDARD, LENIENT);
    let bytes = decode(part);

    // Stray bits in the last character.
    let rest = &part[..part.len() - 1];
    let mut aliases: Vec<String> = LETTERS.chars().map(|last| format!("{rest}{last}")).collect();
    // Padding, and the other alphabet.
    let padding = ["", "==", "="][bytes.len() % 3];
    aliases.push(format!("{part}{padding}"));
    aliases.push(part.replace('-', "+").replace('_', "/"));
    aliases.retain(|alias| {
        let read = url_safe.decode(alias).or_else(|_| standard.decode(alias));
        alias != part && read.is_ok_and(|read| read == bytes)
    });
    // White space, which most decoders skip.
    for space in [" ", "\n", "\r\n", "\t", "\u{b}"] {
        aliases.extend([
            format!("{space}{part}"),
            format!("{part}{space}"),
            format!("{}{space}{}", &part[..4], &part[4..]),
        ]);
    }
    // Wrong padding, NUL, and other suffixes.
    aliases.extend(["=", "==", "===", "\0", "%3D", "\u{200b}"].map(|more| format!("{part}{more}")));
    aliases
}

#[test]
fn other_base64_form_of_any_part_is_refused() {
    let forger = Forger::new();
    let codec = forger.codec();
    let signing = forger.sub_key("signing");
    let (mut tried, mut other_alphabet, mut stray_bits) = (0, 0, 0);
    // Ids that encode to the two characters in which the alphabets differ, in three lengths.
    for id in ["???>>>~~~", "???>>>~~~~", "???>>>~~~~~"] {
        for second in 0..4 {
            let user = StoredUser::new(id, "ann@example.com", Some(HASH.to_owned()));
            let token = codec.issue(&user, at(NOW - second), Duration::HOUR).unwrap();
            assert!(outcome(&codec, token.expose()).is_ok());
            let [header, claims, tag] = parts(token.expose());
            for alias in aliases(header) {
                assert_eq!(refusal(&codec, &sign_parts(&signing, &alias, claims)), Refusal::Header, "{alias:?}");
                tried += 1;
            }
            for alias in aliases(claims) {
                assert_eq!(refusal(&codec, &sign_parts(&signing, header, &alias)), Refusal::Claims, "{alias:?}");
                other_alphabet += usize::from(alias.contains(['+', '/']));
                stray_bits += usize::from(alias.len() == claims.len() && !alias.contains(['+', '/']));
                tried += 1;
            }
            for alias in aliases(tag) {
                assert_eq!(refusal(&codec, &format!("{header}.{claims}.{alias}")), Refusal::Signature, "{alias:?}");
                tried += 1;
            }
        }
    }
    assert!(tried > 700 && other_alphabet > 8 && stray_bits > 30, "{tried}, {other_alphabet}, {stray_bits}");
}

#[test]
fn token_without_exactly_two_dots_is_refused() {
    let forger = Forger::new();
    let codec = forger.codec();
    let signing = forger.sub_key("signing");
    let user = StoredUser::new(7, "ann@example.com", Some(HASH.to_owned()));
    let token = codec.issue(&user, at(NOW), Duration::HOUR).unwrap();
    let [header, claims, tag] = parts(token.expose());
    for (text, because) in [
        (String::new(), Refusal::Malformed),
        (".".to_owned(), Refusal::Malformed),
        (header.to_owned(), Refusal::Malformed),
        (format!("{header}.{claims}"), Refusal::Malformed),
        (format!("{claims}.{tag}"), Refusal::Malformed),
        ("..".to_owned(), Refusal::Header),
        (format!(".{}", token.expose()), Refusal::Header),
        (format!("{header}..{tag}"), Refusal::Signature),
        (format!("{header}.{claims}."), Refusal::Signature),
        (format!("{header}.{claims}..{tag}"), Refusal::Signature),
        (format!("{}.", token.expose()), Refusal::Signature),
        (format!("{}.{tag}", token.expose()), Refusal::Signature),
        // With a valid signature over the changed text.
        (sign_parts(&signing, header, ""), Refusal::Claims),
        (sign_parts(&signing, header, "."), Refusal::Claims),
        (sign_parts(&signing, header, &format!("{claims}.")), Refusal::Claims),
        (sign_parts(&signing, header, &format!(".{claims}")), Refusal::Claims),
        (sign_parts(&signing, header, &format!("{claims}.{claims}")), Refusal::Claims),
        (sign_parts(&signing, &format!("{header}."), claims), Refusal::Claims),
        (sign_parts(&signing, &format!(".{header}"), claims), Refusal::Header),
        (sign_parts(&signing, "", claims), Refusal::Header),
    ] {
        assert_eq!(refusal(&codec, &text), because, "{text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    /// About half of the tokens are accepted, so both outcomes are tested.
    #[test]
    fn accepted_token_equals_its_canonical_encoding(
        id in "[ -~]{1,40}",
        space in "[ \\n]{0,3}",
        alias in proptest::option::of((0..3_usize, any::<proptest::sample::Index>())),
    ) {
        let forger = Forger::new();
        let sub = serde_json::to_string(&id).unwrap();
        let claims = format!(
            r#"{space}{{"sub":{sub},"iat":{NOW},"exp":{},"aud":"password-reset","bnd":"AAAAAAAAAAAAAAAAAAAAAA"}}"#,
            NOW + 3_600,
        );
        let (mut header, mut claims) = (encode(forger.header()), encode(claims));
        match &alias {
            Some((0, index)) => header = index.get(&aliases(&header)).clone(),
            Some((1, index)) => claims = index.get(&aliases(&claims)).clone(),
            _ => {}
        }
        let mut token = sign_parts(&forger.sub_key("signing"), &header, &claims);
        if let Some((2, index)) = &alias {
            let [header, claims, tag] = parts(&token);
            token = format!("{header}.{claims}.{}", index.get(&aliases(tag)));
        }
        let accepted = outcome(&forger.codec(), &token).is_ok();
        prop_assert_eq!(accepted, alias.is_none());
        if accepted {
            prop_assert_eq!(parts(&token).map(|part| encode(decode(part))).join("."), token);
        }
    }
}
