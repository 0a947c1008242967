//! F9: the process is killed at any point. Afterwards each password is the old one or the new one, the token works or the
//! new password does, and what was confirmed is there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::process::{Demo, wait_for};
use crate::site::{Site, ask, confirm, password, verifies};

/// What became of a confirm, as far as its client knows.
#[derive(Clone, Debug)]
struct Tried {
    token: String,
    password: String,
    confirmed: bool,
}

/// Confirms for one user after the other until the demo is gone.
fn confirm_until_gone(
    demo: &Demo,
    tokens: Vec<(usize, String)>,
    round: usize,
    tried: &Mutex<BTreeMap<usize, Tried>>,
    gone: &AtomicBool,
) {
    for (id, token) in tokens {
        if gone.load(Ordering::SeqCst) {
            return;
        }
        let password = password(id, round);
        let attempt = Tried { token: token.clone(), password: password.clone(), confirmed: false };
        tried.lock().unwrap().insert(id, attempt);
        let confirmed =
            ask(demo.address, &confirm(demo.address, &token, &password)).is_some_and(|status| status == 200);
        tried.lock().unwrap().get_mut(&id).unwrap().confirmed = confirmed;
    }
}

async fn kills(rounds: usize) {
    let site = Site::new(60).await;
    let (mut confirmed, mut unknown) = (0, 0);
    for round in 0..rounds {
        let before = site.hashes().await;
        let tokens: Vec<(usize, String)> = site.users().map(|id| (id, site.token(id, &before[id]))).collect();
        let demo = Arc::new(site.start());
        let (tried, gone) = (Arc::new(Mutex::new(BTreeMap::new())), Arc::new(AtomicBool::new(false)));
        let clients: Vec<_> = tokens
            .chunks(20)
            .map(|share| {
                let (demo, share, tried, gone) =
                    (Arc::clone(&demo), share.to_vec(), Arc::clone(&tried), Arc::clone(&gone));
                thread::spawn(move || confirm_until_gone(&demo, share, round, &tried, &gone))
            })
            .collect();
        let is_confirmed = || tried.lock().unwrap().values().any(|tried| tried.confirmed).then_some(());
        wait_for("a first confirm", is_confirmed);
        thread::sleep(Duration::from_millis((round as u64 * 7919) % 300));
        let killed = std::process::Command::new("kill").args(["-KILL", &demo.id().to_string()]).status();
        assert!(killed.unwrap().success());
        gone.store(true, Ordering::SeqCst);
        clients.into_iter().for_each(|client| client.join().unwrap());
        let after = site.hashes().await;
        for (id, Tried { token, password, confirmed: was_confirmed }) in tried.lock().unwrap().iter() {
            let changed = after[*id] != before[*id];
            assert!(!changed || verifies(&after[*id], password), "user {id} has neither password");
            assert!(changed || !was_confirmed, "user {id} was confirmed, and has the old password");
            assert_eq!(changed, !site.is_good(token, *id, &after[*id]), "user {id}: the token");
            confirmed += usize::from(*was_confirmed);
            unknown += usize::from(!was_confirmed);
        }
        for id in site.users().filter(|id| !tried.lock().unwrap().contains_key(id)) {
            assert_eq!(after[id], before[id], "nobody touched user {id}");
        }
    }
    println!("{rounds} kills: {confirmed} confirmed, {unknown} cut off, none by half");
    assert!(confirmed > 0 && unknown > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_leaves_the_old_password_or_the_new_one() {
    kills(6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the long form"]
async fn three_hundred_kills() {
    kills(300).await;
}
