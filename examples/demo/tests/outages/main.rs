//! The demo with PostgreSQL and a mail server that stop for some time under load. Every accepted request of a user gets its
//! mail, and every response is 200, or 503 with `Retry-After`. Skipped with a message if PostgreSQL or aiosmtpd is not
//! installed.
//!
//! `cargo test -p demo --test outages -- --ignored --nocapture` runs the long version: three outages of 30 seconds.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion, in its helpers too")]

#[path = "../support/eml.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod eml;
mod load;
#[path = "../../../../tests/smtp/server.rs"]
#[allow(dead_code, reason = "each test crate uses a part of it")]
mod mail_server;
#[path = "../../../../tests/support/own_postgres.rs"]
mod own_postgres;
#[path = "../../../../tests/support/postgres.rs"]
mod postgres;
#[path = "../support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;
#[path = "../../../../tests/support/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;

use self::eml::Eml;
use self::load::Load;
use self::mail_server::MailServer;
use self::own_postgres::OwnServer;
use self::process::Demo;
// The name in the test crate of the library.
use self::server as services;

/// Time limit for the mails of the requests that were accepted during an outage. The longest pause between two tries is a
/// minute, and a machine that runs tests is busy.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(180);

/// The load before an outage.
const BEFORE: Duration = Duration::from_secs(1);

/// The servers that an outage stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outage {
    Database,
    Mail,
    Both,
}

/// A mail server that is killed and started again on one port, and the mails that it accepted.
struct Mails {
    port: u16,
    running: Option<MailServer>,
    /// The mails that killed servers accepted.
    earlier: Vec<Value>,
}

impl Mails {
    fn start() -> Option<Self> {
        let mut mails = Self { port: server::lasting_port(), running: None, earlier: Vec::new() };
        mails.start_again()?;
        Some(mails)
    }

    fn start_again(&mut self) -> Option<()> {
        self.running = Some(MailServer::start(json!({ "port": self.port }))?);
        Some(())
    }

    fn kill(&mut self) {
        self.earlier.extend(self.running.take().unwrap().kill());
    }

    /// Returns the mails with a link.
    fn all(&self) -> impl Iterator<Item = Value> {
        let running = self.running.iter().flat_map(MailServer::accepted);
        let all = self.earlier.iter().cloned().chain(running);
        all.filter(|mail| mail["content"].as_str().unwrap().contains("Subject: Reset your password\r\n"))
    }

    /// Returns how many mails with a link each address received.
    fn by_recipient(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for mail in self.all() {
            *counts.entry(mail["recipients"][0].as_str().unwrap().to_owned()).or_default() += 1;
        }
        counts
    }

    /// Returns the token of the newest mail.
    fn newest_token(&self) -> String {
        let newest = self.all().last().expect("a mail was sent");
        Eml::parse(newest["content"].as_str().unwrap().as_bytes()).token().to_owned()
    }
}

