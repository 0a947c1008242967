//! The demo on PostgreSQL and MariaDB. A server that is not installed is skipped with a message.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion, in its helpers too")]

#[path = "../support/eml.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod eml;
#[path = "../demo/helpers.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod helpers;
#[path = "../../../../tests/support/mariadb.rs"]
mod mariadb;
#[path = "../../../../tests/support/postgres.rs"]
mod postgres;
#[path = "../support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;
#[path = "../../../../tests/support/redis.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod redis_server;
#[path = "../../../../tests/support/server.rs"]
mod server;

use std::process::Command;
use std::thread;

use helpers::{KEY, NEW_PASSWORD, outbox_flags, token_for};
use process::{Demo, Directory, PASSWORD};
use sqlx::AssertSqlSafe;

/// The table of the demo, created by the owner of the database.
const TABLE: &str = "CREATE TABLE users (id VARCHAR(64) PRIMARY KEY, email VARCHAR(254) NOT NULL, username VARCHAR(254), \
    active BOOLEAN NOT NULL DEFAULT TRUE, password_hash VARCHAR(255))";

/// Returns the URL of a new database, with a password that must not be printed.
async fn postgres_url() -> Option<String> {
    let url = postgres::postgres().await?.new_database("").await;
    // The server trusts local connections and ignores the password.
    Some(url.replace("postgres@", "postgres:hunter2@"))
}

async fn mariadb_url() -> Option<String> {
    let server = mariadb::mariadb().await?;
    let url = server.new_database("").await;
    let pool = mariadb::pool(&url).await;
    let name: String = sqlx::query_scalar("SELECT DATABASE()").fetch_one(&pool).await.unwrap();
    let sql =
        format!("CREATE OR REPLACE USER u{name}@'%' IDENTIFIED BY 'hunter2'; GRANT ALL ON {name}.* TO u{name}@'%'");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&pool).await.unwrap();
    Some(url.replace("app:app", &format!("u{name}:hunter2")))
}

/// The whole flow, and a second start on the same database.
fn check_flow(url: &str) {
    let outbox = Directory::new();
    let flags = outbox_flags(&outbox);
    let start = || Demo::start([&flags[0], &flags[1], "--database", url, "--key", KEY]);
    let demo = start();
    assert!(!demo.output().contains("hunter2"), "{}", demo.output());
    let for_ann = token_for(&demo, outbox.path(), "ann@example.com");
    let for_bob = token_for(&demo, outbox.path(), "bob@example.com");
    assert_eq!(demo.confirm(&for_ann, NEW_PASSWORD).status, 200);
    assert_eq!(demo.confirm(&for_ann, PASSWORD).status, 404, "a token works once");
    for (email, password, status) in [
        ("ann@example.com", NEW_PASSWORD, 200),
        ("ANN@Example.com", NEW_PASSWORD, 200),
        ("ann@example.com", PASSWORD, 401),
        ("änn@example.com", NEW_PASSWORD, 401),
        ("ann@example.com ", "wrong", 401),
        ("bob@example.com", PASSWORD, 200),
        ("carol@example.com", PASSWORD, 401),
        ("dave@example.com", PASSWORD, 401),
    ] {
        assert_eq!(demo.login(email, password), status, "{email} {password}");
    }
    demo.terminate();
    let (status, output) = demo.ended();
    assert!(status.success() && !output.contains("hunter2"), "{output}");

    let demo = start();
    assert_eq!(demo.login("ann@example.com", NEW_PASSWORD), 200, "the sample users are inserted once");
    assert_eq!(demo.confirm(&for_bob, NEW_PASSWORD).status, 200);
}

#[tokio::test]
async fn reset_works_on_postgres_and_survives_a_restart() {
    let Some(url) = postgres_url().await else { return };
    tokio::task::spawn_blocking(move || check_flow(&url)).await.unwrap();
}

#[tokio::test]
async fn reset_works_on_mariadb_and_survives_a_restart() {
    let Some(url) = mariadb_url().await else { return };
    tokio::task::spawn_blocking(move || check_flow(&url)).await.unwrap();
}

