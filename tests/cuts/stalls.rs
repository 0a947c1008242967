//! The connection stalls until the store's time limit has passed, and then continues or ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use poem_password_reset::ResetError;
use tokio::task::JoinSet;

use crate::cuts::length_of_a_confirmation;
use crate::postgres;
use crate::proxy::{Action, Direction, Release};
use crate::world::{Database, STEP_TIMEOUT, Site, TABLES, World, Writes, confirm, is_acknowledged};

/// The number of positions in each direction.
const POSITIONS: usize = 5;

const FIRST: &str = "the first password";
const SECOND: &str = "the second password";

/// Stalls at one position. The bytes that were held reach the server after the client has got a 503 and tried again, or never.
async fn stall(world: Arc<World>, port: u16, direction: Direction, position: usize, then: Release) -> bool {
    let context = format!("{:?}, stall {direction:?} after {position} bytes, then {then:?}", world.writes);
    let id = format!("{:?}{direction:?}{position}{then:?}", world.writes);
    let site = Site::warm(&world, port, 1).await;
    // The second try is made at another instance, which has no proxy.
    let other = world.direct.at_port(port, 1);
    let other_reset = other.password_reset(world.writes).await;
    world.prepare(&id).await;
    let event = world.issue(&site.reset, &id).await;
    site.proxy.arm(direction, position, Action::Hold);
    let is_first_acknowledged = is_acknowledged(&confirm(&site.reset, &event, FIRST).await, &context);

    // A stalled transaction holds the lock on the row, so the second try may need the release.
    let mut second = confirm(&other_reset, &event, SECOND).await;
    let is_known = !matches!(second, Err(ResetError::Unavailable { .. }));
    site.proxy.release(then);
    let begun = Instant::now();
    while let Err(ResetError::Unavailable { .. }) = second {
        assert!(begun.elapsed() < STEP_TIMEOUT, "{context}: the service does not recover");
        tokio::time::sleep(Duration::from_millis(5)).await;
        second = confirm(&other_reset, &event, SECOND).await;
    }

    // Held bytes that arrive late change nothing.
    site.database.close().await;
    other.close().await;
    world.wait_until_gone(site.backend).await;
    let stored = world.stored(&id, &[FIRST, SECOND], &context).await;
    match second {
        Ok(()) => {
            assert!(stored == SECOND && !is_first_acknowledged, "{context}: acknowledged, and {stored} is stored")
        }
        // A second try that failed may have been written as well.
        Err(ResetError::InvalidToken(_)) => assert!(stored == FIRST || !is_known, "{context}: {stored} is stored"),
        Err(error) => panic!("{context}: second try: {error:?}"),
    }
    is_first_acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_connection_leaves_the_old_or_the_new_password() {
    let Some(server) = postgres::postgres().await else { return };
    // Each stall lasts for the time limit of a call to the store, so they run at once.
    let mut stalls = JoinSet::new();
    for writes in [Writes::OneStatement, Writes::Transaction] {
        let world = Arc::new(World { direct: Database::Postgres(server.database(TABLES).await), writes });
        for (direction, length) in length_of_a_confirmation(&world, server.port).await {
            for number in 0..POSITIONS {
                for then in [Release::Forward, Release::Cut] {
                    let position = number * length / POSITIONS;
                    stalls.spawn(stall(Arc::clone(&world), server.port, direction, position, then));
                }
            }
        }
    }
    let results = stalls.join_all().await;
    let acknowledged = results.iter().filter(|is_acknowledged| **is_acknowledged).count();
    println!("{} stalls: {acknowledged} acknowledged, violations: 0", results.len());
}
