//! SQLite, in memory or in a file.

use std::str::FromStr;
use std::time::Duration;

use poem_password_reset::Argon2id;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use tokio::time::{Instant, sleep};

use super::{DatabaseError, SEEDS, seed_hash};

/// The time for which opening a file is retried while another process holds its lock.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);
/// Pause between two attempts to open a locked file.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Opens the database, creates the table if it is missing, and inserts the sample users if it is empty.
pub(super) async fn open(url: &str, argon2id: &Argon2id) -> Result<SqlitePool, DatabaseError> {
    let options = SqliteConnectOptions::from_str(url)?.busy_timeout(Duration::from_secs(5));
    let pool = SqlitePoolOptions::new().idle_timeout(None).max_lifetime(None);
    if url.contains(":memory:") || url.contains("mode=memory") {
        // One connection, never closed: the database disappears with its last connection. Several connections would need a
        // shared cache, which locks whole tables, so they would wait for each other anyway.
        let pool = pool.max_connections(1).connect_with(options).await?;
        create(&pool, argon2id).await?;
        return Ok(pool);
    }
    // `Full` makes a password change that was reported to the user survive a power failure.
    let options = options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
    let deadline = Instant::now() + OPEN_DEADLINE;
    loop {
        // The switch to WAL ignores the busy timeout: it fails at once if another instance is switching the same new file.
        let opened = match pool.clone().max_connections(4).connect_with(options.clone()).await {
            Ok(pool) => create(&pool, argon2id).await.map(|()| pool),
            Err(error) => Err(error.into()),
        };
        match opened {
            Err(error) if is_busy(&error) && Instant::now() < deadline => sleep(RETRY_PAUSE).await,
            opened => return opened,
        }
    }
}

/// Returns `true` if another connection holds the lock (`SQLITE_BUSY`, in the low byte of the result code).
fn is_busy(error: &DatabaseError) -> bool {
    let DatabaseError::Sql(sqlx::Error::Database(error)) = error else { return false };
    error.code().and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| code & 0xff == 5)
}

/// Creates the table and the sample users in one transaction.
///
/// The transaction takes the write lock at its start: if several instances open one new file, one of them inserts the users.
async fn create(pool: &SqlitePool, argon2id: &Argon2id) -> Result<(), DatabaseError> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query(
        "CREATE TABLE IF NOT EXISTS users (
             id TEXT PRIMARY KEY,
             email TEXT NOT NULL,
             username TEXT,
             active BOOLEAN NOT NULL DEFAULT 1,
             password_hash TEXT
         )",
    )
    .execute(&mut *transaction)
    .await?;
    sqlx::query("CREATE INDEX IF NOT EXISTS users_email ON users (lower(email))").execute(&mut *transaction).await?;
    let has_users: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT * FROM users)").fetch_one(&mut *transaction).await?;
    if !has_users {
        for seed in &SEEDS {
            let hash = seed_hash(seed, argon2id)?;
            sqlx::query("INSERT INTO users (id, email, username, active, password_hash) VALUES (?, ?, ?, ?, ?)")
                .bind(seed.id)
                .bind(seed.email)
                .bind(seed.username)
                .bind(seed.active)
                .bind(hash)
                .execute(&mut *transaction)
                .await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn open_waits_for_a_lock_on_a_file_that_is_not_in_wal_mode_yet() {
        let directory = std::env::temp_dir().join(format!("demo-database-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let url = format!("sqlite://{}?mode=rwc", directory.join("demo.db").display());
        let other = SqlitePool::connect(&url).await.unwrap();
        let lock = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let release = async {
            sleep(Duration::from_millis(300)).await;
            lock.rollback().await.unwrap();
        };
        let argon2id = Argon2id::default();
        let (opened, ()) = tokio::join!(open(&url, &argon2id), release);
        let pool = opened.unwrap();
        let users: i64 = sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&pool).await.unwrap();
        assert_eq!(users, 4);
        pool.close().await;
        other.close().await;
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
