//! A MariaDB server for tests.
#![allow(dead_code, reason = "each test crate uses a part")]

use std::fs;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::mysql::{MySqlPool, MySqlPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection};

use crate::server::{SharedServer, TempDirectory, free_port, installed, is_root};

/// Time limit for the start. Long, because machines that run tests are busy.
const START_DEADLINE: Duration = Duration::from_secs(120);

/// A server that all tests of a test crate share.
pub(crate) struct MariaDb {
    pub(crate) port: u16,
    _server: SharedServer,
}

/// Returns the shared server, or `None` if MariaDB is not installed.
pub(crate) async fn mariadb() -> Option<&'static MariaDb> {
    static SERVER: OnceLock<Option<MariaDb>> = OnceLock::new();
    let start = || tokio::task::spawn_blocking(|| SERVER.get_or_init(|| MariaDb::start(&[])));
    let server = start().await.expect("the server starts");
    if server.is_none() {
        // Reports the skipped test.
        installed("mariadbd", &["/usr/sbin"]);
    }
    let server = server.as_ref()?;
    server.wait_until_ready().await;
    Some(server)
}

impl MariaDb {
    /// Starts a server of its own for one test, with these further flags.
    pub(crate) async fn start_own(flags: Vec<String>) -> Option<Self> {
        let server = tokio::task::spawn_blocking(move || Self::start(&flags)).await.expect("the server starts")?;
        server.wait_until_ready().await;
        Some(server)
    }

    async fn wait_until_ready(&self) {
        let begun = Instant::now();
        while let Err(error) = MySqlConnection::connect(&self.url("test")).await {
            assert!(begun.elapsed() < START_DEADLINE, "MariaDB does not start: {error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn start(flags: &[String]) -> Option<Self> {
        let (server, install) = (installed("mariadbd", &["/usr/sbin"])?, installed("mariadb-install-db", &[])?);
        let directory = TempDirectory::new();
        let data = directory.path().join("data");
        let user = is_root().then_some("--user=root");
        let created = Command::new(install)
            .arg("--no-defaults")
            .arg(format!("--datadir={}", data.display()))
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
            .args(user)
            .stdin(Stdio::null())
            .output()
            .expect("mariadb-install-db runs");
        assert!(created.status.success(), "mariadb-install-db: {}", String::from_utf8_lossy(&created.stderr));
        let init = directory.path().join("init.sql");
        let sql = "CREATE DATABASE test; CREATE USER app@'%' IDENTIFIED BY 'app'; GRANT ALL ON *.* TO app@'%' WITH GRANT OPTION;";
        fs::write(&init, sql.replace("; ", ";\n")).expect("the file can be written");
        let port = free_port();
        let mut command = Command::new(server);
        command
            .arg("--no-defaults")
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--init-file={}", init.display()))
            .arg(format!("--socket={}", directory.path().join("socket").display()))
            .arg(format!("--port={port}"))
            .args(["--bind-address=127.0.0.1", "--innodb-flush-log-at-trx-commit=0", "--skip-name-resolve"])
            .args(["--innodb-buffer-pool-size=32M", "--max-connections=120"])
            .args(flags)
            .args(user);
        Some(Self { port, _server: SharedServer::spawn(&command, directory) })
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("mysql://app:app@127.0.0.1:{}/{database}", self.port)
    }

    /// Creates an empty database and returns its URL.
    pub(crate) async fn new_database(&self, options: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut connection = MySqlConnection::connect(&self.url("test")).await.expect("the server answers");
        let sql = AssertSqlSafe(format!("CREATE DATABASE {name} {options}"));
        sqlx::raw_sql(sql).execute(&mut connection).await.expect("the database can be created");
        connection.close().await.expect("the connection can be closed");
        self.url(&name)
    }

    /// Creates a database, runs these statements in it, and returns a pool.
    pub(crate) async fn database(&self, sql: &str) -> MySqlPool {
        let pool = pool(&self.new_database("").await).await;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&pool).await.expect("the statements run");
        pool
    }
}

/// Returns a pool of eight connections.
pub(crate) async fn pool(url: &str) -> MySqlPool {
    MySqlPoolOptions::new().max_connections(8).connect(url).await.expect("the database answers")
}
