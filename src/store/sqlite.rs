//! [`SqliteUsers`]: users in a table of an SQLite database.

mod check;
mod id;

use std::sync::Arc;

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqlitePool};
use tokio::sync::OnceCell;
use uuid::Uuid;

pub use self::id::IdType;
use super::{Swap, UserStore};
use crate::error::BoxError;
use crate::secret::PasswordHash;
use crate::user::StoredUser;

/// Users in a table of an SQLite database (feature `sqlite`).
///
/// # Defaults
///
/// The default table is `users` with the columns `id`, `email`, `username`, `active` and `password_hash`. A setter changes
/// each name. [`username_column(None)`](Self::username_column) and [`active_column(None)`](Self::active_column) are for
/// tables without these columns. A table for the defaults:
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
/// The type of the id is read from the table: integers, texts, or UUIDs as 16 bytes. [`id_type`](Self::id_type) sets it.
///
/// [`build()`](crate::PasswordResetBuilder::build) checks the table and refuses to start if the table or a column does not
/// exist. The error names each missing column and the setter that corrects it.
///
/// A row that cannot be read, for example because a value has the wrong type, is logged with its id and skipped. Other users
/// with the same address still get their mail.
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
#[derive(Clone, Debug)]
pub struct SqliteUsers {
    pool: SqlitePool,
    table: String,
    id: String,
    set_id_type: Option<IdType>,
    /// The type read from the table, shared by the clones. The setters of table and id column reset it.
    id_type: Arc<OnceCell<IdType>>,
    email: String,
    username: Option<String>,
    active: Option<String>,
    password_hash: String,
    bound: Vec<String>,
}

impl SqliteUsers {
    /// Creates a store over the table `users` with the default column names.
    pub fn new(pool: SqlitePool) -> Self {
        Self {
            pool,
            table: "users".to_owned(),
            id: "id".to_owned(),
            set_id_type: None,
            id_type: Arc::default(),
            email: "email".to_owned(),
            username: Some("username".to_owned()),
            active: Some("active".to_owned()),
            password_hash: "password_hash".to_owned(),
            bound: Vec::new(),
        }
    }

    /// Sets the name of the table. `main.users` is the table `users` of the attached database `main`. Default: `users`.
    #[must_use]
    pub fn table(mut self, name: impl Into<String>) -> Self {
        self.table = name.into();
        self.id_type = Arc::default();
        self
    }

    /// Sets the name of the id column. Default: `id`.
    #[must_use]
    pub fn id_column(mut self, name: impl Into<String>) -> Self {
        self.id = name.into();
        self.id_type = Arc::default();
        self
    }

    /// Sets how ids are stored. Default: the most frequent type among the first 16 rows. A row whose id has another type is
    /// logged and skipped.
    #[must_use]
    pub fn id_type(mut self, id_type: IdType) -> Self {
        self.set_id_type = Some(id_type);
        self
    }

    /// Sets the name of the email column. Default: `email`.
    #[must_use]
    pub fn email_column(mut self, name: impl Into<String>) -> Self {
        self.email = name.into();
        self
    }

