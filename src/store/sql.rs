//! [`SqlUsers`]: users in a table of an SQL database.

mod check;
mod dialect;
mod driver;
mod id;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
mod row;
mod settings;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statement;

use std::sync::Arc;

use sqlx::Pool;
use tokio::sync::OnceCell;

use self::dialect::{Dialect, Folding, Layout};
use self::id::Id;
pub use self::id::IdType;
use super::{Swap, UserStore};
use crate::email;
use crate::error::BoxError;
use crate::secret::PasswordHash;
use crate::user::StoredUser;

/// Users in a table of an SQLite database (feature `sqlite`). [`SqlUsers`] documents the settings.
///
/// A table for the default settings:
///
/// ```sql
/// CREATE TABLE users (
///     id            INTEGER PRIMARY KEY,
///     email         TEXT NOT NULL,
///     username      TEXT,
///     active        BOOLEAN NOT NULL DEFAULT 1,
///     password_hash TEXT
/// );
/// CREATE INDEX users_email ON users (lower(email));
/// ```
///
/// The type of the id is the most frequent one among the first 16 rows: integers, texts, or UUIDs as 16 bytes. The declared
/// type does not matter, because SQLite stores values of any type in any column. A row whose id has another type is logged
/// and skipped.
///
/// SQLite's `lower()` folds ASCII only, so a look-up of a non-ASCII address is case-sensitive in its non-ASCII letters. The
/// index on `lower(email)` makes look-ups by address fast.
///
/// ```no_run
/// use poem_password_reset::store::{IdType, SqliteUsers};
/// # async fn example() -> Result<(), sqlx::Error> {
/// let pool = sqlx::SqlitePool::connect("sqlite://app.db").await?;
/// let users = SqliteUsers::new(pool)
///     .table("accounts")
///     .id_column("account_id")
///     .id_type(IdType::Integer)
///     .email_column("mail")
///     .active_column(None);
/// # Ok(()) }
/// ```
#[cfg(feature = "sqlite")]
pub type SqliteUsers = SqlUsers<sqlx::Sqlite>;

/// Users in a table of a PostgreSQL database (feature `postgres`). [`SqlUsers`] documents the settings.
///
/// A table for the default settings:
///
/// ```sql
/// CREATE TABLE users (
///     id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
///     email         text NOT NULL,
///     username      text,
///     active        boolean NOT NULL DEFAULT true,
///     password_hash text
/// );
/// CREATE INDEX users_email ON users (lower(email));
/// ```
///
/// The type of the id is that of its column: `smallint`, `integer` and `bigint` are [`IdType::Integer`], `uuid` is
/// [`IdType::Uuid`], and everything else is [`IdType::Text`].
///
/// Look-ups by address compare `lower(email)` and use an index on it. Non-ASCII letters are folded by the rules of the
/// column's collation. A column of the type `citext` is compared directly and uses its own index. If the collation is
/// Turkish, in which `i` is not the small letter of `I`, look-ups compare `lower(email COLLATE "C")`.
///
/// ```no_run
/// use poem_password_reset::store::PostgresUsers;
/// # async fn example() -> Result<(), sqlx::Error> {
/// let pool = sqlx::PgPool::connect("postgres://app@localhost/app").await?;
/// let users = PostgresUsers::new(pool)
///     .table("auth.accounts")
///     .condition("deleted_at IS NULL")
///     .also_on_reset("DELETE FROM auth.sessions WHERE account_id = {id}");
/// # Ok(()) }
/// ```
#[cfg(feature = "postgres")]
pub type PostgresUsers = SqlUsers<sqlx::Postgres>;

