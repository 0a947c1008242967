//! `condition`, `also_on_reset` and `bind_column`, on each database.

use poem_password_reset::{Client, PasswordPolicy, ResetError, Strength, Swap, UserStore as _};

use crate::database::{Settings as _, TestDatabase, hash_of, ids, on_every_database, one};
use crate::doubles::{GOOD_PASSWORD, builder, no_mail};

const ANN: &str = "Ann@Example.com";

/// Returns the number of rows of a table.
async fn count<D: TestDatabase>(database: &D, table: &str) -> String {
    let sql = format!("SELECT CAST(count(*) AS CHAR(20)) FROM {table}");
    database.text(&sql).await.unwrap().trim().to_owned()
}

async fn check_condition<D: TestDatabase>(database: &D) {
    database.run("ALTER TABLE users ADD COLUMN deleted_at VARCHAR(20)").await;
    database.run("ALTER TABLE users ADD COLUMN tenant INT").await;
    database.run("CREATE TABLE tenants (id INT, is_open BOOLEAN)").await;
    database.run("INSERT INTO tenants VALUES (1, TRUE), (2, FALSE)").await;
    let users = database
        .users()
        // Without parentheses around it, the OR would make every row match.
        .condition("tenant = 1 OR tenant = 2 -- a comment")
        .condition("deleted_at IS NULL")
        .condition("EXISTS (SELECT 1 FROM tenants AS t WHERE t.id = u.tenant AND t.is_open)");
    users.check_at_start().await.unwrap();
    database.run("UPDATE users SET tenant = 1").await;
    let ann = one(&users, ANN).await;
    assert_eq!(ids(&users, "bob@example.com").await, ["bob"]);
    for change in ["deleted_at = 'today'", "tenant = 2", "tenant = 3", "tenant = NULL"] {
        database.run(&format!("UPDATE users SET {change} WHERE id = 'ann'")).await;
        assert!(ids(&users, ANN).await.is_empty(), "{}: {change}", D::NAME);
        assert!(users.find_by_id("ann").await.unwrap().is_none(), "{}: {change}", D::NAME);
        let swap = users.replace_password(&ann, &"lost".into()).await.unwrap();
        assert_eq!(swap, Swap::Stale, "{}: {change}", D::NAME);
        assert_eq!(ids(&users, "bob@example.com").await, ["bob"], "{}: {change}", D::NAME);
        database.run("UPDATE users SET deleted_at = NULL, tenant = 1 WHERE id = 'ann'").await;
    }
    assert_eq!(users.replace_password(&ann, &"new".into()).await.unwrap(), Swap::Done);
}

#[tokio::test]
async fn condition_is_part_of_each_look_up_and_of_the_write() {
    on_every_database!(check_condition, with_users);
}

async fn check_also_on_reset<D: TestDatabase>(database: &D) {
    database.run("CREATE TABLE sessions (user_id VARCHAR(64), device VARCHAR(20))").await;
    database.run("CREATE TABLE audit (user_id VARCHAR(64), again VARCHAR(64), details VARCHAR(100))").await;
    database.run("INSERT INTO sessions VALUES ('ann', 'phone'), ('ann', 'laptop'), ('bob', 'phone')").await;
    let users = database
        .users()
        .also_on_reset("DELETE FROM sessions WHERE user_id = {id}")
        .also_on_reset("INSERT INTO audit (user_id, again, details) VALUES ({id}, {id}, '{\"event\": {\"by\": {}}}')");
    users.check_at_start().await.unwrap();
    let ann = one(&users, ANN).await;
    assert_eq!(users.replace_password(&ann, &"new".into()).await.unwrap(), Swap::Done);
    assert_eq!(count(database, "sessions").await, "1", "{}: Bob's session is left", D::NAME);
    let sql = "SELECT CONCAT(user_id, ' ', again, ' ', details) FROM audit";
    let sql = if D::NAME == "SQLite" { "SELECT user_id || ' ' || again || ' ' || details FROM audit" } else { sql };
    assert_eq!(database.text(sql).await.as_deref(), Some("ann ann {\"event\": {\"by\": {}}}"), "{}", D::NAME);
    // A write that changes nothing runs none of the statements.
    database.run("INSERT INTO sessions VALUES ('ann', 'tablet')").await;
    assert_eq!(users.replace_password(&ann, &"late".into()).await.unwrap(), Swap::Stale);
    assert_eq!((count(database, "sessions").await, count(database, "audit").await), ("2".to_owned(), "1".to_owned()));
}

#[tokio::test]
async fn statements_of_a_reset_run_for_this_user_only_and_after_a_write_only() {
    on_every_database!(check_also_on_reset, with_users);
}

