//! A guard against getting slower that no busy machine can fool: how many instructions the paths of the token layer take.
//!
//! `cargo bench --bench instructions` runs itself under valgrind and prints a table; with `-- --check` it exits 1 if a
//! path takes more than `instructions.txt` says, by a margin; with `-- --update` it writes that file. What is counted is
//! what a path takes beyond the MACs that it cannot do without: those take the more the older a processor is.

#[allow(dead_code, reason = "shared by several benches, none of which needs all of it")]
mod support {
    pub mod args;
    pub mod tokens;
}

use std::env;
use std::fs;
use std::hint::black_box;
use std::process::{Command, ExitCode};

use time::Duration;

use support::args;
use support::tokens::{Floor, Tokens, ann, codec, verify_and_bind};

/// By how much a path may exceed what is written down, in percent: allocators and compilers differ a little.
const MARGIN: u64 = 5;

/// Calls that are counted.
const CALLS: u64 = 500;

const WRITTEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt");

/// Each path, and the MACs in it.
const PATHS: [(&str, &str); 4] =
    [("issue", "two-macs"), ("good", "two-macs"), ("forged", "one-mac"), ("expired", "one-mac")];

fn main() -> ExitCode {
    let counted = env::args().skip_while(|argument| argument != "--path").skip(1).take(2).collect::<Vec<_>>();
    if let [path, calls] = &counted[..] {
        run(path, calls.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    if args::is_smoke() {
        for (path, macs) in PATHS {
            run(path, 1);
            run(macs, 1);
        }
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("instructions: there is no valgrind here to count them");
        return if args::has("--check") { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    compare(&PATHS.map(|(path, macs)| (path, instructions(path).saturating_sub(instructions(macs)))))
}

/// Does one thing so often.
fn run(path: &str, calls: u64) {
    let (tokens, codec) = (Tokens::new(), codec(1));
    let (floor, mut user) = (Floor::behind_the_header(&tokens.good), ann());
    for _ in 0..calls {
        match path {
            "issue" => drop(black_box(codec.issue(black_box(&user), tokens.now, Duration::HOUR))),
            "good" => user = verify_and_bind(&codec, black_box(&tokens.good), user, tokens.now),
            "forged" => drop(black_box(codec.verify(black_box(&tokens.forged), tokens.now))),
            "expired" => drop(black_box(codec.verify(black_box(&tokens.expired), tokens.now))),
            "two-macs" => drop(black_box(black_box(&floor).sign_and_bind())),
            "one-mac" => drop(black_box(black_box(&floor).sign())),
            other => panic!("no such path: {other}"),
        }
    }
}

/// The instructions of one call: those of twice as many calls, less those of so many. What happens once cancels out.
fn instructions(path: &str) -> u64 {
    (counted(path, 2 * CALLS) - counted(path, CALLS)) / CALLS
}

fn counted(path: &str, calls: u64) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe().unwrap())
        .args(["--path", path, &calls.to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find_map(|line| line.split_once("Collected : "));
    line.and_then(|(_, count)| count.trim().parse().ok()).unwrap_or_else(|| panic!("valgrind counts nothing: {text}"))
}

/// Prints what was counted beside what is written down.
fn compare(counted: &[(&str, u64)]) -> ExitCode {
    if args::has("--update") {
        let lines: String = counted.iter().map(|(path, count)| format!("{path} {count}\n")).collect();
        fs::write(WRITTEN, lines).unwrap();
    }
    let written = fs::read_to_string(WRITTEN).unwrap_or_default();
    let mut is_good = true;
    println!("{:<8}  {:>24}  {:>8}  {:>6}", "path", "instructions beyond HMAC", "written", "within");
    for (path, count) in counted {
        let line = written.lines().find_map(|line| line.strip_prefix(path)?.strip_prefix(' '));
        let limit = line.and_then(|written| written.parse::<u64>().ok());
        let within = limit.is_some_and(|limit| *count <= limit + limit * MARGIN / 100);
        is_good &= within;
        let shown = limit.map_or("none".to_owned(), |limit| limit.to_string());
        println!("{path:<8}  {count:>24}  {shown:>8}  {:>6}", if within { "yes" } else { "no" });
    }
    if is_good || !args::has("--check") { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