    /// Sets the name of the username column, or `None` for a table without one. Default: `username`.
    #[must_use]
    pub fn username_column<'n>(mut self, name: impl Into<Option<&'n str>>) -> Self {
        self.username = name.into().map(str::to_owned);
        self
    }

    /// Sets the name of the column that is true for users who may sign in, or `None` if all users may. Default: `active`.
    #[must_use]
    pub fn active_column<'n>(mut self, name: impl Into<Option<&'n str>>) -> Self {
        self.active = name.into().map(str::to_owned);
        self
    }

    /// Sets the name of the password hash column, in which NULL means no password. Default: `password_hash`.
    #[must_use]
    pub fn password_hash_column(mut self, name: impl Into<String>) -> Self {
        self.password_hash = name.into();
        self
    }

    /// Adds a column to which tokens are bound, besides id, address and hash. Can be called repeatedly. A change of the
    /// value invalidates every outstanding token of the user, and the write compares the value too.
    ///
    /// Choose a column that changes with a security event, such as a counter of session revocations. A column that changes
    /// often, such as the time of the last visit, would invalidate links without a reason.
    #[must_use]
    pub fn bind_column(mut self, name: impl Into<String>) -> Self {
        self.bound.push(name.into());
        self
    }

    /// Returns a `SELECT` with the columns in the order that [`user`](Self::user) reads.
    fn select(&self, condition: &str) -> AssertSqlSafe<String> {
        AssertSqlSafe(format!(
            "SELECT {id}, {email}, {password_hash}, {username}, {active}{bound} FROM {table} WHERE {condition}",
            id = column(&self.id),
            email = column(&self.email),
            password_hash = column(&self.password_hash),
            username = self.username.as_deref().map_or_else(|| "NULL".to_owned(), column),
            active = self.active_condition(),
            bound = self.bound.iter().map(|name| format!(", {}", as_blob(name))).collect::<String>(),
            table = table(&self.table),
        ))
    }

    fn select_by_email(&self) -> AssertSqlSafe<String> {
        self.select(&format!("lower({}) = lower(?)", column(&self.email)))
    }

    fn select_by_id(&self) -> AssertSqlSafe<String> {
        self.select(&format!("{} = ?", column(&self.id)))
    }

    /// Returns the `UPDATE`, one statement that both compares and writes. It uses `IS`, because NULL equals nothing.
    fn update(&self) -> AssertSqlSafe<String> {
        AssertSqlSafe(format!(
            "UPDATE {table} SET {new_hash} = ? \
             WHERE {id} = ? AND {email} = ? AND {password_hash} IS ? AND {active}{bound}",
            table = table(&self.table),
            // SQL does not allow a qualified name here, and SQLite does not read this name as a string.
            new_hash = quoted(&self.password_hash),
            password_hash = column(&self.password_hash),
            id = column(&self.id),
            email = column(&self.email),
            active = self.active_condition(),
            bound = self.bound.iter().map(|name| format!(" AND {} IS ?", as_blob(name))).collect::<String>(),
        ))
    }

    fn active_condition(&self) -> String {
        self.active.as_deref().map_or_else(|| "1".to_owned(), column)
    }

    /// Returns the user in a row. Logs and skips a row that cannot be read, so that other users still get mail.
    fn readable_user(&self, id_type: IdType, row: &SqliteRow) -> Option<StoredUser> {
        let id = read_id(id_type, row);
        match id.as_ref().map_err(ToString::to_string).and_then(|id| self.user(id, row).map_err(|e| e.to_string())) {
            Ok(user) => Some(user),
            Err(reason) => {
                let user = id.as_deref().unwrap_or("unreadable");
                tracing::error!(user, reason, "a row of the users table cannot be read and is skipped");
                None
            }
        }
    }

    fn user(&self, id: &str, row: &SqliteRow) -> Result<StoredUser, BoxError> {
        let user = StoredUser::new(id, value::<String>(row, 1)?, row.try_get::<Option<String>, _>(2)?);
        let user = user.with_username(row.try_get::<Option<String>, _>(3)?).with_active(value::<bool>(row, 4)?);
        (0..self.bound.len()).try_fold(user, |user, column| {
            let value = row.try_get::<Option<Vec<u8>>, _>(5 + column)?;
            Ok(user.bind_also(tagged(value)))
        })
    }

    /// Returns the values of the bound columns at the look-up, or `None` for a user that this store did not look up.
    fn bound_values(&self, user: &StoredUser) -> Option<Vec<Option<Vec<u8>>>> {
        let bound = user.bound_state().get(..self.bound.len())?;
        bound.iter().map(|value| untagged(value)).collect()
    }
}

fn read_id(id_type: IdType, row: &SqliteRow) -> Result<String, BoxError> {
    Ok(match id_type {
        IdType::Text => value::<String>(row, 0)?,
        IdType::Integer => value::<i64>(row, 0)?.to_string(),
        IdType::UuidBlob => Uuid::from_slice(&value::<Vec<u8>>(row, 0)?)?.to_string(),
    })
}

