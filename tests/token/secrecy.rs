//! A token reveals only the user's id and two times. `Debug` output reveals even less.

use std::fmt::{Debug, Display};

use poem_password_reset::{
    InvalidToken, KeyRing, NewPassword, PasswordHash, Refusal, ResetToken, SigningKey, StoredUser, TokenCodec,
};
use time::Duration;

use crate::forger::{NOW, at, decode, encode, outcome, parts, payload};

const MASTER: &[u8; 40] = b"Zq3v Wk8j Xp2n Hy7t Lm5r Bd9f Gs4c Vu6x ";
const ID: &str = "id-4711";
const EMAIL: &str = "grace.hopper@navy.mil";
const USERNAME: &str = "amazing_grace";
const HASH: &str = "$argon2id$v=19$m=65536,t=3,p=4$bm90YXNhbHQ$0Wk8jXp2nHy7tLm5rBd9f";
const STATE: &[u8] = b"session epoch 90210";

fn grace() -> StoredUser {
    StoredUser::new(ID, EMAIL, Some(HASH.to_owned())).with_username(USERNAME.to_owned()).bind_also(STATE)
}

fn codec() -> TokenCodec {
    TokenCodec::new(SigningKey::from_bytes(MASTER).expect("the key is long enough"))
}

/// Returns the first substring of `secret` of `length` bytes that occurs in `text`.
fn found(secret: &[u8], length: usize, text: &[u8]) -> Option<String> {
    let piece = secret.windows(length).find(|piece| text.windows(length).any(|window| window == *piece));
    piece.map(|piece| String::from_utf8_lossy(piece).into_owned())
}

#[test]
fn token_contains_no_four_characters_of_user_data() {
    let codec = codec();
    let token = codec.issue(&grace(), at(NOW), Duration::HOUR).unwrap();
    let json = payload(token.expose());
    let raw_binding = decode(json.rsplit('"').nth(1).unwrap());
    assert_eq!(raw_binding.len(), 16);
    let searched: [(&str, &[u8]); 4] = [
        ("header", &decode(parts(token.expose())[0])),
        ("claims", json.as_bytes()),
        ("binding", &raw_binding),
        ("text", token.expose().as_bytes()),
    ];
    for secret in [EMAIL.as_bytes(), USERNAME.as_bytes(), HASH.as_bytes(), STATE, MASTER] {
        let name = String::from_utf8_lossy(secret);
        // Also search for hexadecimal and for base64 in each of its three alignments. Eight characters are four to six
        // bytes.
        let mut encoded = vec![secret.iter().map(|byte| format!("{byte:02x}")).collect()];
        encoded.extend((0..3).map(|skip| encode(&secret[skip..])));
        for (part, text) in searched {
            assert_eq!(found(secret, 4, text), None, "{name} in the {part}");
            for encoded in &encoded {
                assert_eq!(found(encoded.as_bytes(), 8, text), None, "{name} in the {part}");
            }
        }
    }
    // The search finds content that is there.
    assert_eq!(found(ID.as_bytes(), 4, json.as_bytes()), Some("id-4".to_owned()));
    assert!(found(encode(&json[3..]).as_bytes(), 8, token.expose().as_bytes()).is_some());
}

#[test]
fn debug_and_display_show_no_secret() {
    const PASSWORD: &str = "tr0ub4dor & three";
    let codec = codec();
    let key = || SigningKey::from_bytes(MASTER).unwrap();
    let token = codec.issue(&grace(), at(NOW), Duration::HOUR).unwrap();
    let claims = || outcome(&codec, token.expose()).unwrap();
    let bound = codec.bind(claims(), grace()).unwrap();
    let duplicate = KeyRing::new(key()).previous(key()).unwrap_err();
    let forged = outcome(&codec, &token.expose()[1..]).unwrap_err();
    let stale = codec.bind(claims(), grace().bind_also("more")).unwrap_err();
    let refused = codec.issue(&StoredUser::new("", EMAIL, Some(HASH.to_owned())), at(NOW), Duration::HOUR).unwrap_err();
    let not_base64 = SigningKey::from_base64(&format!("!{}", String::from_utf8_lossy(MASTER))).unwrap_err();
    let too_short = SigningKey::from_bytes(&MASTER[..31]).unwrap_err();

    let debug: Vec<&dyn Debug> =
        vec![&codec, &token, &bound, &duplicate, &forged, &stale, &refused, &not_base64, &too_short];
    let display: Vec<&dyn Display> = vec![&duplicate, &forged, &stale, &refused, &not_base64, &too_short];
    let mut shown: Vec<String> = debug.iter().map(|value| format!("{value:?}\n{value:#?}")).collect();
    shown.extend(display.iter().map(|value| value.to_string()));
    shown.extend([
        format!("{:?}", key()),
        format!("{:?}", KeyRing::new(key())),
        format!("{:?}", claims()),
        format!("{:?}", Some(grace())),
        format!("{:?}", bound.user().password_hash()),
        format!("{:?}", NewPassword::new(PASSWORD)),
        format!("{:?}", PasswordHash::new(HASH)),
        format!("{:?}", ResetToken::new(token.expose())),
        format!("{:?}", (token.clone(), grace().clone())),
    ]);
    let shown = shown.join("\n");

    let numbers = |bytes: &[u8]| format!("{bytes:?}").trim_matches(['[', ']']).as_bytes().to_vec();
    let [_, token_claims, token_tag] = parts(token.expose()).map(|part| part.as_bytes().to_vec());
    let texts = [EMAIL, USERNAME, HASH, PASSWORD].map(|text| text.as_bytes().to_vec());
    let secrets = [MASTER.to_vec(), encode(MASTER).into_bytes(), numbers(MASTER), STATE.to_vec(), numbers(STATE)];
    for secret in secrets.iter().chain(&texts).chain([&token_claims, &token_tag]) {
        assert_eq!(found(secret, 6, shown.as_bytes()), None, "in\n{shown}");
    }
    // The ids of the key and of the user may be shown.
    assert!(shown.contains(key().id()) && shown.contains(ID), "{shown}");
}

/// The message does not reveal the reason, which would help an attacker.
#[test]
fn every_refusal_has_the_same_message() {
    let codec = codec();
    let token = codec.issue(&grace(), at(NOW), Duration::HOUR).unwrap();
    let good = token.expose();
    let claims = outcome(&codec, good).unwrap();
    let refused: Vec<InvalidToken> = vec![
        outcome(&codec, "").unwrap_err(),
        outcome(&codec, &"x".repeat(2_000)).unwrap_err(),
        outcome(&codec, &good[1..]).unwrap_err(),
        outcome(&codec, &good[..good.len() - 1]).unwrap_err(),
        codec.verify(good, at(NOW + 3_600)).unwrap_err(),
        codec.verify(good, at(NOW - 3_600)).unwrap_err(),
        codec.bind(claims, grace().bind_also("more")).unwrap_err(),
    ];
    let reasons: Vec<Refusal> = refused.iter().map(InvalidToken::refusal).collect();
    let expected = [
        Refusal::Malformed,
        Refusal::TooLong,
        Refusal::Header,
        Refusal::Signature,
        Refusal::Expired,
        Refusal::NotYetIssued,
        Refusal::Stale,
    ];
    assert_eq!(reasons, expected);
    for error in refused {
        assert_eq!(error.to_string(), "the reset token is not valid");
        assert!(std::error::Error::source(&error).is_none());
    }
}
