//! Verify and bind a good token, beside `jwt-simple` and the same binding check, and beside the two HMACs alone: each in
//! turns with ours, in one run.

#[allow(dead_code, reason = "shared by several benches, none of which needs all of it")]
#[path = "../support"]
mod support {
    pub mod args;
    pub mod binding;
    pub mod rounds;
    pub mod tokens;
}

use std::collections::HashSet;
use std::hint::black_box;

use jwt_simple::prelude::{Duration, HS256Key, MACLike as _, VerificationOptions};
use poem_password_reset::StoredUser;
use serde::{Deserialize, Serialize};

use support::args;
use support::binding::Binding;
use support::rounds::{Comparison, in_turns, nanoseconds, nanoseconds_with};
use support::tokens::{Floor, Tokens, ann, codec, sub_key, verify_and_bind};

/// The claim that is none of JWT's own.
#[derive(Serialize, Deserialize)]
struct Bound {
    bnd: String,
}

/// `verify_token` and the same binding check.
struct JwtSimple {
    key: HS256Key,
    options: VerificationOptions,
    binding: Binding,
}

impl JwtSimple {
    fn new() -> Self {
        let options = VerificationOptions {
            allowed_audiences: Some(HashSet::from(["password-reset".to_owned()])),
            required_signature_type: Some("reset+jwt".to_owned()),
            time_tolerance: Some(Duration::from_secs(0)),
            ..VerificationOptions::default()
        };
        Self { key: HS256Key::from_bytes(&sub_key("signing")), options, binding: Binding::new() }
    }

    /// Whether the token is good for this user. It is the same token that this library reads.
    fn check(&self, token: &str, user: &StoredUser) -> bool {
        self.key.verify_token::<Bound>(token, Some(self.options.clone())).is_ok_and(|claims| {
            claims.subject.as_deref() == Some(user.id()) && self.binding.is_of(user, &claims.custom.bnd)
        })
    }
}

fn main() {
    let rounds = if args::is_smoke() { 3 } else { 1_001 };
    let (tokens, codec, jwt_simple, user) = (Tokens::new(), codec(1), JwtSimple::new(), ann());
    assert!(jwt_simple.check(&tokens.good, &user), "a peer accepts what is good");
    for bad in [&tokens.forged, &tokens.expired] {
        assert!(!jwt_simple.check(bad, &user), "and nothing else");
    }
    let floor = Floor::new(&tokens.good);
    let mut held = Some(ann());
    let mut ours =
        || nanoseconds_with(&mut held, |user| verify_and_bind(&codec, black_box(&tokens.good), user, tokens.now));

    let check = || nanoseconds(|| assert!(jwt_simple.check(black_box(&tokens.good), &user)));
    tell("jwt-simple and the same check", in_turns(rounds, &mut ours, check));
    tell("the two HMACs alone", in_turns(rounds, &mut ours, || nanoseconds(|| black_box(&floor).sign_and_bind())));
}

fn tell(name: &str, Comparison { ours, reference, ratio }: Comparison) {
    println!("verify and bind {ours:.0} ns; {name} {reference:.0} ns, {:.2} times that", 1.0 / ratio);
}
