//! The server is stopped and started while confirmations run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use poem_password_reset::{PasswordReset, ResetError};
use tokio::task::JoinSet;

use crate::own_postgres::OwnServer;
use crate::world::{Database, Password, TABLES, World, Writes, confirm, confirm_again};

const CLIENTS: usize = 8;

/// The pause of a client between two confirmations, and after a failed one. The tokens last until the server is back.
const PAUSE: Duration = Duration::from_millis(25);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);

/// A client confirms with one token after the other, each with one user of its own. Returns the users with the results.
async fn confirm_under_load(
    reset: PasswordReset,
    tokens: Vec<(String, poem_password_reset::ResetTokenCreated)>,
    is_over: Arc<AtomicBool>,
    confirmed: Arc<AtomicUsize>,
) -> Vec<(String, poem_password_reset::ResetTokenCreated, bool)> {
    let mut results = Vec::new();
    for (id, event) in tokens {
        if is_over.load(Ordering::SeqCst) {
            break;
        }
        let is_acknowledged = match confirm(&reset, &event, &format!("the new password of {id}")).await {
            Ok(()) => true,
            Err(ResetError::Unavailable { .. }) => false,
            Err(error) => panic!("{id}: {error:?}"),
        };
        confirmed.fetch_add(usize::from(is_acknowledged), Ordering::SeqCst);
        results.push((id, event, is_acknowledged));
        tokio::time::sleep(if is_acknowledged { PAUSE } else { PAUSE_AFTER_FAILURE }).await;
    }
    results
}

/// Stops and starts the server `rounds` times with each signal.
async fn restarts(rounds: usize) {
    let Some(mut server) = OwnServer::start().await else { return };
    let pool = server.pool().await;
    sqlx::raw_sql(TABLES).execute(&pool).await.unwrap();
    let mut world = World { direct: Database::Postgres(pool), writes: Writes::Transaction };
    let (mut acknowledged, mut failed, mut unknown) = (0, 0, 0);
    for (round, signal) in (0..rounds).flat_map(|round| [(round, "INT"), (round, "QUIT")]) {
        let reset = world.direct.at_port(server.port, 4).password_reset(world.writes).await;
        let (is_over, confirmed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let mut tokens = Vec::new();
            for number in 0..60 {
                let id = format!("{signal}-{round}-{client}-{number}");
                world.prepare(&id).await;
                tokens.push((id.clone(), world.issue(&reset, &id).await));
            }
            clients.spawn(confirm_under_load(reset.clone(), tokens, Arc::clone(&is_over), Arc::clone(&confirmed)));
        }
        // The server stops while clients confirm.
        while confirmed.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.stop(signal).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.start_again().await;
        // Clients go on until some confirmations have succeeded again.
        let before = confirmed.load(Ordering::SeqCst);
        let begun = Instant::now();
        while confirmed.load(Ordering::SeqCst) < before + CLIENTS && begun.elapsed() < Duration::from_secs(5) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        is_over.store(true, Ordering::SeqCst);
        let results: Vec<_> = clients.join_all().await.into_iter().flatten().collect();
        println!("{signal}: {} confirmations, {before} acknowledged before the start", results.len());

        world.direct = Database::Postgres(server.pool().await);
        for (id, event, is_acknowledged) in results {
            let new = format!("the new password of {id}");
            match (is_acknowledged, world.password(&id, &new, &id).await) {
                (true, Password::Old) => panic!("{id}: the confirmed password is lost"),
                (true, Password::New) => acknowledged += 1,
                (false, password) => {
                    failed += 1;
                    unknown += usize::from(password == Password::New);
                    confirm_again(&world, &reset, &event, &id, &new, &id).await;
                }
            }
        }
    }
    println!("{acknowledged} acknowledged, {failed} failed, {unknown} of them written, violations: 0");
    assert!(acknowledged > 0 && failed > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarted_server_leaves_the_old_or_the_new_password() {
    restarts(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long version"]
async fn forty_restarts_of_the_server_leave_the_old_or_the_new_password() {
    restarts(20).await;
}
