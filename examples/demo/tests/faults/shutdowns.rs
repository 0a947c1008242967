//! F16, F17: SIGTERM under load. What was answered with "OK" is done, whatever else was going on.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::process::{connect, wait_for};
use crate::site::{Site, ask, confirm, email, password, post, verifies};

/// What one client was told.
#[derive(Default)]
struct Told {
    /// How often a reset was accepted, by user.
    accepted: BTreeMap<usize, usize>,
    /// Passwords that were confirmed, by user.
    confirmed: BTreeMap<usize, String>,
    /// Passwords of which the client knows nothing.
    cut_off: BTreeMap<usize, String>,
    answers: usize,
}

/// Asks, validates and confirms for its share of the users until nobody answers any more.
fn load(address: SocketAddr, share: Vec<(usize, String)>, round: usize, answered: &AtomicUsize) -> Told {
    let mut told = Told::default();
    let mut users = share.iter().cycle();
    for turn in 0.. {
        let (id, token) = users.next().expect("a cycle has no end");
        let first_time = turn < share.len();
        // The token dies with its confirm, so it is confirmed last.
        let status = match turn % 4 {
            3 if first_time => {
                let password = password(*id, round);
                let status = ask(address, &confirm(address, token, &password));
                match status {
                    Some(200) => drop(told.confirmed.insert(*id, password)),
                    Some(503) => {}
                    Some(other) => panic!("a good token is answered {other}"),
                    None => drop(told.cut_off.insert(*id, password)),
                }
                status
            }
            2 => ask(address, &post(address, "validate_token/", &json!({ "token": "garbage" }))),
            _ => {
                let status = ask(address, &post(address, "", &json!({ "email": email(*id) })));
                if status == Some(200) {
                    *told.accepted.entry(*id).or_default() += 1;
                }
                status
            }
        };
        if status.is_none() {
            return told;
        }
        told.answers += 1;
        answered.fetch_add(1, Ordering::SeqCst);
        // Four clients at this pace ask some 200 times a second.
        thread::sleep(Duration::from_millis(15));
    }
    told
}

/// Connections that a server must not wait for: they were used, and may be used again.
fn idlers(address: SocketAddr) -> Vec<TcpStream> {
    let used = || {
        let mut stream = connect(address);
        stream.write_all(b"GET /login HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        assert!(stream.read(&mut [0; 64]).unwrap() > 0);
        stream
    };
    vec![used(), used()]
}

async fn shutdowns(rounds: usize) {
    let site = Site::new(80).await;
    let (mut answers, mut lost) = (0, 0);
    for round in 0..rounds {
        let (before, mails_before) = (site.hashes().await, site.mails());
        let demo = site.start_with(if round % 2 == 0 { &[] } else { &["--mail-delay-ms", "300"] });
        let address = demo.address;
        let idlers = idlers(address);
        let answered = Arc::new(AtomicUsize::new(0));
        let tokens: Vec<(usize, String)> = site.users().map(|id| (id, site.token(id, &before[id]))).collect();
        let clients: Vec<_> = tokens
            .chunks(20)
            .map(|share| share.to_vec())
            .map(|share| {
                let answered = Arc::clone(&answered);
                thread::spawn(move || load(address, share, round, &answered))
            })
            .collect();
        wait_for("the load", || (answered.load(Ordering::SeqCst) >= 20).then_some(()));
        thread::sleep(Duration::from_millis((round as u64 * 7919) % 500));
        demo.terminate();
        let told: Vec<Told> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        let (status, output) = demo.ended();
        drop(idlers);
        assert!(status.success(), "{status}: {output}");

        let (after, mails) = (site.hashes().await, Arc::new(site.mails()));
        let new_mails = |id: usize| {
            let (links, notices) = mails.get(&email(id)).copied().unwrap_or_default();
            let (old_links, old_notices) = mails_before.get(&email(id)).copied().unwrap_or_default();
            (links - old_links, notices - old_notices)
        };
        for told in told {
            answers += told.answers;
            for (id, accepted) in told.accepted {
                // One more may have been accepted whose answer did not arrive.
                let (links, _) = new_mails(id);
                assert!(links <= accepted + 1, "{links} mails for {accepted} requests");
                lost += accepted.saturating_sub(links);
            }
            for (id, password) in told.confirmed {
                let whole = verifies(&after[id], &password) && new_mails(id).1 == 1;
                lost += usize::from(!whole);
            }
            for (id, password) in told.cut_off {
                let changed = after[id] != before[id];
                assert!(!changed || verifies(&after[id], &password), "user {id} has neither password");
                assert_eq!(new_mails(id).1, usize::from(changed), "user {id}: the notice");
            }
        }
    }
    println!("{rounds} shutdowns, {answers} answers, {lost} lost");
    assert_eq!(lost, 0);
    assert!(answers > rounds * 20, "{answers} answers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_before_a_sigterm_is_done() {
    shutdowns(4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the long form"]
async fn fifty_shutdowns() {
    shutdowns(50).await;
}