/// MySQL 8 asks for an encrypted connection before it accepts a password. The server of this test does so for one user.
#[tokio::test]
async fn demo_encrypts_its_connection_to_a_server_that_offers_it() {
    let Some(openssl) = server::installed("openssl", &[]) else { return };
    let directory = Directory::new();
    let file = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let created = Command::new(openssl)
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"])
        .args(["-subj", "/CN=localhost", "-keyout", &file("key.pem"), "-out", &file("certificate.pem")])
        .output()
        .unwrap();
    assert!(created.status.success(), "{created:?}");
    let flags =
        [("cert", "certificate.pem"), ("key", "key.pem")].map(|(flag, name)| format!("--ssl-{flag}={}", file(name)));
    let Some(mariadb) = mariadb::MariaDb::start_own(flags.to_vec()).await else { return };
    let pool = mariadb::pool(&mariadb.url("test")).await;
    let sql = "CREATE USER private@'%' IDENTIFIED BY 'hunter2' REQUIRE SSL; GRANT ALL ON test.* TO private@'%'";
    sqlx::raw_sql(sql).execute(&pool).await.unwrap();
    let url = mariadb.url("test").replace("app:app", "private:hunter2");
    tokio::task::spawn_blocking(move || {
        let demo = Demo::start(["--database", &url]);
        assert_eq!(demo.login("ann@example.com", PASSWORD), 200);
    })
    .await
    .unwrap();
}

/// Several instances start at once on an empty database. A token of one works at another.
fn check_instances(url: &str) {
    let outbox = Directory::new();
    let flags = outbox_flags(&outbox);
    let demos: Vec<Demo> = thread::scope(|scope| {
        let start = || Demo::start([&flags[0], &flags[1], "--database", url, "--key", KEY]);
        let starts: Vec<_> = (0..6).map(|_| scope.spawn(start)).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    for demo in &demos {
        assert_eq!(demo.login("ann@example.com", PASSWORD), 200);
    }
    let token = token_for(&demos[0], outbox.path(), "ann@example.com");
    assert_eq!(demos[1].confirm(&token, NEW_PASSWORD).status, 200);
    assert_eq!(demos[2].confirm(&token, PASSWORD).status, 404);
    assert_eq!(demos[3].login("ann@example.com", NEW_PASSWORD), 200);
}

#[tokio::test]
async fn instances_that_start_on_one_empty_database_all_work() {
    if let Some(url) = postgres_url().await {
        let checked = url.clone();
        tokio::task::spawn_blocking(move || check_instances(&checked)).await.unwrap();
        let count: i64 =
            sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&postgres::pool(&url).await).await.unwrap();
        assert_eq!(count, 4);
    }
    if let Some(url) = mariadb_url().await {
        let checked = url.clone();
        tokio::task::spawn_blocking(move || check_instances(&checked)).await.unwrap();
        let count: i64 =
            sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&mariadb::pool(&url).await).await.unwrap();
        assert_eq!(count, 4);
    }
}

/// The role that only reads and writes rows starts on a table that another role created, with and without users.
fn check_start_without_create(url: &str) {
    let demo = Demo::start(["--database", url]);
    assert_eq!(demo.login("ann@example.com", PASSWORD), 200);
}

#[tokio::test]
async fn role_without_the_right_to_create_starts_on_an_existing_table() {
    if let Some(url) = postgres_url().await {
        let pool = postgres::pool(&url).await;
        sqlx::raw_sql(AssertSqlSafe(format!(
            "{TABLE};
             DO $$ BEGIN CREATE ROLE clerk LOGIN; EXCEPTION WHEN duplicate_object THEN END $$;
             REVOKE CREATE ON SCHEMA public FROM PUBLIC; GRANT SELECT, INSERT, UPDATE ON users TO clerk"
        )))
        .execute(&pool)
        .await
        .unwrap();
        let url = url.replace("postgres:hunter2@", "clerk:hunter2@");
        tokio::task::spawn_blocking(move || (0..2).for_each(|_| check_start_without_create(&url))).await.unwrap();
        let indexes: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_indexes WHERE tablename = 'users'")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(indexes, 1, "the demo does not change a table that it did not create");
    }
    if let Some(url) = mariadb_url().await {
        let name = url.rsplit_once('/').unwrap().1;
        let pool = mariadb::pool(&mariadb::mariadb().await.unwrap().url(name)).await;
        sqlx::raw_sql(AssertSqlSafe(format!(
            "{TABLE}; CREATE OR REPLACE USER clerk{name}@'%' IDENTIFIED BY 'hunter2';
             GRANT SELECT, INSERT, UPDATE ON {name}.users TO clerk{name}@'%'"
        )))
        .execute(&pool)
        .await
        .unwrap();
        let url = url.replace(&format!("u{name}:"), &format!("clerk{name}:"));
        tokio::task::spawn_blocking(move || (0..2).for_each(|_| check_start_without_create(&url))).await.unwrap();
    }
}

