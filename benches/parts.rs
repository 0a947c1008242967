//! The figures of the optional parts, one row each: `cargo bench --bench parts`.
//!
//! With `-- --check` it exits with 1 if a figure and its whole 99 % interval are out of reach. `-- mail`,
//! `-- redis`, `-- queue` and `-- postgres` measure one part only. A server that a part needs is started by the bench, or the part is skipped.

#[allow(dead_code, reason = "other benches use the rest")]
mod support {
    pub mod args;
    pub mod binding;
    pub mod durable;
    pub mod http;
    pub mod interleave;
    pub mod load;
    pub mod mail;
    pub mod postgres_users;
    pub mod process;
    pub mod redis;
    pub mod report;
    pub mod server;
    pub mod statistics;
    pub mod tokens;
    pub mod users;
    pub mod watchdog;
}
#[path = "../tests/support/own_postgres.rs"]
mod own_postgres;
#[path = "../tests/support/postgres.rs"]
mod postgres;
#[allow(dead_code, reason = "tests use the rest")]
#[path = "../tests/support/redis.rs"]
mod redis_server;
#[path = "../tests/support/server.rs"]
mod server;

use std::process::ExitCode;
use std::time::Duration;

use sqlx::PgPool;
use support::http::Effort;
use support::interleave::Comparison;
use support::redis::{Addresses, Calls};
use support::report::{Reach, Report, nanoseconds, per_cpu_second, per_second};
use support::statistics::Estimate;
use support::{args, durable, http, mail, postgres_users, redis, watchdog};
use tokio::runtime::Runtime;

/// With 15 sessions, the interval of a ratio extends from the third lowest to the third highest session.
const SESSIONS: usize = 15;

/// A part: its name on the command line, and the function that measures its rows.
type Part = (&'static str, fn(&mut Report));

const PARTS: [Part; 4] =
    [("mail", mails), ("redis", redis_counts), ("queue", durable_queue), ("postgres", users_in_postgres)];

fn main() -> ExitCode {
    watchdog::start();
    let mut report = Report::start();
    let runs_all = !PARTS.iter().any(|(name, _)| args::has(name));
    for (name, measure) in PARTS {
        if runs_all || args::has(name) {
            measure(&mut report);
        }
    }
    let is_within_reach = report.finish();
    if is_within_reach || args::is_smoke_test() || !args::has("--check") {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn mails(report: &mut Report) {
    let (sessions, samples) = if args::is_smoke_test() { (1, 1) } else { (SESSIONS, 5) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the runtime starts");
    let name = "issue a token and write its mail";
    match (0..sessions).map(|_| mail::written(&runtime)).collect::<Option<Vec<_>>>() {
        Some(written) => report.figure(name, Estimate::median(written), nanoseconds, Reach::AtMost(100_000.0)),
        None => report.skipped(name, "the system does not report processor time"),
    }

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("the runtime starts");
    let sent = Comparison::of_sessions(sessions, || mail::sent(&runtime, samples));
    report.ratio("1,000 requests by SMTP / lettre's pool alone", sent, per_second, Reach::AtLeast(0.8));
}

fn redis_counts(report: &mut Report) {
    let rows = [
        ("POST /, one quota in Redis / bare, one EVALSHA", Calls::One, Addresses::Unknown, 0.85),
        ("POST /, both quotas in Redis / bare, two EVALSHA", Calls::Two, Addresses::Unknown, 0.85),
        ("the same, each with a mail / bare, one EVALSHA", Calls::One, Addresses::Known, 0.8),
    ];
    let Some(server) = redis_server::Redis::start(&[]) else {
        rows.iter().for_each(|(name, ..)| report.skipped(name, "redis-server is not installed"));
        return;
    };
    let effort = match args::is_smoke_test() {
        true => Effort { sessions: 1, samples: 1, sample: Duration::from_millis(20) },
        false => Effort { sessions: SESSIONS, samples: 5, sample: Duration::from_millis(100) },
    };
    let runtime = http::runtime();
    for (name, calls, addresses, reach) in rows {
        let compared = redis::throughput(&runtime, &server.url(), calls, addresses, effort);
        report.ratio(name, compared, per_cpu_second, Reach::AtLeast(reach));
    }
}

fn durable_queue(report: &mut Report) {
    let name = "POST / with a durable queue / bare, one INSERT";
    let sample = Duration::from_millis(300);
    on_postgres(report, name, sample, |report, runtime, pool, effort| {
        report.ratio(name, durable::throughput(runtime, pool, effort), per_second, Reach::AtLeast(0.8));
    });
}

fn users_in_postgres(report: &mut Report) {
    let name = "POST /validate_token/ on PostgreSQL / bare, one SELECT";
    let sample = Duration::from_millis(100);
    on_postgres(report, name, sample, |report, runtime, pool, effort| {
        report.ratio(name, postgres_users::throughput(runtime, pool, effort), per_cpu_second, Reach::AtLeast(0.9));
    });
}

/// Measures a row on a server of its own, whose files are synchronized as they are in production.
fn on_postgres(
    report: &mut Report,
    name: &str,
    sample: Duration,
    measure: impl FnOnce(&mut Report, &Runtime, &PgPool, Effort),
) {
    let runtime = http::runtime();
    let Some(server) = runtime.block_on(own_postgres::OwnServer::start()) else {
        report.skipped(name, "PostgreSQL is not installed");
        return;
    };
    let effort = match args::is_smoke_test() {
        true => Effort { sessions: 1, samples: 1, sample: Duration::from_millis(20) },
        false => Effort { sessions: SESSIONS, samples: 5, sample },
    };
    let pool = runtime.block_on(server.pool());
    measure(report, &runtime, &pool, effort);
}
