//! A PostgreSQL server that one test stops, kills and starts again.
#![allow(dead_code, reason = "each test crate uses a part")]

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::postgres::{START_DEADLINE, create_cluster, is_ready, server_command, url};
use crate::server::{ServerProcess, TempDirectory, lasting_port};

/// A server of its own, which the test kills. Its files are synchronized, as they are in production.
pub(crate) struct OwnServer {
    pub(crate) port: u16,
    data: PathBuf,
    process: Option<ServerProcess>,
    _directory: TempDirectory,
}

impl OwnServer {
    /// Starts a server, or returns `None` if PostgreSQL is not installed.
    pub(crate) async fn start() -> Option<Self> {
        let directory = TempDirectory::new();
        let data = create_cluster(&directory)?;
        let mut server = Self { port: lasting_port(), data, process: None, _directory: directory };
        server.start_again().await;
        Some(server)
    }

    /// Starts the server, again if it ends at once: a process of the killed one may still hold its memory or its port.
    pub(crate) async fn start_again(&mut self) {
        let begun = Instant::now();
        loop {
            let mut process = ServerProcess::spawn(&mut server_command(&self.data, self.port).unwrap());
            while process.is_running() {
                if is_ready(self.port).await {
                    self.process = Some(process);
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert!(begun.elapsed() < START_DEADLINE, "PostgreSQL does not start again");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
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
