//! F24: everything at once, at random and for long: people who ask, validate, confirm and sign in, clients that send
//! nonsense, stall or hang up. Every answer is one that is documented, every accepted request becomes a mail, every
//! password is the one that was confirmed; and when it is quiet again, the process has as many files open and takes up as
//! much memory as before.
//!
//! A failure prints its seed; `SEED=<seed>` takes that one. `SOAK_MINUTES` is how long the long form takes, two hours
//! unless it says otherwise.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::json;
use tokio::runtime::Handle;

use crate::process::{Demo, connect, head, receive, wait_for};
use crate::site::{Mails, Site, ask, confirm, email, password, post};

/// Clients at once. Each has users of its own, so it knows what their passwords are.
const CLIENTS: usize = 8;
const USERS_EACH: usize = 5;

/// Requests a second of all clients together, where the machine can do it.
const RATE: u64 = 300;

/// What takes up memory once is there after so much of it.
const WARM_UP: Duration = Duration::from_secs(6);

/// What allocators, pages of a database and a busy moment may add, in KiB, however short the soak.
const NOISE: i64 = 6 * 1024;

/// What it may take up at all, in KiB, of which hashing takes 76 MiB on two cores: confirms and sign-ins have a line each.
const MOST: i64 = 256 * 1024;

/// Two for each connection to the database, of which there are at most four, made when they are needed.
const MORE_FILES: usize = 8;

/// What one client knows of one of its users.
#[derive(Default)]
struct Known {
    password: Option<String>,
    /// Resets that were accepted: so many links must come.
    accepted: usize,
    /// Confirms that were answered with 200, and those whose client did not wait for an answer.
    confirmed: usize,
    hung_up: usize,
    /// A confirm may still be under way.
    unsettled: bool,
}

struct Client<'s> {
    site: &'s Site,
    address: SocketAddr,
    first_user: usize,
    known: Vec<Known>,
    random: Rng,
    asked: usize,
    runtime: Handle,
}

impl Client<'_> {
    /// Asks for so long, at random.
    fn run(&mut self, duration: Duration) {
        let (begun, pause) = (Instant::now(), Duration::from_micros(1_000_000 * CLIENTS as u64 / RATE));
        let mut turn = 0;
        while begun.elapsed() < duration {
            self.something();
            turn += 1;
            self.asked += 1;
            thread::sleep((pause * turn).saturating_sub(begun.elapsed()));
        }
    }

    /// Hashes as much as it can: all clients together make all threads hash at once.
    fn warm_up(&mut self) {
        for _ in 0..3 {
            for which in 0..USERS_EACH {
                self.confirm(which);
                self.sign_in(which);
            }
        }
        self.run(WARM_UP);
    }

    /// The users of this client, by id.
    fn users(&self) -> impl Iterator<Item = (usize, &Known)> {
        (self.first_user..).zip(&self.known)
    }

    fn something(&mut self) {
        let which = self.random.usize(..USERS_EACH);
        let id = self.first_user + which;
        match self.random.u32(..100) {
            0..30 => {
                self.expect(&post(self.address, "", &json!({ "email": email(id) })), 200);
                self.known[which].accepted += 1;
            }
            30..45 => {
                let nobody = format!("nobody{}@example.com", self.random.u16(..));
                self.expect(&post(self.address, "", &json!({ "email": nobody })), 200);
            }
            45..60 if !self.known[which].unsettled => {
                let token = self.token(id);
                self.expect(&post(self.address, "validate_token/", &json!({ "token": token })), 200);
            }
            45..70 => {
                let mut token = self.token(id);
                token.replace_range(token.len() - 4.., "AAAA");
                self.expect(&post(self.address, "validate_token/", &json!({ "token": token })), 404);
            }
            70..73 => self.confirm(which),
            73..75 => self.hang_up_during_a_confirm(which),
            75..77 => self.sign_in(which),
            77..80 => {
                let mut stream = connect(self.address);
                let request = post(self.address, "", &json!({ "email": email(id) }));
                let sent = self.random.usize(..request.len() - 1);
                stream.write_all(&request[..sent]).unwrap();
            }
            80..90 => self.send_nonsense(),
            _ => {
                let long = "x".repeat(self.random.usize(1..4_000));
                let wrong = json!({ "token": [long], "password": { "of": long } });
                self.expect(&post(self.address, "confirm/", &wrong), 400);
            }
        }
    }

    fn expect(&self, request: &[u8], status: u16) {
        let answer = ask(self.address, request);
        assert_eq!(answer, Some(status), "{}", String::from_utf8_lossy(request));
    }

    /// A good token of the user, as long as the password stays what it is.
    fn token(&self, id: usize) -> String {
        self.site.token(id, &self.runtime.block_on(self.site.hash(id)))
    }

    fn next_password(&mut self, id: usize) -> String {
        password(id, self.random.usize(..))
    }

    /// A confirm that succeeds; if one is under way whose client hung up, it may take a second try.
    fn confirm(&mut self, which: usize) {
        let id = self.first_user + which;
        let new = self.next_password(id);
        let mut status = ask(self.address, &confirm(self.address, &self.token(id), &new));
        if status == Some(404) && self.known[which].unsettled {
            status = ask(self.address, &confirm(self.address, &self.token(id), &new));
        }
        assert_eq!(status, Some(200), "a good token");
        let known = &mut self.known[which];
        known.password = Some(new);
        known.confirmed += 1;
        known.unsettled = false;
    }

    fn hang_up_during_a_confirm(&mut self, which: usize) {
        // Only one at a time can be under way: two would both have to be lost before a third is sure to win.
        if self.known[which].unsettled {
            return self.confirm(which);
        }
        let id = self.first_user + which;
        let new = self.next_password(id);
        let request = confirm(self.address, &self.token(id), &new);
        connect(self.address).write_all(&request).unwrap();
        thread::sleep(Duration::from_millis(self.random.u64(..30)));
        let known = &mut self.known[which];
        known.hung_up += 1;
        known.unsettled = true;
    }

    fn sign_in(&mut self, which: usize) {
        let Known { password: Some(password), unsettled: false, .. } = &self.known[which] else { return };
        let body = json!({ "email": email(self.first_user + which), "password": password }).to_string();
        let head = head(self.address, "POST", "/api/login", &["Content-Type: application/json"], body.len());
        self.expect((head + &body).as_bytes(), 200);
    }

    fn send_nonsense(&mut self) {
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
        let answer = receive(&mut stream);
        assert_eq!(answer.status, status, "{answer:?} for {}", String::from_utf8_lossy(&request));
    }
}