async fn check_failing_statement<D: TestDatabase>(database: &D) {
    database.run("CREATE TABLE sessions (user_id VARCHAR(64))").await;
    database.run("CREATE TABLE audit (user_id VARCHAR(64) PRIMARY KEY)").await;
    database.run("INSERT INTO sessions VALUES ('ann')").await;
    database.run("INSERT INTO audit VALUES ('ann')").await;
    let users = database
        .users()
        .also_on_reset("DELETE FROM sessions WHERE user_id = {id}")
        .also_on_reset("INSERT INTO audit VALUES ({id})");
    let policy = PasswordPolicy::default().strength(Strength::Any);
    let reset = builder(users.clone()).policy(policy).on_reset_token_created(no_mail).build().await.unwrap();
    let event = reset.issue(&one(&users, ANN).await, None).unwrap();
    // The row of the audit table exists, so the second statement fails.
    let error = reset.confirm(event.token().expose(), GOOD_PASSWORD.into(), Client::none()).await.unwrap_err();
    assert!(matches!(error, ResetError::Unavailable { .. }), "{}: {error:?}", D::NAME);
    assert_eq!(hash_of(&one(&users, ANN).await).as_deref(), Some("a"), "{}: the old password is left", D::NAME);
    assert_eq!(count(database, "sessions").await, "1", "{}: the session is left", D::NAME);
    reset.validate(event.token().expose()).await.expect("the token stays valid");
    database.run("DELETE FROM audit").await;
    reset.confirm(event.token().expose(), GOOD_PASSWORD.into(), Client::none()).await.unwrap();
    assert_eq!((count(database, "sessions").await, count(database, "audit").await), ("0".to_owned(), "1".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_statement_of_a_reset_leaves_everything_unchanged() {
    on_every_database!(check_failing_statement, with_users);
}

/// The parameter has the type of the id column. Columns of another type need a cast.
async fn check_typed_ids<D: TestDatabase>(database: &D) {
    let types: &[(&str, &str)] = match D::NAME {
        "PostgreSQL" => &[("bigint", "41"), ("integer", "41"), ("uuid", "'01234567-89ab-4def-8123-456789abcdef'")],
        "MariaDB" => &[("BIGINT", "41"), ("BINARY(16)", "x'0123456789ab4def8123456789abcdef'")],
        _ => &[("INTEGER", "41"), ("BLOB", "x'0123456789ab4def8123456789abcdef'")],
    };
    for (declared, value) in types {
        database
            .run(&format!(
                "CREATE TABLE users (id {declared} PRIMARY KEY, email VARCHAR(100), password_hash VARCHAR(100)); \
                 CREATE TABLE sessions (user_id {declared}); CREATE TABLE audit (user_id {declared}); \
                 INSERT INTO users VALUES ({value}, 'ann@example.com', 'a'); INSERT INTO sessions VALUES ({value})"
            ))
            .await;
        let users = database
            .users()
            .username_column(None)
            .active_column(None)
            .also_on_reset("DELETE FROM sessions WHERE user_id = {id}")
            .also_on_reset("INSERT INTO audit VALUES ({id})");
        users.check_at_start().await.unwrap();
        let ann = one(&users, ANN).await;
        assert_eq!(users.replace_password(&ann, &"new".into()).await.unwrap(), Swap::Done);
        let counts = (count(database, "sessions").await, count(database, "audit").await);
        assert_eq!(counts, ("0".to_owned(), "1".to_owned()), "{} {declared}", D::NAME);
        database.run("DROP TABLE users; DROP TABLE sessions; DROP TABLE audit").await;
    }
}

#[tokio::test]
async fn id_in_statements_of_a_reset_has_the_type_of_its_column() {
    on_every_database!(check_typed_ids);
}

async fn check_bind_column<D: TestDatabase>(database: &D) {
    let columns: &[(&str, &str, &str)] = match D::NAME {
        "PostgreSQL" => &[
            ("epoch", "bigint", "2"),
            ("seen", "timestamptz", "'2026-12-01 10:00:00.000001+00'"),
            ("note", "text", "''"),
            ("raw", "bytea", "'\\x00'"),
            ("ratio", "double precision", "0.1"),
        ],
        "MariaDB" => &[
            ("epoch", "BIGINT", "2"),
            ("seen", "TIMESTAMP(6) NULL", "'2026-12-01 10:00:00.000001'"),
            ("note", "TEXT", "''"),
            ("raw", "BINARY(4)", "x'00'"),
            ("ratio", "DOUBLE", "0.1"),
        ],
        _ => &[("epoch", "INTEGER", "2"), ("seen", "TEXT", "'2026'"), ("note", "TEXT", "''"), ("raw", "BLOB", "x'00'")],
    };
    let mut users = database.users();
    for (column, declared, _) in columns {
        database.run(&format!("ALTER TABLE users ADD COLUMN {column} {declared}")).await;
        users = users.bind_column(column);
    }
    let reset = builder(users.clone()).on_reset_token_created(no_mail).build().await.unwrap();
    for (column, _, value) in columns {
        for (before, after) in [("NULL", *value), (*value, "NULL")] {
            database.run(&format!("UPDATE users SET {column} = {before} WHERE id = 'ann'")).await;
            let ann = one(&users, ANN).await;
            let event = reset.issue(&ann, None).unwrap();
            reset.validate(event.token().expose()).await.unwrap();
            database.run(&format!("UPDATE users SET {column} = {after} WHERE id = 'ann'")).await;
            let validated = reset.validate(event.token().expose()).await;
            assert!(validated.is_err(), "{} {column}: {before} became {after}", D::NAME);
            let swap = users.replace_password(&ann, &"lost".into()).await.unwrap();
            assert_eq!(swap, Swap::Stale, "{} {column}: {before} became {after}", D::NAME);
            database.run(&format!("UPDATE users SET {column} = {before} WHERE id = 'ann'")).await;
            let swap = users.replace_password(&ann, &format!("{column} {before}").into()).await.unwrap();
            assert_eq!(swap, Swap::Done, "{} {column}: {before}", D::NAME);
        }
    }
}

#[tokio::test]
async fn changed_bound_column_invalidates_token_and_pending_write() {
    on_every_database!(check_bind_column, with_users);
}