/// Returns the error of a start that fails.
fn refused(url: &str) -> String {
    let process = Demo::command().args(["--listen", "127.0.0.1:0", "--database", url]).output().unwrap();
    let output = String::from_utf8(process.stderr).unwrap();
    assert_eq!(process.status.code(), Some(2), "{output}");
    assert!(process.stdout.is_empty());
    assert!(!output.contains("hunter2"), "{output}");
    output
}

#[tokio::test]
async fn error_at_start_names_the_flag_and_no_password() {
    if let Some(url) = postgres_url().await {
        let missing = url.rsplit_once('/').unwrap().0.to_owned() + "/no_such_database";
        let error = refused(&missing);
        assert!(error.contains("--database: ") && error.contains("no_such_database"), "{error}");
        let pool = postgres::pool(&url).await;
        sqlx::raw_sql("CREATE TABLE users (id bigint PRIMARY KEY, mail text)").execute(&pool).await.unwrap();
        let error = refused(&url);
        assert!(error.contains("--database: ") && error.contains("email"), "{error}");
    }
    if let Some(url) = mariadb_url().await {
        let error = refused(&url.replace("hunter2@", "hunter23@"));
        assert!(error.contains("--database: ") && error.contains("Access denied"), "{error}");
        let error = refused(&(url.rsplit_once('/').unwrap().0.to_owned() + "/no_such_database"));
        assert!(error.contains("--database: "), "{error}");
    }
}

/// Returns the status of a request for a reset.
fn request(demo: &Demo) -> u16 {
    demo.post("/api/password_reset/", &serde_json::json!({ "email": "nobody@example.com" })).status
}

#[test]
fn two_processes_share_the_quotas_in_redis_exactly() {
    // On a busy machine an answer can come too late. Then memory counts, and the log says so.
    for _ in 0..5 {
        let Some(redis) = redis_server::Redis::start(&[]) else { return };
        let url = redis.url();
        let start = || Demo::start(["--throttle", &url]);
        let (one, other) = (start(), start());
        let accepted = thread::scope(|scope| {
            let send = |demo| move || (0..40).filter(|_| request(demo) == 200).count();
            let counts = [&one, &other].map(|demo| scope.spawn(send(demo)));
            counts.map(|count| count.join().unwrap()).into_iter().sum::<usize>()
        });
        if !(one.output() + &other.output()).contains("the throttle failed") {
            // The quota of one client is 30 requests an hour.
            assert_eq!(accepted, 30);
            assert_eq!((request(&one), request(&other)), (429, 429));
            return;
        }
    }
    panic!("Redis answered too late in each of five runs");
}

#[test]
fn two_processes_share_the_quota_of_sign_ins() {
    let Some(redis) = redis_server::Redis::start(&[]) else { return };
    let url = redis.url();
    let start = || Demo::start(["--throttle", &url]);
    let (one, other) = (start(), start());
    // The quota of one client is 20 a minute. Each process alone would accept its 15 attempts.
    let attempt = |number: usize| [&one, &other][number % 2].login(&format!("nobody{number}@example.com"), "wrong");
    let rejected = (0..30).filter(|&number| attempt(number) == 429).count();
    assert!((1..=10).contains(&rejected), "{rejected} of 30");
}

#[test]
fn throttle_that_does_not_answer_is_an_error_that_names_the_flag() {
    for (url, reason) in [
        (format!("redis://:hunter2@127.0.0.1:{}", server::free_port()), "onnection refused"),
        ("memcached://:hunter2@127.0.0.1".to_owned(), "expected memory: or redis://"),
    ] {
        let output = Demo::command().args(["--listen", "127.0.0.1:0", "--throttle", &url]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("--throttle") && text.contains(reason) && !text.contains("hunter2"), "{text}");
    }
}
