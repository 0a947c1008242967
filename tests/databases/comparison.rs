//! Look-ups and comparisons do not depend on collation, character set or column type.

use std::time::{Duration, Instant};

use poem_password_reset::store::{MySqlUsers, PostgresUsers};
use poem_password_reset::testing::{Edit, check_user_store};
use poem_password_reset::{Swap, UserStore};
use sqlx::Connection as _;
use sqlx::mysql::MySqlPoolOptions;

use crate::database::{MariaDb, Postgres, Sqlite, TestDatabase, hash_of, ids, on_every_database, one};
use crate::{mariadb, postgres};

const ANN: &str = "Ann@Example.com";

/// Texts that a collation may treat as Ann's address.
const LOOK_ALIKES: [&str; 10] = [
    "änn@example.com",
    "ann@example.com ",
    " ann@example.com",
    "ａnn@example.com",
    "a\u{200b}nn@example.com",
    "ann@éxample.com",
    "ann@example.com\0",
    "anñ@example.com",
    "ann@example.com\u{3000}",
    "ann@exampl\u{0435}.com",
];

/// Checks look-ups and the write on a table whose text columns are declared like this.
async fn check_columns<D: TestDatabase>(database: &D, declared: &str) {
    println!("{}: {declared}", D::NAME);
    database
        .run(&format!(
            "CREATE TABLE users (id {declared} PRIMARY KEY, email {declared} NOT NULL, username {declared}, \
                 active BOOLEAN NOT NULL DEFAULT TRUE, password_hash {declared})"
        ))
        .await;
    database.run(crate::database::ANN_AND_BOB).await;
    let users = database.users();
    users.check_at_start().await.unwrap();
    for email in [ANN, "ann@example.com", "ANN@EXAMPLE.COM", "aNN@exAMPLE.coM"] {
        assert_eq!(ids(&users, email).await, ["ann"], "{declared}: {email}");
    }
    for email in LOOK_ALIKES {
        assert!(ids(&users, email).await.is_empty(), "{declared}: {email:?}");
    }
    for id in ["ANN", "änn", "ann ", " ann", "ａnn", "an", "a_n", "%", "ann\u{0435}"] {
        assert!(users.find_by_id(id).await.unwrap().is_none(), "{declared}: {id:?}");
    }
    // The write compares bytes.
    for (column, other) in [("password_hash", "A"), ("password_hash", "ä"), ("email", "ANN@Example.com")] {
        if other == "ä" && declared.contains("ascii") {
            continue;
        }
        let before = one(&users, ANN).await;
        let old = if column == "email" { ANN } else { "a" };
        database.run(&format!("UPDATE users SET {column} = '{other}' WHERE id = 'ann'")).await;
        let swap = users.replace_password(&before, &"lost".into()).await.unwrap();
        assert_eq!(swap, Swap::Stale, "{declared}: {column} became {other}");
        database.run(&format!("UPDATE users SET {column} = '{old}' WHERE id = 'ann'")).await;
    }
    let before = one(&users, ANN).await;
    assert_eq!(users.replace_password(&before, &"zero".into()).await.unwrap(), Swap::Done, "{declared}");
    check_user_store(users, ANN, "bob@example.com", async |edit| {
        let (column, value) = match edit {
            Edit::Email(new) => ("email", format!("'{new}'")),
            Edit::PasswordHash(new) => {
                ("password_hash", new.map_or_else(|| "NULL".to_owned(), |new| format!("'{new}'")))
            }
            Edit::Active(new) => ("active", new.to_string()),
            _ => return database.run("DELETE FROM users WHERE id = 'ann'").await,
        };
        database.run(&format!("UPDATE users SET {column} = {value} WHERE id = 'ann'")).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn comparison_on_sqlite_does_not_depend_on_the_collation() {
    for declared in ["TEXT", "TEXT COLLATE NOCASE", "TEXT COLLATE RTRIM", "VARCHAR(100)"] {
        let Some(database) = Sqlite::new().await else { return };
        check_columns(&database, declared).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn comparison_on_postgres_does_not_depend_on_the_collation() {
    let collations = "CREATE COLLATION no_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false); \
        CREATE COLLATION no_accent (provider = icu, locale = 'und-u-ks-level1-kc-true', deterministic = false); \
        CREATE EXTENSION IF NOT EXISTS citext";
    for declared in
        ["text", "varchar(100)", "text COLLATE \"C\"", "text COLLATE no_case", "text COLLATE no_accent", "citext"]
    {
        let Some(database) = Postgres::new().await else { return };
        database.run(collations).await;
        check_columns(&database, declared).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn comparison_on_mariadb_does_not_depend_on_the_collation() {
    for declared in [
        "VARCHAR(100)",
        "VARCHAR(100) COLLATE utf8mb4_general_ci",
        "VARCHAR(100) COLLATE utf8mb4_unicode_520_ci",
        "VARCHAR(100) COLLATE utf8mb4_uca1400_ai_ci",
        "VARCHAR(100) COLLATE utf8mb4_uca1400_as_cs",
        "VARCHAR(100) COLLATE utf8mb4_bin",
        "VARCHAR(100) COLLATE utf8mb4_nopad_bin",
        "VARCHAR(100) COLLATE utf8mb4_turkish_ci",
        "VARCHAR(100) CHARACTER SET latin1",
        "VARCHAR(100) CHARACTER SET latin1 COLLATE latin1_bin",
        "VARCHAR(100) CHARACTER SET utf8mb3",
        "VARCHAR(100) CHARACTER SET ascii",
        "VARCHAR(100) CHARACTER SET utf16",
        "VARBINARY(100)",
    ] {
        let Some(database) = MariaDb::new().await else { return };
        check_columns(&database, declared).await;
    }
}

/// In Turkish, `i` is not the small letter of `I`.
#[tokio::test]
async fn address_with_an_i_is_found_with_a_turkish_collation() {
    async fn check<D: TestDatabase>(database: &D, collation: &str) {
        database
            .run(&crate::database::USERS.replace("email VARCHAR(254)", &format!("email VARCHAR(254) {collation}")))
            .await;
        database.run("INSERT INTO users (id, email) VALUES ('1', 'Bill@Example.com'), ('2', 'IRIS@example.com')").await;
        let users = database.users();
        for (email, id) in
            [("bill@example.com", "1"), ("BILL@EXAMPLE.COM", "1"), ("Iris@example.com", "2"), ("iris@example.com", "2")]
        {
            assert_eq!(ids(&users, email).await, [id], "{}: {email}", D::NAME);
        }
    }
    if let Some(database) = MariaDb::new().await {
        check(&database, "COLLATE utf8mb4_turkish_ci").await;
    }
    if let Some(database) = Postgres::new().await {
        check(&database, "COLLATE \"tr-x-icu\"").await;
    }
}

/// A look-up for an address with a letter that the column cannot store finds no user. It is not an error.
#[tokio::test]
async fn unrepresentable_letters_find_no_user() {
    if let Some(server) = postgres::postgres().await {
        for encoding in ["LATIN1", "SQL_ASCII", "EUC_JP"] {
            let url = server.new_database(&format!("ENCODING '{encoding}' TEMPLATE template0 LOCALE 'C'")).await;
            let pool = postgres::pool(&url).await;
            let database = Postgres { pool };
            database.run(crate::database::USERS).await;
            database.run(crate::database::ANN_AND_BOB).await;
            let users = database.users();
            users.check_at_start().await.unwrap();
            for letter in ["я", "例", "𐐀", "\u{301}", "😀"] {
                assert!(ids(&users, &format!("a{letter}n@example.com")).await.is_empty(), "{encoding} {letter}");
                assert!(users.find_by_id(letter).await.unwrap().is_none(), "{encoding} {letter}");
            }
            assert_eq!(ids(&users, ANN).await, ["ann"]);
        }
    }
    if let Some(server) = mariadb::mariadb().await {
        for charset in ["latin1", "ascii", "utf8mb3", "koi8r", "sjis"] {
            let pool = mariadb::pool(&server.new_database(&format!("CHARACTER SET {charset}")).await).await;
            let database = MariaDb { pool };
            database.run(crate::database::USERS).await;
            database.run(crate::database::ANN_AND_BOB).await;
            let users = database.users();
            users.check_at_start().await.unwrap();
            for letter in ["я", "例", "𐐀", "\u{301}", "😀"] {
                assert!(ids(&users, &format!("a{letter}n@example.com")).await.is_empty(), "{charset} {letter}");
                assert!(users.find_by_id(letter).await.unwrap().is_none(), "{charset} {letter}");
            }
            assert_eq!(ids(&users, ANN).await, ["ann"]);
        }
    }
}

/// A user whose address has a letter of another character set can reset: the bytes of both sides are those of UTF-8.
async fn check_letter_beyond_ascii<D: TestDatabase>(database: &D) {
    let charset = if D::NAME == "MariaDB" { " CHARACTER SET latin1" } else { "" };
    database
        .run(&format!(
            "CREATE TABLE users (id VARCHAR(20){charset}, email VARCHAR(100){charset}, username VARCHAR(20){charset}, \
             active BOOLEAN, password_hash VARCHAR(100){charset}); \
             INSERT INTO users VALUES ('Jürgen', 'jürgen@example.com', 'Jürgen', TRUE, NULL)"
        ))
        .await;
    let users = database.users();
    let user = one(&users, "jürgen@EXAMPLE.com").await;
    assert_eq!((user.id(), user.email(), user.username()), ("Jürgen", "jürgen@example.com", Some("Jürgen")));
    assert_eq!(users.replace_password(&user, &"häsh".into()).await.unwrap(), Swap::Done);
    let user = users.find_by_id("Jürgen").await.unwrap().unwrap();
    assert_eq!(hash_of(&user).as_deref(), Some("häsh"));
    assert_eq!(users.replace_password(&user, &"again".into()).await.unwrap(), Swap::Done);
}

#[tokio::test]
async fn letters_beyond_ascii_are_compared_as_text() {
    on_every_database!(check_letter_beyond_ascii);
}

/// Two users whose addresses differ in case alone are both found, and each write concerns one of them.
async fn check_shared_address<D: TestDatabase>(database: &D) {
    database.run("INSERT INTO users (id, email, password_hash) VALUES ('ANN', 'ANN@EXAMPLE.com', 'c')").await;
    let users = database.users();
    let mut found = users.find_by_email("ann@example.com").await.unwrap();
    found.sort_by(|one, other| one.id().cmp(other.id()));
    let ids: Vec<_> = found.iter().map(|user| (user.id(), user.email())).collect();
    assert_eq!(ids, [("ANN", "ANN@EXAMPLE.com"), ("ann", "Ann@Example.com")], "{}", D::NAME);
    assert_eq!(users.replace_password(&found[0], &"new".into()).await.unwrap(), Swap::Done);
    let other = users.find_by_id("ann").await.unwrap().unwrap();
    assert_eq!(hash_of(&other).as_deref(), Some("a"), "{}", D::NAME);
}

#[tokio::test]
async fn users_whose_ids_and_addresses_differ_in_case_are_two() {
    if let Some(database) = Sqlite::with_users().await {
        check_shared_address(&database).await;
    }
    if let Some(database) = Postgres::with_users().await {
        check_shared_address(&database).await;
    }
    if let Some(database) = MariaDb::new().await {
        // The key would not take both ids with the default collation.
        database.run(&crate::database::USERS.replace("VARCHAR(64) PRIMARY KEY", "VARCHAR(64)")).await;
        database.run(crate::database::ANN_AND_BOB).await;
        check_shared_address(&database).await;
    }
}

/// A row with a NULL that must not be there does not hide other users with the same address.
async fn check_unreadable_rows<D: TestDatabase>(database: &D) {
    database
        .run(
            "CREATE TABLE users (id VARCHAR(20), email VARCHAR(100), username VARCHAR(20), active BOOLEAN, \
                 password_hash VARCHAR(100)); \
             INSERT INTO users VALUES ('no flag', 'ann@example.com', NULL, NULL, 'a'), \
                 (NULL, 'ann@example.com', NULL, TRUE, 'b'), ('good', 'ann@example.com', NULL, TRUE, 'c'), \
                 ('no address', NULL, NULL, TRUE, 'd')",
        )
        .await;
    let users = database.users();
    assert_eq!(ids(&users, "ann@example.com").await, ["good"], "{}", D::NAME);
    for id in ["no flag", "no address"] {
        assert!(users.find_by_id(id).await.unwrap().is_none(), "{}: {id}", D::NAME);
    }
}

#[tokio::test]
async fn unreadable_row_does_not_hide_other_users() {
    on_every_database!(check_unreadable_rows);
}

/// A pool tests a connection before it gives it out, so a call after a restart of the server succeeds.
#[tokio::test]
async fn connections_that_the_server_closed_are_replaced() {
    if let Some(database) = Postgres::with_users().await {
        let users = database.users();
        for _ in 0..3 {
            one(&users, ANN).await;
            let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                          WHERE datname = current_database() AND pid <> pg_backend_pid()";
            let options = (*database.pool.connect_options()).clone();
            let mut connection = sqlx::PgConnection::connect_with(&options).await.unwrap();
            sqlx::raw_sql(others).execute(&mut connection).await.unwrap();
        }
        assert_eq!(ids(&users, ANN).await, ["ann"]);
    }
    if let Some(database) = MariaDb::with_users().await {
        let users = database.users();
        let mut killer = sqlx::MySqlConnection::connect_with(&database.pool.connect_options()).await.unwrap();
        for _ in 0..3 {
            one(&users, ANN).await;
            let others = "SELECT CAST(id AS CHAR) FROM information_schema.processlist \
                          WHERE db = DATABASE() AND id <> CONNECTION_ID()";
            let others: Vec<String> = sqlx::query_scalar(others).fetch_all(&mut killer).await.unwrap();
            for other in others {
                sqlx::raw_sql(sqlx::AssertSqlSafe(format!("KILL {other}"))).execute(&mut killer).await.unwrap();
            }
        }
        assert_eq!(ids(&users, ANN).await, ["ann"]);
    }
}

/// Returns statements that create a table with many rows. The counter of the database shows whether an index was used.
fn many_rows(email: &str, index: &str, numbers: &str, address: &str) -> String {
    format!(
        "CREATE TABLE users (id BIGINT PRIMARY KEY, email {email}, password_hash VARCHAR(20)); \
         CREATE INDEX users_email ON users ({index}); \
         INSERT INTO users SELECT n, {address}, 'hash' FROM {numbers}; ANALYZE{} users",
        if numbers.starts_with("seq_") { " TABLE" } else { "" }
    )
}

#[tokio::test]
async fn look_ups_on_postgres_use_the_documented_indexes() {
    for (email, index) in [("text", "lower(email)"), ("varchar(100)", "lower(email)"), ("citext", "email")] {
        let Some(database) = Postgres::new().await else { return };
        database.run("CREATE EXTENSION citext").await;
        let address = "'user' || n || '@example.com'";
        database.run(&many_rows(email, index, "generate_series(1, 20000) AS n", address)).await;
        let users = PostgresUsers::new(database.pool.clone()).username_column(None).active_column(None);
        assert_eq!(ids(&users, "User7@example.com").await, ["7"], "{email}");
        assert!(users.find_by_id("7").await.unwrap().is_some());
        for used in ["users_email", "users_pkey"] {
            let sql = format!("SELECT idx_scan::text FROM pg_stat_user_indexes WHERE indexrelname = '{used}'");
            let begun = Instant::now();
            // The server publishes its counters once a second.
            while database.text(&sql).await.as_deref() != Some("1") {
                assert!(begun.elapsed() < Duration::from_secs(60), "{email}: a look-up does not use {used}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

#[tokio::test]
async fn look_ups_on_mariadb_use_the_documented_indexes() {
    for (email, is_used) in [
        ("VARCHAR(100)", true),
        ("VARCHAR(100) COLLATE utf8mb4_uca1400_ai_ci", true),
        ("VARCHAR(100) CHARACTER SET latin1", true),
        ("VARCHAR(100) COLLATE utf8mb4_bin", false),
    ] {
        let Some(database) = MariaDb::new().await else { return };
        let address = "concat('user', n, '@example.com')";
        database
            .run(
                &many_rows(email, "email", "seq_1_to_20000", address)
                    .replace("SELECT n", "SELECT seq AS n")
                    .replace("user', n", "user', seq"),
            )
            .await;
        // One connection, because it counts the rows that it read.
        let options = (*database.pool.connect_options()).clone();
        let pool = MySqlPoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
        let users = MySqlUsers::new(pool.clone()).username_column(None).active_column(None);
        users.check_at_start().await.unwrap();
        sqlx::query("FLUSH STATUS").execute(&pool).await.unwrap();
        assert_eq!(ids(&users, "User7@example.com").await, ["7"], "{email}");
        assert!(users.find_by_id("7").await.unwrap().is_some());
        let (_, rows): (String, String) =
            sqlx::query_as("SHOW SESSION STATUS LIKE 'Handler_read_rnd_next'").fetch_one(&pool).await.unwrap();
        assert_eq!(rows.parse::<u64>().unwrap() < 1000, is_used, "{email}: {rows} rows were read");
    }
}

#[tokio::test]
async fn look_up_on_sqlite_uses_the_documented_index() {
    let Some(database) = Sqlite::new().await else { return };
    database.run(&format!("{}; CREATE INDEX users_email ON users (lower(email))", crate::database::USERS)).await;
    let sql = "EXPLAIN QUERY PLAN SELECT id FROM users AS u WHERE lower(u.\"email\") = lower('Ann@Example.com')";
    let plan: (i64, i64, i64, String) = sqlx::query_as(sql).fetch_one(&database.pool).await.unwrap();
    assert!(plan.3.contains("users_email"), "{}", plan.3);
}
