//! Cost by number of keys, connections, requests and users: `cargo bench --bench growth` prints tables in Markdown.

#[allow(dead_code, reason = "other benches use the rest")]
mod support {
    pub mod args;
    pub mod http;
    pub mod interleave;
    pub mod load;
    pub mod memory;
    pub mod process;
    pub mod server;
    pub mod statistics;
    pub mod subprocess;
    pub mod tokens;
    pub mod users;
    pub mod watchdog;
}

use std::future::pending;
use std::hint::black_box;
use std::iter::repeat_with;
use std::sync::Arc;
use std::time::{Duration, Instant};

use poem_password_reset::Client;
use poem_password_reset::throttle::Quotas;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::timeout;

use support::http::runtime;
use support::interleave::{nanoseconds, nanoseconds_with};
use support::memory::Point;
use support::statistics::median;
use support::tokens::{Tokens, codec, sample_user, verify_and_bind};
use support::users::{Users, address, builder};
use support::{args, memory, watchdog};

fn main() {
    if memory::run_subprocess() {
        return;
    }
    watchdog::start();
    let runtime = runtime();
    keys();
    points("throttle keys", "ns per count", throttle_keys());
    points("open connections", "ns per validation", connections(&runtime));
    queue(&runtime);
    same_address(&runtime);
}

/// Prints the heading of a table.
fn print_heading<const COLUMNS: usize>(columns: [&str; COLUMNS]) {
    println!("\n| {} |\n|{}", columns.join(" | "), " ---: |".repeat(COLUMNS));
}

fn print_row<const COLUMNS: usize>(count: usize, values: [f64; COLUMNS]) {
    let values = values.map(|value| if value < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") });
    println!("| {count} | {} |", values.join(" | "));
}

/// The token is signed with the key that is tried last.
fn keys() {
    let samples = if args::is_smoke_test() { 1 } else { 101 };
    let tokens = Tokens::new();
    print_heading(["keys in the ring", "ns to verify and bind", "ns to refuse a forged token"]);
    for keys in [1, 2, 4, 8, 16, 32, 64] {
        let (codec, mut user) = (codec(keys), Some(sample_user()));
        let verify = |user| verify_and_bind(&codec, black_box(&tokens.valid), user, tokens.now);
        let valid = median(repeat_with(|| nanoseconds_with(&mut user, verify)).take(samples));
        let refuse = || nanoseconds(|| codec.verify(black_box(&tokens.forged), tokens.now));
        print_row(keys, [valid, median(repeat_with(refuse).take(samples))]);
    }
}

fn throttle_keys() -> Result<Vec<Point>, String> {
    memory::throttle_keys(if args::is_smoke_test() { 10_000 } else { 5_000_000 })
}

fn connections(runtime: &Runtime) -> Result<Vec<Point>, String> {
    let counts: &[usize] = if args::is_smoke_test() { &[10, 100] } else { &[1, 1_000, 2_500, 5_000, 7_500, 10_000] };
    memory::connections(runtime, counts)
}

/// Prints duration and memory, or the reason why this machine cannot measure them.
fn points(what: &str, duration: &str, points: Result<Vec<Point>, String>) {
    match points {
        Ok(points) => {
            print_heading([what, duration, "MiB"]);
            points.iter().for_each(|point| print_row(point.count, [point.nanoseconds, point.mebibytes()]));
        }
        Err(reason) => println!("\n{what}: skipped: {reason}"),
    }
}

/// Duration of a request, from an empty queue to a full one. The handler never returns, so requests stay in the queue.
fn queue(runtime: &Runtime) {
    let (capacity, step) = if args::is_smoke_test() { (64, 16) } else { (4_096, 256) };
    let _context = runtime.enter();
    let reset = builder(&Users::new(1)).queue(capacity).handled_at_once(1).handler_timeout(Duration::from_secs(3_600));
    let reset = reset.on_reset_token_created(async |_| pending::<()>().await);
    let reset = runtime.block_on(reset.build()).unwrap();
    let address = address(0);
    print_heading(["requests in the queue", "ns to accept a request"]);
    for waiting in (step..=capacity).step_by(step) {
        let accepted = runtime.block_on(async {
            let mut samples = Vec::new();
            for _ in 0..step {
                let started = Instant::now();
                reset.request(black_box(&address), Client::none()).await.unwrap();
                samples.push(started.elapsed().as_secs_f64() * 1e9);
            }
            samples
        });
        print_row(waiting, [median(accepted)]);
    }
    // A worker has taken one request from the queue, so one more fits in.
    let refused = nanoseconds(|| {
        let result = runtime.block_on(reset.request(black_box(&address), Client::none()));
        assert!(result.is_ok() || reset.ledger().waiting > capacity as u64);
    });
    println!("A full queue refuses a request in {refused:.0} ns.");
    runtime.block_on(reset.shutdown(Duration::ZERO));
}

/// Duration from a request to the last of its mails.
fn same_address(runtime: &Runtime) {
    const LIMIT: Duration = Duration::from_secs(30);
    let samples = if args::is_smoke_test() { 1 } else { 101 };
    print_heading(["users with the same address", "us from a request to its last mail"]);
    for users in [1, 2, 4, 8, 16, 32, 64] {
        let _context = runtime.enter();
        let (sender, mut mails) = unbounded_channel();
        let sender = Arc::new(sender);
        let store = Users::with_addresses((0..users).map(|_| address(0)));
        let reset = builder(&store).quotas(Quotas::off()).users_per_address(users).on_reset_token_created(move |_| {
            let sender = Arc::clone(&sender);
            async move { sender.send(()).unwrap() }
        });
        let reset = runtime.block_on(reset.build()).unwrap();
        let sample = || {
            let started = Instant::now();
            let delivery = async {
                reset.request(&address(0), Client::none()).await.unwrap();
                for _ in 0..users {
                    mails.recv().await;
                }
            };
            let delivered = runtime.block_on(async { timeout(LIMIT, delivery).await });
            delivered.expect("all mails arrive within 30 seconds");
            started.elapsed().as_secs_f64() * 1e6
        };
        print_row(users, [median(repeat_with(sample).take(samples))]);
    }
}
