//! Key rotation across several instances: a token is accepted while its key is in the ring, and refused once it is
//! removed.

use poem_password_reset::{KeyError, KeyRing, Refusal, TokenCodec};
use time::Duration;

use crate::forger::{Forger, NOW, ann, at, decode, outcome, parts, refusal};

/// Returns a codec with these keys. The first one signs.
fn ring(forgers: &[&Forger]) -> TokenCodec {
    let [current, previous @ ..] = forgers else { unreachable!("a ring has a key") };
    let ring = previous
        .iter()
        .fold(KeyRing::new(current.key()), |ring, forger| ring.previous(forger.key()).expect("the keys differ"));
    TokenCodec::new(ring)
}

fn issue(codec: &TokenCodec) -> String {
    codec.issue(&ann(), at(NOW), Duration::HOUR).expect("Ann can have a token").expose().to_owned()
}

#[track_caller]
fn assert_good(codec: &TokenCodec, token: &str) {
    let claims = outcome(codec, token).expect(token);
    assert!(codec.bind(claims, ann()).is_ok());
}

/// The procedure in the documentation of `KeyRing`: add the new key as `previous`, swap the keys, remove the old one;
/// one instance at a time.
#[test]
fn rotation_one_instance_at_a_time_keeps_tokens_valid() {
    let (old, new) = (Forger::new(), Forger::other(1));
    let steps: [[&[&Forger]; 2]; 7] = [
        [&[&old], &[&old]],
        [&[&old, &new], &[&old]],
        [&[&old, &new], &[&old, &new]],
        [&[&new, &old], &[&old, &new]],
        [&[&new, &old], &[&new, &old]],
        [&[&new], &[&new, &old]],
        [&[&new], &[&new]],
    ];
    let mut outstanding: Vec<String> = Vec::new();
    let (mut accepted, mut refused) = (0, 0);
    for rings in steps {
        let instances = rings.map(ring);
        outstanding.extend(instances.iter().map(issue));
        for (instance, ring) in instances.iter().zip(rings) {
            for token in &outstanding {
                let signer = if decode(parts(token)[0]) == old.header().into_bytes() { &old } else { &new };
                if ring.iter().any(|key| key.kid() == signer.kid()) {
                    assert_good(instance, token);
                    accepted += 1;
                } else {
                    assert_eq!(refusal(instance, token), Refusal::Header);
                    refused += 1;
                }
            }
        }
        // While both instances have the old key, no outstanding token is refused.
        if rings.iter().all(|ring| ring.iter().any(|key| key.kid() == old.kid())) {
            assert_eq!(refused, 0);
        }
    }
    assert!(accepted > 50 && refused > 10, "{accepted} accepted, {refused} refused");
}

#[test]
fn first_key_of_the_ring_signs() {
    let (one, two, three) = (Forger::new(), Forger::other(1), Forger::other(2));
    for forgers in [[&one, &two, &three], [&two, &three, &one], [&three, &one, &two]] {
        let codec = ring(&forgers);
        let token = issue(&codec);
        assert_eq!(decode(parts(&token)[0]), forgers[0].header().into_bytes());
        assert_good(&codec, &token);
        // The token is the same as from a ring with this key alone.
        assert_eq!(token, issue(&forgers[0].codec()));
    }
}

#[test]
fn token_of_a_removed_key_is_refused() {
    let (old, new) = (Forger::new(), Forger::other(1));
    let token = issue(&old.codec());
    assert_good(&ring(&[&new, &old]), &token);
    assert_eq!(refusal(&ring(&[&new]), &token), Refusal::Header);
    // The token is accepted again if the key returns, because a codec has no state.
    assert_good(&ring(&[&old]), &token);
}

/// The binding uses the key that signed the token, not the first key of the ring.
#[test]
fn binding_is_checked_with_the_key_that_signed() {
    let (old, new) = (Forger::new(), Forger::other(1));
    let both = ring(&[&new, &old]);
    let token = issue(&old.codec());
    let claims = outcome(&both, &token).unwrap();
    let changed = ann().bind_also("later");
    assert_eq!(both.bind(claims, changed).unwrap_err().refusal(), Refusal::Stale);
    assert_good(&both, &token);
}

#[test]
fn duplicate_key_in_a_ring_is_refused() {
    let (one, two) = (Forger::new(), Forger::other(1));
    for again in [&one, &two] {
        let ring = KeyRing::new(one.key()).previous(two.key()).unwrap();
        assert_eq!(ring.previous(again.key()).unwrap_err(), KeyError::Duplicate { id: again.kid() });
    }
    let ring = KeyRing::new(one.key()).previous(two.key()).unwrap();
    assert_eq!(ring.ids().collect::<Vec<_>>(), [one.kid(), two.kid()]);
}
