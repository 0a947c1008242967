//! F9 on the durable queue: instances are killed with SIGKILL under load. Every accepted request of an eligible user gets its
//! mail. Mails that are sent twice are counted.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sqlx::PgPool;

use crate::helpers::{KEY, mails, outbox_flags};
use crate::postgres;
use crate::process::{Demo, Directory, STEP_TIMEOUT, head};

/// The time within which the jobs of a killed process are run again, with a margin for a busy machine.
const TAKE_OVER: Duration = Duration::from_secs(90);

/// The pause of a client between two requests.
const PAUSE: Duration = Duration::from_millis(25);

/// Requests a reset. Returns the status, or `None` if the process was killed before it answered.
fn request(address: SocketAddr, email: &str) -> Option<u16> {
    let body = serde_json::json!({ "email": email }).to_string();
    let head = head(address, "POST", "/api/password_reset/", &["Content-Type: application/json"], body.len());
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(STEP_TIMEOUT)).ok()?;
    stream.write_all((head + &body).as_bytes()).ok()?;
    let mut status_line = [0; 12];
    stream.read_exact(&mut status_line).ok()?;
    std::str::from_utf8(&status_line[9..12]).ok()?.parse().ok()
}

/// The results of the requests of all clients.
#[derive(Default)]
struct Requests {
    next: AtomicUsize,
    accepted: Mutex<Vec<String>>,
    unanswered: AtomicUsize,
    is_over: AtomicBool,
}

impl Requests {
    /// Sends requests, each for another user, to the instances in turn.
    fn send(&self, instances: &[Mutex<SocketAddr>; 2]) {
        while !self.is_over.load(Ordering::SeqCst) {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            let email = format!("user{number}@example.com");
            let address = *instances[number % 2].lock().unwrap();
            match request(address, &email) {
                Some(200) => self.accepted.lock().unwrap().push(email),
                Some(status) => panic!("{status}"),
                None => drop(self.unanswered.fetch_add(1, Ordering::SeqCst)),
            }
            thread::sleep(PAUSE);
        }
    }
}

/// Adds users with the password of a sample user.
async fn add_users(pool: &PgPool, count: i32) {
    sqlx::query(
        "INSERT INTO users (id, email, active, password_hash)
         SELECT 'u' || n, 'user' || n || '@example.com', true, (SELECT password_hash FROM users WHERE id = '1')
         FROM generate_series(0, $1 - 1) n",
    )
    .bind(count)
    .execute(pool)
    .await
    .unwrap();
}

async fn jobs(pool: &PgPool) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM password_reset_queue._private_jobs").fetch_one(pool).await.unwrap()
}

/// Kills one of two instances `rounds` times. In every other round the same one is back at once; in the others only the other
/// one works for a while.
async fn kills(rounds: usize) {
    let Some(server) = postgres::postgres().await else { return };
    let url = server.new_database("").await;
    let outbox = Directory::new();
    let flags = outbox_flags(&outbox);
    let start = || {
        Demo::start([
            &*flags[0],
            &*flags[1],
            "--database",
            &url,
            "--queue",
            &url,
            "--key",
            KEY,
            "--no-throttle",
            "--mail-delay-ms",
            "150",
        ])
    };
    let mut demos = [start(), start()].map(Some);
    let pool = postgres::pool(&url).await;
    add_users(&pool, i32::try_from(rounds).unwrap() * 1_000).await;
    let instances = [0, 1].map(|instance: usize| Mutex::new(demos[instance].as_ref().unwrap().address));
    let requests = Requests::default();

    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| requests.send(&instances));
        }
        for round in 0..rounds {
            thread::sleep(Duration::from_millis(800 + (round as u64 * 7919) % 400));
            let killed = round / 2 % 2;
            // A demo that is dropped gets SIGKILL.
            demos[killed] = None;
            if round % 2 == 1 {
                thread::sleep(Duration::from_secs(2));
            }
            let demo = start();
            *instances[killed].lock().unwrap() = demo.address;
            demos[killed] = Some(demo);
        }
        requests.is_over.store(true, Ordering::SeqCst);
    });

    let begun = Instant::now();
    while jobs(&pool).await > 0 {
        assert!(begun.elapsed() < TAKE_OVER, "{} jobs are left", jobs(&pool).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let taken_over = begun.elapsed();
    let mut sent = BTreeMap::<String, usize>::new();
    for mail in mails(outbox.path()).into_values() {
        *sent.entry(mail.to).or_default() += 1;
    }
    let accepted = requests.accepted.lock().unwrap();
    let lost: Vec<_> = accepted.iter().filter(|email| !sent.contains_key(*email)).collect();
    let twice = sent.values().filter(|&&mails| mails > 1).count();
    let unanswered = requests.unanswered.load(Ordering::SeqCst);
    println!(
        "{rounds} kills: {} accepted, {} lost, {twice} mailed twice or more, {unanswered} without an answer; the queue was empty \
         {taken_over:?} after the load",
        accepted.len(),
        lost.len(),
    );
    assert!(lost.is_empty(), "{lost:?}");
    assert!(accepted.len() > rounds * 20 && unanswered > 0, "the load hits the kills");
    assert!(twice * 20 < accepted.len(), "{twice} of {} mailed twice", accepted.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_under_load_lose_no_request() {
    kills(20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long version: ten minutes"]
async fn two_hundred_kills_under_load_lose_no_request() {
    kills(200).await;
}
