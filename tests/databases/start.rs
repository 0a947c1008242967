//! The check at start, on each database.

use poem_password_reset::UserStore as _;
use poem_password_reset::store::{IdType, MySqlUsers, PostgresUsers};
use sqlx::mysql::MySqlPoolOptions;
use sqlx::postgres::PgPoolOptions;

use crate::database::{MariaDb, Postgres, Settings as _, TestDatabase, on_every_database};
use crate::mariadb;

/// Returns the error of the check.
async fn refused<D: TestDatabase>(users: D::Users) -> String {
    users.check_at_start().await.unwrap_err().to_string()
}

fn assert_contains(name: &str, text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{name}: {part}: {text}");
    }
}

async fn check_missing_columns<D: TestDatabase>(database: &D) {
    let reason = refused::<D>(database.users()).await;
    assert_contains(D::NAME, &reason, &["there is no table `users`, and no other"]);
    database
        .run(
            "CREATE TABLE accounts (user_id INTEGER PRIMARY KEY, mail VARCHAR(99) NOT NULL, login VARCHAR(99), \
              is_active BOOLEAN NOT NULL, password VARCHAR(99))",
        )
        .await;
    let reason = refused::<D>(database.users()).await;
    let expected = "there is no table `users` (name it with `.table(\"accounts\")`); the tables are `accounts`";
    assert_eq!(reason, expected, "{}", D::NAME);
    let users = database.users().table("accounts").bind_column("epoch");
    let reason = refused::<D>(users.clone()).await;
    assert_contains(
        D::NAME,
        &reason,
        &[
            "the table `accounts` has no column `id` (name it with `.id_column(\"user_id\")`)",
            "no column `email` (name it with `.email_column(\"mail\")`)",
            "no column `password_hash` (name it with `.password_hash_column(\"password\")`)",
            "no column `active` (name it with `.active_column(\"is_active\")`, or say that every user is active",
            "no column `username` (name it with `.username_column(\"login\")`, or say that there is none",
            "no column `epoch` (it is given to `.bind_column(..)`)",
            "its columns are `user_id`, `mail`, `login`, `is_active`, `password`",
        ],
    );
    assert_eq!(refused::<D>(users).await, reason, "{}: no statement that failed is kept", D::NAME);
    let users = database.users().table("accounts").id_column("user_id").email_column("mail");
    let users = users.username_column(Some("login")).active_column(Some("is_active")).password_hash_column("password");
    users.check_at_start().await.unwrap();
}

#[tokio::test]
async fn missing_table_and_columns_are_named_with_their_setters() {
    on_every_database!(check_missing_columns);
}

async fn check_sql<D: TestDatabase>(database: &D) {
    for (sql, parts) in [
        ("delete_at IS NULL", &["`.condition(\"delete_at IS NULL\")`: ", "delete_at"][..]),
        ("active AND", &["`.condition(\"active AND\")`: "]),
        ("active) OR (TRUE", &[]),
    ] {
        let checked = database.users().condition(sql).check_at_start().await;
        if parts.is_empty() {
            // Balanced, so it compiles. The developer wrote it, so it is not checked further.
            checked.unwrap();
        } else {
            assert_contains(D::NAME, &checked.unwrap_err().to_string(), parts);
        }
    }
    let parameter = if D::NAME == "PostgreSQL" { "username = $1" } else { "username = ?" };
    let reason = refused::<D>(database.users().condition(parameter)).await;
    assert_contains(D::NAME, &reason, &["`.condition(\"", "the SQL has a parameter, which has no value here"]);
    for (sql, part) in [
        ("DELETE FROM sessions WHERE user_id = {id}", "sessions"),
        ("DELETE FROM users WHERE", ""),
        ("UPDATE users SET username = '{id}'", "write {id} without quotes"),
    ] {
        let users = database.users().also_on_reset("UPDATE users SET username = NULL WHERE id = {id}");
        users.check_at_start().await.unwrap();
        let reason = refused::<D>(users.also_on_reset(sql)).await;
        assert_contains(D::NAME, &reason, &[&format!("`.also_on_reset(\"{sql}\")`: "), part]);
    }
    let hash = database.text("SELECT password_hash FROM users WHERE id = 'ann'").await;
    assert_eq!(hash.as_deref(), Some("a"), "{}: the check writes nothing", D::NAME);
}

#[tokio::test]
async fn sql_of_the_application_that_does_not_compile_is_named() {
    on_every_database!(check_sql, with_users);
}

#[tokio::test]
async fn id_type_that_does_not_fit_the_column_is_an_error() {
    if let Some(database) = Postgres::with_users().await {
        for id_type in [IdType::Integer, IdType::Uuid] {
            let reason = refused::<Postgres>(database.users().id_type(id_type)).await;
            let expected = format!("character varying(64), which `.id_type(IdType::{id_type:?})` cannot read");
            assert_contains("PostgreSQL", &reason, &["the column `id` has the type", &expected]);
        }
    }
    if let Some(database) = MariaDb::with_users().await {
        for id_type in [IdType::Integer, IdType::Uuid] {
            let users = database.users().id_type(id_type);
            let reason = refused::<MariaDb>(users.clone()).await;
            let expected = format!("varchar(64), which `.id_type(IdType::{id_type:?})` cannot read");
            assert_contains("MariaDB", &reason, &["the column `id` has the type", &expected]);
            assert!(users.find_by_id("1").await.is_err(), "also without the check");
        }
    }
}

