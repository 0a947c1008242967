//! Compares the verification of a valid token with `jwt-simple` and the same binding check, and with the two HMACs alone.

#[allow(dead_code, reason = "other benches use the rest")]
#[path = "../support"]
mod support {
    pub mod args;
    pub mod binding;
    pub mod interleave;
    pub mod statistics;
    pub mod tokens;
}

use std::collections::HashSet;
use std::hint::black_box;

use jwt_simple::prelude::{Duration, HS256Key, MACLike as _, VerificationOptions};
use poem_password_reset::StoredUser;
use serde::{Deserialize, Serialize};

use support::args;
use support::binding::Binding;
use support::interleave::{Comparison, Session, interleave, nanoseconds, nanoseconds_with};
use support::tokens::{Hmacs, Tokens, codec, derived_key, sample_user, verify_and_bind};

/// The claim that JWT does not define.
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
        Self { key: HS256Key::from_bytes(&derived_key("signing")), options, binding: Binding::new() }
    }

    /// Returns whether the token is valid for this user. The token is the one that this library reads.
    fn check(&self, token: &str, user: &StoredUser) -> bool {
        self.key.verify_token::<Bound>(token, Some(self.options.clone())).is_ok_and(|claims| {
            claims.subject.as_deref() == Some(user.id()) && self.binding.matches(user, &claims.custom.bnd)
        })
    }
}

fn main() {
    let user = sample_user();
    compare("jwt-simple and the same check", |tokens, ours, samples| {
        let jwt_simple = JwtSimple::new();
        assert!(jwt_simple.check(&tokens.valid, &user), "jwt-simple accepts a valid token");
        for bad in [&tokens.forged, &tokens.expired] {
            assert!(!jwt_simple.check(bad, &user), "jwt-simple refuses a bad token");
        }
        interleave(samples, ours, || nanoseconds(|| assert!(jwt_simple.check(black_box(&tokens.valid), &user))))
    });
    compare("the two HMACs alone", |tokens, ours, samples| {
        let hmacs = Hmacs::new(&tokens.valid);
        interleave(samples, ours, || nanoseconds(|| black_box(&hmacs).sign_and_bind()))
    });
}

/// Prints how much longer the reference takes than this library. `session` interleaves both.
fn compare(reference: &str, session: impl Fn(&Tokens, &mut dyn FnMut() -> f64, usize) -> Session) {
    let (sessions, samples) = if args::is_smoke_test() { (1, 3) } else { (15, 101) };
    let Comparison { ours, reference: theirs, ratio } = Comparison::of_sessions(sessions, || {
        let (tokens, codec, mut user) = (Tokens::new(), codec(1), Some(sample_user()));
        let verify = |user| verify_and_bind(&codec, black_box(&tokens.valid), user, tokens.now);
        session(&tokens, &mut || nanoseconds_with(&mut user, verify), samples)
    });
    let ratio = ratio.inverse();
    println!(
        "verify and bind: {ours:.0} ns; {reference}: {theirs:.0} ns, {:.2} times as long (99 % interval: {:.2} to {:.2})",
        ratio.value, ratio.low, ratio.high
    );
}
