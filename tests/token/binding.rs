//! A token is bound to the fields of the user's row at the time of issue.

use std::cmp::Ordering;
use std::collections::HashSet;

use poem_password_reset::{Refusal, StoredUser, TokenCodec};
use time::Duration;

use crate::forger::{Forger, HASH, NOW, ann, at, decode, encode, outcome, parts, payload, rounds};
use crate::random::Random;

/// Returns whether a token issued to `before` is still accepted for `after`.
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
        // The id is compared byte for byte.
        user("8", "ann@example.com", Some(HASH), &[]),
        user("07", "ann@example.com", Some(HASH), &[]),
        user("7 ", "ann@example.com", Some(HASH), &[]),
        // The stored address is compared byte for byte, without normalization.
        user("7", "Ann@example.com", Some(HASH), &[]),
        user("7", "ann@example.org", Some(HASH), &[]),
        user("7", "ann@example.com ", Some(HASH), &[]),
        user("7", "ann@example.com\0", Some(HASH), &[]),
        user("7", "", Some(HASH), &[]),
        user("7", "ann@éxample.com", Some(HASH), &[]),
        user("7", "ann@e\u{301}xample.com", Some(HASH), &[]),
        // The password hash: none, empty, and changed by one character.
        user("7", "ann@example.com", None, &[]),
        user("7", "ann@example.com", Some(""), &[]),
        user("7", "ann@example.com", Some(&HASH[1..]), &[]),
        user("7", "ann@example.com", Some(&HASH[..HASH.len() - 1]), &[]),
        user("7", "ann@example.com", Some(&HASH.to_lowercase()), &[]),
        // State added with `bind_also`: values, order, number, none and empty.
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
    // A token is accepted only for the row it was issued to.
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

/// The row is the same; only the key differs.
#[test]
fn binding_made_with_another_key_is_refused() {
    let codecs: Vec<TokenCodec> = (0..20).map(|number| Forger::other(number).codec()).collect();
    let bindings: HashSet<String> = codecs.iter().map(|codec| bnd(codec, &ann())).collect();
    assert_eq!(bindings.len(), codecs.len());
    // Claims verified by one codec are not accepted by another.
    for other in &codecs[1..] {
        let token = codecs[0].issue(&ann(), at(NOW), Duration::HOUR).unwrap();
        let claims = outcome(&codecs[0], token.expose()).unwrap();
        assert_eq!(other.bind(claims, ann()).unwrap_err().refusal(), Refusal::Stale);
    }
}

/// The binding has its own sub-key, so a signature alone does not give access to a user.
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
    assert_eq!(by(&forger.sub_key("binding")), good, "the forger computes the same binding as the library");
    for key in
        [forger.master(), &forger.sub_key("signing"), &forger.sub_key("throttle"), &forger.sub_key("key-id"), b""]
    {
        let claims = outcome(&codec, &forger.sign_claims(json.replace(&good, &by(key)))).unwrap();
        assert_eq!(codec.bind(claims, ann()).unwrap_err().refusal(), Refusal::Stale);
    }
    // The binding of one user is refused with the id of another.
    let bob = || StoredUser::new(8, "bob@example.com", Some(HASH.to_owned()));
    let claims = outcome(&codec, &forger.sign_claims(json.replace("\"7\"", "\"8\""))).unwrap();
    assert_eq!(claims.user_id(), "8");
    assert_eq!(codec.bind(claims, bob()).unwrap_err().refusal(), Refusal::Stale);
}

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

/// The fields of a row, so that a test can move bytes between them.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    /// Id, email address, password hash, then the additional bound state.
    fields: Vec<String>,
    password: bool,
}

impl Row {
    fn random(random: &mut Random) -> Self {
        let count = 3 + random.below(4);
        let mut fields: Vec<String> = (0..count)
            .map(|field| {
                // Control bytes in the other fields imitate encoded lengths. Ids and addresses have none.
                let letters: &[&str] =
                    if field < 2 { &["a", "b", "7", "@"] } else { &["a", "b", "\0", "\u{1}", "\u{8}"] };
                (0..random.below(12)).map(|_| random.pick(letters)).collect()
            })
            .collect();
        fields[0].push('7');
        Self { fields, password: true }
    }

    /// Returns a row with the same bytes in the same order, but with other field boundaries or another number of
    /// fields.
    fn moved(&self, random: &mut Random) -> Option<Self> {
        let mut row = self.clone();
        let fields = &mut row.fields;
        match random.below(4) {
            0 => {
                // Add an empty bound state, or split one in two.
                let index = 3 + random.below(fields.len() - 2);
                let rest = match fields.get_mut(index) {
                    Some(field) => field.split_off(random.below(field.len() + 1)),
                    None => String::new(),
                };
                fields.insert((index + 1).min(fields.len()), rest);
            }
            1 if fields.len() > 3 => {
                // Append a bound state to the field before it, which may be the hash.
                let index = 3 + random.below(fields.len() - 3);
                let field = fields.remove(index);
                fields[index - 1].push_str(&field);
            }
            // Replace an empty hash with none, or none with an empty hash.
            2 if fields[2].is_empty() => row.password = !row.password,
            _ => {
                let left = random.below(fields.len() - 1);
                let joined = fields[left].clone() + &fields[left + 1];
                let boundary = random.below(joined.len() + 1);
                fields[left] = joined[..boundary].to_owned();
                fields[left + 1] = joined[boundary..].to_owned();
            }
        }
        row.password |= !row.fields[2].is_empty();
        // A row with an id that cannot be issued does not test the binding.
        let id = &row.fields[0];
        (row != *self && !id.is_empty() && !id.chars().any(char::is_control)).then_some(row)
    }

    fn user(&self) -> StoredUser {
        let [id, email, hash, also @ ..] = &self.fields[..] else { unreachable!("a row has three fields") };
        let also: Vec<&[u8]> = also.iter().map(String::as_bytes).collect();
        user(id, email, self.password.then_some(hash), &also)
    }
}

/// Each field is preceded by its length. Plain concatenation would give both rows of each pair the same binding.
#[test]
fn binding_differs_when_bytes_move_between_fields() {
    let codec = Forger::new().codec();
    let mut random = Random::seeded();
    let (mut pairs, mut kinds) = (0, HashSet::new());
    while pairs < rounds(100_000) {
        // Start with a random row. Each of up to ten moves is compared with the row before it.
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