/// What a process takes up: its memory in KiB, and how many files it has open.
#[derive(Clone, Copy, Debug)]
struct Size {
    memory: i64,
    files: usize,
}

impl Size {
    fn of(demo: &Demo) -> Self {
        let process = format!("/proc/{}", demo.id());
        let status = fs::read_to_string(format!("{process}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is there");
        let memory = line.trim().trim_end_matches(" kB").parse().unwrap();
        Self { memory, files: fs::read_dir(format!("{process}/fd")).unwrap().count() }
    }
}

/// All clients at once, and then a look at what they left behind.
fn phase<'s>(
    site: &Site,
    demo: &Demo,
    clients: &mut [Client<'s>],
    mails: &mut Mails,
    run: impl Fn(&mut Client<'s>) + Sync,
) -> Size {
    thread::scope(|scope| {
        let running: Vec<_> = clients.iter_mut().map(|client| scope.spawn(|| run(client))).collect();
        for client in running {
            client.join().expect("every answer is as it should be");
        }
    });
    for client in clients.iter_mut() {
        for which in 0..USERS_EACH {
            if client.known[which].unsettled {
                client.confirm(which);
            }
        }
    }
    wait_for("all mails", || {
        site.take_mails(mails);
        let has_come = |(id, known): (usize, &Known)| {
            let (links, notices) = got(mails, id);
            links >= known.accepted && notices >= known.confirmed
        };
        clients.iter().flat_map(Client::users).all(has_come).then_some(())
    });
    // Connections that were left alone are closed when their time is over.
    thread::sleep(Duration::from_millis(500));
    Size::of(demo)
}

/// The links and the notices of a user.
fn got(mails: &Mails, id: usize) -> (usize, usize) {
    mails.get(&email(id)).copied().unwrap_or_default()
}

fn judge(clients: &[Client<'_>], mails: &Mails) {
    for (id, known) in clients.iter().flat_map(Client::users) {
        let (links, notices) = got(mails, id);
        assert_eq!(links, known.accepted, "user {id}: each accepted request is a mail, and nothing else is");
        let confirmed = known.confirmed..=known.confirmed + known.hung_up;
        assert!(confirmed.contains(&notices), "user {id}: {notices} notices of {confirmed:?} confirms");
    }
}

async fn soak(phases: u32, each: Duration) {
    let site = Site::new(CLIENTS * USERS_EACH).await;
    let demo = site.start();
    let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("it is a number"));
    println!("SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let client = |number: usize, random: Rng| Client {
        site: &site,
        address: demo.address,
        first_user: number * USERS_EACH,
        known: std::iter::repeat_with(Known::default).take(USERS_EACH).collect(),
        random,
        asked: 0,
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
        judge(&clients, &mails);
        let asked: usize = clients.iter().map(|client| client.asked).sum();
        println!("{number}: {asked} requests in {:?}, {before:?}, now {after:?}", begun.elapsed());
    }
    let hours = begun.elapsed().as_secs_f64() / 3600.0;
    let grown = after.memory - before.memory;
    assert!(grown <= NOISE + (1024.0 * hours) as i64, "{grown} KiB more after {hours:.2} hours");
    assert!(after.memory <= MOST, "{} KiB", after.memory);
    assert!(after.files <= before.files + MORE_FILES, "{} files open, and {} before", after.files, before.files);
    demo.terminate();
    let (status, output) = tokio::task::block_in_place(|| demo.ended());
    assert!(status.success(), "{status}");
    assert!(output.contains("lost_requests") && !output.contains("panicked"), "{output:.4000}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_at_random() {
    soak(2, Duration::from_secs(7)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the long form"]
async fn everything_at_random_for_two_hours() {
    let minutes = std::env::var("SOAK_MINUTES").map_or(120, |minutes| minutes.parse().expect("it is a number"));
    soak(minutes, Duration::from_secs(60)).await;
}
