//! Every store fulfills the contract of `UserStore`, with each type of id and with other names.

use poem_password_reset::UserStore as _;
use poem_password_reset::store::IdType;
use poem_password_reset::testing::{Edit, check_user_store};

use crate::database::{MariaDb, Postgres, Settings, Sqlite, TestDatabase};

const ANN: &str = "Ann@Example.com";
const BOB: &str = "bob@example.com";
const ANN_UUID: &str = "01234567-89ab-4def-8123-456789abcdef";

/// Names of a table, quoted for statements, and of its email, active and hash columns.
struct Names {
    table: &'static str,
    email: &'static str,
    active: &'static str,
    hash: &'static str,
}

const DEFAULT: Names = Names { table: "users", email: "email", active: "active", hash: "password_hash" };

async fn check<D: TestDatabase>(database: &D, users: D::Users, names: Names) {
    let Names { table, email, active, hash } = names;
    check_user_store(users, ANN, BOB, async |edit| {
        let of_ann = format!("lower({email}) LIKE '%ann@example.com'");
        let (column, value) = match edit {
            Edit::Email(new) => (email, format!("'{new}'")),
            Edit::PasswordHash(new) => (hash, new.map_or_else(|| "NULL".to_owned(), |new| format!("'{new}'"))),
            Edit::Active(new) => (active, new.to_string()),
            _ => return database.run(&format!("DELETE FROM {table} WHERE {of_ann}")).await,
        };
        database.run(&format!("UPDATE {table} SET {column} = {value} WHERE {of_ann}")).await;
    })
    .await;
}

