//! A Redis server of a test.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::server::{ServerProcess, TempDirectory, free_port, installed};

/// A Redis server without persistence, killed when dropped.
pub(crate) struct Redis {
    program: PathBuf,
    process: Option<ServerProcess>,
    directory: TempDirectory,
    pub(crate) port: u16,
    flags: Vec<String>,
}

impl Redis {
    /// Starts a server with these further flags, or returns `None` if it is not installed.
    pub(crate) fn start(flags: &[&str]) -> Option<Self> {
        let program = installed("redis-server", &[])?;
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut redis = Self { program, process: None, directory: TempDirectory::new(), port: free_port(), flags };
        redis.start_again();
        Some(redis)
    }

    /// Starts the server on its port, without data.
    pub(crate) fn start_again(&mut self) {
        let mut command = Command::new(&self.program);
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"]).arg(self.port.to_string());
        command.arg("--dir").arg(self.directory.path()).args(&self.flags);
        self.process = Some(ServerProcess::spawn(&mut command));
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "redis-server starts");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills the server.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Sends a signal, for example `STOP` or `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        self.process.as_ref().expect("the server runs").signal(name);
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).unwrap()
    }

    /// Moves the clock forward for all keys: shortens their lifetimes.
    pub(crate) async fn advance(&self, time: Duration) {
        let script = "for _, key in ipairs(redis.call('KEYS', '*')) do
            redis.call('PEXPIRE', key, redis.call('PTTL', key) - ARGV[1])
        end";
        let mut connection = self.client().get_multiplexed_async_connection().await.unwrap();
        let script = redis::Script::new(script);
        script.arg(time.as_millis() as u64).invoke_async::<()>(&mut connection).await.unwrap();
    }

    /// Runs a command, for example `CONFIG SET maxmemory 1`.
    pub(crate) async fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut connection = self.client().get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connection).await.unwrap()
    }
}
