//! If several confirmations race with one token, exactly one succeeds, on each database.

use std::sync::Arc;

use poem_password_reset::{
    Client, NewPassword, PasswordPolicy, PasswordReset, Refusal, ResetError, Strength, UserStore as _,
};
use sqlx::mysql::MySqlPoolOptions;
use sqlx::postgres::PgPoolOptions;
use tokio::task::JoinSet;

use crate::database::{MariaDb, Postgres, Settings as _, Sqlite, TestDatabase, one};
use crate::doubles::{builder, cheap_hash, no_mail, verifies};

const ROUNDS: usize = 200;
const RACERS: usize = 64;
const ANN: &str = "Ann@Example.com";

/// A password reset with a cheap policy and hasher, so that confirmations reach the write quickly.
async fn racing<D: TestDatabase>(users: D::Users) -> PasswordReset {
    let policy = PasswordPolicy::default().strength(Strength::Any).allow_similar(true);
    builder(users).policy(policy).on_reset_token_created(no_mail).build().await.unwrap()
}

/// Races confirms with one token, each with a different password. Returns the passwords of the successful ones.
async fn race<D: TestDatabase>(reset: &PasswordReset, users: &D::Users, round: usize) -> Vec<String> {
    let event = reset.issue(&one(users, ANN).await, None).unwrap();
    let token: Arc<str> = event.token().expose().into();
    let mut racers = JoinSet::new();
    for racer in 0..RACERS {
        let (reset, token) = (reset.clone(), Arc::clone(&token));
        racers.spawn(async move {
            let password = format!("round {round}, racer {racer}");
            match reset.confirm(&token, NewPassword::new(password.as_str()), Client::none()).await {
                Ok(_) => Some(password),
                Err(ResetError::InvalidToken(error)) => {
                    assert!(matches!(error.refusal(), Refusal::LostRace | Refusal::Stale), "{error:?}");
                    None
                }
                Err(error) => panic!("a confirm failed with an unexpected error: {error:?}"),
            }
        });
    }
    racers.join_all().await.into_iter().flatten().collect()
}

/// Checks that each round has one winner, whose password is stored and whose statements ran.
async fn check<D: TestDatabase>(database: &D, rounds: usize) {
    database.run("CREATE TABLE resets (user_id VARCHAR(64))").await;
    let users = database.users().also_on_reset("INSERT INTO resets VALUES ({id})");
    let reset = racing::<D>(users.clone()).await;
    let hash = cheap_hash("the old password of Bob").unwrap();
    database.run(&format!("UPDATE users SET password_hash = '{hash}' WHERE id = 'bob'")).await;
    for round in 0..rounds {
        let winners = race::<D>(&reset, &users, round).await;
        assert_eq!(winners.len(), 1, "{}, round {round}: {winners:?}", D::NAME);
        assert!(verifies(&one(&users, ANN).await, &winners[0]), "{}, round {round}", D::NAME);
        let resets = database.text("SELECT CAST(count(*) AS CHAR(20)) FROM resets").await.unwrap();
        assert_eq!(resets.trim(), (round + 1).to_string(), "{}, round {round}", D::NAME);
    }
    assert!(verifies(&one(&users, "bob@example.com").await, "the old password of Bob"));
    println!("{}: {rounds} rounds of {RACERS} racers, one winner each", D::NAME);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_confirms_on_sqlite_have_one_winner() {
    let Some(database) = Sqlite::with_users().await else { return };
    check(&database, ROUNDS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_confirms_on_postgres_have_one_winner() {
    let Some(database) = Postgres::with_users().await else { return };
    check(&database, ROUNDS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_confirms_on_mariadb_have_one_winner() {
    let Some(database) = MariaDb::with_users().await else { return };
    check(&database, ROUNDS).await;
}

/// Under these levels the loser of a race gets an error instead of no rows. The store tries again and finds no row.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_confirms_with_strict_isolation_have_one_winner() {
    for level in ["repeatable read", "serializable"] {
        let Some(mut database) = Postgres::with_users().await else { return };
        let options = (*database.pool.connect_options()).clone().options([("default_transaction_isolation", level)]);
        database.pool = PgPoolOptions::new().max_connections(8).connect_with(options).await.unwrap();
        let shown = database.text("SHOW default_transaction_isolation").await;
        assert_eq!(shown.as_deref(), Some(level));
        check(&database, 20).await;
    }
    let Some(mut database) = MariaDb::with_users().await else { return };
    let options = (*database.pool.connect_options()).clone();
    let pool = MySqlPoolOptions::new().max_connections(8).after_connect(|connection, _| {
        Box::pin(async move {
            let sql = "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE, innodb_snapshot_isolation = ON";
            let sql = sql.replace(", innodb", "; SET SESSION innodb");
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(connection).await.map(drop)
        })
    });
    database.pool = pool.connect_with(options).await.unwrap();
    check(&database, 20).await;
}

/// Two resets whose statements update two rows in opposite order. The server ends the deadlock by rolling one back, and the
/// store tries it again.
async fn check_deadlock<D: TestDatabase>(database: &D, sleep: &str) {
    database.run("CREATE TABLE locks (id VARCHAR(64) PRIMARY KEY, n INT)").await;
    database.run("INSERT INTO locks VALUES ('ann', 0), ('bob', 0)").await;
    let users = database.users();
    let in_order = |first: &str, second: &str| {
        let users = users.clone().also_on_reset(&format!("UPDATE locks SET n = n + 1 WHERE id = '{first}'"));
        users.also_on_reset(sleep).also_on_reset(&format!("UPDATE locks SET n = n + 1 WHERE id = '{second}'"))
    };
    let (first, second) = (in_order("ann", "bob"), in_order("bob", "ann"));
    let (ann, bob) = (one(&users, ANN).await, one(&users, "bob@example.com").await);
    let (ann_hash, bob_hash) = ("a2".into(), "b2".into());
    let both = tokio::join!(first.replace_password(&ann, &ann_hash), second.replace_password(&bob, &bob_hash));
    assert_eq!((both.0.unwrap(), both.1.unwrap()), (poem_password_reset::Swap::Done, poem_password_reset::Swap::Done));
    let sum = database.text("SELECT CAST(sum(n) AS CHAR(20)) FROM locks").await.unwrap();
    assert_eq!(sum.trim(), "4", "{}: each statement ran once for each reset", D::NAME);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn deadlocked_writes_are_tried_again() {
    if let Some(database) = Postgres::with_users().await {
        check_deadlock(&database, "SELECT pg_sleep(0.5)").await;
    }
    if let Some(database) = MariaDb::with_users().await {
        check_deadlock(&database, "DO SLEEP(0.5)").await;
    }
}
