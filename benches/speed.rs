//! The figures of the README, one row each: `cargo bench --bench speed`, about two minutes.
//!
//! With `-- --check` it exits with 1 if a figure and its whole 99 % interval are out of reach. Each ratio compares two
//! measurements that took turns in this run, so that other load on the machine affects both. `-- tokens`, `-- http` and
//! `-- memory` measure one part only.

#[allow(dead_code, reason = "other benches use the rest")]
mod support {
    pub mod args;
    pub mod binding;
    pub mod http;
    pub mod interleave;
    pub mod load;
    pub mod memory;
    pub mod peers;
    pub mod process;
    pub mod report;
    pub mod server;
    pub mod statistics;
    pub mod subprocess;
    pub mod tokens;
    pub mod users;
    pub mod watchdog;
}

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

use support::http::{Confirmations, Effort, Endpoint, confirmations, runtime, throughput};
use support::interleave::{Comparison, interleave, nanoseconds, nanoseconds_with};
use support::peers::JsonWebToken;
use support::report::{Reach, Report, mebibytes, milliseconds, nanoseconds as ns, per_cpu_second, per_second};
use support::statistics::Estimate;
use support::tokens::{Hmacs, Tokens, codec, sample_user, verify_and_bind};
use support::{args, memory, watchdog};

/// With 15 sessions, the interval of a ratio extends from the third lowest to the third highest session.
const SESSIONS: usize = 15;

fn main() -> ExitCode {
    if memory::run_subprocess() {
        return ExitCode::SUCCESS;
    }
    watchdog::start();
    let mut report = Report::start();
    let runs_all = !["tokens", "http", "memory"].into_iter().any(args::has);
    if runs_all || args::has("tokens") {
        tokens(&mut report);
    }
    if runs_all || args::has("http") {
        http(&mut report);
    }
    if runs_all || args::has("memory") {
        memory_use(&mut report);
    }
    let is_within_reach = report.finish();
    if is_within_reach || args::is_smoke_test() || !args::has("--check") {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn tokens(report: &mut Report) {
    let (sessions, samples) = if args::is_smoke_test() { (1, 3) } else { (SESSIONS, 101) };

    let two_hmacs = Comparison::of_sessions(sessions, || {
        let (tokens, codec, mut user) = (Tokens::new(), codec(1), Some(sample_user()));
        let hmacs = Hmacs::new(&tokens.valid);
        interleave(
            samples,
            || nanoseconds_with(&mut user, |user| verify_and_bind(&codec, black_box(&tokens.valid), user, tokens.now)),
            || nanoseconds(|| black_box(&hmacs).sign_and_bind()),
        )
    });
    report.ratio("verify and bind a valid token / two HMACs", two_hmacs, ns, Reach::AtMost(1.35));

    let decode = Comparison::of_sessions(sessions, || {
        let (tokens, codec, mut user) = (Tokens::new(), codec(1), Some(sample_user()));
        let (jsonwebtoken, same_user) = (JsonWebToken::new(), sample_user());
        interleave(
            samples,
            || nanoseconds_with(&mut user, |user| verify_and_bind(&codec, black_box(&tokens.valid), user, tokens.now)),
            || nanoseconds(|| assert!(jsonwebtoken.check(black_box(&tokens.valid), &same_user))),
        )
    });
    let speedup = Comparison { ratio: decode.ratio.inverse(), ..decode };
    report.ratio("jsonwebtoken and the same check / verify and bind", speedup, ns, Reach::AtLeast(3.0));

    let one_hmac = Comparison::of_sessions(sessions, || {
        let (tokens, codec) = (Tokens::new(), codec(1));
        let hmacs = Hmacs::new(&tokens.valid);
        interleave(
            samples,
            || nanoseconds(|| codec.verify(black_box(&tokens.forged), tokens.now)),
            || nanoseconds(|| black_box(&hmacs).sign()),
        )
    });
    report.ratio("refuse a forged token / one HMAC", one_hmac, ns, Reach::AtMost(1.2));
}

fn http(report: &mut Report) {
    let runtime = runtime();
    let effort = |sessions, samples, sample| match args::is_smoke_test() {
        true => Effort { sessions: 1, samples: 1, sample: Duration::from_millis(20) },
        false => Effort { sessions, samples, sample },
    };
    for endpoint in Endpoint::ALL {
        let comparison = throughput(&runtime, endpoint, effort(SESSIONS, 5, Duration::from_millis(100)));
        let reach = if matches!(endpoint, Endpoint::Validate) { 0.85 } else { 0.8 };
        report.ratio(&format!("{} / bare", endpoint.name()), comparison, per_cpu_second, Reach::AtLeast(reach));
    }
    let Confirmations { throughput, validate_p99 } =
        confirmations(&runtime, effort(SESSIONS, 1, Duration::from_secs(1)));
    report.ratio("POST /confirm/ / Argon2id", throughput, per_second, Reach::AtLeast(0.95));
    let p99 = "POST /validate_token/ meanwhile, 99th percentile";
    report.figure(p99, validate_p99.scale(1e3), milliseconds, Reach::AtMost(20.0));
}

fn memory_use(report: &mut Report) {
    let runtime = runtime();
    let (connections, keys) = if args::is_smoke_test() { (100, 1_000) } else { (10_000, 5_000_000) };
    for (name, points, reach) in [
        ("memory of a server with 10,000 connections", memory::connections(&runtime, &[connections]), 300.0),
        ("memory of 5,000,000 throttle keys", memory::throttle_keys(keys), 64.0),
    ] {
        match points {
            Ok(points) => {
                let resident = points.last().map_or(0.0, memory::Point::mebibytes);
                report.figure(name, Estimate::exact(resident), mebibytes, Reach::AtMost(reach));
            }
            Err(reason) => report.skipped(name, &reason),
        }
    }
}
