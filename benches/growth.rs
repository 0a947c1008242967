//! How cost grows with what there can be many of: `cargo bench --bench growth` prints a table and draws
//! `target/growth.svg`.

#[allow(dead_code, reason = "shared by several benches, none of which needs all of it")]
mod support {
    pub mod args;
    pub mod http;
    pub mod load;
    pub mod memory;
    pub mod probe;
    pub mod rounds;
    pub mod server;
    pub mod svg;
    pub mod tokens;
    pub mod users;
}

use std::future::pending;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs};

use poem_password_reset::Client;
use poem_password_reset::throttle::Quotas;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::unbounded_channel;

use support::http::runtime;
use support::memory::Point;
use support::rounds::{median, nanoseconds, nanoseconds_with};
use support::svg::{Curve, picture, short};
use support::tokens::{Tokens, ann, codec, verify_and_bind};
use support::users::{Users, address, builder};
use support::{args, memory, probe};

fn main() {
    if memory::is_probe() {
        return;
    }
    probe::raise_file_limit();
    let runtime = runtime();
    let mut curves = keys();
    curves.extend(measured("throttle keys", throttle_keys(), "ns a count"));
    curves.extend(measured("open connections", connections(&runtime), "ns a validation"));
    curves.push(queue(&runtime));
    curves.push(same_address(&runtime));
    for curve in &curves {
        print(curve);
    }
    let place = target().join("growth.svg");
    fs::write(&place, picture(&curves)).unwrap();
    println!("drawn in {}", place.display());
}

/// Signing keys in the ring. The token is of the last one, which is tried last.
fn keys() -> Vec<Curve> {
    let counts = [1, 2, 4, 8, 16, 32, 64];
    let rounds = if args::is_smoke() { 1 } else { 101 };
    let tokens = Tokens::new();
    let good = |keys| {
        let (codec, mut held) = (codec(keys), Some(ann()));
        let check = |user| verify_and_bind(&codec, black_box(&tokens.good), user, tokens.now);
        median((0..rounds).map(|_| nanoseconds_with(&mut held, check)))
    };
    let forged = |keys| {
        let codec = codec(keys);
        median((0..rounds).map(|_| nanoseconds(|| codec.verify(black_box(&tokens.forged), tokens.now))))
    };
    let curve =
        |title: &str, points: Vec<(f64, f64)>| Curve { title: title.to_owned(), along: "keys", up: "ns", points };
    vec![
        curve("verify and bind, by keys in the ring", counts.iter().map(|&keys| (keys as f64, good(keys))).collect()),
        curve(
            "refuse a forged token, by keys in the ring",
            counts.iter().map(|&keys| (keys as f64, forged(keys))).collect(),
        ),
    ]
}

fn throttle_keys() -> Result<Vec<Point>, String> {
    memory::throttle_keys(if args::is_smoke() { 10_000 } else { 5_000_000 })
}

fn connections(runtime: &Runtime) -> Result<Vec<Point>, String> {
    let counts: &[usize] = if args::is_smoke() { &[10, 100] } else { &[1, 1_000, 2_500, 5_000, 7_500, 10_000] };
    memory::connections(runtime, counts)
}

/// Time and memory, by how many there are. Nothing, with a word, where they cannot be measured.
fn measured(what: &'static str, points: Result<Vec<Point>, String>, time: &'static str) -> Vec<Curve> {
    let points = points.unwrap_or_else(|why| {
        println!("{what}: skipped: {why}");
        Vec::new()
    });
    let curve = |up: &'static str, value: fn(&Point) -> f64| Curve {
        title: format!("{up}, by {what}"),
        along: what,
        up,
        points: points.iter().map(|point| (point.count as f64, value(point))).collect(),
    };
    let curves = [curve(time, |point| point.nanoseconds), curve("MiB", |point| point.resident as f64 / 1_048_576.0)];
    curves.into_iter().filter(|curve| !curve.points.is_empty()).collect()
}

/// What it takes to accept a request, from an empty queue to a full one: the handlers hang.
fn queue(runtime: &Runtime) -> Curve {
    let (places, part) = if args::is_smoke() { (64, 16) } else { (4_096, 256) };
    let _context = runtime.enter();
    let reset = builder(&Users::new(1)).queue(places).handled_at_once(1).handler_timeout(Duration::from_secs(3_600));
    let reset = reset.on_reset_token_created(async |_| pending::<()>().await);
    let reset = runtime.block_on(reset.build()).unwrap();
    let address = address(0);
    let mut points = Vec::new();
    for begin in (0..places).step_by(part) {
        let taken = runtime.block_on(async {
            let mut taken = Vec::new();
            for _ in 0..part {
                let started = Instant::now();
                reset.request(black_box(&address), Client::none()).await.unwrap();
                taken.push(started.elapsed().as_secs_f64() * 1e9);
            }
            taken
        });
        points.push(((begin + part) as f64, median(taken.into_iter())));
    }
    // One is being handled, so there is one more place.
    let full = nanoseconds(|| {
        let answer = runtime.block_on(reset.request(black_box(&address), Client::none()));
        assert!(answer.is_ok() || reset.ledger().waiting > places as u64);
    });
    points.push(((places + part) as f64, full));
    runtime.block_on(reset.shutdown(Duration::ZERO));
    Curve {
        title: "accept a request, by requests waiting (last: refuse it)".to_owned(),
        along: "requests waiting",
        up: "ns",
        points,
    }
}

/// From a request to the last of its mails, by how many users have the address.
fn same_address(runtime: &Runtime) -> Curve {
    let rounds = if args::is_smoke() { 1 } else { 101 };
    let delivery = |users: usize| {
        let _context = runtime.enter();
        let (sender, mut mails) = unbounded_channel();
        let sender = Arc::new(sender);
        let store = Users::with_addresses((0..users).map(|_| address(0)));
        let reset = builder(&store).quotas(Quotas::off()).users_per_address(users).on_reset_token_created(move |_| {
            let sender = Arc::clone(&sender);
            async move { sender.send(()).unwrap() }
        });
        let reset = runtime.block_on(reset.build()).unwrap();
        let once = || {
            let started = Instant::now();
            runtime.block_on(async {
                reset.request(&address(0), Client::none()).await.unwrap();
                for _ in 0..users {
                    mails.recv().await;
                }
            });
            started.elapsed().as_secs_f64() * 1e6
        };
        median(std::iter::repeat_with(once).take(rounds))
    };
    Curve {
        title: "from a request to its last mail, by users with the address".to_owned(),
        along: "users with the same address",
        up: "microseconds",
        points: [1, 2, 4, 8, 16, 32, 64].map(|users| (users as f64, delivery(users))).to_vec(),
    }
}

fn print(curve: &Curve) {
    println!("{} ({}, {})", curve.title, curve.along, curve.up);
    for (along, up) in &curve.points {
        println!("  {:>8}  {:>8}", short(*along), short(*up));
    }
}

/// Where cargo builds.
fn target() -> PathBuf {
    let beside = env::current_exe().unwrap();
    // target/release/deps/growth-..
    beside.ancestors().nth(3).unwrap().to_owned()
}
