//! A token cannot be forged without the key. Bit flips, cuts and splices of valid tokens are refused, and so are
//! signatures by other keys.

use std::collections::{HashMap, HashSet};

use poem_password_reset::{KeyRing, Refusal, StoredUser, TokenCodec};
use time::Duration;

use crate::forger::{Forger, HASH, NOW, ann, at, decode, encode, hmac, outcome, parts, refusal, rounds, sign_parts};
use crate::random::Random;

/// Ids of three lengths cover each length of the final base64 group.
#[test]
fn token_with_any_flipped_bit_is_refused() {
    let codec = Forger::new().codec();
    for id in ["7", "77", "777"] {
        let user = StoredUser::new(id, "ann@example.com", Some(HASH.to_owned()));
        let token = codec.issue(&user, at(NOW), Duration::HOUR).unwrap();
        let token = token.expose();
        assert!(outcome(&codec, token).is_ok());
        let (mut refused, mut not_text) = (0, 0);
        for position in 0..token.len() {
            for bit in 0..8 {
                let mut bytes = token.as_bytes().to_vec();
                bytes[position] ^= 1 << bit;
                match String::from_utf8(bytes) {
                    Ok(flipped) => {
                        refusal(&codec, &flipped);
                        refused += 1;
                    }
                    Err(_) => not_text += 1,
                }
            }
        }
        // A token is ASCII, so only a flip of an eighth bit makes it invalid UTF-8.
        assert_eq!(not_text, token.len());
        assert_eq!(refused, token.len() * 7);
    }
}

#[test]
fn truncated_token_is_refused() {
    let codec = Forger::new().codec();
    let token = codec.issue(&ann(), at(NOW), Duration::HOUR).unwrap();
    let token = token.expose();
    for cut in 0..token.len() {
        refusal(&codec, &token[..cut]);
        refusal(&codec, &token[cut + 1..]);
        refusal(&codec, &format!("{}{}", &token[..cut], &token[cut + 1..]));
    }
}

#[test]
fn randomly_mutated_token_is_refused() {
    let (current, previous) = (Forger::new(), Forger::other(1));
    let codec = TokenCodec::new(KeyRing::new(current.key()).previous(previous.key()).unwrap());
    let good: Vec<String> = [&current, &previous]
        .into_iter()
        .flat_map(|forger| {
            let codec = forger.codec();
            [("7", 0), ("7", -9), ("8", 0), ("a-much-longer-id", 60)].map(|(id, second)| {
                let user = StoredUser::new(id, "ann@example.com", Some(HASH.to_owned()));
                codec.issue(&user, at(NOW + second), Duration::HOUR).unwrap().expose().to_owned()
            })
        })
        .collect();
    let known: HashSet<&str> = good.iter().map(String::as_str).collect();

    let mut random = Random::seeded();
    let mut refusals: HashMap<Refusal, usize> = HashMap::new();
    let mut good_again = 0;
    let rounds = rounds(100_000);
    for round in 0..rounds {
        let token = mutate(&mut random, &good);
        match outcome(&codec, &token) {
            Ok(_) => {
                assert!(known.contains(&*token), "round {round}: {token:?} was accepted");
                good_again += 1;
            }
            Err(error) => {
                assert!(!known.contains(&*token), "round {round}: {token:?} was refused");
                *refusals.entry(error.refusal()).or_default() += 1;
            }
        }
    }
    // Many mutations reach the MAC check. Without a key, none passes it.
    assert!(good_again < rounds / 10, "{good_again} of {rounds} were not changed");
    assert!(refusals[&Refusal::Signature] > rounds / 4, "{refusals:?}");
    for unreachable in [Refusal::Claims, Refusal::Expired, Refusal::NotYetIssued] {
        assert_eq!(refusals.get(&unreachable), None);
    }
}

