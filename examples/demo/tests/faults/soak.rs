//! F24: a soak test. Clients send random requests, validations, confirmations, sign-ins and invalid requests, or disconnect.
//! Every status is documented, every accepted request leads to a mail, and every password is the confirmed one. At the end,
//! the process has no more open files and memory than before.
//!
//! The test prints its seed, and `SEED=<seed>` repeats it. `SOAK_MINUTES` sets the length of the long version (default: 120).

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::json;
use tokio::runtime::Handle;

use crate::process::{Demo, connect, head, receive, wait_for};
use crate::site::{Mails, Site, confirm, email, password, post, send};

/// Number of concurrent clients. Each has its own users, so it knows their passwords.
const CLIENTS: usize = 8;
const USERS_EACH: usize = 5;

/// Maximum requests per second of all clients together.
const RATE: u64 = 300;

/// Time after which one-time allocations have happened.
const WARM_UP: Duration = Duration::from_secs(6);

/// Allowed growth of the memory, in KiB: fragmentation, database pages and load peaks.
const NOISE: i64 = 6 * 1024;

/// Maximum memory, in KiB. Hashing takes 76 MiB of it on two cores: two confirmations and two sign-ins hash at once.
const MAX_MEMORY: i64 = 256 * 1024;

/// Allowed growth of the number of open files: two for each of up to four database connections, which open on demand.
const MORE_FILES: usize = 8;

/// State of a user, as far as its client knows.
#[derive(Default)]
struct UserState {
    password: Option<String>,
    /// Number of accepted requests. Each must lead to a link.
    accepted: usize,
    /// Number of confirmations with status 200.
    confirmed: usize,
    /// Number of confirmations whose client disconnected before the response.
    disconnected: usize,
    /// True while a confirmation without a known outcome may still run.
    pending: bool,
}

struct Client<'s> {
    site: &'s Site,
    address: SocketAddr,
    first_user: usize,
    states: Vec<UserState>,
    random: Rng,
    sent: usize,
    runtime: Handle,
}

