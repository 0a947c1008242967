//! The server is killed with SIGKILL at a point of a confirmation, and started again.

use crate::own_postgres::OwnServer;
use crate::proxy::{Action, Direction, Release};
use crate::world::{
    Database, Password, STEP_TIMEOUT, Site, TABLES, World, Writes, confirm, confirm_again, is_acknowledged,
};

/// Kills the server at eight points of a confirmation, `rounds` times each.
async fn kills(rounds: usize) {
    let Some(mut server) = OwnServer::start().await else { return };
    let pool = server.pool().await;
    sqlx::raw_sql(TABLES).execute(&pool).await.unwrap();
    let mut world = World { direct: Database::Postgres(pool), writes: Writes::Transaction };
    let site = Site::warm(&world, server.port, 1).await;
    world.prepare("ann").await;
    let event = world.issue(&site.reset, "ann").await;
    site.proxy.count();
    confirm(&site.reset, &event, "the new password").await.unwrap();
    let [(_, to_server), (_, to_client)] = site.proxy.counted();
    drop(site);

    let (mut acknowledged, mut unchanged, mut unknown) = (0, 0, 0);
    // The last point is in the acknowledgement. The bytes after it are of the return of the connection to the pool.
    let points = [4, 8, 12, 15].into_iter().flat_map(|sixteenths| {
        [(Direction::ToServer, to_server * sixteenths / 16), (Direction::ToClient, to_client * sixteenths / 16)]
    });
    for (direction, position) in points {
        for round in 0..rounds {
            let context = format!("kill at {direction:?} {position}, round {round}");
            let new = format!("the password of round {round}");
            let site = Site::warm(&world, server.port, 1).await;
            world.prepare("ann").await;
            let event = world.issue(&site.reset, "ann").await;
            site.proxy.arm(direction, position, Action::Hold);
            let first = tokio::join!(confirm(&site.reset, &event, &new), async {
                let held = tokio::time::timeout(STEP_TIMEOUT, site.proxy.holds()).await;
                held.unwrap_or_else(|_| panic!("{context}: the byte never comes"));
                server.kill();
                site.proxy.release(Release::Cut);
            });
            let is_acknowledged = is_acknowledged(&first.0, &context);
            server.start_again().await;
            world.direct = Database::Postgres(server.pool().await);
            match (is_acknowledged, world.password("ann", &new, &context).await) {
                (true, Password::Old) => panic!("{context}: the confirmed password is lost"),
                (true, Password::New) => acknowledged += 1,
                (false, Password::Old) => unchanged += 1,
                (false, Password::New) => unknown += 1,
            }
            // Another instance makes the second try.
            let reset = world.direct.at_port(server.port, 4).password_reset(world.writes).await;
            confirm_again(&world, &reset, &event, "ann", &new, &context).await;
        }
        println!("killed {rounds} times at {direction:?} {position}: {unchanged} unchanged, {unknown} unknown so far");
    }
    println!(
        "{} kills: {acknowledged} acknowledged, {unchanged} unchanged, {unknown} unknown, violations: 0",
        8 * rounds
    );
    assert!(unchanged > 0 && unknown > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_server_leaves_the_old_or_the_new_password() {
    kills(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long version"]
async fn four_hundred_kills_of_the_server_leave_the_old_or_the_new_password() {
    kills(50).await;
}
