//! F16, F17: SIGTERM under load. The demo finishes every request that it has answered with 200.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::process::{connect, wait_for};
use crate::site::{Site, confirm, email, password, post, send, verifies};

/// The responses that one client has received.
#[derive(Default)]
struct Received {
    /// Number of accepted requests, by user.
    accepted: BTreeMap<usize, usize>,
    /// Confirmed passwords, by user.
    confirmed: BTreeMap<usize, String>,
    /// Passwords whose confirmation got no response, by user.
    unknown: BTreeMap<usize, String>,
    responses: usize,
}

/// Requests, validates and confirms for its share of the users until a request gets no response.
fn load(address: SocketAddr, share: Vec<(usize, String)>, round: usize, answered: &AtomicUsize) -> Received {
    let mut received = Received::default();
    let mut users = share.iter().cycle();
    for count in 0.. {
        let (id, token) = users.next().expect("each share has a user");
        let first_time = count < share.len();
        // A confirmation changes the password, after which the user's token is used. Each token is confirmed once.
        let status = match count % 4 {
            3 if first_time => {
                let password = password(*id, round);
                let status = send(address, &confirm(address, token, &password));
                match status {
                    Some(200) => drop(received.confirmed.insert(*id, password)),
                    Some(503) => {}
                    Some(other) => panic!("status {other} for a valid token"),
                    None => drop(received.unknown.insert(*id, password)),
                }
                status
            }
            2 => send(address, &post(address, "validate_token/", &json!({ "token": "garbage" }))),
            _ => {
                let status = send(address, &post(address, "", &json!({ "email": email(*id) })));
                if status == Some(200) {
                    *received.accepted.entry(*id).or_default() += 1;
                }
                status
            }
        };
        if status.is_none() {
            return received;
        }
        received.responses += 1;
        answered.fetch_add(1, Ordering::SeqCst);
        // Four clients with this pause send about 200 requests a second.
        thread::sleep(Duration::from_millis(15));
    }
    received
}

/// Opens two idle keep-alive connections. The server must not wait for them.
fn idle_connections(address: SocketAddr) -> Vec<TcpStream> {
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
    let (mut responses, mut lost) = (0, 0);
    for round in 0..rounds {
        let (before, mails_before) = (site.hashes().await, site.mails());
        let demo = site.start_with(if round % 2 == 0 { &[] } else { &["--mail-delay-ms", "300"] });
        let address = demo.address;
        let idle = idle_connections(address);
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
        let received: Vec<Received> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        let (status, output) = demo.ended();
        drop(idle);
        assert!(status.success(), "{status}: {output}");

        let (after, mails) = (site.hashes().await, Arc::new(site.mails()));
        let new_mails = |id: usize| {
            let (links, notices) = mails.get(&email(id)).copied().unwrap_or_default();
            let (old_links, old_notices) = mails_before.get(&email(id)).copied().unwrap_or_default();
            (links - old_links, notices - old_notices)
        };
        for received in received {
            responses += received.responses;
            for (id, accepted) in received.accepted {
                // The last request may have been accepted without its response arriving.
                let (links, _) = new_mails(id);
                assert!(links <= accepted + 1, "{links} mails for {accepted} requests");
                lost += accepted.saturating_sub(links);
            }
            for (id, password) in received.confirmed {
                let complete = verifies(&after[id], &password) && new_mails(id).1 == 1;
                lost += usize::from(!complete);
            }
            for (id, password) in received.unknown {
                let changed = after[id] != before[id];
                assert!(
                    !changed || verifies(&after[id], &password),
                    "user {id} has neither the old nor the new password"
                );
                assert_eq!(
                    new_mails(id).1,
                    usize::from(changed),
                    "user {id}: one notice if and only if the password changed"
                );
            }
        }
    }
    println!("{rounds} shutdowns, {responses} responses, {lost} lost");
    assert_eq!(lost, 0);
    assert!(responses > rounds * 20, "only {responses} responses");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_loses_no_accepted_request() {
    shutdowns(4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long version"]
async fn fifty_sigterms_lose_no_accepted_request() {
    shutdowns(50).await;
}