/// Users in a table of a MySQL or MariaDB database (feature `mysql`). [`SqlUsers`] documents the settings.
///
/// A table for the default settings:
///
/// ```sql
/// CREATE TABLE users (
///     id            BIGINT PRIMARY KEY AUTO_INCREMENT,
///     email         VARCHAR(254) NOT NULL,
///     username      VARCHAR(254),
///     active        BOOLEAN NOT NULL DEFAULT TRUE,
///     password_hash VARCHAR(255),
///     INDEX (email)
/// );
/// ```
///
/// The type of the id is that of its column: `TINYINT` to `BIGINT` are [`IdType::Integer`], `BINARY(16)` is [`IdType::Uuid`],
/// and everything else is [`IdType::Text`].
///
/// Look-ups by address use the index of the column, if its collation ignores case, as the default collations do. The address
/// in each row is compared again, because such a collation also ignores accents, and most ignore trailing spaces. With a
/// collation that ends in `_bin` or `_cs`, look-ups compare `lower(convert(email using utf8mb4))`. MySQL can index this
/// expression, and MariaDB cannot.
///
/// # MySQL 8 needs an encrypted connection
///
/// Users of MySQL 8 sign in with `caching_sha2_password`. After a start of the server, the first sign-in of a user sends the
/// password and needs TLS. sqlx encrypts if your application enables one of its TLS features, for example
/// `sqlx = { version = "0.9", features = ["tls-rustls-ring"] }`, and uses TLS if the server offers it. Without encryption the
/// connection fails with "RSA auth backend disabled". It can also work until the server restarts, because the server accepts
/// a user whose password it still has in its cache. In a private network sqlx's feature `mysql-rsa` works without TLS. It uses
/// the crate `rsa`, to which RUSTSEC-2023-0071 applies.
///
/// The store relies on nothing else that differs between MySQL and MariaDB: sqlx asks for the number of rows that an `UPDATE`
/// matched (`CLIENT_FOUND_ROWS`), and collations such as `utf8mb4_0900_ai_ci` (`NO PAD`) only decide which rows are compared
/// again. The tests run on MariaDB.
///
/// ```no_run
/// use poem_password_reset::store::MySqlUsers;
/// # async fn example() -> Result<(), sqlx::Error> {
/// let pool = sqlx::MySqlPool::connect("mysql://app@localhost/app").await?;
/// let users = MySqlUsers::new(pool)
///     .table("accounts")
///     .username_column(None)
///     .also_on_reset("DELETE FROM sessions WHERE account_id = {id}");
/// # Ok(()) }
/// ```
#[cfg(feature = "mysql")]
pub type MySqlUsers = SqlUsers<sqlx::MySql>;

/// Users in a table of an SQL database: SQLite, PostgreSQL, MySQL or MariaDB.
///
/// Use it through the alias of your database: [`SqliteUsers`], [`PostgresUsers`] or [`MySqlUsers`].
///
/// # Defaults
///
/// The default table is `users` with the columns `id`, `email`, `username`, `active` and `password_hash`. A setter changes
/// each name. [`username_column(None)`](Self::username_column) and [`active_column(None)`](Self::active_column) are for
/// tables without these columns. The alias of each database shows a table for the defaults.
///
/// [`build()`](crate::PasswordResetBuilder::build) checks the table and refuses to start if the table or a column does not
/// exist. The error names each missing column and the setter that corrects it. The check also prepares every statement,
/// and on PostgreSQL, MySQL and MariaDB finds out whether the user may update the table and whether the server is read-only.
/// SQLite reports a read-only file at the first write only.
///
/// # Comparisons
///
/// Addresses are found without regard to case, whatever the collation of the column. The write compares address, password
/// hash and [bound columns](Self::bind_column) byte for byte, and ids are compared exactly in their own type. An address
/// or an id that the database cannot represent belongs to no user and is not an error.
///
/// A row that cannot be read, for example because a value has the wrong type, is logged with its id and skipped. Other users
/// with the same address still get their mail.
///
/// # Errors
///
/// If the database rolls a write back because of a deadlock or a serialization failure, the write is tried again, three
/// times at most. Nothing was written, so this is safe. All other errors are returned.
#[derive(Debug)]
pub struct SqlUsers<D: Dialect> {
    pool: Pool<D>,
    settings: Settings,
}

/// The settings of [`SqlUsers`].
#[derive(Clone, Debug)]
struct Settings {
    table: String,
    id: String,
    id_type: Option<IdType>,
    /// The layout read from the table, shared by the clones. The setters of the table and its columns reset it.
    layout: Arc<OnceCell<Layout>>,
    email: String,
    username: Option<String>,
    active: Option<String>,
    password_hash: String,
    bound: Vec<String>,
    conditions: Vec<String>,
    also: Vec<String>,
}

impl<D: Dialect> Clone for SqlUsers<D> {
    fn clone(&self) -> Self {
        Self { pool: self.pool.clone(), settings: self.settings.clone() }
    }
}

