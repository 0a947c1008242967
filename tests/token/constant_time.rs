//! The duration of a refusal does not depend on how many bytes of a signature or binding are correct (OWASP ASVS
//! 11.2.4).
//!
//! The measurements need a release build and an idle machine:
//! `cargo test --release --test token -- --ignored --nocapture --test-threads 1 constant_time`.

use std::hint::black_box;
use std::time::Instant;

use poem_password_reset::{InvalidToken, Refusal};
use time::Duration;

use crate::forger::{Forger, NOW, ann, at, decode, encode, parts, payload};
use crate::random::Random;
use crate::welch::compare;

const SAMPLES: usize = 1_000_000;

/// A |t| over 5 after a million samples counts as a leak (the method of dudect).
const LEAK: f64 = 5.0;

/// Returns `text`, decoded and encoded again, with the first byte wrong and with the last byte wrong.
fn wrong_at_either_end(text: &str) -> [String; 2] {
    let bytes = decode(text);
    [0, bytes.len() - 1].map(|wrong| {
        let mut bytes = bytes.clone();
        bytes[wrong] ^= 1;
        encode(bytes)
    })
}

/// Times `work` on the two inputs in random order and returns Welch's t. Both inputs use the same buffer, so only its
/// content differs.
fn measure(inputs: &[String; 2], mut work: impl FnMut(&str) -> u64) -> f64 {
    let mut random = Random::seeded();
    let mut buffer = String::with_capacity(1024);
    let mut samples = [const { Vec::new() }; 2];
    for round in 0..SAMPLES * 2 + 1000 {
        let class = random.below(2);
        buffer.clear();
        buffer.push_str(&inputs[class]);
        let nanoseconds = work(black_box(&buffer));
        // The first 1,000 rounds warm the caches.
        if round >= 1000 {
            samples[class].push(nanoseconds as f64);
        }
    }
    compare(&samples[0], &samples[1]).t
}

fn timed<T>(work: impl FnOnce() -> Result<T, InvalidToken>, refusal: Refusal) -> u64 {
    let begun = Instant::now();
    let outcome = black_box(work());
    let nanoseconds = begun.elapsed().as_nanos();
    assert_eq!(outcome.err().map(|error| error.refusal()), Some(refusal));
    nanoseconds as u64
}

#[test]
#[ignore = "a measurement: see the module documentation"]
fn signature_is_compared_in_constant_time() {
    let codec = Forger::new().codec();
    let token = codec.issue(&ann(), at(NOW), Duration::HOUR).unwrap();
    let [header, claims, signature] = parts(token.expose());
    let tokens = wrong_at_either_end(signature).map(|signature| format!("{header}.{claims}.{signature}"));
    let t = measure(&tokens, |token| timed(|| codec.verify(token, at(NOW)), Refusal::Signature));
    println!("signature: t {t:.2}");
    assert!(t.abs() < LEAK, "t {t:.2}");
}

#[test]
#[ignore = "a measurement: see the module documentation"]
fn binding_is_compared_in_constant_time() {
    let (forger, user) = (Forger::new(), ann());
    let codec = forger.codec();
    let token = codec.issue(&user, at(NOW), Duration::HOUR).unwrap();
    let claims = payload(token.expose());
    let (before, rest) = claims.split_once(r#""bnd":""#).unwrap();
    let (binding, after) = rest.split_once('"').unwrap();
    let tokens =
        wrong_at_either_end(binding).map(|binding| forger.sign_claims(format!(r#"{before}"bnd":"{binding}"{after}"#)));
    let t = measure(&tokens, |token| {
        let claims = codec.verify(token, at(NOW)).unwrap();
        let user = user.clone();
        timed(|| codec.bind(claims, user), Refusal::Stale)
    });
    println!("binding: t {t:.2}");
    assert!(t.abs() < LEAK, "t {t:.2}");
}

/// Shows that the measurement detects a comparison that stops at the first difference.
#[test]
#[ignore = "a measurement: see the module documentation"]
fn measurement_detects_an_early_exit_comparison() {
    let right = "a".repeat(32);
    let wrong = [format!("b{}", &right[1..]), format!("{}b", &right[1..])];
    let t = measure(&wrong, |text| {
        let begun = Instant::now();
        black_box(text.bytes().zip(right.bytes()).all(|(one, other)| black_box(one) == other));
        begun.elapsed().as_nanos() as u64
    });
    println!("early exit: t {t:.2}");
    assert!(t.abs() > LEAK * 10.0, "t {t:.2}");
}
