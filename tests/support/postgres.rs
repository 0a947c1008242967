//! A PostgreSQL server for tests.
#![allow(dead_code, reason = "each test crate uses a part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::server::{SharedServer, TempDirectory, command_as, free_port, installed};

/// The user that the server runs as if the tests run as root, and the role that the tests sign in with.
const USER: &str = "postgres";

/// Time limit for the start. Long, because machines that run tests are busy.
pub(crate) const START_DEADLINE: Duration = Duration::from_secs(120);

/// A server that all tests of a test crate share.
pub(crate) struct Postgres {
    pub(crate) port: u16,
    _server: SharedServer,
}

/// Returns the shared server, or `None` if PostgreSQL is not installed.
pub(crate) async fn postgres() -> Option<&'static Postgres> {
    static SERVER: OnceLock<Option<Postgres>> = OnceLock::new();
    let start = || tokio::task::spawn_blocking(|| SERVER.get_or_init(Postgres::start));
    let server = start().await.expect("the server starts");
    if server.is_none() {
        // Reports the skipped test.
        binary("postgres");
    }
    let server = server.as_ref()?;
    wait_until_ready(server.port).await;
    Some(server)
}

impl Postgres {
    fn start() -> Option<Self> {
        let directory = TempDirectory::new();
        let data = create_cluster(&directory)?;
        let port = free_port();
        let options = ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"];
        let mut command = server_command(&data, port)?;
        let server = SharedServer::spawn(command.args(options), directory);
        Some(Self { port, _server: server })
    }

    /// Creates an empty database and returns its URL.
    pub(crate) async fn new_database(&self, options: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect(&url(self.port, "postgres")).await.expect("the server answers");
        let sql = AssertSqlSafe(format!("CREATE DATABASE {name} {options}"));
        sqlx::raw_sql(sql).execute(&mut connection).await.expect("the database can be created");
        connection.close().await.expect("the connection can be closed");
        url(self.port, &name)
    }

    /// Creates a database, runs these statements in it, and returns a pool.
    pub(crate) async fn database(&self, sql: &str) -> PgPool {
        let pool = pool(&self.new_database("").await).await;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&pool).await.expect("the statements run");
        pool
    }
}

/// Returns a pool of eight connections.
pub(crate) async fn pool(url: &str) -> PgPool {
    PgPoolOptions::new().max_connections(8).connect(url).await.expect("the database answers")
}

pub(crate) fn url(port: u16, database: &str) -> String {
    format!("postgres://{USER}@127.0.0.1:{port}/{database}")
}

/// Creates the files of a server, or returns `None` if PostgreSQL is not installed.
pub(crate) fn create_cluster(directory: &TempDirectory) -> Option<PathBuf> {
    let initdb = binary("initdb")?;
    directory.give_to(USER);
    let data = directory.path().join("data");
    let created = command_as(USER, &initdb)
        .arg("-D")
        .arg(&data)
        .args(["-U", USER, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8", "--no-instructions"])
        .stdout(Stdio::null())
        .output();
    let created = created.expect("initdb runs");
    assert!(created.status.success(), "initdb: {}", String::from_utf8_lossy(&created.stderr));
    Some(data)
}

/// Returns the command that runs a server on these files. The caller adds settings.
pub(crate) fn server_command(data: &Path, port: u16) -> Option<Command> {
    let mut command = command_as(USER, &binary("postgres")?);
    command.arg("-D").arg(data).args(["-p", &port.to_string(), "-c", "unix_socket_directories="]);
    command.args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=120", "-c", "shared_buffers=16MB"]);
    Some(command)
}

pub(crate) async fn wait_until_ready(port: u16) {
    let begun = Instant::now();
    let options: PgConnectOptions = url(port, "postgres").parse().expect("the URL is valid");
    loop {
        match PgConnection::connect_with(&options).await {
            Ok(connection) => return drop(connection.close().await),
            Err(error) => assert!(begun.elapsed() < START_DEADLINE, "PostgreSQL does not start: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Returns the path of a program of PostgreSQL. Debian installs them outside `PATH`, in a directory for each version.
fn binary(name: &str) -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut directories: Vec<String> =
        versions.map(|version| version.path().join("bin").to_string_lossy().into_owned()).collect();
    directories.sort();
    directories.reverse();
    let directories: Vec<&str> = directories.iter().map(String::as_str).collect();
    installed(name, &directories)
}