/// Converts an id to the type of the column, or returns `None` if it cannot be an id of this column.
fn id_value(id_type: IdType, id: &str) -> Option<IdValue> {
    match id_type {
        IdType::Text => Some(IdValue::Text(id.to_owned())),
        // "+7" and "007" parse as 7 but are not the id "7".
        IdType::Integer => id.parse().ok().filter(|number: &i64| number.to_string() == id).map(IdValue::Integer),
        // A UUID has several text forms. Only the form in tokens is the id.
        IdType::UuidBlob => {
            let uuid = Uuid::try_parse(id).ok().filter(|uuid| uuid.to_string() == id)?;
            Some(IdValue::Blob(uuid.into_bytes().to_vec()))
        }
    }
}

impl UserStore for SqliteUsers {
    type Error = BoxError;

    async fn find_by_email(&self, email: &str) -> Result<Vec<StoredUser>, BoxError> {
        let id_type = self.known_id_type().await?;
        let rows = sqlx::query(self.select_by_email()).bind(email).fetch_all(&self.pool).await?;
        Ok(rows.iter().filter_map(|row| self.readable_user(id_type, row)).collect())
    }

    async fn find_by_id(&self, id: &str) -> Result<Option<StoredUser>, BoxError> {
        let id_type = self.known_id_type().await?;
        let Some(id) = id_value(id_type, id) else { return Ok(None) };
        let row = id.bind_to(sqlx::query(self.select_by_id())).fetch_optional(&self.pool).await?;
        Ok(row.and_then(|row| self.readable_user(id_type, &row)))
    }

    async fn replace_password(&self, user: &StoredUser, new_hash: &PasswordHash) -> Result<Swap, BoxError> {
        let Some(id) = id_value(self.known_id_type().await?, user.id()) else { return Ok(Swap::Stale) };
        let Some(bound) = self.bound_values(user) else { return Ok(Swap::Stale) };
        let update = id
            .bind_to(sqlx::query(self.update()).bind(new_hash.expose().to_owned()))
            .bind(user.email())
            .bind(user.password_hash().map(PasswordHash::expose));
        let done = bound.into_iter().fold(update, Query::bind).execute(&self.pool).await?;
        Ok(Swap::of_rows(done.rows_affected()))
    }

    async fn check_at_start(&self) -> Result<(), BoxError> {
        self.check_table().await
    }
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

enum IdValue {
    Text(String),
    Integer(i64),
    Blob(Vec<u8>),
}

impl IdValue {
    fn bind_to<'q>(self, query: Query<'q>) -> Query<'q> {
        match self {
            IdValue::Text(id) => query.bind(id),
            IdValue::Integer(id) => query.bind(id),
            IdValue::Blob(id) => query.bind(id),
        }
    }
}

/// The alias of the table in statements.
const ALIAS: &str = "u";

/// Returns the table with its [`ALIAS`], quoted.
fn table(name: &str) -> String {
    format!("{} AS {ALIAS}", quoted(name))
}

/// Returns a column, qualified by the table and quoted. SQLite reads an unqualified `"email"` as the string `'email'` if
/// there is no such column. A qualified name without a column is an error.
fn column(name: &str) -> String {
    format!("{ALIAS}.\"{}\"", name.replace('"', "\"\""))
}

/// Returns a quoted SQL name. `main.users` is the table `users` of the database `main`.
fn quoted(name: &str) -> String {
    let parts: Vec<String> = name.split('.').map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect();
    parts.join(".")
}

/// Reads the value of a column that must not be NULL. Reads an `Option`, because sqlx decodes NULL as zero or as an empty
/// string.
fn value<'r, T>(row: &'r SqliteRow, column: usize) -> Result<T, BoxError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get::<Option<T>, _>(column)?.ok_or_else(|| format!("NULL in column {column}").into())
}

/// Returns SQL for a column's value as bytes. Different values have different bytes.
fn as_blob(name: &str) -> String {
    format!("CAST({} AS BLOB)", column(name))
}

/// Returns the bytes to which a token is bound. The first byte distinguishes NULL from an empty value.
fn tagged(value: Option<Vec<u8>>) -> Vec<u8> {
    match value {
        Some(value) => [&[1], &*value].concat(),
        None => vec![0],
    }
}

/// Reverses [`tagged`]. Returns `None` for bytes that `tagged` does not return.
fn untagged(bytes: &[u8]) -> Option<Option<Vec<u8>>> {
    match bytes.split_first()? {
        (1, value) => Some(Some(value.to_vec())),
        (0, []) => Some(None),
        _ => None,
    }
}
