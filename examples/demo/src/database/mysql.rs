//! MySQL and MariaDB.

use std::str::FromStr;

use poem_password_reset::Argon2id;
use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions};
use sqlx::{Connection as _, MySqlConnection};

use super::{DatabaseError, SEEDS, connected, seed_hash};

/// The time for which an instance waits while another one creates the table, in seconds.
const LOCK_SECONDS: i64 = 30;

/// Connects, creates the table if it is missing, and inserts the sample users if it is empty.
pub(super) async fn open(url: &str, argon2id: &Argon2id) -> Result<MySqlPool, DatabaseError> {
    let options = MySqlConnectOptions::from_str(url)?;
    if options.get_database().is_none_or(str::is_empty) {
        // A connection without a database would succeed, and every statement would fail.
        return Err(DatabaseError::Url);
    }
    let mut connection = connected(MySqlConnection::connect_with(&options)).await?;
    create(&mut connection, argon2id).await?;
    // The end of the connection releases the lock.
    connection.close().await?;
    Ok(MySqlPoolOptions::new().connect_lazy_with(options))
}

/// Creates the table, and the sample users in one transaction. One instance at a time: MySQL has no transactions for
/// `CREATE TABLE`. A lock is for the whole server, so its name contains the database.
///
/// Looks for the table first, because `CREATE TABLE IF NOT EXISTS` needs the right to create even if the table exists.
async fn create(connection: &mut MySqlConnection, argon2id: &Argon2id) -> Result<(), DatabaseError> {
    let sql = "SELECT GET_LOCK(SHA1(CONCAT('poem-password-reset demo ', DATABASE())), ?)";
    let is_locked: Option<i64> = sqlx::query_scalar(sql).bind(LOCK_SECONDS).fetch_one(&mut *connection).await?;
    if is_locked != Some(1) {
        return Err(DatabaseError::Locked);
    }
    let sql = "SELECT EXISTS (SELECT * FROM information_schema.tables WHERE table_schema = DATABASE() \
               AND table_name = 'users')";
    let has_table: bool = sqlx::query_scalar(sql).fetch_one(&mut *connection).await?;
    if !has_table {
        sqlx::query(
            "CREATE TABLE IF NOT EXISTS users (
                 id VARCHAR(64) PRIMARY KEY,
                 email VARCHAR(254) NOT NULL,
                 username VARCHAR(254),
                 active BOOLEAN NOT NULL DEFAULT TRUE,
                 password_hash VARCHAR(255),
                 INDEX users_email (email)
             )",
        )
        .execute(&mut *connection)
        .await?;
    }
    let mut transaction = connection.begin().await?;
    let has_users: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT * FROM users)").fetch_one(&mut *transaction).await?;
    if !has_users {
        for seed in &SEEDS {
            sqlx::query("INSERT INTO users (id, email, username, active, password_hash) VALUES (?, ?, ?, ?, ?)")
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
