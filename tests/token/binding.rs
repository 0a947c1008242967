//! A token is bound to what the user's row said when it was issued.

use std::cmp::Ordering;
use std::collections::HashSet;

use poem_password_reset::{Refusal, StoredUser, TokenCodec};
use time::Duration;

use crate::forger::{Forger, HASH, NOW, ann, at, decode, encode, outcome, parts, payload, rounds};
use crate::random::Random;

/// Whether a token that was issued to `before` is still good for `after`.
fn survives(codec: &TokenCodec, before: &StoredUser, after: StoredUser) -> bool {
    let token = codec.issue(before, at(NOW), Duration::HOUR).expect("the user can have a token");
    let claims = outcome(codec, token.expose()).expect("the token is good");
    match codec.bind(claims, after) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.refusal(), Refusal::Stale);
            false
        }
    }
}

fn user(id: &str, email: &str, hash: Option<&str>, also: &[&[u8]]) -> StoredUser {
    let user = StoredUser::new(id, email, hash.map(str::to_owned));
    also.iter().fold(user, |user, state| user.bind_also(state))
}

#[test]
fn token_is_refused_after_a_bound_field_changes() {
    let codec = Forger::new().codec();
    let rows = [
        user("7", "ann@example.com", Some(HASH), &[]),
        // The id, as it is.
        user("8", "ann@example.com", Some(HASH), &[]),
        user("07", "ann@example.com", Some(HASH), &[]),
        user("7 ", "ann@example.com", Some(HASH), &[]),
        // The address, as it is: case and form count, it is the one on record.
        user("7", "Ann@example.com", Some(HASH), &[]),
        user("7", "ann@example.org", Some(HASH), &[]),
        user("7", "ann@example.com ", Some(HASH), &[]),
        user("7", "ann@example.com\0", Some(HASH), &[]),
        user("7", "", Some(HASH), &[]),
        user("7", "ann@éxample.com", Some(HASH), &[]),
        user("7", "ann@e\u{301}xample.com", Some(HASH), &[]),
        // The password: another, none, an empty one, and the last character of it.
        user("7", "ann@example.com", None, &[]),
        user("7", "ann@example.com", Some(""), &[]),
        user("7", "ann@example.com", Some(&HASH[1..]), &[]),
        user("7", "ann@example.com", Some(&HASH[..HASH.len() - 1]), &[]),
        user("7", "ann@example.com", Some(&HASH.to_lowercase()), &[]),
        // What the application binds: each, their order, their number, none and an empty one.
        user("7", "ann@example.com", Some(HASH), &[b""]),
        user("7", "ann@example.com", Some(HASH), &[b"", b""]),
        user("7", "ann@example.com", Some(HASH), &[b"1", b"2"]),
        user("7", "ann@example.com", Some(HASH), &[b"2", b"1"]),
        user("7", "ann@example.com", Some(HASH), &[b"12"]),
        user("7", "ann@example.com", Some(HASH), &[b"12", b""]),
        user("7", "ann@example.com", Some(HASH), &[b"", b"12"]),
        user("7", "ann@example.com", Some(HASH), &[b"1", b"2", b"3"]),
        user("7", "ann@example.com", Some(HASH), &[b"\0\0\0\0\0\0\0\0"]),
        user("7", "ann@example.com", Some(HASH), &[&[255; 8]]),
        user("7", "ann@example.com", None, &[b""]),
        user("7", "ann@example.com", None, &[b"", b""]),
        user("7", "ann@example.com", Some(""), &[b""]),
    ];
    // Every row against every other: a token is good for the one it was issued to, and for no other.
    for (one, before) in rows.iter().enumerate() {
        for (other, after) in rows.iter().enumerate() {
            assert_eq!(survives(&codec, before, after.clone()), one == other, "rows {one} and {other}");
        }
    }
}

