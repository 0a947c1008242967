//! The users table, in SQLite, PostgreSQL or MySQL: connects, creates the table, and inserts the sample users if it is empty.

mod mysql;
mod postgres;
mod sqlite;

use std::time::Duration;

use poem_password_reset::store::{MySqlUsers, PostgresUsers, SqliteUsers, Swap, UserStore};
use poem_password_reset::{Argon2id, BoxError, PasswordHash, PasswordHasher as _, StoredUser};
use sqlx::mysql::MySqlPool;
use sqlx::postgres::PgPool;
use sqlx::sqlite::SqlitePool;
use thiserror::Error;
use tokio::time::timeout;
use url::Url;

/// The password of the sample users.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// Time limit for the connection to a server at start.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// A sample user. The id is a number because anyone can read it in the token: it reveals nothing about the person.
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
    /// Returns why the user gets no mail and cannot sign in, or an empty string.
    pub(crate) fn remark(&self) -> &'static str {
        match (self.active, self.has_password) {
            (true, true) => "",
            (false, _) => "deactivated",
            (true, false) => "no password",
        }
    }
}

/// Why the database could not be opened. No variant repeats the URL, which may contain a password.
#[derive(Debug, Error)]
pub(crate) enum DatabaseError {
    #[error(
        "expected sqlite::memory:, sqlite://FILE?mode=rwc, postgres://USER[:PASSWORD]@HOST[:PORT]/NAME, \
         or mysql://USER[:PASSWORD]@HOST[:PORT]/NAME"
    )]
    Url,
    #[error("the server does not answer: {0}")]
    NoServer(sqlx::Error),
    #[error("the server did not answer within {} seconds", CONNECT_DEADLINE.as_secs())]
    Timeout,
    #[error("another instance has been creating the table for a long time")]
    Locked,
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[error("the passwords of the sample users could not be hashed: {0}")]
    Hash(BoxError),
}

/// The pool of connections to the database.
pub(crate) enum Database {
    Sqlite(SqlitePool),
    Postgres(PgPool),
    MySql(MySqlPool),
}

impl Database {
    /// Opens the database, creates the table if it is missing, and inserts the sample users if it is empty.
    pub(crate) async fn open(url: &str, argon2id: &Argon2id) -> Result<Self, DatabaseError> {
        Ok(match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => Self::Sqlite(sqlite::open(url, argon2id).await?),
            Some("postgres" | "postgresql") => Self::Postgres(postgres::open(url, argon2id).await?),
            Some("mysql" | "mariadb") => Self::MySql(mysql::open(url, argon2id).await?),
            _ => return Err(DatabaseError::Url),
        })
    }

    pub(crate) fn users(&self) -> Users {
        match self {
            Self::Sqlite(pool) => Users::Sqlite(SqliteUsers::new(pool.clone())),
            Self::Postgres(pool) => Users::Postgres(PostgresUsers::new(pool.clone())),
            Self::MySql(pool) => Users::MySql(MySqlUsers::new(pool.clone())),
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
            Self::MySql(pool) => pool.close().await,
        }
    }
}

/// The user store of the chosen database. An application has one database and uses its store directly.
#[derive(Clone)]
pub(crate) enum Users {
    Sqlite(SqliteUsers),
    Postgres(PostgresUsers),
    MySql(MySqlUsers),
}

impl UserStore for Users {
    type Error = BoxError;

    async fn find_by_email(&self, email: &str) -> Result<Vec<StoredUser>, BoxError> {
        match self {
            Self::Sqlite(users) => users.find_by_email(email).await,
            Self::Postgres(users) => users.find_by_email(email).await,
            Self::MySql(users) => users.find_by_email(email).await,
        }
    }

    async fn find_by_id(&self, id: &str) -> Result<Option<StoredUser>, BoxError> {
        match self {
            Self::Sqlite(users) => users.find_by_id(id).await,
            Self::Postgres(users) => users.find_by_id(id).await,
            Self::MySql(users) => users.find_by_id(id).await,
        }
    }

    async fn replace_password(&self, user: &StoredUser, new_hash: &PasswordHash) -> Result<Swap, BoxError> {
        match self {
            Self::Sqlite(users) => users.replace_password(user, new_hash).await,
            Self::Postgres(users) => users.replace_password(user, new_hash).await,
            Self::MySql(users) => users.replace_password(user, new_hash).await,
        }
    }

    async fn check_at_start(&self) -> Result<(), BoxError> {
        match self {
            Self::Sqlite(users) => users.check_at_start().await,
            Self::Postgres(users) => users.check_at_start().await,
            Self::MySql(users) => users.check_at_start().await,
        }
    }
}

/// Returns the URL without the user, the password and the parameters, which may contain a password too.
pub(crate) fn without_password(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) if url.scheme() != "sqlite" && url.has_host() => {
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
        }
        _ => url.to_owned(),
    }
}

/// Awaits a first connection. A pool would try again for its whole time limit and then report no reason.
async fn connected<C>(connecting: impl Future<Output = Result<C, sqlx::Error>>) -> Result<C, DatabaseError> {
    timeout(CONNECT_DEADLINE, connecting).await.map_err(|_| DatabaseError::Timeout)?.map_err(DatabaseError::NoServer)
}

/// Returns the hash of the password of a sample user, if the user has one.
fn seed_hash(seed: &Seed, argon2id: &Argon2id) -> Result<Option<String>, DatabaseError> {
    seed.has_password.then(|| argon2id.hash(PASSWORD)).transpose().map_err(DatabaseError::Hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_url_contains_no_password() {
        for (url, printed) in [
            ("sqlite::memory:", "sqlite::memory:"),
            ("memory:", "memory:"),
            ("sqlite://demo.db?mode=rwc", "sqlite://demo.db?mode=rwc"),
            ("postgres://ann:hunter2@db.example:5433/app?sslmode=require", "postgres://db.example:5433/app"),
            ("postgres://localhost/app?user=ann&password=hunter2", "postgres://localhost/app"),
            ("mysql://ann:hunter2@localhost/app", "mysql://localhost/app"),
        ] {
            assert_eq!(without_password(url), printed);
        }
    }
}
