//! The users table: opened, created, and filled when it is empty.

use std::str::FromStr;
use std::time::Duration;

use poem_password_reset::{Argon2id, BoxError, PasswordHasher as _};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use thiserror::Error;

/// The password of the seeded users.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A user that an empty table is filled with. The id is a number because it can be read in the token: it says nothing
/// of the person.
pub(crate) struct Seed {
    id: &'static str,
    pub(crate) email: &'static str,
    pub(crate) username: &'static str,
    pub(crate) active: bool,
    pub(crate) has_password: bool,
}

pub(crate) const SEEDS: [Seed; 4] = [
    Seed { id: "1", email: "ann@example.com", username: "ann", active: true, has_password: true },
    Seed { id: "2", email: "bob@example.com", username: "bob", active: true, has_password: true },
    Seed { id: "3", email: "carol@example.com", username: "carol", active: false, has_password: true },
    Seed { id: "4", email: "dave@example.com", username: "dave", active: true, has_password: false },
];

impl Seed {
    /// What is special about the user, in words.
    pub(crate) fn remark(&self) -> &'static str {
        match (self.active, self.has_password) {
            (true, true) => "",
            (false, _) => "deactivated",
            (true, false) => "no password",
        }
    }
}

/// Why there is no database.
#[derive(Debug, Error)]
pub(crate) enum DatabaseError {
    // The URL is not repeated: those of other databases carry a password.
    #[error("only SQLite is supported so far: sqlite::memory: or sqlite://FILE?mode=rwc")]
    OtherScheme,
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[error("the passwords of the first users could not be hashed: {0}")]
    Hash(BoxError),
}

/// Opens the database, creates the table if there is none, and fills it if it is empty.
pub(crate) async fn open(url: &str, argon2id: &Argon2id) -> Result<SqlitePool, DatabaseError> {
    if !url.starts_with("sqlite:") {
        return Err(DatabaseError::OtherScheme);
    }
    let pool = SqlitePoolOptions::new().idle_timeout(None).max_lifetime(None);
    let options = SqliteConnectOptions::from_str(url)?.busy_timeout(Duration::from_secs(5));
    let pool = if url.contains(":memory:") || url.contains("mode=memory") {
        // One connection, kept for ever: the database is gone with its last one. More would have to share a cache, whose
        // tables are locked as a whole, so they would wait for each other all the same.
        pool.max_connections(1).connect_with(options).await?
    } else {
        // A password that was reported as changed has to be changed after a power cut too.
        let options = options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
        pool.max_connections(4).connect_with(options).await?
    };
    create(&pool, argon2id).await?;
    Ok(pool)
}

/// All in one transaction that takes the write lock first: of several instances that start on one new file, one seeds.
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
    let seeded: bool = sqlx::query_scalar("SELECT EXISTS (SELECT * FROM users)").fetch_one(&mut *transaction).await?;
    if !seeded {
        for seed in &SEEDS {
            let hash = seed.has_password.then(|| argon2id.hash(PASSWORD)).transpose().map_err(DatabaseError::Hash)?;
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
