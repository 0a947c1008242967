//! Instructions per call of the main paths. Their number does not depend on other load on the machine.
//!
//! `cargo bench --bench instructions` runs itself under valgrind and prints a table. With `-- --check` it exits with 1 if
//! a path exceeds `instructions.txt` by more than a margin. With `-- --update` it writes that file. The instructions of
//! the unavoidable HMACs are subtracted, because they depend on the processor.

#[allow(dead_code, reason = "other benches use the rest")]
mod support {
    pub mod args;
    pub mod server;
    pub mod tokens;
    pub mod users;
    pub mod watchdog;
}

use std::env;
use std::fs;
use std::hint::black_box;
use std::process::{Command, ExitCode};

use poem::http::{Method, StatusCode};
use poem::{Endpoint as _, Request, Route};
use poem_password_reset::PasswordReset;
use time::Duration;
use tokio::runtime::Builder;

use support::tokens::{Hmacs, Tokens, codec, sample_user, verify_and_bind};
use support::users::{Users, address, reset};
use support::{args, server, watchdog};

/// Allowed increase in percent: compilers differ a little.
const MARGIN: u64 = 5;

/// Allowed increase of an endpoint in percent. Its allocations cost a different number of instructions in each run, up to
/// 4 % of the total.
const ENDPOINT_MARGIN: u64 = 10;

/// Calls per measurement: enough to make the varying cost of the start negligible.
const CALLS: u64 = 3_000;

const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt");

/// Each path, and the HMACs to subtract. A request has a third, short one, which is not subtracted.
const PATHS: [(&str, &str); 6] = [
    ("issue", "two-hmacs"),
    ("valid", "two-hmacs"),
    ("forged", "one-hmac"),
    ("expired", "one-hmac"),
    ("POST /validate_token/", "two-hmacs"),
    ("POST / and its mail", "two-hmacs"),
];

fn main() -> ExitCode {
    let counted = env::args().skip_while(|argument| argument != "--path").skip(1).take(2).collect::<Vec<_>>();
    if let [path, calls] = &counted[..] {
        run(path, calls.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    watchdog::start();
    if args::is_smoke_test() {
        for (path, hmacs) in PATHS {
            run(path, 1);
            run(hmacs, 1);
        }
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("error: counting instructions needs valgrind");
        return if args::has("--check") { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    compare(&PATHS.map(|(path, hmacs)| (path, instructions(path).saturating_sub(instructions(hmacs)))))
}

/// Runs a path repeatedly.
fn run(path: &str, calls: u64) {
    if let Some(endpoint) = path.strip_prefix("POST ") {
        return run_endpoint(endpoint, calls);
    }
    let (tokens, codec) = (Tokens::new(), codec(1));
    let (hmacs, mut user) = (Hmacs::with_header_state(&tokens.valid), sample_user());
    for _ in 0..calls {
        match path {
            "issue" => drop(black_box(codec.issue(black_box(&user), tokens.now, Duration::HOUR))),
            "valid" => user = verify_and_bind(&codec, black_box(&tokens.valid), user, tokens.now),
            "forged" => drop(black_box(codec.verify(black_box(&tokens.forged), tokens.now))),
            "expired" => drop(black_box(codec.verify(black_box(&tokens.expired), tokens.now))),
            "two-hmacs" => drop(black_box(black_box(&hmacs).sign_and_bind())),
            "one-hmac" => drop(black_box(black_box(&hmacs).sign())),
            other => panic!("no such path: {other}"),
        }
    }
}

/// Calls an endpoint repeatedly, without a socket. Waits for the mail of each call.
fn run_endpoint(endpoint: &str, calls: u64) {
    let users = Users::new(1);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let _guard = runtime.enter();
    let reset = runtime.block_on(reset(&users));
    let app = server::ours(reset.clone());
    let (path, body) = match endpoint {
        "/validate_token/" => {
            let event = reset.issue(&users.get("0").unwrap(), None).unwrap();
            ("/validate_token", format!(r#"{{"token":"{}"}}"#, event.token().expose()))
        }
        _ => ("/", format!(r#"{{"email":"{}"}}"#, address(0))),
    };
    for _ in 0..calls {
        runtime.block_on(call(&app, path, &body, &reset));
    }
}

async fn call(app: &Route, path: &str, body: &str, reset: &PasswordReset) {
    let request = Request::builder()
        .method(Method::POST)
        .uri_str(format!("{}{path}", server::MOUNT))
        .content_type("application/json")
        .body(body.to_owned());
    let response = app.call(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    black_box(response.into_body().into_bytes().await.unwrap());
    while reset.ledger().waiting > 0 {
        tokio::task::yield_now().await;
    }
}

/// Instructions per call. The difference of two runs excludes the start of the program.
fn instructions(path: &str) -> u64 {
    (count(path, 2 * CALLS) - count(path, CALLS)) / CALLS
}

/// Instructions of a run with so many calls.
fn count(path: &str, calls: u64) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe().unwrap())
        .args(["--path", path, &calls.to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find_map(|line| line.split_once("Collected : "));
    line.and_then(|(_, count)| count.trim().parse().ok()).unwrap_or_else(|| panic!("valgrind printed no count: {text}"))
}

/// Prints the counts next to the recorded ones.
fn compare(counts: &[(&str, u64)]) -> ExitCode {
    if args::has("--update") {
        let lines: String = counts.iter().map(|(path, count)| format!("{path}: {count}\n")).collect();
        fs::write(RECORD, lines).unwrap();
    }
    let record = fs::read_to_string(RECORD).unwrap_or_default();
    let mut all_within = true;
    println!("instructions per call, without the HMACs");
    println!("{:<21}  {:>7}  {:>8}  {:>7}  met", "path", "count", "recorded", "limit");
    for (path, count) in counts {
        let line = record.lines().find_map(|line| line.strip_prefix(path)?.strip_prefix(": "));
        let recorded = line.and_then(|recorded| recorded.parse::<u64>().ok());
        let margin = if path.starts_with("POST") { ENDPOINT_MARGIN } else { MARGIN };
        let limit = recorded.map(|recorded| recorded + recorded * margin / 100);
        let is_within = limit.is_some_and(|limit| *count <= limit);
        all_within &= is_within;
        let text = |number: Option<u64>| number.map_or("none".to_owned(), |number| number.to_string());
        let (recorded, limit, met) = (text(recorded), text(limit), if is_within { "yes" } else { "no" });
        println!("{path:<21}  {count:>7}  {recorded:>8}  {limit:>7}  {met}");
    }
    if all_within || !args::has("--check") { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
