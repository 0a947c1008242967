//! One interface to the three databases, for tests that must hold on each of them.

use std::fmt::Debug;
use std::str::FromStr as _;

use poem_password_reset::store::{IdType, MySqlUsers, PostgresUsers, SqliteUsers};
use poem_password_reset::{BoxError, PasswordHash, StoredUser, UserStore};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, MySqlPool, PgPool, SqlitePool};

use crate::server::TempDirectory;
use crate::{mariadb, postgres};

/// A table that all three databases accept.
pub(crate) const USERS: &str = "CREATE TABLE users (id VARCHAR(64) PRIMARY KEY, email VARCHAR(254) NOT NULL, \
    username VARCHAR(254), active BOOLEAN NOT NULL DEFAULT TRUE, password_hash VARCHAR(255))";

/// Ann and Bob, with passwords.
pub(crate) const ANN_AND_BOB: &str = "INSERT INTO users (id, email, password_hash) VALUES \
    ('ann', 'Ann@Example.com', 'a'), ('bob', 'bob@example.com', 'b')";

/// A store with the settings that the tests use.
pub(crate) trait Settings: UserStore<Error = BoxError> + Clone + Debug {
    fn table(self, name: &str) -> Self;
    fn id_type(self, id_type: IdType) -> Self;
    fn id_column(self, name: &str) -> Self;
    fn email_column(self, name: &str) -> Self;
    fn username_column(self, name: Option<&str>) -> Self;
    fn active_column(self, name: Option<&str>) -> Self;
    fn password_hash_column(self, name: &str) -> Self;
    fn bind_column(self, name: &str) -> Self;
    fn condition(self, sql: &str) -> Self;
    fn also_on_reset(self, sql: &str) -> Self;
}

/// An empty database on one of the servers.
pub(crate) trait TestDatabase: Sized {
    const NAME: &str;
    type Users: Settings;

    /// Creates a database, or returns `None` if the server is not installed.
    async fn new() -> Option<Self>;

    /// Returns a store over the table `users`.
    fn users(&self) -> Self::Users;

    /// Runs statements, separated by semicolons.
    async fn try_run(&self, sql: &str) -> Result<(), sqlx::Error>;

    /// Returns the text in the first column of the first row.
    async fn text(&self, sql: &str) -> Option<String>;

    async fn run(&self, sql: &str) {
        self.try_run(sql).await.unwrap_or_else(|error| panic!("{}: {sql}: {error}", Self::NAME));
    }

    /// Creates a database with the table `users`, Ann and Bob.
    async fn with_users() -> Option<Self> {
        let database = Self::new().await?;
        database.run(USERS).await;
        database.run(ANN_AND_BOB).await;
        Some(database)
    }
}

/// Runs an async function with an empty database on each server.
macro_rules! on_every_database {
    ($check:ident) => {
        on_every_database!($check, new)
    };
    ($check:ident, $create:ident) => {
        if let Some(database) = <crate::database::Sqlite as crate::database::TestDatabase>::$create().await {
            $check(&database).await;
        }
        if let Some(database) = <crate::database::Postgres as crate::database::TestDatabase>::$create().await {
            $check(&database).await;
        }
        if let Some(database) = <crate::database::MariaDb as crate::database::TestDatabase>::$create().await {
            $check(&database).await;
        }
    };
}
pub(crate) use on_every_database;

/// SQLite in a file, with several connections.
pub(crate) struct Sqlite {
    pub(crate) pool: SqlitePool,
    _directory: TempDirectory,
}

pub(crate) struct Postgres {
    pub(crate) pool: PgPool,
}

pub(crate) struct MariaDb {
    pub(crate) pool: MySqlPool,
}

impl Sqlite {
    async fn create() -> Option<Self> {
        let directory = TempDirectory::new();
        let url = format!("sqlite://{}?mode=rwc", directory.path().join("users.db").display());
        let options = SqliteConnectOptions::from_str(&url).unwrap().journal_mode(SqliteJournalMode::Wal);
        let pool = SqlitePoolOptions::new().max_connections(8).connect_with(options).await.unwrap();
        Some(Self { pool, _directory: directory })
    }
}

impl Postgres {
    async fn create() -> Option<Self> {
        Some(Self { pool: postgres::pool(&postgres::postgres().await?.new_database("").await).await })
    }
}

impl MariaDb {
    async fn create() -> Option<Self> {
        Some(Self { pool: mariadb::pool(&mariadb::mariadb().await?.new_database("").await).await })
    }
}

macro_rules! test_database {
    ($database:ident, $users:ident, $name:literal) => {
        impl TestDatabase for $database {
            const NAME: &str = $name;
            type Users = $users;

            async fn new() -> Option<Self> {
                Self::create().await
            }

            fn users(&self) -> $users {
                $users::new(self.pool.clone())
            }

            async fn try_run(&self, sql: &str) -> Result<(), sqlx::Error> {
                sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&self.pool).await.map(drop)
            }

            async fn text(&self, sql: &str) -> Option<String> {
                let sql = AssertSqlSafe(sql.to_owned());
                sqlx::query_scalar::<_, Option<String>>(sql).fetch_optional(&self.pool).await.unwrap().flatten()
            }
        }

        impl Settings for $users {
            fn table(self, name: &str) -> Self {
                $users::table(self, name)
            }

            fn id_type(self, id_type: IdType) -> Self {
                $users::id_type(self, id_type)
            }

            fn id_column(self, name: &str) -> Self {
                $users::id_column(self, name)
            }

            fn email_column(self, name: &str) -> Self {
                $users::email_column(self, name)
            }

            fn username_column(self, name: Option<&str>) -> Self {
                $users::username_column(self, name)
            }

            fn active_column(self, name: Option<&str>) -> Self {
                $users::active_column(self, name)
            }

            fn password_hash_column(self, name: &str) -> Self {
                $users::password_hash_column(self, name)
            }

            fn bind_column(self, name: &str) -> Self {
                $users::bind_column(self, name)
            }

            fn condition(self, sql: &str) -> Self {
                $users::condition(self, sql)
            }

            fn also_on_reset(self, sql: &str) -> Self {
                $users::also_on_reset(self, sql)
            }
        }
    };
}

test_database!(Sqlite, SqliteUsers, "SQLite");
test_database!(Postgres, PostgresUsers, "PostgreSQL");
test_database!(MariaDb, MySqlUsers, "MariaDB");

/// Returns the only user with this address.
pub(crate) async fn one(users: &impl UserStore<Error = BoxError>, email: &str) -> StoredUser {
    let mut found = users.find_by_email(email).await.unwrap();
    assert_eq!(found.len(), 1, "{email}");
    found.remove(0)
}

/// Returns the ids of the users with this address.
pub(crate) async fn ids(users: &impl UserStore<Error = BoxError>, email: &str) -> Vec<String> {
    let found = users.find_by_email(email).await.unwrap_or_else(|error| panic!("{email}: {error}"));
    found.iter().map(|user| user.id().to_owned()).collect()
}

pub(crate) fn hash_of(user: &StoredUser) -> Option<String> {
    user.password_hash().map(|hash| PasswordHash::expose(hash).to_owned())
}
