//! Duration of each path of the token layer, of the HMACs alone and of other crates: `cargo bench --bench token`.
//!
//! `cargo bench --bench speed` measures ratios, which depend less on other load on the machine.

#[allow(dead_code, reason = "other benches use the rest")]
mod support {
    pub mod binding;
    pub mod peers;
    pub mod tokens;
}

use std::hint::black_box;
use std::time::Instant;

use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use time::Duration;

use support::peers::{JsonWebToken, Paseto};
use support::tokens::{Hmacs, Tokens, codec, sample_user, verify_and_bind};

criterion_group!(benches, hmacs, ours, peers);
criterion_main!(benches);

fn hmacs(criterion: &mut Criterion) {
    let hmacs = Hmacs::new(&Tokens::new().valid);
    let mut group = criterion.benchmark_group("HMAC alone");
    group.bench_function("signature", |bencher| bencher.iter(|| black_box(&hmacs).sign()));
    group.bench_function("signature and binding", |bencher| bencher.iter(|| black_box(&hmacs).sign_and_bind()));
}

fn ours(criterion: &mut Criterion) {
    for keys in [1, 8] {
        let mut group = criterion.benchmark_group(format!("{keys} {}", if keys == 1 { "key" } else { "keys" }));
        accepted(&mut group, keys);
        refused(&mut group, keys);
    }
}

fn accepted(group: &mut BenchmarkGroup<WallTime>, keys: usize) {
    let (codec, tokens) = (codec(keys), Tokens::new());
    let user = sample_user();
    group.bench_function("issue", |bencher| bencher.iter(|| codec.issue(black_box(&user), tokens.now, Duration::HOUR)));
    group.bench_function("verify", |bencher| bencher.iter(|| codec.verify(black_box(&tokens.valid), tokens.now)));
    group.bench_function("verify and bind", |bencher| {
        // Each call returns the user for the next one, so that the measurement includes no clone.
        bencher.iter_custom(|calls| {
            let mut user = sample_user();
            let started = Instant::now();
            for _ in 0..calls {
                user = verify_and_bind(&codec, black_box(&tokens.valid), user, tokens.now);
            }
            started.elapsed()
        });
    });
}

fn refused(group: &mut BenchmarkGroup<WallTime>, keys: usize) {
    let (codec, tokens) = (codec(keys), Tokens::new());
    for (name, token) in [
        ("forged", &tokens.forged),
        ("expired", &tokens.expired),
        ("malformed: 1,024 bytes", &tokens.long),
        ("malformed: too long", &tokens.too_long),
        ("malformed: short", &tokens.short),
        ("malformed: garbage after the header", &tokens.garbage),
    ] {
        assert!(codec.verify(token, tokens.now).is_err());
        group.bench_function(name, |bencher| bencher.iter(|| codec.verify(black_box(token), tokens.now)));
    }
}

fn peers(criterion: &mut Criterion) {
    let (jsonwebtoken, paseto, tokens, user) = (JsonWebToken::new(), Paseto::new(), Tokens::new(), sample_user());
    assert!(jsonwebtoken.check(&tokens.valid, &user) && paseto.check(&user), "the other crates accept a valid token");
    assert!(!jsonwebtoken.check(&tokens.forged, &user) && !jsonwebtoken.check(&tokens.expired, &user));
    let mut group = criterion.benchmark_group("other crates");
    for (name, token) in [("valid", &tokens.valid), ("forged", &tokens.forged), ("expired", &tokens.expired)] {
        group.bench_function(format!("jsonwebtoken and the same binding check: {name}"), |bencher| {
            bencher.iter(|| jsonwebtoken.check(black_box(token), &user));
        });
    }
    group.bench_function("pasetors v4.local and the same binding check: valid", |bencher| {
        bencher.iter(|| black_box(&paseto).check(&user));
    });
}