impl Client<'_> {
    /// Sends random requests for this time.
    fn run(&mut self, duration: Duration) {
        let (begun, pause) = (Instant::now(), Duration::from_micros(1_000_000 * CLIENTS as u64 / RATE));
        let mut count = 0;
        while begun.elapsed() < duration {
            self.random_action();
            count += 1;
            self.sent += 1;
            thread::sleep((pause * count).saturating_sub(begun.elapsed()));
        }
    }

    /// Sends confirmations and sign-ins, so that all hashing threads run and allocate their memory.
    fn warm_up(&mut self) {
        for _ in 0..3 {
            for index in 0..USERS_EACH {
                self.confirm(index);
                self.sign_in(index);
            }
        }
        self.run(WARM_UP);
    }

    /// Returns the users of this client with their ids.
    fn users(&self) -> impl Iterator<Item = (usize, &UserState)> {
        (self.first_user..).zip(&self.states)
    }

    fn random_action(&mut self) {
        let index = self.random.usize(..USERS_EACH);
        let id = self.first_user + index;
        match self.random.u32(..100) {
            0..30 => {
                self.expect(&post(self.address, "", &json!({ "email": email(id) })), 200);
                self.states[index].accepted += 1;
            }
            30..45 => {
                let unknown = format!("unknown{}@example.com", self.random.u16(..));
                self.expect(&post(self.address, "", &json!({ "email": unknown })), 200);
            }
            45..60 if !self.states[index].pending => {
                let token = self.token(id);
                self.expect(&post(self.address, "validate_token/", &json!({ "token": token })), 200);
            }
            45..70 => {
                let mut token = self.token(id);
                token.replace_range(token.len() - 4.., "AAAA");
                self.expect(&post(self.address, "validate_token/", &json!({ "token": token })), 404);
            }
            70..73 => self.confirm(index),
            73..75 => self.disconnect_during_confirmation(index),
            75..77 => self.sign_in(index),
            77..80 => {
                let mut stream = connect(self.address);
                let request = post(self.address, "", &json!({ "email": email(id) }));
                let sent = self.random.usize(..request.len() - 1);
                stream.write_all(&request[..sent]).unwrap();
            }
            80..90 => self.send_invalid_request(),
            _ => {
                let long = "x".repeat(self.random.usize(1..4_000));
                let wrong = json!({ "token": [long], "password": { "of": long } });
                self.expect(&post(self.address, "confirm/", &wrong), 400);
            }
        }
    }

    fn expect(&self, request: &[u8], status: u16) {
        let received = send(self.address, request);
        assert_eq!(received, Some(status), "{}", String::from_utf8_lossy(request));
    }

    /// Issues a token that is valid until the password changes.
    fn token(&self, id: usize) -> String {
        self.site.token(id, &self.runtime.block_on(self.site.hash(id)))
    }

    fn next_password(&mut self, id: usize) -> String {
        password(id, self.random.usize(..))
    }

    /// Confirms a new password. Tries twice if an earlier confirmation may still run and change the password first.
    fn confirm(&mut self, index: usize) {
        let id = self.first_user + index;
        let new = self.next_password(id);
        let mut status = send(self.address, &confirm(self.address, &self.token(id), &new));
        if status == Some(404) && self.states[index].pending {
            status = send(self.address, &confirm(self.address, &self.token(id), &new));
        }
        assert_eq!(status, Some(200), "the token is valid");
        let state = &mut self.states[index];
        state.password = Some(new);
        state.confirmed += 1;
        state.pending = false;
    }

    fn disconnect_during_confirmation(&mut self, index: usize) {
        // At most one pending confirmation per user, so that the second try of `confirm` succeeds.
        if self.states[index].pending {
            return self.confirm(index);
        }
        let id = self.first_user + index;
        let new = self.next_password(id);
        let request = confirm(self.address, &self.token(id), &new);
        connect(self.address).write_all(&request).unwrap();
        thread::sleep(Duration::from_millis(self.random.u64(..30)));
        let state = &mut self.states[index];
        state.disconnected += 1;
        state.pending = true;
    }

    fn sign_in(&mut self, index: usize) {
        let UserState { password: Some(password), pending: false, .. } = &self.states[index] else { return };
        let body = json!({ "email": email(self.first_user + index), "password": password }).to_string();
        let head = head(self.address, "POST", "/api/login", &["Content-Type: application/json"], body.len());
        self.expect((head + &body).as_bytes(), 200);
    }

    fn send_invalid_request(&mut self) {
        let mut body = vec![0; self.random.usize(1..200)];
        self.random.fill(&mut body);
        let (method, kind, status) = match self.random.u32(..4) {
            0 => ("GET", "application/json", 405),
            1 => ("POST", "application/xml", 415),
            2 => ("POST", "application/x-www-form-urlencoded", 400),
            _ => ("POST", "application/json", 400),
        };
        let kind = format!("Content-Type: {kind}");
        let mut request = head(self.address, method, "/api/password_reset/confirm/", &[&kind], body.len()).into_bytes();
        request.extend(&body);
        let mut stream = connect(self.address);
        stream.write_all(&request).unwrap();
        let response = receive(&mut stream);
        assert_eq!(response.status, status, "{response:?} for {}", String::from_utf8_lossy(&request));
    }
}

/// Resources of a process: memory in KiB, and number of open files.
#[derive(Clone, Copy, Debug)]
struct Resources {
    memory: i64,
    files: usize,
}

