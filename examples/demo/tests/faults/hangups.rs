//! F15: a client that is gone, at any moment of a confirm, changes nothing about its outcome. Either the request never
//! arrived whole, and nothing changed; or the password is new, the token dead and the notice sent.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::process::PATIENCE;
use crate::site::{Mails, Site, confirm, email, password, verifies};

/// When and how a client goes.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    /// After so many thousandths of the request.
    Midway(usize),
    /// So long after the last byte.
    After(Duration),
}

async fn hang_up(address: SocketAddr, request: Vec<u8>, leaves: Leaves, with_reset: bool) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let sent = match leaves {
        Leaves::Midway(part) => request.len() * part / 1000,
        Leaves::After(_) => request.len(),
    };
    stream.write_all(&request[..sent]).await.unwrap();
    if let Leaves::After(pause) = leaves {
        sleep(pause).await;
    }
    if with_reset {
        // A reset, and not an end: what was not read yet is thrown away.
        stream.set_zero_linger().unwrap();
    }
}

/// So many hang-ups for each of so many users. Reports how many confirms were done, and how many by half.
async fn hang_ups(users: usize, rounds: usize) {
    let site = Site::new(users).await;
    let demo = site.start();
    let (mut done, mut half_done) = (0, 0);
    for round in 0..rounds {
        let before = site.hashes().await;
        let notices = site.mails();
        let mut clients = JoinSet::new();
        let mut tokens = Vec::new();
        for id in site.users() {
            let number = round * users + id;
            let token = site.token(id, &before[id]);
            let leaves = match number % 4 {
                0 => Leaves::Midway(number * 37 % 1000),
                // A confirm takes some milliseconds to some hundreds, as others wait for their turn too.
                _ => Leaves::After(Duration::from_micros((number as u64 * 7919) % 60_000)),
            };
            let request = confirm(demo.address, &token, &password(id, round));
            clients.spawn(hang_up(demo.address, request, leaves, number % 8 < 4));
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
            let dead = !site.is_good(&tokens[id], id, &after[id]);
            let whole = changed == noticed && changed == dead;
            done += usize::from(changed);
            half_done += usize::from(!whole);
            if changed && id % 10 == 0 {
                assert!(verifies(&after[id], &password(id, round)), "user {id}");
            }
        }
    }
    println!("{} hang-ups: {done} confirms done, {half_done} half done", users * rounds);
    assert_eq!(half_done, 0, "confirms were done by half: {}", demo.output());
    assert!(done > users * rounds / 4, "{done} confirms were done at all");
    assert!(done < users * rounds, "some requests never arrived");
}

/// The hashes when nothing has changed for a while and every change was noticed.
async fn settled(site: &Site, before: &[String], notices: &Mails) -> Vec<String> {
    let mut last = Vec::new();
    let begun = std::time::Instant::now();
    let mut quiet = 0;
    while begun.elapsed() < PATIENCE {
        sleep(Duration::from_millis(200)).await;
        let now = site.hashes().await;
        let changed = now.iter().zip(before).filter(|(now, before)| now != before).count();
        let count = |mails: &Mails| mails.values().map(|(_, notices)| notices).sum::<usize>();
        quiet = if now == last { quiet + 1 } else { 0 };
        last = now;
        // Without a notice for every change it is waited for to the end, and then judged.
        if quiet >= 5 && count(&site.mails()) - count(notices) == changed {
            break;
        }
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_hangs_up_changes_nothing_about_a_confirm() {
    hang_ups(50, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the long form"]
async fn a_thousand_hang_ups() {
    hang_ups(125, 8).await;
}
