//! The figures of the optional parts, one row each: `cargo bench --bench parts`.
//!
//! With `-- --check` it exits with 1 if a figure and its whole 99 % interval are out of reach. `-- mail` measures one part
//! only.

#[allow(dead_code, reason = "other benches use the rest")]
mod support {
    pub mod args;
    pub mod interleave;
    pub mod mail;
    pub mod process;
    pub mod report;
    pub mod statistics;
    pub mod watchdog;
}

use std::process::ExitCode;

use support::interleave::Comparison;
use support::report::{Reach, Report, nanoseconds, per_second};
use support::statistics::Estimate;
use support::{args, mail, watchdog};

/// With 15 sessions, the interval of a ratio extends from the third lowest to the third highest session.
const SESSIONS: usize = 15;

fn main() -> ExitCode {
    watchdog::start();
    let mut report = Report::start();
    let runs_all = !["mail"].into_iter().any(args::has);
    if runs_all || args::has("mail") {
        mails(&mut report);
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