/// How often a write is tried if the database rolls it back because of a concurrent transaction.
const MAX_TRIES: u32 = 3;

impl<D: Dialect> SqlUsers<D> {
    /// Returns the layout of the table, read at the first call.
    async fn layout(&self) -> Result<Layout, BoxError> {
        if let Some(layout) = self.settings.layout.get() {
            return Ok(*layout);
        }
        match D::layout(self).await? {
            Some(layout) => {
                // Look-ups that race read the same layout.
                let _ = self.settings.layout.set(layout);
                Ok(layout)
            }
            // Any type works for a table without users. Not stored, because the first row determines the type.
            None => Ok(Layout { id_type: self.settings.id_type.unwrap_or(IdType::Text), email: Folding::Lower }),
        }
    }

    /// Swaps the hash and runs the statements that belong to a reset, in one transaction.
    async fn swap(&self, expected: &ExpectedUser<'_>, new_hash: &PasswordHash) -> Result<Swap, sqlx::Error> {
        let update = self.update(expected, new_hash.expose());
        if self.settings.also.is_empty() {
            // One statement is a transaction of its own, and costs one round trip instead of three.
            let mut connection = self.pool.acquire().await?;
            let done = D::execute(&mut connection, update).await?;
            return Ok(Swap::of_rows(D::rows_affected(&done)));
        }
        let mut transaction = self.pool.begin().await?;
        let done = D::execute(&mut transaction, update).await?;
        if Swap::of_rows(D::rows_affected(&done)) == Swap::Stale {
            transaction.rollback().await?;
            return Ok(Swap::Stale);
        }
        for sql in &self.settings.also {
            D::execute(&mut transaction, self.also_statement(sql, &expected.id)).await?;
        }
        transaction.commit().await?;
        Ok(Swap::Done)
    }
}

/// The values that a row must still have when its hash is replaced.
struct ExpectedUser<'u> {
    id: Id,
    email: &'u str,
    password_hash: Option<&'u str>,
    bound: Vec<Option<Vec<u8>>>,
}

impl<D: Dialect> UserStore for SqlUsers<D> {
    type Error = BoxError;

    async fn find_by_email(&self, email: &str) -> Result<Vec<StoredUser>, BoxError> {
        // PostgreSQL refuses a parameter with a NUL byte.
        if email.contains('\0') {
            return Ok(Vec::new());
        }
        let layout = self.layout().await?;
        let rows = match D::rows(&self.pool, self.select_by_email(email, layout)).await {
            // Only for non-ASCII addresses: a broken comparison of two columns has the same error, whatever the address.
            Err(error) if !email.is_ascii() && D::is_unrepresentable(&error) => return Ok(Vec::new()),
            rows => rows?,
        };
        let users = rows.iter().filter_map(|row| self.readable_user(layout.id_type, row));
        // A collation may ignore accents and trailing spaces.
        Ok(users.filter(|user| email::is_same(email, user.email())).collect())
    }

    async fn find_by_id(&self, id: &str) -> Result<Option<StoredUser>, BoxError> {
        let layout = self.layout().await?;
        let Some(parsed) = Id::parse(layout.id_type, id) else { return Ok(None) };
        let rows = match D::rows(&self.pool, self.select_by_id(&parsed, layout)).await {
            Err(error) if !id.is_ascii() && D::is_unrepresentable(&error) => return Ok(None),
            rows => rows?,
        };
        Ok(rows.first().and_then(|row| self.readable_user(layout.id_type, row)))
    }

    async fn replace_password(&self, user: &StoredUser, new_hash: &PasswordHash) -> Result<Swap, BoxError> {
        let Some(id) = Id::parse(self.layout().await?.id_type, user.id()) else { return Ok(Swap::Stale) };
        let Some(bound) = self.bound_values(user) else { return Ok(Swap::Stale) };
        let password_hash = user.password_hash().map(PasswordHash::expose);
        let expected = ExpectedUser { id, email: user.email(), password_hash, bound };
        for _ in 1..MAX_TRIES {
            match self.swap(&expected, new_hash).await {
                Err(error) if D::is_rolled_back(&error) => {}
                swapped => return Ok(swapped?),
            }
        }
        Ok(self.swap(&expected, new_hash).await?)
    }

    async fn check_at_start(&self) -> Result<(), BoxError> {
        self.check_table().await
    }
}
