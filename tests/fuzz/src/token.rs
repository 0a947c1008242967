//! Properties of reset tokens: unsigned text, valid tokens with changes, signed arbitrary claims, and issued tokens.
//! The reference signer and claims parser share no code with the library.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use poem_password_reset::{IssueError, Refusal, StoredUser, TokenCodec};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use time::{Duration, OffsetDateTime};

use crate::forger::{Forger, HASH, NOW, at, decode, encode, hmac, outcome, parts, sign_parts};
use crate::input::Input;

/// The maximum length of a token. Longer tokens are refused even with a valid signature.
const MAX_TOKEN_BYTES: usize = 1024;

/// The longest lifetime of a token, in seconds.
const DAY: i64 = 24 * 60 * 60;

/// Panics if the library and the reference implementation disagree on the token that `input` describes.
pub fn holds(input: &[u8]) {
    let forger = Forger::new();
    let codec = forger.codec();
    let mut input = Input::new(input);
    match input.digit(5) {
        0 => check_unsigned_text(&codec, &String::from_utf8_lossy(input.rest())),
        1 => check_changed_token(&codec, &mut input),
        2 => check_signed_parts(&forger, &codec, &encode(forger.header()), &encode(input.rest())),
        3 => {
            let texts = String::from_utf8_lossy(input.rest()).replace("{header}", &encode(forger.header()));
            let (header, claims) = texts.split_once('.').unwrap_or((&texts, ""));
            check_signed_parts(&forger, &codec, header, claims);
        }
        _ => check_issued_token(&forger, &codec, &mut input),
    }
}

/// Issues a valid token. The ids have three lengths, one for each length of the final base64 group.
fn issued(codec: &TokenCodec, which: usize) -> String {
    let user = StoredUser::new(["7", "77", "777"][which], "ann@example.com", Some(HASH.to_owned()));
    codec.issue(&user, at(NOW), Duration::HOUR).expect("the user can have a token").expose().to_owned()
}

fn check_unsigned_text(codec: &TokenCodec, text: &str) {
    if outcome(codec, text).is_ok() {
        assert!((0..3).any(|which| issued(codec, which) == text), "a forged token is accepted: {text:?}");
    }
}

fn check_changed_token(codec: &TokenCodec, input: &mut Input<'_>) {
    let good = issued(codec, input.digit(3));
    let mut bytes = good.clone().into_bytes();
    // Repetition can double the length, so stop far beyond the maximum.
    while !input.is_empty() && (1..4096).contains(&bytes.len()) {
        let (change, position, byte) = (input.digit(8), input.below(bytes.len()), input.byte());
        match change {
            0 => bytes[position] = byte,
            1 => bytes.insert(position, byte),
            2 => bytes.push(byte),
            3 => bytes[position] ^= 1 << (byte % 8),
            4 => drop(bytes.remove(position)),
            5 => bytes.truncate(position),
            6 => bytes.extend_from_within(position..),
            // Copy bytes of another valid token to the same position.
            _ => {
                let other = issued(codec, usize::from(byte) % 3).into_bytes();
                let end = (position + usize::from(byte)).min(bytes.len()).min(other.len());
                if position < end {
                    bytes[position..end].copy_from_slice(&other[position..end]);
                }
            }
        }
    }
    check_unsigned_text(codec, &String::from_utf8_lossy(&bytes));
    assert!(outcome(codec, &good).is_ok());
}

/// Checks a token signed with the right key. It is accepted exactly if the header is the fixed one and the claims are
/// valid and in canonical base64url.
fn check_signed_parts(forger: &Forger, codec: &TokenCodec, header: &str, claims: &str) {
    let token = sign_parts(&forger.sub_key("signing"), header, claims);
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(claims).ok().filter(|bytes| encode(bytes) == claims);
    let read = decoded.as_deref().and_then(Claims::read).filter(|_| header == encode(forger.header()));
    let good = read.filter(|claims| claims.are_good_at(NOW) && token.len() <= MAX_TOKEN_BYTES);
    match (outcome(codec, &token), good) {
        (Ok(read), Some(claims)) => {
            assert_eq!(read.user_id(), claims.sub);
            assert_eq!(read.expires_at().unix_timestamp(), claims.exp);
            assert_eq!(parts(&token).map(|part| encode(decode(part))).join("."), token);
        }
        (Err(_), None) => {}
        (accepted, good) => panic!("{accepted:?}, and should be {good:?}: {header:?} {decoded:?}"),
    }
}

