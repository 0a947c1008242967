//! The token layer, by criterion: what each path takes, beside the MACs alone and beside peers.
//!
//! `cargo bench --bench token`. For ratios that do not depend on what else the machine does, see `speed.rs`.

#[allow(dead_code, reason = "shared by several benches, none of which needs all of it")]
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
use support::tokens::{Floor, Tokens, ann, codec, verify_and_bind};

criterion_group!(benches, floor, ours, peers);
criterion_main!(benches);

fn floor(criterion: &mut Criterion) {
    let floor = Floor::new(&Tokens::new().good);
    let mut group = criterion.benchmark_group("floor");
    group.bench_function("one HMAC: of what is signed", |bencher| bencher.iter(|| black_box(&floor).sign()));
    group.bench_function("two HMACs: and of what is bound", |bencher| {
        bencher.iter(|| black_box(&floor).sign_and_bind())
    });
}

fn ours(criterion: &mut Criterion) {
    for keys in [1, 8] {
        let mut group = criterion.benchmark_group(format!("{keys} {}", if keys == 1 { "key" } else { "keys" }));
        good(&mut group, keys);
        refused(&mut group, keys);
    }
}

fn good(group: &mut BenchmarkGroup<WallTime>, keys: usize) {
    let (codec, tokens) = (codec(keys), Tokens::new());
    let user = ann();
    group.bench_function("issue", |bencher| bencher.iter(|| codec.issue(black_box(&user), tokens.now, Duration::HOUR)));
    group.bench_function("verify good", |bencher| bencher.iter(|| codec.verify(black_box(&tokens.good), tokens.now)));
    group.bench_function("verify and bind good", |bencher| {
        // The user goes round in a local: what is measured is no copy of her.
        bencher.iter_custom(|calls| {
            let mut user = ann();
            let started = Instant::now();
            for _ in 0..calls {
                user = verify_and_bind(&codec, black_box(&tokens.good), user, tokens.now);
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
        ("malformed: letters after the header", &tokens.garbage),
    ] {
        assert!(codec.verify(token, tokens.now).is_err());
        group.bench_function(name, |bencher| bencher.iter(|| codec.verify(black_box(token), tokens.now)));
    }
}

fn peers(criterion: &mut Criterion) {
    let (jsonwebtoken, paseto, tokens, user) = (JsonWebToken::new(), Paseto::new(), Tokens::new(), ann());
    assert!(jsonwebtoken.check(&tokens.good, &user) && paseto.check(&user), "peers accept what is good");
    assert!(!jsonwebtoken.check(&tokens.forged, &user) && !jsonwebtoken.check(&tokens.expired, &user));
    let mut group = criterion.benchmark_group("peers");
    for (name, token) in [("good", &tokens.good), ("forged", &tokens.forged), ("expired", &tokens.expired)] {
        group.bench_function(format!("jsonwebtoken and the same binding check: {name}"), |bencher| {
            bencher.iter(|| jsonwebtoken.check(black_box(token), &user));
        });
    }
    group.bench_function("pasetors v4.local and the same binding check: good", |bencher| {
        bencher.iter(|| black_box(&paseto).check(&user));
    });
}
