//! Throughput of the library's endpoints and of bare endpoints, in one process and on one runtime.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::PasswordHasher as _;
use poem::Route;
use poem_password_reset::PasswordReset;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::interleave::{Comparison, Session, interleave};
use super::load::{Connection, Load, post};
use super::process::cpu_time;
use super::server;
use super::statistics::Estimate;
use super::users::{Users, address, over_quota, reset};

/// Enough connections to keep every core busy.
const CONNECTIONS: usize = 64;

/// Concurrent confirmations.
const CONFIRMATIONS: usize = 8;

/// Number and duration of the samples.
#[derive(Clone, Copy)]
pub struct Effort {
    pub sessions: usize,
    /// Pairs of samples per session.
    pub samples: usize,
    /// Duration of one sample.
    pub sample: Duration,
}

/// A request to compare.
#[derive(Clone, Copy)]
pub enum Endpoint {
    Validate,
    /// Each request leads to a mail.
    RequestKnown,
    /// The address is over its quota of mails.
    RequestSuppressed,
    RequestUnknown,
}

impl Endpoint {
    pub const ALL: [Self; 4] = [Self::Validate, Self::RequestKnown, Self::RequestSuppressed, Self::RequestUnknown];

    pub fn name(self) -> &'static str {
        match self {
            Self::Validate => "POST /validate_token/",
            Self::RequestKnown => "POST /, known address, with mail",
            Self::RequestSuppressed => "POST /, address over its quota",
            Self::RequestUnknown => "POST /, unknown address",
        }
    }

    /// The request of one client.
    fn request(self, reset: &PasswordReset, users: &Users, client: usize) -> Vec<u8> {
        match self {
            Self::Validate => post("/validate_token", &token_body(reset, users, client, "")),
            Self::RequestKnown | Self::RequestSuppressed => post("/", &email_body(client)),
            Self::RequestUnknown => unknown_requests().swap_remove(client),
        }
    }
}