impl Resources {
    fn of(demo: &Demo) -> Self {
        let process = format!("/proc/{}", demo.id());
        let status = fs::read_to_string(format!("{process}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the file has VmRSS");
        let memory = line.trim().trim_end_matches(" kB").parse().unwrap();
        Self { memory, files: fs::read_dir(format!("{process}/fd")).unwrap().count() }
    }
}

/// Runs all clients concurrently, waits for their mails, and returns the resources of the process.
fn phase<'s>(
    site: &Site,
    demo: &Demo,
    clients: &mut [Client<'s>],
    mails: &mut Mails,
    run: impl Fn(&mut Client<'s>) + Sync,
) -> Resources {
    thread::scope(|scope| {
        let running: Vec<_> = clients.iter_mut().map(|client| scope.spawn(|| run(client))).collect();
        for client in running {
            client.join().expect("every response is expected");
        }
    });
    for client in clients.iter_mut() {
        for index in 0..USERS_EACH {
            if client.states[index].pending {
                client.confirm(index);
            }
        }
    }
    wait_for("all mails", || {
        site.take_mails(mails);
        let has_arrived = |(id, state): (usize, &UserState)| {
            let (links, notices) = mails_to(mails, id);
            links >= state.accepted && notices >= state.confirmed
        };
        clients.iter().flat_map(Client::users).all(has_arrived).then_some(())
    });
    // Lets the server close the connections of clients that have disconnected.
    thread::sleep(Duration::from_millis(500));
    Resources::of(demo)
}

/// Returns the number of links and of notices to a user.
fn mails_to(mails: &Mails, id: usize) -> (usize, usize) {
    mails.get(&email(id)).copied().unwrap_or_default()
}

fn check(clients: &[Client<'_>], mails: &Mails) {
    for (id, state) in clients.iter().flat_map(Client::users) {
        let (links, notices) = mails_to(mails, id);
        assert_eq!(links, state.accepted, "user {id}: one link for each accepted request");
        let confirmed = state.confirmed..=state.confirmed + state.disconnected;
        assert!(confirmed.contains(&notices), "user {id}: {notices} notices for {confirmed:?} confirmations");
    }
}

async fn soak(phases: u32, each: Duration) {
    let site = Site::new(CLIENTS * USERS_EACH).await;
    let demo = site.start();
    let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let client = |number: usize, random: Rng| Client {
        site: &site,
        address: demo.address,
        first_user: number * USERS_EACH,
        states: std::iter::repeat_with(UserState::default).take(USERS_EACH).collect(),
        random,
        sent: 0,
        runtime: Handle::current(),
    };
    let mut clients: Vec<_> = (0..CLIENTS).map(|number| client(number, random.fork())).collect();
    let mut mails = Mails::new();
    let (begun, before) = tokio::task::block_in_place(|| {
        let before = phase(&site, &demo, &mut clients, &mut mails, Client::warm_up);
        (Instant::now(), before)
    });
    let mut after = before;
    for number in 1..=phases {
        after =
            tokio::task::block_in_place(|| phase(&site, &demo, &mut clients, &mut mails, |client| client.run(each)));
        check(&clients, &mails);
        let sent: usize = clients.iter().map(|client| client.sent).sum();
        println!("{number}: {sent} requests in {:?}, {before:?}, now {after:?}", begun.elapsed());
    }
    let hours = begun.elapsed().as_secs_f64() / 3600.0;
    let grown = after.memory - before.memory;
    assert!(grown <= NOISE + (1024.0 * hours) as i64, "the memory has grown by {grown} KiB in {hours:.2} hours");
    assert!(after.memory <= MAX_MEMORY, "{} KiB", after.memory);
    assert!(after.files <= before.files + MORE_FILES, "{} open files, {} before", after.files, before.files);
    demo.terminate();
    let (status, output) = tokio::task::block_in_place(|| demo.ended());
    assert!(status.success(), "{status}");
    assert!(output.contains("lost_requests") && !output.contains("panicked"), "{output:.4000}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_clients_get_documented_responses_and_leak_nothing() {
    soak(2, Duration::from_secs(7)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long version"]
async fn random_clients_for_two_hours_get_documented_responses_and_leak_nothing() {
    let minutes = std::env::var("SOAK_MINUTES").map_or(120, |minutes| minutes.parse().expect("a number"));
    soak(minutes, Duration::from_secs(60)).await;
}