/// Stops the servers for `length`, and waits until every request that was accepted until then has its mail.
async fn outage(outage: Outage, length: Duration, database: &mut OwnServer, mails: &mut Mails, load: &Arc<Load>) {
    let (known, begun) = (mails.all().count(), Instant::now());
    sleep(BEFORE).await;
    // The token of a user who has not confirmed yet.
    while mails.all().count() == known {
        assert!(begun.elapsed() < RECOVERY_DEADLINE, "no mail is sent before the outage");
        sleep(Duration::from_millis(50)).await;
    }
    let (before, token) = (load.counts(), mails.newest_token());
    if outage != Outage::Mail {
        database.stop("INT").await;
    }
    if outage != Outage::Database {
        mails.kill();
    }
    let confirm = || {
        let (load, token) = (Arc::clone(load), token.clone());
        tokio::task::spawn_blocking(move || load.confirm(&token, &[200]))
    };
    let confirmed = confirm();
    sleep(length).await;
    if outage != Outage::Mail {
        database.start_again().await;
    }
    if outage != Outage::Database {
        mails.start_again().unwrap();
    }
    let (accepted, counts) = (load.accepted(), load.counts());
    let begun = Instant::now();
    if confirmed.await.unwrap() == 503 {
        assert_ne!(outage, Outage::Mail, "a confirmation needs no mail server");
        wait_for_store(load).await;
        assert_eq!(confirm().await.unwrap(), 200, "the token of a confirmation that failed is still valid");
    }
    loop {
        let sent = mails.by_recipient();
        let missing: Vec<_> = accepted.iter().filter(|email| !sent.contains_key(*email)).collect();
        if missing.is_empty() {
            break;
        }
        assert!(begun.elapsed() < RECOVERY_DEADLINE, "{outage:?}: {} requests have no mail", missing.len());
        sleep(Duration::from_millis(100)).await;
    }
    println!(
        "{outage:?} away for {length:?}: {} accepted and {} answered 503 meanwhile; all mailed {:?} after the outage",
        counts.accepted - before.accepted,
        counts.unavailable - before.unavailable,
        begun.elapsed(),
    );
}

/// Waits until the service answers. A probe decides once a second whether the store is down.
async fn wait_for_store(load: &Arc<Load>) {
    let begun = Instant::now();
    loop {
        let client = Arc::clone(load);
        let forged = move || client.confirm(load::FORGED, &[404]);
        if tokio::task::spawn_blocking(forged).await.unwrap() == 404 {
            return;
        }
        assert!(begun.elapsed() < RECOVERY_DEADLINE, "the service answers 503 although the database is back");
        sleep(Duration::from_millis(100)).await;
    }
}

async fn outages(length: Duration) {
    let Some(mut database) = OwnServer::start().await else { return };
    let Some(mut mails) = Mails::start() else { return };
    let url = postgres::url(database.port, "postgres");
    let smtp = format!("smtp://localhost:{}", mails.port);
    let demo = Demo::start(["--no-throttle", "--database", &url, "--smtp", &smtp]);
    let pool = database.pool().await;
    load::add_users(&pool, 20_000).await;
    pool.close().await;

    let load = Arc::new(Load::new(&demo));
    let clients = load.start();
    for stopped in [Outage::Database, Outage::Mail, Outage::Both] {
        outage(stopped, length, &mut database, &mut mails, &load).await;
    }
    load.stop();
    tokio::task::spawn_blocking(move || clients.into_iter().for_each(|client| client.join().unwrap())).await.unwrap();

    // The requests of the last moments. A stop of the demo waits for them.
    demo.terminate();
    let (status, output) = tokio::task::spawn_blocking(|| demo.ended()).await.unwrap();
    assert!(status.success() && !output.contains("panicked"), "{output}");
    let sent = mails.by_recipient();
    let lost: Vec<_> = load.accepted().into_iter().filter(|email| !sent.contains_key(email)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    let mailed_twice = sent.values().filter(|&&count| count > 1).count();
    println!("{} requests, {mailed_twice} mailed twice", load.accepted().len());
    // A mail can be sent twice if the server is killed after it accepted the mail and before the demo read the reply. Two
    // kills of the mail server hit few mails, because each mail takes a few milliseconds.
    assert!(mailed_twice <= 10, "{mailed_twice} requests were mailed twice");
    assert!(sent.keys().all(|email| !email.starts_with("nobody")), "{sent:?}");
    assert!(output.contains("the mail for a reset request is tried again"), "the load hits the outages");
    if length >= Duration::from_secs(30) {
        // A shorter outage can end before the first look-up fails.
        assert!(load.counts().unavailable > 0 && output.contains("the user store is down"), "{output}");
        assert!(output.contains("the user store answers again"), "{output}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outages_of_five_seconds_lose_no_request() {
    outages(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long version: three minutes"]
async fn outages_of_thirty_seconds_lose_no_request() {
    outages(Duration::from_secs(30)).await;
}