fn email_body(user: usize) -> String {
    format!(r#"{{"email":"{}"}}"#, address(user))
}

/// A JSON body with a new token of a user and `more` fields.
fn token_body(reset: &PasswordReset, users: &Users, user: usize, more: &str) -> String {
    let event = reset.issue(&users.get(&user.to_string()).unwrap(), None).unwrap();
    format!(r#"{{"token":"{}"{more}}}"#, event.token().expose())
}

/// A runtime for servers and clients, with one thread per core.
pub fn runtime() -> Runtime {
    Builder::new_multi_thread().enable_all().build().unwrap()
}

/// Compares the responses per second of processor time of the library's endpoint and of a bare one.
pub fn throughput(runtime: &Runtime, endpoint: Endpoint, effort: Effort) -> Comparison {
    Comparison::of_sessions(effort.sessions, || session(runtime, endpoint, effort))
}

fn session(runtime: &Runtime, endpoint: Endpoint, effort: Effort) -> Session {
    let users = Users::new(CONNECTIONS);
    let reset = match endpoint {
        Endpoint::RequestSuppressed => runtime.block_on(over_quota(&users)),
        _ => runtime.block_on(reset(&users)),
    };
    let requests: Vec<_> = (0..CONNECTIONS).map(|client| endpoint.request(&reset, &users, client)).collect();
    compare(runtime, &reset, server::bare(), requests, effort)
}

/// Returns requests for the reset of so many users as there are connections.
pub fn known_requests() -> Vec<Vec<u8>> {
    (0..CONNECTIONS).map(|client| post("/", &email_body(client))).collect()
}

/// Returns requests for addresses without a user, one for each connection.
pub fn unknown_requests() -> Vec<Vec<u8>> {
    (0..CONNECTIONS).map(|client| post("/", &email_body(client + 10 * CONNECTIONS))).collect()
}

/// Creates the users of [`known_requests`].
pub fn known_users() -> Users {
    Users::new(CONNECTIONS)
}

/// Compares a service with bare endpoints in one session. Each request has a connection of its own.
pub fn compare(
    runtime: &Runtime,
    reset: &PasswordReset,
    bare: Route,
    requests: Vec<Vec<u8>>,
    Effort { samples, sample, .. }: Effort,
) -> Session {
    let (mut ours, mut bare) = runtime.block_on(async {
        let ours = server::serve(server::ours(reset.clone())).await;
        let bare = server::serve(bare).await;
        (Load::open(ours, requests.clone()).await, Load::open(bare, requests).await)
    });
    // The first responses also pay for connecting and for growing buffers.
    runtime.block_on(async { (rate(&mut ours, sample, reset).await, rate(&mut bare, sample, reset).await) });
    let session = interleave(
        samples,
        || runtime.block_on(rate(&mut ours, sample, reset)),
        || runtime.block_on(rate(&mut bare, sample, reset)),
    );
    runtime.block_on(reset.shutdown(Duration::from_secs(30)));
    session
}

/// Responses per second of processor time, clients included. Without a clock for it: per second.
///
/// Processor time does not depend on other processes as much as elapsed time does.
async fn rate(load: &mut Load, duration: Duration, reset: &PasswordReset) -> f64 {
    let (started, before) = (Instant::now(), cpu_time());
    let responses = load.run(duration).await;
    // Mails that are still queued belong to this sample, not to the next one of the bare endpoint.
    let delivered = async {
        while reset.ledger().waiting > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(30), delivered).await.expect("the queue is empty within 30 seconds");
    let used = cpu_time().zip(before).map(|(after, before)| after - before);
    f64::from(responses) / used.unwrap_or_else(|| started.elapsed()).as_secs_f64()
}

/// Result of [`confirmations`].
pub struct Confirmations {
    /// Confirmations per second over HTTP, compared with hashes per second.
    pub throughput: Comparison,
    /// 99th percentile of the duration of a validation during the confirmations, in seconds.
    pub validate_p99: Estimate,
}

/// Compares confirmations over HTTP with Argon2id alone, on all cores, and times validations during the confirmations.
pub fn confirmations(runtime: &Runtime, Effort { sessions, samples, sample }: Effort) -> Confirmations {
    let mut latencies = Vec::new();
    let throughput = Comparison::of_sessions(sessions, || {
        let users = Users::new(CONFIRMATIONS + 1);
        let reset = runtime.block_on(reset(&users));
        let server = runtime.block_on(server::serve(server::ours(reset.clone())));
        let body = token_body(&reset, &users, CONFIRMATIONS, "");
        let confirm = || {
            let done = Arc::new(Notify::new());
            let validations = runtime.spawn(validate_until(server, post("/validate_token", &body), Arc::clone(&done)));
            let confirmed = runtime.block_on(confirm_for(server, &reset, &users, sample));
            done.notify_one();
            latencies.extend(finish(runtime, validations));
            confirmed
        };
        interleave(samples, confirm, || hash_for(sample))
    });
    Confirmations { throughput, validate_p99: Estimate::quantile(latencies, 0.99) }
}

/// Confirmations per second. Each client confirms for one user, with a new token each time, as a confirmation invalidates
/// the previous token.
async fn confirm_for(server: SocketAddr, reset: &PasswordReset, users: &Users, duration: Duration) -> f64 {
    let started = Instant::now();
    let clients: Vec<_> = (0..CONFIRMATIONS)
        .map(|client| {
            let (reset, users) = (reset.clone(), users.clone());
            tokio::spawn(async move {
                let mut connection = Connection::open(server, client).await;
                let mut confirmed = 0;
                while started.elapsed() < duration {
                    let password = r#","password":"purple tractor hums at dawn""#;
                    connection.send(&post("/confirm", &token_body(&reset, &users, client, password))).await;
                    confirmed += 1;
                }
                confirmed
            })
        })
        .collect();
    let mut confirmed = 0;
    for client in clients {
        let finished = timeout(duration + Duration::from_secs(30), client).await;
        confirmed += finished.expect("each confirmation ends within 30 seconds").unwrap();
    }
    f64::from(confirmed) / started.elapsed().as_secs_f64()
}

fn finish(runtime: &Runtime, task: tokio::task::JoinHandle<Vec<f64>>) -> Vec<f64> {
    let finished = runtime.block_on(async { timeout(Duration::from_secs(30), task).await });
    finished.expect("each validation ends within 30 seconds").unwrap()
}

/// Hashes per second, with one thread per core.
fn hash_for(duration: Duration) -> f64 {
    let started = Instant::now();
    let hash = || {
        let mut hashes = 0;
        while started.elapsed() < duration {
            // The defaults are the parameters that OWASP recommends, as in the library.
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

/// Sends 200 validations per second until `done`. Returns the duration of each in seconds.
async fn validate_until(server: SocketAddr, request: Vec<u8>, done: Arc<Notify>) -> Vec<f64> {
    let mut connection = Connection::open(server, CONFIRMATIONS).await;
    let mut latencies = Vec::new();
    loop {
        tokio::select! {
            () = sleep(Duration::from_millis(5)) => {}
            () = done.notified() => return latencies,
        }
        let started = Instant::now();
        connection.send(&request).await;
        latencies.push(started.elapsed().as_secs_f64());
    }
}
