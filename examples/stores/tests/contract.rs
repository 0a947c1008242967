//! The stores fulfill the contract of `UserStore` on PostgreSQL.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion, in its helpers too")]

#[path = "../../../tests/support/postgres.rs"]
mod postgres;
#[path = "../../../tests/support/server.rs"]
mod server;

use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::pooled_connection::bb8::Pool;
use poem_password_reset::UserStore;
use poem_password_reset::testing::{Edit, check_user_store};
use sqlx::{AssertSqlSafe, PgPool};
use stores::diesel_users::DieselUsers;
use stores::sea_orm_users::SeaOrmUsers;

const TABLE: &str = "CREATE TABLE users (id bigint PRIMARY KEY, email text NOT NULL, username text, \
    active boolean NOT NULL DEFAULT true, password_hash text); \
    CREATE INDEX users_email ON users (lower(email)); \
    INSERT INTO users (id, email, password_hash) VALUES (1, 'Ann@Example.com', 'a'), (2, 'bob@example.com', 'b')";

/// Creates a database with the table, and returns its URL and a pool.
async fn database() -> Option<(String, PgPool)> {
    let url = postgres::postgres().await?.new_database("").await;
    let pool = postgres::pool(&url).await;
    sqlx::raw_sql(TABLE).execute(&pool).await.unwrap();
    Some((url, pool))
}

async fn check<S: UserStore<Error: std::fmt::Debug>>(users: S, pool: PgPool) {
    check_user_store(users, "Ann@Example.com", "bob@example.com", async |edit| {
        let sql = match edit {
            Edit::Email(new) => format!("UPDATE users SET email = '{new}' WHERE id = 1"),
            Edit::PasswordHash(None) => "UPDATE users SET password_hash = NULL WHERE id = 1".to_owned(),
            Edit::PasswordHash(Some(new)) => format!("UPDATE users SET password_hash = '{new}' WHERE id = 1"),
            Edit::Active(new) => format!("UPDATE users SET active = {new} WHERE id = 1"),
            _ => "DELETE FROM users WHERE id = 1".to_owned(),
        };
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&pool).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sea_orm_users_fulfill_the_contract() {
    let Some((url, pool)) = database().await else { return };
    check(SeaOrmUsers(sea_orm::Database::connect(url).await.unwrap()), pool).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn diesel_users_fulfill_the_contract() {
    let Some((url, pool)) = database().await else { return };
    let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new(url);
    check(DieselUsers(Pool::builder().build(manager).await.unwrap()), pool).await;
}
