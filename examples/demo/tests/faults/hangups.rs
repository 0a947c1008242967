//! F15: a client may disconnect at any moment of a confirmation. If the request was incomplete, nothing changes. Otherwise
//! the password is new, the token is used and the notice is sent.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::process::STEP_TIMEOUT;
use crate::site::{Mails, Site, confirm, email, password, verifies};

/// When a client disconnects.
#[derive(Clone, Copy, Debug)]
enum Disconnect {
    /// After this part of the request, in thousandths.
    During(usize),
    /// This long after the last byte of the request.
    After(Duration),
}

async fn send_and_disconnect(address: SocketAddr, request: Vec<u8>, disconnect: Disconnect, with_reset: bool) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let sent = match disconnect {
        Disconnect::During(part) => request.len() * part / 1000,
        Disconnect::After(_) => request.len(),
    };
    stream.write_all(&request[..sent]).await.unwrap();
    if let Disconnect::After(pause) = disconnect {
        sleep(pause).await;
    }
    if with_reset {
        // Closing sends RST instead of FIN, so the server loses input that it has not read.
        stream.set_zero_linger().unwrap();
    }
}

/// Disconnects during or after one confirmation per user and round. Every confirmation must be complete or absent.
async fn disconnects(users: usize, rounds: usize) {
    let site = Site::new(users).await;
    let demo = site.start();
    let (mut done, mut partial) = (0, 0);
    for round in 0..rounds {
        let before = site.hashes().await;
        let notices = site.mails();
        let mut clients = JoinSet::new();
        let mut tokens = Vec::new();
        for id in site.users() {
            let number = round * users + id;
            let token = site.token(id, &before[id]);
            let disconnect = match number % 4 {
                0 => Disconnect::During(number * 37 % 1000),
                // A confirmation takes between a few and some hundred milliseconds, because it waits for a hashing thread.
                _ => Disconnect::After(Duration::from_micros((number as u64 * 7919) % 60_000)),
            };
            let request = confirm(demo.address, &token, &password(id, round));
            clients.spawn(send_and_disconnect(demo.address, request, disconnect, number % 8 < 4));
            tokens.push(token);
            if clients.len() >= 16 {
                clients.join_next().await.unwrap().unwrap();
            }
        }
        clients.join_all().await;
        let after = settled(&site, &before, &notices).await;
        for id in site.users() {
            let changed = after[id] != before[id];
            let noticed = site.notices(id) > notices.get(&email(id)).map_or(0, |(_, notices)| *notices);
            let token_is_used = !site.is_valid(&tokens[id], id, &after[id]);
            let complete = changed == noticed && changed == token_is_used;
            done += usize::from(changed);
            partial += usize::from(!complete);
            if changed && id % 10 == 0 {
                assert!(verifies(&after[id], &password(id, round)), "user {id}");
            }
        }
    }
    println!("{} disconnects: {done} confirmations done, {partial} partial", users * rounds);
    assert_eq!(partial, 0, "partial confirmations: {}", demo.output());
    assert!(done > users * rounds / 4, "only {done} confirmations were done");
    assert!(done < users * rounds, "some requests were incomplete");
}

/// Waits until the hashes stop changing and each change has a notice, and returns the hashes.
async fn settled(site: &Site, before: &[String], notices: &Mails) -> Vec<String> {
    let mut last = Vec::new();
    let begun = std::time::Instant::now();
    let mut unchanged = 0;
    while begun.elapsed() < STEP_TIMEOUT {
        sleep(Duration::from_millis(200)).await;
        let now = site.hashes().await;
        let changed = now.iter().zip(before).filter(|(now, before)| now != before).count();
        let count = |mails: &Mails| mails.values().map(|(_, notices)| notices).sum::<usize>();
        unchanged = if now == last { unchanged + 1 } else { 0 };
        last = now;
        // If a notice is missing, this waits until the time limit, and the caller fails.
        if unchanged >= 5 && count(&site.mails()) - count(notices) == changed {
            break;
        }
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disconnect_never_leaves_a_partial_confirmation() {
    disconnects(50, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long version"]
async fn thousand_disconnects_never_leave_a_partial_confirmation() {
    disconnects(125, 8).await;
}
