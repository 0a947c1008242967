//! The server is killed with SIGKILL at a point of a confirmation, and started again.

use std::process::Command;

use crate::postgres::{create_cluster, server_command, url, wait_until_ready};
use crate::proxy::{Action, Direction, Release};
use crate::server::{ServerProcess, TempDirectory, free_port};
use crate::world::{
    Password, Site, TABLES, World, Writes, at_port, confirm, confirm_again, is_acknowledged, password_reset, store,
};

/// A server of its own, which the test kills. Its files are synchronized, as they are in production.
pub(crate) struct OwnServer {
    pub(crate) port: u16,
    data: std::path::PathBuf,
    process: Option<ServerProcess>,
    _directory: TempDirectory,
}

impl OwnServer {
    /// Starts a server, or returns `None` if PostgreSQL is not installed.
    pub(crate) async fn start() -> Option<Self> {
        let directory = TempDirectory::new();
        let data = create_cluster(&directory)?;
        let mut server = Self { port: free_port(), data, process: None, _directory: directory };
        server.start_again().await;
        Some(server)
    }

    pub(crate) async fn start_again(&mut self) {
        let mut command = server_command(&self.data, self.port).unwrap();
        self.process = Some(ServerProcess::spawn(&mut command));
        wait_until_ready(self.port).await;
    }

    /// Sends SIGKILL to the server and to every process that it started.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        let children = Command::new("ps").args(["-o", "pid=", "--ppid", &process.id().to_string()]).output().unwrap();
        process.signal("KILL");
        for child in String::from_utf8(children.stdout).unwrap().split_whitespace() {
            // A child may have ended with its parent.
            let _ = Command::new("kill").args(["-KILL", child]).output();
        }
        process.wait();
    }

    /// Sends a signal that stops the server, and waits until it has ended: `INT` aborts transactions, `QUIT` everything.
    pub(crate) async fn stop(&mut self, signal: &str) {
        let mut process = self.process.take().unwrap();
        process.signal(signal);
        tokio::task::spawn_blocking(move || process.wait()).await.unwrap();
    }

    pub(crate) async fn pool(&self) -> sqlx::PgPool {
        crate::postgres::pool(&url(self.port, "postgres")).await
    }
}

/// Kills the server at eight points of a confirmation, `rounds` times each.
async fn kills(rounds: usize) {
    let Some(mut server) = OwnServer::start().await else { return };
    let pool = server.pool().await;
    sqlx::raw_sql(TABLES).execute(&pool).await.unwrap();
    let mut world = World { direct: pool, writes: Writes::Transaction };
    let site = Site::warm(&world, server.port, 1).await;
    world.prepare("ann").await;
    let event = world.issue(&site.reset, "ann").await;
    site.proxy.count();
    confirm(&site.reset, &event, "the new password").await.unwrap();
    let [(_, to_server), (_, to_client)] = site.proxy.counted();
    drop(site);

    let (mut acknowledged, mut unchanged, mut unknown) = (0, 0, 0);
    let point = |direction, length: usize, number: usize| (direction, (length * number / 4).min(length - 1));
    let points = (1..=4).flat_map(|number| {
        [point(Direction::ToServer, to_server, number), point(Direction::ToClient, to_client, number)]
    });
    for (direction, position) in points.collect::<Vec<_>>() {
        for round in 0..rounds {
            let context = format!("kill at {direction:?} {position}, round {round}");
            let new = format!("the password of round {round}");
            let site = Site::warm(&world, server.port, 1).await;
            world.prepare("ann").await;
            let event = world.issue(&site.reset, "ann").await;
            site.proxy.arm(direction, position, Action::Hold);
            let first = tokio::join!(confirm(&site.reset, &event, &new), async {
                site.proxy.holds().await;
                server.kill();
                site.proxy.release(Release::Cut);
            });
            let is_acknowledged = is_acknowledged(&first.0, &context);
            server.start_again().await;
            world.direct = server.pool().await;
            match (is_acknowledged, world.password("ann", &new, &context).await) {
                (true, Password::Old) => panic!("{context}: the confirmed password is lost"),
                (true, Password::New) => acknowledged += 1,
                (false, Password::Old) => unchanged += 1,
                (false, Password::New) => unknown += 1,
            }
            // Another instance makes the second try.
            let options = at_port(&world.direct, server.port);
            let pool = sqlx::postgres::PgPoolOptions::new().connect_lazy_with(options);
            let reset = password_reset(store(pool, world.writes)).await;
            confirm_again(&world, &reset, &event, "ann", &new, &context).await;
        }
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
