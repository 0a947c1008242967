//! PostgreSQL.

use std::str::FromStr;

use poem_password_reset::Argon2id;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection as _, PgConnection};

use super::{DatabaseError, SEEDS, connected, seed_hash};

/// The lock that one instance holds while it creates the table, so that several can start on an empty database.
const LOCK: i64 = 0x706f_656d_7077_7264;

/// Connects, creates the table if it is missing, and inserts the sample users if it is empty.
pub(super) async fn open(url: &str, argon2id: &Argon2id) -> Result<PgPool, DatabaseError> {
    let options = PgConnectOptions::from_str(url)?;
    let mut connection = connected(PgConnection::connect_with(&options)).await?;
    create(&mut connection, argon2id).await?;
    connection.close().await?;
    Ok(PgPoolOptions::new().connect_lazy_with(options))
}

/// Creates the table if it is missing, and the sample users, in one transaction.
///
/// Looks for the table first, because `CREATE TABLE IF NOT EXISTS` needs the right to create even if the table exists.
async fn create(connection: &mut PgConnection, argon2id: &Argon2id) -> Result<(), DatabaseError> {
    let mut transaction = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *transaction).await?;
    let has_table: bool =
        sqlx::query_scalar("SELECT to_regclass('users') IS NOT NULL").fetch_one(&mut *transaction).await?;
    if !has_table {
        sqlx::query(
            "CREATE TABLE IF NOT EXISTS users (
                 id TEXT PRIMARY KEY,
                 email TEXT NOT NULL,
                 username TEXT,
                 active BOOLEAN NOT NULL DEFAULT true,
                 password_hash TEXT
             )",
        )
        .execute(&mut *transaction)
        .await?;
        sqlx::query("CREATE INDEX IF NOT EXISTS users_email ON users (lower(email))")
            .execute(&mut *transaction)
            .await?;
    }
    let has_users: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT * FROM users)").fetch_one(&mut *transaction).await?;
    if !has_users {
        for seed in &SEEDS {
            sqlx::query("INSERT INTO users (id, email, username, active, password_hash) VALUES ($1, $2, $3, $4, $5)")
                .bind(seed.id)
                .bind(seed.email)
                .bind(seed.username)
                .bind(seed.active)
                .bind(seed_hash(seed, argon2id)?)
                .execute(&mut *transaction)
                .await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}
