//! The three endpoints over HTTP, beside bare ones: `cargo bench --bench http`.
//!
//! Servers and clients share one process and every core; both servers get the same bytes over as many connections, in
//! turns. What is counted are answers for a second of a core's work, the clients' included, which are the same for both.

#[allow(dead_code, reason = "shared by several benches, none of which needs all of it")]
mod support {
    pub mod args;
    pub mod http;
    pub mod load;
    pub mod rounds;
    pub mod server;
    pub mod tokens;
    pub mod users;
}

use std::time::Duration;

use support::args;
use support::http::{Effort, Endpoint, confirms, runtime, throughput};
use support::rounds::Comparison;

fn main() {
    let effort = match args::is_smoke() {
        true => Effort { rounds: 1, round: Duration::from_millis(20) },
        false => Effort { rounds: 15, round: Duration::from_secs(1) },
    };
    let runtime = runtime();
    println!("{:<32}  {:>10}  {:>10}  {:>6}", "", "ours", "bare", "ratio");
    let line = |name: &str, Comparison { ours, reference, ratio }| {
        println!("{name:<32}  {ours:>10.0}  {reference:>10.0}  {ratio:>6.3}");
    };
    for endpoint in Endpoint::ALL {
        line(endpoint.name(), throughput(&runtime, endpoint, effort));
    }
    let confirms = confirms(&runtime, Effort { round: effort.round * 2, ..effort });
    line("POST /confirm/ (bare: Argon2id)", confirms.throughput);
    println!("validations among the confirms: 99 of 100 within {:.1} ms", confirms.validate_p99 * 1e3);
}
