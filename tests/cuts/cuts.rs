//! The connection is cut or delayed at any byte.

use std::time::Duration;

use crate::postgres;
use crate::proxy::{Action, Direction};
use crate::world::{Password, Site, TABLES, World, Writes, confirm, confirm_again, is_acknowledged};

/// How many positions had which outcome.
#[derive(Debug, Default)]
struct Outcomes {
    positions: usize,
    /// The confirmation was acknowledged.
    acknowledged: usize,
    /// The confirmation failed, and the password is the old one.
    unchanged: usize,
    /// The confirmation failed, and the password is the new one: its acknowledgement was lost.
    unknown: usize,
}

/// Returns the number of bytes of a confirmation in each direction.
async fn length_of_a_confirmation(world: &World, port: u16) -> [(Direction, usize); 2] {
    let site = Site::warm(world, port, 1).await;
    world.prepare("ann").await;
    let event = world.issue(&site.reset, "ann").await;
    site.proxy.count();
    confirm(&site.reset, &event, "the new password").await.unwrap();
    site.proxy.counted()
}

/// Cuts the connection after `position` bytes of a confirmation, and checks the history.
async fn cut(world: &World, port: u16, direction: Direction, position: usize, outcomes: &mut Outcomes) {
    let context = format!("{:?}, cut {direction:?} after {position} bytes", world.writes);
    let site = Site::warm(world, port, 1).await;
    world.prepare("ann").await;
    let event = world.issue(&site.reset, "ann").await;
    site.proxy.arm(direction, position, Action::Cut);
    let new = "the new password";
    let is_acknowledged = is_acknowledged(&confirm(&site.reset, &event, new).await, &context);
    world.wait_until_gone(site.backend).await;
    let password = world.password("ann", new, &context).await;
    outcomes.positions += 1;
    match (is_acknowledged, password) {
        (true, Password::New) => outcomes.acknowledged += 1,
        (true, Password::Old) => panic!("{context}: the confirmed password is lost"),
        (false, Password::Old) => outcomes.unchanged += 1,
        (false, Password::New) => outcomes.unknown += 1,
    }
    confirm_again(world, &site.reset, &event, "ann", new, &context).await;
}

async fn sweep(writes: Writes, step: usize) {
    let Some(server) = postgres::postgres().await else { return };
    let world = World { direct: server.database(TABLES).await, writes };
    for (direction, length) in length_of_a_confirmation(&world, server.port).await {
        let mut outcomes = Outcomes::default();
        // The last positions are the acknowledgement, so each of them is tried.
        for position in (0..length).filter(|position| position % step == 0 || position + 32 > length) {
            cut(&world, server.port, direction, position, &mut outcomes).await;
        }
        println!("{writes:?}, {direction:?}, {length} bytes: {outcomes:?}, violations: 0");
        assert!(outcomes.unchanged > 0, "{outcomes:?}");
        assert!(direction == Direction::ToServer || outcomes.unknown > 0, "{outcomes:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connection_leaves_the_old_or_the_new_password() {
    sweep(Writes::OneStatement, 16).await;
    sweep(Writes::Transaction, 16).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long version"]
async fn connection_cut_at_every_byte_leaves_the_old_or_the_new_password() {
    sweep(Writes::OneStatement, 1).await;
    sweep(Writes::Transaction, 1).await;
}

/// A delay at any byte changes nothing.
async fn delays(step: usize) {
    let Some(server) = postgres::postgres().await else { return };
    let world = World { direct: server.database(TABLES).await, writes: Writes::Transaction };
    let site = Site::warm(&world, server.port, 1).await;
    let mut positions = 0;
    for (direction, length) in length_of_a_confirmation(&world, server.port).await {
        for position in (0..length).step_by(step) {
            let context = format!("delay {direction:?} after {position} bytes");
            world.prepare("ann").await;
            let event = world.issue(&site.reset, "ann").await;
            site.proxy.arm(direction, position, Action::Delay(Duration::from_millis(20)));
            confirm(&site.reset, &event, "the new password")
                .await
                .unwrap_or_else(|error| panic!("{context}: {error:?}"));
            assert_eq!(world.password("ann", "the new password", &context).await, Password::New, "{context}");
            positions += 1;
        }
    }
    println!("{positions} delays, each confirmation was acknowledged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delayed_connection_changes_nothing() {
    delays(16).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long version"]
async fn connection_delayed_at_every_byte_changes_nothing() {
    delays(1).await;
}