#[tokio::test]
async fn role_that_may_not_update_is_refused() {
    if let Some(database) = Postgres::with_users().await {
        database.run("CREATE ROLE reader LOGIN; GRANT SELECT ON users TO reader").await;
        let options = (*database.pool.connect_options()).clone();
        let pool = PgPoolOptions::new().connect_with(options.clone().username("reader")).await.unwrap();
        let reason = refused::<Postgres>(PostgresUsers::new(pool.clone())).await;
        let expected = "the role `reader` may not update the column `password_hash` of the table `users`";
        assert_eq!(reason, expected);
        // The right to update this column is enough.
        database.run("GRANT UPDATE (password_hash) ON users TO reader").await;
        PostgresUsers::new(pool).check_at_start().await.unwrap();
        let read_only = options.options([("default_transaction_read_only", "on")]);
        let pool = PgPoolOptions::new().connect_with(read_only).await.unwrap();
        let reason = refused::<Postgres>(PostgresUsers::new(pool)).await;
        assert_eq!(reason, "the database is read-only: is this a standby server?");
    }
    if let Some(database) = MariaDb::with_users().await {
        let url = mariadb::mariadb().await.unwrap().url("");
        let name = database.text("SELECT DATABASE()").await.unwrap();
        database
            .run(&format!("CREATE USER reader@'%' IDENTIFIED BY 'r'; GRANT SELECT ON {name}.* TO reader@'%'"))
            .await;
        let url = format!("{}{name}", url.replace("app:app", "reader:r"));
        let pool = mariadb::pool(&url).await;
        let reason = refused::<MariaDb>(MySqlUsers::new(pool)).await;
        assert_contains("MariaDB", &reason, &["UPDATE command denied"]);
    }
}

/// MySQL and MariaDB find a column whatever the case of its name.
#[tokio::test]
async fn column_name_in_another_case_works_on_mysql() {
    let Some(database) = MariaDb::with_users().await else { return };
    let users = database.users().id_column("ID").email_column("Email").password_hash_column("Password_Hash");
    users.check_at_start().await.unwrap();
    assert_eq!(crate::database::ids(&users, "Ann@example.com").await, ["ann"]);
}

#[tokio::test]
async fn read_only_mysql_server_is_refused_unless_the_user_may_write() {
    let Some(server) = mariadb::MariaDb::start_own(Vec::new()).await else { return };
    let sql = format!(
        "{}; CREATE USER writer@'%' IDENTIFIED BY 'w'; GRANT SELECT, UPDATE ON test.* TO writer@'%'; \
         SET GLOBAL read_only = ON",
        crate::database::USERS
    );
    let admin = mariadb::pool(&server.url("test")).await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&admin).await.unwrap();
    let writer = mariadb::pool(&server.url("test").replace("app:app", "writer:w")).await;
    let reason = refused::<MariaDb>(MySqlUsers::new(writer.clone())).await;
    assert_eq!(reason, "the database is read-only: is this server a replica?");
    MySqlUsers::new(admin.clone()).check_at_start().await.unwrap();
    sqlx::raw_sql("SET GLOBAL read_only = OFF").execute(&admin).await.unwrap();
    let one =
        MySqlPoolOptions::new().max_connections(1).connect_with((*writer.connect_options()).clone()).await.unwrap();
    MySqlUsers::new(one.clone()).check_at_start().await.unwrap();
    // A transaction that the check left open would take later writes on the same connection with it.
    let in_transaction: u64 = sqlx::query_scalar("SELECT @@in_transaction").fetch_one(&one).await.unwrap();
    assert_eq!(in_transaction, 0);
}

#[tokio::test]
async fn debug_of_a_store_shows_no_password() {
    let pool = sqlx::PgPool::connect_lazy("postgres://app:hunter2@127.0.0.1:1/app").unwrap();
    let text = format!("{:?}", PostgresUsers::new(pool));
    assert!(text.contains("password_hash") && !text.contains("hunter2"), "{text}");
    let pool = sqlx::MySqlPool::connect_lazy("mysql://app:hunter2@127.0.0.1:1/app").unwrap();
    let text = format!("{:?}", MySqlUsers::new(pool));
    assert!(text.contains("password_hash") && !text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn table_in_another_schema_is_suggested_and_works() {
    if let Some(database) = Postgres::new().await {
        let table = crate::database::USERS.replace("TABLE users", "TABLE auth.users");
        database.run(&format!("CREATE SCHEMA auth; {table}")).await;
        let reason = refused::<Postgres>(database.users()).await;
        assert_contains("PostgreSQL", &reason, &["`.table(\"auth.users\")`"]);
        let users = database.users().table("auth.users");
        users.check_at_start().await.unwrap();
        database.run("INSERT INTO auth.users (id, email) VALUES ('ann', 'ann@example.com')").await;
        assert_eq!(crate::database::ids(&users, "Ann@example.com").await, ["ann"]);
    }
    if let Some(database) = MariaDb::with_users().await {
        let name = database.text("SELECT DATABASE()").await.unwrap();
        let other = MariaDb::new().await.unwrap();
        let users = other.users().table(format!("{name}.users"));
        users.check_at_start().await.unwrap();
        assert_eq!(crate::database::ids(&users, "Ann@example.com").await, ["ann"]);
    }
}