#[test]
fn token_survives_a_change_of_username_or_active_flag() {
    let codec = Forger::new().codec();
    let named = |name: &str| ann().with_username(name.to_owned());
    for (before, after) in [
        (ann(), named("ann")),
        (named("ann"), ann()),
        (named("ann"), named("anna")),
        (ann(), ann().with_active(false)),
        (ann().with_active(false), ann()),
    ] {
        assert!(survives(&codec, &before, after));
    }
}

/// The row is the same and the key is not.
#[test]
fn binding_made_with_another_key_is_refused() {
    let codecs: Vec<TokenCodec> = (0..20).map(|number| Forger::other(number).codec()).collect();
    let bindings: HashSet<String> = codecs.iter().map(|codec| bnd(codec, &ann())).collect();
    assert_eq!(bindings.len(), codecs.len());
    // Claims that one codec verified prove nothing to another.
    for other in &codecs[1..] {
        let token = codecs[0].issue(&ann(), at(NOW), Duration::HOUR).unwrap();
        let claims = outcome(&codecs[0], token.expose()).unwrap();
        assert_eq!(other.bind(claims, ann()).unwrap_err().refusal(), Refusal::Stale);
    }
}

/// It takes the binding sub-key to make one: whoever can sign, and nothing more, gets no user.
#[test]
fn binding_made_with_another_sub_key_is_refused() {
    let forger = Forger::new();
    let codec = forger.codec();
    let token = codec.issue(&ann(), at(NOW), Duration::HOUR).unwrap();
    let json = payload(token.expose());
    let good = bnd(&codec, &ann());
    let fields = [&b"7"[..], b"ann@example.com", HASH.as_bytes()];
    let message: Vec<u8> =
        fields.iter().flat_map(|field| [&(field.len() as u64).to_be_bytes()[..], field].concat()).collect();
    let by = |key: &[u8]| encode(&crate::forger::hmac(key, &message)[..16]);
    assert_eq!(by(&forger.sub_key("binding")), good, "the forger knows how it is made");
    for key in
        [forger.master(), &forger.sub_key("signing"), &forger.sub_key("throttle"), &forger.sub_key("key-id"), b""]
    {
        let claims = outcome(&codec, &forger.sign_claims(json.replace(&good, &by(key)))).unwrap();
        assert_eq!(codec.bind(claims, ann()).unwrap_err().refusal(), Refusal::Stale);
    }
    // Nor does a binding of one user go with the id of another.
    let bob = || StoredUser::new(8, "bob@example.com", Some(HASH.to_owned()));
    let claims = outcome(&codec, &forger.sign_claims(json.replace("\"7\"", "\"8\""))).unwrap();
    assert_eq!(claims.user_id(), "8");
    assert_eq!(codec.bind(claims, bob()).unwrap_err().refusal(), Refusal::Stale);
}

/// Every bit of the binding counts.
#[test]
fn binding_with_one_flipped_bit_is_refused() {
    let forger = Forger::new();
    let codec = forger.codec();
    let json = payload(codec.issue(&ann(), at(NOW), Duration::HOUR).unwrap().expose());
    let good = bnd(&codec, &ann());
    for bit in 0..128 {
        let mut raw = decode(&good);
        assert_eq!(raw.len(), 16);
        raw[bit / 8] ^= 1 << (bit % 8);
        let claims = outcome(&codec, &forger.sign_claims(json.replace(&good, &encode(raw)))).unwrap();
        assert_eq!(codec.bind(claims, ann()).unwrap_err().refusal(), Refusal::Stale, "bit {bit}");
    }
}

fn bnd(codec: &TokenCodec, user: &StoredUser) -> String {
    let token = codec.issue(user, at(NOW), Duration::HOUR).expect("the user can have a token");
    let claims = decode(parts(token.expose())[1]);
    // The last claim: 22 characters, a quote and a brace.
    String::from_utf8(claims[claims.len() - 24..claims.len() - 2].to_vec()).expect("claims are UTF-8")
}