/// Applies one to three random changes to a random valid token.
fn mutate(random: &mut Random, good: &[String]) -> String {
    let mut token = good[random.below(good.len())].clone().into_bytes();
    for _ in 0..=random.below(3) {
        let length = token.len();
        let (from, to) = (random.below(length + 1), random.below(length + 1));
        let (from, to) = (from.min(to), from.max(to));
        let other = good[random.below(good.len())].as_bytes();
        match random.below(10) {
            0 if length > 0 => token[random.below(length)] ^= 1 << random.below(8),
            1 => drop(token.drain(from..to)),
            2 => token.truncate(to),
            // The start of one token and the end of another, cut at the same or at different positions.
            3 => token = [&token[..from], &other[from.min(other.len())..]].concat(),
            4 => token = [&token[..from], &other[to.min(other.len())..]].concat(),
            5 => {
                let copy = token[from..to].to_vec();
                let position = random.below(length + 1);
                token.splice(position..position, copy);
            }
            6 if length > 0 => {
                let position = random.below(length);
                token[position] ^= if token[position].is_ascii_alphabetic() { 0x20 } else { 0 };
            }
            7 => {
                let inserted =
                    random.pick(&[".", "..", "=", "==", " ", "\n", "\t", "\r\n", "\0", "+", "/", "%2E", "é", "."]);
                token.splice(from..from, inserted.bytes());
            }
            8 => {
                // Combine parts of two tokens, repeat a part, or reorder parts.
                let text = String::from_utf8_lossy(&token).into_owned();
                let other = String::from_utf8_lossy(other).into_owned();
                let parts: Vec<&str> = text.split('.').chain(other.split('.')).collect();
                let chosen: Vec<&str> = (0..2 + random.below(3)).map(|_| parts[random.below(parts.len())]).collect();
                token = chosen.join(".").into_bytes();
            }
            9 if length > 0 => {
                const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
                token[random.below(length)] = ALPHABET[random.below(64)];
            }
            _ => {}
        }
    }
    String::from_utf8_lossy(&token).into_owned()
}

/// Only the key is wrong: the master key, sub-keys for other purposes, and unrelated keys.
#[test]
fn token_signed_with_any_other_key_is_refused() {
    let forger = Forger::new();
    let codec = forger.codec();
    let token = codec.issue(&ann(), at(NOW), Duration::HOUR).unwrap();
    let [header, claims, _] = parts(token.expose());
    assert_eq!(sign_parts(&forger.sub_key("signing"), header, claims), token.expose());

    let (kid, base64) = (forger.kid(), encode(forger.master()));
    let keys: [&[u8]; 14] = [
        forger.master(),
        &forger.sub_key("binding"),
        &forger.sub_key("throttle"),
        &forger.sub_key("key-id"),
        &forger.sub_key(""),
        &hmac(forger.master(), b"signing"),
        &hmac(&forger.sub_key("signing"), b"poem-password-reset/v1/signing"),
        &Forger::other(1).sub_key("signing"),
        kid.as_bytes(),
        header.as_bytes(),
        base64.as_bytes(),
        b"",
        &[0; 32],
        b"secret",
    ];
    for key in keys {
        assert_eq!(refusal(&codec, &sign_parts(key, header, claims)), Refusal::Signature, "signed with {key:?}");
    }
}

