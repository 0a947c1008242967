//! The connection stalls until the store's time limit has passed, and then continues or ends.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::postgres;
use crate::proxy::{Action, Direction, Release};
use crate::world::{Site, TABLES, World, Writes, confirm, confirm_again, is_acknowledged};

/// The number of positions in each direction.
const POSITIONS: usize = 10;

/// Stalls at one position. The bytes that were held reach the server after the client has got a 503, or never.
async fn stall(world: Arc<World>, port: u16, direction: Direction, position: usize, then: Release) -> bool {
    let context = format!("stall {direction:?} after {position} bytes, then {then:?}");
    let id = format!("{direction:?}{position}{then:?}");
    // The stalled connection stays busy, so the second try needs another one.
    let site = Site::warm(&world, port, 2).await;
    world.prepare(&id).await;
    let event = world.issue(&site.reset, &id).await;
    site.proxy.arm(direction, position, Action::Hold);
    let first = confirm(&site.reset, &event, "the new password").await;
    let is_acknowledged = is_acknowledged(&first, &context);
    site.proxy.release(then);
    confirm_again(&world, &site.reset, &event, &id, "the new password", &context).await;
    // Held bytes that arrive late change nothing.
    site.pool.close().await;
    world.wait_until_gone(site.backend).await;
    world.password(&id, "the new password", &context).await;
    is_acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_connection_leaves_the_old_or_the_new_password() {
    let Some(server) = postgres::postgres().await else { return };
    let world = Arc::new(World { direct: server.database(TABLES).await, writes: Writes::Transaction });
    let site = Site::warm(&world, server.port, 1).await;
    world.prepare("length").await;
    let event = world.issue(&site.reset, "length").await;
    site.proxy.count();
    confirm(&site.reset, &event, "the new password").await.unwrap();
    // Each stall lasts for the time limit of a call to the store, so they run at once.
    let mut stalls = JoinSet::new();
    for (direction, length) in site.proxy.counted() {
        for number in 0..POSITIONS {
            for then in [Release::Forward, Release::Cut] {
                let position = number * length / POSITIONS;
                stalls.spawn(stall(Arc::clone(&world), server.port, direction, position, then));
            }
        }
    }
    let results = stalls.join_all().await;
    let acknowledged = results.iter().filter(|is_acknowledged| **is_acknowledged).count();
    println!("{} stalls: {acknowledged} acknowledged, violations: 0", results.len());
}
