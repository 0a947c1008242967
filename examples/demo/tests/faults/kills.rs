//! F9: SIGKILL at any point. Afterwards each password is either the old one with a valid token, or the new one with a used
//! token. A confirmed password is never lost.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::process::{Demo, wait_for};
use crate::site::{Site, confirm, password, send, verifies};

/// A confirmation and its outcome, as far as the client knows.
#[derive(Clone, Debug)]
struct Attempt {
    token: String,
    password: String,
    confirmed: bool,
}

/// Sends a confirmation for one user after the other until the demo is killed.
fn confirm_until_killed(
    demo: &Demo,
    tokens: Vec<(usize, String)>,
    round: usize,
    attempts: &Mutex<BTreeMap<usize, Attempt>>,
    killed: &AtomicBool,
) {
    for (id, token) in tokens {
        if killed.load(Ordering::SeqCst) {
            return;
        }
        let password = password(id, round);
        let attempt = Attempt { token: token.clone(), password: password.clone(), confirmed: false };
        attempts.lock().unwrap().insert(id, attempt);
        let confirmed =
            send(demo.address, &confirm(demo.address, &token, &password)).is_some_and(|status| status == 200);
        attempts.lock().unwrap().get_mut(&id).unwrap().confirmed = confirmed;
    }
}

async fn kills(rounds: usize) {
    let site = Site::new(60).await;
    let (mut confirmed, mut unknown) = (0, 0);
    for round in 0..rounds {
        let before = site.hashes().await;
        let tokens: Vec<(usize, String)> = site.users().map(|id| (id, site.token(id, &before[id]))).collect();
        let demo = Arc::new(site.start());
        let (attempts, killed) = (Arc::new(Mutex::new(BTreeMap::new())), Arc::new(AtomicBool::new(false)));
        let clients: Vec<_> = tokens
            .chunks(20)
            .map(|share| {
                let (demo, share, attempts, killed) =
                    (Arc::clone(&demo), share.to_vec(), Arc::clone(&attempts), Arc::clone(&killed));
                thread::spawn(move || confirm_until_killed(&demo, share, round, &attempts, &killed))
            })
            .collect();
        let is_confirmed = || attempts.lock().unwrap().values().any(|attempt| attempt.confirmed).then_some(());
        wait_for("the first confirmation", is_confirmed);
        thread::sleep(Duration::from_millis((round as u64 * 7919) % 300));
        let sent = std::process::Command::new("kill").args(["-KILL", &demo.id().to_string()]).status();
        assert!(sent.unwrap().success());
        killed.store(true, Ordering::SeqCst);
        clients.into_iter().for_each(|client| client.join().unwrap());
        let after = site.hashes().await;
        for (id, Attempt { token, password, confirmed: was_confirmed }) in attempts.lock().unwrap().iter() {
            let changed = after[*id] != before[*id];
            assert!(!changed || verifies(&after[*id], password), "user {id} has neither the old nor the new password");
            assert!(changed || !was_confirmed, "user {id}: the confirmed password is lost");
            assert_eq!(
                changed,
                !site.is_valid(token, *id, &after[*id]),
                "user {id}: the token is used if and only if the password changed"
            );
            confirmed += usize::from(*was_confirmed);
            unknown += usize::from(!was_confirmed);
        }
        for id in site.users().filter(|id| !attempts.lock().unwrap().contains_key(id)) {
            assert_eq!(after[id], before[id], "user {id}: the password changed without a confirmation");
        }
    }
    println!("{rounds} kills: {confirmed} confirmed, {unknown} without a response");
    assert!(confirmed > 0 && unknown > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_leaves_the_old_or_the_new_password() {
    kills(6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long version"]
async fn three_hundred_kills_leave_the_old_or_the_new_password() {
    kills(300).await;
}
