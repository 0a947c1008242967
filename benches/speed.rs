//! Every figure that the README promises, one line each: `cargo bench --bench speed`, in less than two minutes.
//!
//! With `-- --check` it exits 1 if one is out of reach. Each ratio is of two things that were measured in turns in this
//! run; a machine that is busy with other things makes the figures worse, and hardly touches the ratios.

#[allow(dead_code, reason = "shared by several benches, none of which needs all of it")]
mod support {
    pub mod allocations;
    pub mod args;
    pub mod binding;
    pub mod http;
    pub mod load;
    pub mod memory;
    pub mod peers;
    pub mod probe;
    pub mod report;
    pub mod rounds;
    pub mod server;
    pub mod tokens;
    pub mod users;
}

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::Runtime;

use support::allocations::allocations;
use support::http::{Effort, Endpoint, confirms, runtime, throughput};
use support::peers::JsonWebToken;
use support::report::{Reach, Report, count, mebibytes, milliseconds, nanoseconds as ns, per_core, per_second};
use support::rounds::{Comparison, in_turns, nanoseconds, nanoseconds_with};
use support::tokens::{Floor, Tokens, ann, codec, verify_and_bind};
use support::users::{Users, reset};
use support::{args, memory, probe};

fn main() -> ExitCode {
    if memory::is_probe() {
        return ExitCode::SUCCESS;
    }
    probe::raise_file_limit();
    let mut report = Report::begin();
    tokens(&mut report);
    let runtime = runtime();
    forged(&mut report, &runtime);
    http(&mut report, &runtime);
    memory_taken(&mut report, &runtime);
    let is_good = report.is_good() || args::is_smoke() || !args::has("--check");
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tokens(report: &mut Report) {
    let rounds = if args::is_smoke() { 3 } else { 2_001 };
    let (tokens, codec, jsonwebtoken, user) = (Tokens::new(), codec(1), JsonWebToken::new(), ann());
    let floor = Floor::new(&tokens.good);
    let mut held = Some(ann());
    let mut good =
        || nanoseconds_with(&mut held, |user| verify_and_bind(&codec, black_box(&tokens.good), user, tokens.now));

    let two_macs = in_turns(rounds, &mut good, || nanoseconds(|| black_box(&floor).sign_and_bind()));
    report.ratio("verify and bind a good token / two HMACs", two_macs, ns, Reach::AtMost(1.35));

    let decode = || nanoseconds(|| assert!(jsonwebtoken.check(black_box(&tokens.good), &user)));
    let Comparison { ours, reference, ratio } = in_turns(rounds.div_ceil(4), &mut good, decode);
    let times_as_fast = Comparison { ours, reference, ratio: 1.0 / ratio };
    report.ratio("jsonwebtoken::decode and the same check / that", times_as_fast, ns, Reach::AtLeast(3.0));

    let refuse = || nanoseconds(|| codec.verify(black_box(&tokens.forged), tokens.now));
    let one_mac = in_turns(rounds, refuse, || nanoseconds(|| black_box(&floor).sign()));
    report.ratio("refuse a forged token / one HMAC", one_mac, ns, Reach::AtMost(1.2));
}

fn forged(report: &mut Report, runtime: &Runtime) {
    let (tokens, codec) = (Tokens::new(), codec(1));
    let allocated = allocations(|| codec.verify(&tokens.forged, tokens.now).is_err());
    report.figure("refuse a forged token: allocations", allocated as f64, count, Reach::AtMost(0.0));

    let users = Users::new(1);
    let reset = runtime.block_on(reset(&users));
    assert!(runtime.block_on(reset.validate(&tokens.forged)).is_err());
    let called = f64::from(u8::from(users.was_called()));
    report.figure("refuse a forged token: calls of the store", called, count, Reach::AtMost(0.0));
}

fn http(report: &mut Report, runtime: &Runtime) {
    let effort = |rounds, round| match args::is_smoke() {
        true => Effort { rounds: 1, round: Duration::from_millis(20) },
        false => Effort { rounds, round },
    };
    for endpoint in Endpoint::ALL {
        let compared = throughput(runtime, endpoint, effort(15, Duration::from_millis(400)));
        let reach = if matches!(endpoint, Endpoint::Validate) { 0.85 } else { 0.8 };
        report.ratio(&format!("{} / a bare endpoint", endpoint.name()), compared, per_core, Reach::AtLeast(reach));
    }
    let confirms = confirms(runtime, effort(8, Duration::from_secs(2)));
    report.ratio("POST /confirm/ / bare Argon2id", confirms.throughput, per_second, Reach::AtLeast(0.95));
    let p99 = confirms.validate_p99 * 1e3;
    report.figure("POST /validate_token/ meanwhile: 99th percentile", p99, milliseconds, Reach::AtMost(20.0));
}

fn memory_taken(report: &mut Report, runtime: &Runtime) {
    let (connections, keys) = if args::is_smoke() { (100, 1_000) } else { (10_000, 5_000_000) };
    let resident = |points: Vec<memory::Point>| points.last().map_or(0.0, |point| point.resident as f64 / 1_048_576.0);
    for (name, points, reach) in [
        ("memory of a server with 10,000 connections", memory::connections(runtime, &[connections]), 300.0),
        ("memory of 5,000,000 throttle keys", memory::throttle_keys(keys), 64.0),
    ] {
        match points {
            Ok(points) => report.figure(name, resident(points), mebibytes, Reach::AtMost(reach)),
            Err(why) => report.skipped(name, &why),
        }
    }
}