/// A row as its fields, so that bytes can be moved from one to the next.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    /// Id, email address, password hash, then whatever else is bound.
    fields: Vec<String>,
    password: bool,
}

impl Row {
    fn random(random: &mut Random) -> Self {
        let count = 3 + random.below(4);
        let mut fields: Vec<String> = (0..count)
            .map(|field| {
                // The ids and addresses of real rows have no zero bytes; in the rest they imitate lengths.
                let letters: &[&str] =
                    if field < 2 { &["a", "b", "7", "@"] } else { &["a", "b", "\0", "\u{1}", "\u{8}"] };
                (0..random.below(12)).map(|_| random.pick(letters)).collect()
            })
            .collect();
        fields[0].push('7');
        Self { fields, password: true }
    }

    /// The same bytes in the same order, with another border between fields, or one border more or less.
    fn moved(&self, random: &mut Random) -> Option<Self> {
        let mut row = self.clone();
        let fields = &mut row.fields;
        match random.below(4) {
            0 => {
                // An empty bound state more, or a bound state in two.
                let place = 3 + random.below(fields.len() - 2);
                let rest = match fields.get_mut(place) {
                    Some(field) => field.split_off(random.below(field.len() + 1)),
                    None => String::new(),
                };
                fields.insert((place + 1).min(fields.len()), rest);
            }
            1 if fields.len() > 3 => {
                // A bound state joins the field before it, which may be the hash.
                let place = 3 + random.below(fields.len() - 3);
                let field = fields.remove(place);
                fields[place - 1].push_str(&field);
            }
            // No password for an empty hash, or the other way round.
            2 if fields[2].is_empty() => row.password = !row.password,
            _ => {
                let left = random.below(fields.len() - 1);
                let joined = fields[left].clone() + &fields[left + 1];
                let border = random.below(joined.len() + 1);
                fields[left] = joined[..border].to_owned();
                fields[left + 1] = joined[border..].to_owned();
            }
        }
        row.password |= !row.fields[2].is_empty();
        // Ids that cannot be issued are no test of the binding.
        let id = &row.fields[0];
        (row != *self && !id.is_empty() && !id.chars().any(char::is_control)).then_some(row)
    }

    fn user(&self) -> StoredUser {
        let [id, email, hash, also @ ..] = &self.fields[..] else { unreachable!("a row has three fields") };
        let also: Vec<&[u8]> = also.iter().map(String::as_bytes).collect();
        user(id, email, self.password.then_some(hash), &also)
    }
}

/// Bytes that move from one field to the next, or a field that is cut in two, make another binding. Without the length
/// before each field not one of these pairs would: they are equal when simply written one after the other.
#[test]
fn binding_differs_when_bytes_move_between_fields() {
    let codec = Forger::new().codec();
    let mut random = Random::seeded();
    let (mut pairs, mut kinds) = (0, HashSet::new());
    while pairs < rounds(100_000) {
        // From a random row, up to ten moves, each a pair with the one before it.
        let mut row = Row::random(&mut random);
        let mut binding = bnd(&codec, &row.user());
        for _ in 0..10 {
            let Some(moved) = row.moved(&mut random) else { continue };
            let other = bnd(&codec, &moved.user());
            assert_eq!(row.fields.concat(), moved.fields.concat(), "{row:?} {moved:?}");
            assert_ne!(binding, other, "{row:?} {moved:?}");
            kinds.insert((moved.fields.len().cmp(&row.fields.len()), row.password, moved.password));
            pairs += 1;
            (row, binding) = (moved, other);
        }
    }
    for fields in [Ordering::Less, Ordering::Equal, Ordering::Greater] {
        assert!(kinds.contains(&(fields, true, true)), "{fields:?} number of fields");
    }
    assert!(kinds.contains(&(Ordering::Equal, true, false)) && kinds.contains(&(Ordering::Equal, false, true)));
}