/// Checks that an issued token equals the reference token byte for byte, and is accepted only for its lifetime and its
/// user.
fn check_issued_token(forger: &Forger, codec: &TokenCodec, input: &mut Input<'_>) {
    let issued_at = input.number().rem_euclid(253_402_300_799 - 2 * DAY);
    let seconds = if input.digit(2) == 0 { input.below(usize::MAX) as i64 * 2 } else { input.number() };
    let text = |input: &mut Input<'_>| String::from_utf8_lossy(input.until(0)).into_owned();
    let (id, email) = (text(input), text(input));
    let hash = String::from_utf8_lossy(input.rest()).into_owned();
    let user = StoredUser::new(&id, email.as_str(), Some(hash.clone()));

    let token = match codec.issue(&user, at(issued_at), Duration::seconds(seconds)) {
        Ok(token) => token,
        Err(IssueError::Id) => return assert!(!is_id(&id), "{id:?}"),
        Err(error) => return assert!(is_id(&id) && !(1..=DAY).contains(&seconds), "{error}: {id:?} {seconds}"),
    };
    assert!(is_id(&id) && (1..=DAY).contains(&seconds));
    let (token, expires_at) = (token.expose(), issued_at + seconds);
    assert_eq!(token, sealed(forger, [&id, &email, &hash], issued_at, expires_at));
    assert!(token.len() <= MAX_TOKEN_BYTES, "the issued token is too long to be accepted");

    let refusal = |now: OffsetDateTime| codec.verify(token, now).err().map(|error| error.refusal());
    assert_eq!(refusal(at(issued_at)), None);
    assert_eq!(refusal(at(expires_at - 1)), None);
    assert_eq!(refusal(at(expires_at)), Some(Refusal::Expired));
    assert_eq!(refusal(at(issued_at - 60)), None);
    assert_eq!(refusal(at(issued_at - 61)), Some(Refusal::NotYetIssued));

    let claims = || codec.verify(token, at(issued_at)).expect("the token is valid");
    assert_eq!((claims().user_id(), claims().expires_at()), (id.as_str(), at(expires_at)));
    assert!(codec.bind(claims(), user).is_ok());

    let user = |id: &str, email: &str, hash: Option<&str>| StoredUser::new(id, email, hash.map(str::to_owned));
    let others = [
        user(&format!("{id}7"), &email, Some(&hash)),
        user(&id, &format!("{email}7"), Some(&hash)),
        user(&id, &email, Some(&format!("{hash}7"))),
        user(&id, &email, None),
        user(&id, &email, Some(&hash)).bind_also(""),
        // The same bytes with other field boundaries.
        user(&format!("{id}{email}"), "", Some(&format!("{hash}{}", if email.is_empty() { "7" } else { "" }))),
        user(&id, &format!("{email}{hash}"), Some(if hash.is_empty() { "7" } else { "" })),
    ];
    for other in others {
        assert!(codec.bind(claims(), other).is_err());
    }
}

/// Returns the reference token for a user given as id, address and password hash.
fn sealed(forger: &Forger, user: [&str; 3], iat: i64, exp: i64) -> String {
    let fields: Vec<u8> =
        user.iter().flat_map(|field| [&(field.len() as u64).to_be_bytes(), field.as_bytes()].concat()).collect();
    let bnd = encode(&hmac(&forger.sub_key("binding"), &fields)[..16]);
    let sub = Value::from(user[0]);
    forger.sign_claims(format!(r#"{{"sub":{sub},"iat":{iat},"exp":{exp},"aud":"password-reset","bnd":"{bnd}"}}"#))
}

fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 128 && !id.chars().any(char::is_control)
}

/// The claims as the reference parser reads them.
#[derive(Debug)]
struct Claims {
    sub: String,
    iat: i64,
    exp: i64,
    aud: String,
    bnd: String,
}

impl Claims {
    /// Returns `None` if a claim is missing, repeated, unknown or of the wrong type.
    fn read(json: &[u8]) -> Option<Self> {
        let Members(mut members) = serde_json::from_slice(json).ok()?;
        members.sort_by(|(one, _), (other, _)| one.cmp(other));
        let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
        if names != ["aud", "bnd", "exp", "iat", "sub"] {
            return None;
        }
        let text = |at: usize| members[at].1.as_str().map(str::to_owned);
        let number = |at: usize| members[at].1.as_i64();
        Some(Self { aud: text(0)?, bnd: text(1)?, exp: number(2)?, iat: number(3)?, sub: text(4)? })
    }

    fn are_good_at(&self, now: i64) -> bool {
        let binding = BASE64_URL_SAFE_NO_PAD.decode(&self.bnd);
        let lifetime = i128::from(self.exp) - i128::from(self.iat);
        is_id(&self.sub)
            && self.aud == "password-reset"
            && binding.is_ok_and(|bytes| bytes.len() == 16 && encode(bytes) == self.bnd)
            && (1..=i128::from(DAY)).contains(&lifetime)
            && self.iat <= now + 60
            && now < self.exp
    }
}

/// The members of a JSON object, including repeated ones.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}