/// Checks a table whose id has this type. The values are those of Ann and Bob.
async fn check_ids<D: TestDatabase>(declared: &str, [ann, bob]: [&str; 2], id_type: IdType, text: &str) {
    let Some(database) = D::new().await else { return };
    println!("{}, {declared}", D::NAME);
    database
        .run(&format!(
            "CREATE TABLE users (id {declared} PRIMARY KEY, email VARCHAR(254) NOT NULL, username VARCHAR(254), \
                 active BOOLEAN NOT NULL DEFAULT TRUE, password_hash VARCHAR(255)); \
             INSERT INTO users (id, email, username, password_hash) VALUES \
                 ({ann}, 'Ann@Example.com', 'annie', 'a'), ({bob}, 'bob@example.com', NULL, 'b')"
        ))
        .await;
    let users = database.users();
    users.check_at_start().await.unwrap();
    users.clone().id_type(id_type).check_at_start().await.unwrap();
    let found = users.find_by_id(text).await.unwrap().unwrap();
    assert_eq!((found.id(), found.username(), found.is_active()), (text, Some("annie"), true));
    assert_eq!(users.find_by_email(BOB).await.unwrap()[0].username(), None);
    let others = [
        text.to_uppercase(),
        format!("+{text}"),
        format!("0{text}"),
        format!(" {text}"),
        format!("{text} "),
        format!("{text}abc"),
        format!("{text}.0"),
        format!("{text}\0"),
        format!("{{{text}}}"),
        text.replace('-', ""),
        "я".to_owned(),
        "9".repeat(400),
        String::new(),
    ];
    for other in others.iter().filter(|other| *other != text) {
        let found = users.find_by_id(other).await.unwrap_or_else(|error| panic!("{declared} {other:?}: {error}"));
        assert!(found.is_none(), "{declared}: {other:?} finds {text}");
    }
    check(&database, users, DEFAULT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn store_with_each_type_of_id_fulfills_the_contract_on_sqlite() {
    check_ids::<Sqlite>("TEXT", ["'ann'", "'bob'"], IdType::Text, "ann").await;
    check_ids::<Sqlite>("TEXT COLLATE NOCASE", ["'ann'", "'bob'"], IdType::Text, "ann").await;
    check_ids::<Sqlite>("INTEGER", ["41", "42"], IdType::Integer, "41").await;
    let uuids = ["x'0123456789ab4def8123456789abcdef'", "x'ffffffffffff4fffbfffffffffffffff'"];
    check_ids::<Sqlite>("BLOB", uuids, IdType::Uuid, ANN_UUID).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn store_with_each_type_of_id_fulfills_the_contract_on_postgres() {
    for declared in ["text", "varchar(40)", "text COLLATE \"C\""] {
        check_ids::<Postgres>(declared, ["'ann'", "'bob'"], IdType::Text, "ann").await;
    }
    for declared in ["smallint", "integer", "bigint"] {
        check_ids::<Postgres>(declared, ["41", "42"], IdType::Integer, "41").await;
    }
    let uuids = ["'01234567-89AB-4def-8123-456789abcdef'", "'ffffffff-ffff-4fff-bfff-ffffffffffff'"];
    check_ids::<Postgres>("uuid", uuids, IdType::Uuid, ANN_UUID).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn store_with_each_type_of_id_fulfills_the_contract_on_mariadb() {
    for declared in ["VARCHAR(40)", "CHAR(40)", "VARCHAR(40) COLLATE utf8mb4_bin", "VARCHAR(40) CHARACTER SET latin1"] {
        check_ids::<MariaDb>(declared, ["'ann'", "'bob'"], IdType::Text, "ann").await;
    }
    for declared in ["TINYINT", "INT", "INT UNSIGNED", "BIGINT", "BIGINT UNSIGNED"] {
        check_ids::<MariaDb>(declared, ["41", "42"], IdType::Integer, "41").await;
    }
    let uuids = ["x'0123456789ab4def8123456789abcdef'", "x'ffffffffffff4fffbfffffffffffffff'"];
    check_ids::<MariaDb>("BINARY(16)", uuids, IdType::Uuid, ANN_UUID).await;
    // A type of MariaDB alone, read as text.
    let uuids = ["'01234567-89AB-4def-8123-456789abcdef'", "'ffffffff-ffff-4fff-bfff-ffffffffffff'"];
    check_ids::<MariaDb>("UUID", uuids, IdType::Text, ANN_UUID).await;
}

/// Reserved words, spaces, quotes, upper case, non-ASCII letters and a schema.
async fn check_hostile_names<D: TestDatabase>(schema: &str, quote: char) {
    let Some(database) = D::new().await else { return };
    println!("{}", D::NAME);
    let quoted = |name: &str| format!("{quote}{}{quote}", name.replace(quote, &format!("{quote}{quote}")));
    let [id, email, active, hash, username, bound] =
        ["select", "E \"Mail\" `x`", "may sign in", "Ünïcode 日本", "User'Name", "last login;--"].map(quoted);
    let table = format!("{schema}.{}", quoted("Order; DROP"));
    database
        .run(&format!(
            "CREATE TABLE {table} ({id} BIGINT PRIMARY KEY, {email} VARCHAR(254) NOT NULL, {username} VARCHAR(254), \
                 {active} BOOLEAN NOT NULL DEFAULT TRUE, {hash} VARCHAR(255), {bound} VARCHAR(20))"
        ))
        .await;
    database
        .run(&format!(
            "INSERT INTO {table} ({id}, {email}, {hash}) VALUES (1, 'Ann@Example.com', 'a'), (2, 'bob@example.com', 'b')"
        ))
        .await;
    let users = database
        .users()
        .table(&format!("{schema}.Order; DROP"))
        .id_column("select")
        .email_column("E \"Mail\" `x`")
        .username_column(Some("User'Name"))
        .active_column(Some("may sign in"))
        .password_hash_column("Ünïcode 日本")
        .bind_column("last login;--");
    users.check_at_start().await.unwrap();
    let names = Names { table: table.leak(), email: email.leak(), active: active.leak(), hash: hash.leak() };
    check(&database, users, names).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_quoted_on_each_database() {
    check_hostile_names::<Sqlite>("main", '"').await;
    check_hostile_names::<Postgres>("public", '"').await;
    check_hostile_names::<MariaDb>("test", '`').await;
}