/// The application may sign other JWTs with the same master key. They are not reset tokens.
#[test]
fn jwt_for_another_purpose_is_refused() {
    let forger = Forger::new();
    let codec = forger.codec();
    let good = codec.issue(&ann(), at(NOW), Duration::HOUR).unwrap();
    let bnd = payload_field(good.expose());
    let exp = NOW + 3_600;
    let kid = forger.kid();
    let headers = [
        r#"{"typ":"JWT","alg":"HS256"}"#.to_owned(),
        r#"{"alg":"HS256"}"#.to_owned(),
        format!(r#"{{"typ":"JWT","alg":"HS256","kid":"{kid}"}}"#),
        r#"{"typ":"at+jwt","alg":"HS256"}"#.to_owned(),
        forger.header(),
    ];
    let claims = [
        format!(r#"{{"sub":"7","exp":{exp}}}"#),
        format!(r#"{{"sub":"7","iat":{NOW},"exp":{exp},"aud":"login"}}"#),
        format!(r#"{{"sub":"7","iat":{NOW},"exp":{exp},"scope":"admin","jti":"1"}}"#),
        format!(r#"{{"sub":"7","iat":{NOW},"exp":{exp},"aud":"password-reset","bnd":"{bnd}"}}"#),
    ];
    let keys = [forger.master().to_vec(), forger.sub_key("binding").to_vec(), forger.sub_key("throttle").to_vec()];
    let mut refused = 0;
    for header in &headers {
        for claims in &claims {
            for key in &keys {
                let token = sign_parts(key, &encode(header), &encode(claims));
                assert!(matches!(refusal(&codec, &token), Refusal::Header | Refusal::Signature), "{header}, {claims}");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 60);
}

fn payload_field(token: &str) -> String {
    let claims: serde_json::Value = serde_json::from_slice(&decode(parts(token)[1])).expect("claims are JSON");
    claims["bnd"].as_str().expect("the binding is text").to_owned()
}

#[test]
fn signature_of_wrong_length_is_refused() {
    let forger = Forger::new();
    let codec = forger.codec();
    let token = codec.issue(&ann(), at(NOW), Duration::HOUR).unwrap();
    let [header, claims, tag] = parts(token.expose());
    let tag = decode(tag);
    for length in (0..32).chain(33..=64) {
        let other: Vec<u8> = tag.iter().copied().cycle().take(length).collect();
        let token = format!("{header}.{claims}.{}", encode(other));
        assert_eq!(refusal(&codec, &token), Refusal::Signature, "{length} bytes");
    }
}

/// A longer token is refused before it is parsed, even with a valid signature. A token of exactly 1 KiB is accepted.
#[test]
fn token_over_one_kibibyte_is_refused() {
    let forger = Forger::new();
    let codec = forger.codec();
    let claims = decode(parts(codec.issue(&ann(), at(NOW), Duration::HOUR).unwrap().expose())[1]);
    let padded = |spaces| forger.sign_claims([&claims[..], &vec![b' '; spaces]].concat());
    let longest = (0..1_000).map(padded).take_while(|token| token.len() <= 1024).last().unwrap();
    assert!(longest.len() >= 1023, "{}", longest.len());
    assert!(outcome(&codec, &longest).is_ok());
    let spaces = (0..1_000).find(|&spaces| padded(spaces).len() > 1024).unwrap();
    for more in [0, 1, 2, 3, 700, 5_000, 100_000] {
        assert_eq!(refusal(&codec, &padded(spaces + more)), Refusal::TooLong);
    }
    assert_eq!(refusal(&codec, &"a.".repeat(8 << 20)), Refusal::TooLong);
    assert_eq!(refusal(&codec, &"é".repeat(513)), Refusal::TooLong);
}

#[test]
fn tokens_of_different_users_seconds_and_keys_differ() {
    let codecs = [Forger::new().codec(), Forger::other(1).codec()];
    let per_key = rounds(50_000);
    let (users, seconds) = (per_key / 100, 100);
    // Different 16-character suffixes prove that the tokens differ, and take less memory than whole tokens.
    let mut tags = HashSet::with_capacity(2 * per_key);
    for codec in &codecs {
        for id in 0..users {
            let user = StoredUser::new(id, "ann@example.com", Some(HASH.to_owned()));
            for second in 0..seconds {
                let token = codec.issue(&user, at(NOW + second), Duration::HOUR).unwrap();
                let mut tag = [0; 16];
                tag.copy_from_slice(&token.expose().as_bytes()[token.expose().len() - 16..]);
                tags.insert(tag);
            }
        }
    }
    assert_eq!(tags.len(), 2 * per_key);
    // Tokens are deterministic: the same user and second give the same token.
    let twice = [(); 2].map(|()| codecs[0].issue(&ann(), at(NOW), Duration::HOUR).unwrap());
    assert_eq!(twice[0].expose(), twice[1].expose());
}
