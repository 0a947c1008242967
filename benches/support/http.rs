//! The endpoints of this library beside bare ones, in turns, in one process and on one runtime.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::PasswordHasher as _;
use poem_password_reset::PasswordReset;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use super::load::{Connection, Load, post};
use super::rounds::{Comparison, in_turns, rounds_of};
use super::server;
use super::users::{Users, address, over_quota, reset};

/// Enough for every core to have something to do at any moment.
const CONNECTIONS: usize = 64;

/// How often servers and connections are set up anew.
const SITTINGS: usize = 5;

/// Confirms under way at once.
const CONFIRMS: usize = 8;

/// How long, and how often.
#[derive(Clone, Copy)]
pub struct Effort {
    pub rounds: usize,
    pub round: Duration,
}

/// What is asked for.
#[derive(Clone, Copy)]
pub enum Endpoint {
    Validate,
    /// Every request leads to a mail.
    RequestKnown,
    /// Nearly none does: the address is over its quota.
    RequestSuppressed,
    RequestUnknown,
}

impl Endpoint {
    pub const ALL: [Self; 4] = [Self::Validate, Self::RequestKnown, Self::RequestSuppressed, Self::RequestUnknown];

    pub fn name(self) -> &'static str {
        match self {
            Self::Validate => "POST /validate_token/",
            Self::RequestKnown => "POST /, a user, a mail each time",
            Self::RequestSuppressed => "POST /, a user over the quota",
            Self::RequestUnknown => "POST /, nobody",
        }
    }

    /// The request of one of the clients.
    fn request(self, reset: &PasswordReset, users: &Users, number: usize) -> Vec<u8> {
        match self {
            Self::Validate => post("/validate_token", &token_body(reset, users, number, "")),
            Self::RequestKnown | Self::RequestSuppressed => post("/", &format!(r#"{{"email":"{}"}}"#, address(number))),
            Self::RequestUnknown => post("/", &format!(r#"{{"email":"{}"}}"#, address(number + 10 * CONNECTIONS))),
        }
    }
}

/// JSON with a new token of a user, and what else belongs to it.
fn token_body(reset: &PasswordReset, users: &Users, number: usize, more: &str) -> String {
    let event = reset.issue(&users.get(&number.to_string()).unwrap(), None).unwrap();
    format!(r#"{{"token":"{}"{more}}}"#, event.token().expose())
}

/// A runtime for servers and clients together, with a thread for each core.
pub fn runtime() -> Runtime {
    Builder::new_multi_thread().enable_all().build().unwrap()
}

/// Answers a second of a core: ours, and those of a bare endpoint.
///
/// In several sittings, each with servers and connections of its own: where in memory they happen to be makes a difference
/// of one in a hundred, which is not what is measured.
pub fn throughput(runtime: &Runtime, endpoint: Endpoint, effort: Effort) -> Comparison {
    let sittings = if effort.rounds < SITTINGS { 1 } else { SITTINGS };
    let rounds: Vec<_> =
        (0..sittings).flat_map(|_| sitting(runtime, endpoint, effort.rounds / sittings, effort.round)).collect();
    Comparison::of(&rounds)
}

fn sitting(runtime: &Runtime, endpoint: Endpoint, rounds: usize, round: Duration) -> Vec<(f64, f64)> {
    let users = Users::new(CONNECTIONS);
    let reset = match endpoint {
        Endpoint::RequestSuppressed => runtime.block_on(over_quota(&users)),
        _ => runtime.block_on(reset(&users)),
    };
    let requests: Vec<_> = (0..CONNECTIONS).map(|number| endpoint.request(&reset, &users, number)).collect();
    let (mut ours, mut bare) = runtime.block_on(async {
        let ours = server::serve(server::ours(reset.clone())).await;
        let bare = server::serve(server::bare()).await;
        (Load::open(ours, requests.clone()).await, Load::open(bare, requests).await)
    });
    // What is done once, connecting and growing buffers, is done before anything counts.
    runtime.block_on(async { (ours.run(round / 4).await, bare.run(round / 4).await) });
    let compared = rounds_of(rounds, || runtime.block_on(ours.run(round)), || runtime.block_on(bare.run(round)));
    runtime.block_on(reset.shutdown(Duration::from_secs(30)));
    compared
}

/// What a run of confirms shows.
pub struct Confirms {
    /// Passwords a second, set over HTTP and hashed by bare threads.
    pub throughput: Comparison,
    /// The 99th percentile of what validations took meanwhile, in seconds.
    pub validate_p99: f64,
}

/// Confirms over HTTP beside bare Argon2id on every core, and validations among the confirms.
pub fn confirms(runtime: &Runtime, effort: Effort) -> Confirms {
    let users = Users::new(CONFIRMS + 1);
    let reset = runtime.block_on(reset(&users));
    let server = runtime.block_on(server::serve(server::ours(reset.clone())));
    let mut latencies = Vec::new();
    let throughput = in_turns(
        effort.rounds,
        || {
            let done = Arc::new(Notify::new());
            let body = token_body(&reset, &users, CONFIRMS, "");
            let watch = runtime.spawn(watch_validate(server, post("/validate_token", &body), Arc::clone(&done)));
            let confirmed = runtime.block_on(confirm_for(server, &reset, &users, effort.round));
            done.notify_one();
            latencies.extend(runtime.block_on(watch).unwrap());
            confirmed
        },
        || hash_for(effort.round),
    );
    latencies.sort_by(f64::total_cmp);
    Confirms { throughput, validate_p99: latencies[latencies.len() * 99 / 100] }
}

/// Confirms a second. Each client confirms for one user, with a new token each time: a confirm ends the last one.
async fn confirm_for(server: std::net::SocketAddr, reset: &PasswordReset, users: &Users, duration: Duration) -> f64 {
    let started = Instant::now();
    let clients: Vec<_> = (0..CONFIRMS)
        .map(|number| {
            let (reset, users) = (reset.clone(), users.clone());
            tokio::spawn(async move {
                let mut connection = Connection::open(server, number).await;
                let mut confirmed = 0;
                while started.elapsed() < duration {
                    let password = r#","password":"purple tractor hums at dawn""#;
                    connection.ask(&post("/confirm", &token_body(&reset, &users, number, password))).await;
                    confirmed += 1;
                }
                confirmed
            })
        })
        .collect();
    let mut confirmed = 0;
    for client in clients {
        confirmed += client.await.unwrap();
    }
    f64::from(confirmed) / started.elapsed().as_secs_f64()
}

/// Hashes a second, with nothing else in the way: a thread for each core.
fn hash_for(duration: Duration) -> f64 {
    let started = Instant::now();
    let hash = || {
        let mut hashes = 0;
        while started.elapsed() < duration {
            // Its defaults are what OWASP recommends, as those of the library are.
            Argon2::default().hash_password(b"purple tractor hums at dawn").unwrap();
            hashes += 1;
        }
        hashes
    };
    let hashes: u32 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..available_parallelism().map_or(1, usize::from)).map(|_| scope.spawn(hash)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    f64::from(hashes) / started.elapsed().as_secs_f64()
}

/// What a validation takes, two hundred times a second, until told to stop.
async fn watch_validate(server: std::net::SocketAddr, request: Vec<u8>, done: Arc<Notify>) -> Vec<f64> {
    let mut connection = Connection::open(server, CONFIRMS).await;
    let mut latencies = Vec::new();
    loop {
        let pause = tokio::time::sleep(Duration::from_millis(5));
        tokio::select! {
            () = pause => {}
            () = done.notified() => return latencies,
        }
        let asked = Instant::now();
        connection.ask(&request).await;
        latencies.push(asked.elapsed().as_secs_f64());
    }
}
