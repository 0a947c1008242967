//! [`UserStore`]: the trait that an application implements, and the stores that the library has.

mod health;
#[cfg(feature = "testing")]
mod memory;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod sql;
mod users;

use std::future::Future;
use std::sync::Arc;

#[cfg(feature = "testing")]
pub use self::memory::MemoryUsers;
#[cfg(feature = "mysql")]
pub use self::sql::MySqlUsers;
#[cfg(feature = "postgres")]
pub use self::sql::PostgresUsers;
#[cfg(feature = "sqlite")]
pub use self::sql::SqliteUsers;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use self::sql::{IdType, SqlUsers};
pub(crate) use self::users::Users;
use crate::error::BoxError;
use crate::secret::PasswordHash;
use crate::user::StoredUser;

/// The application's users: two look-ups and one write.
///
/// Implement the methods as plain `async fn`s. Return an error only if the store cannot answer; a user who does not exist
/// is not an error. The library stops a call after ten seconds. A timeout and a panic count as an error.
///
/// # One failed call is not an outage
///
/// A failed call affects its own request only: an unreadable row, or an address that the database cannot represent, must
/// not stop the service for other users. After a failed call the library calls [`check`](UserStore::check), which depends
/// on no user, and repeats it every second until it succeeds. While `check` fails, the store is down and every operation
/// is answered 503.
///
/// # The write is a compare-and-swap
///
/// [`replace_password`](UserStore::replace_password) makes a token single-use. If several confirmations race with the
/// same token, all have found the same user and accepted the token; the store must let exactly one of them write. Compare
/// and write in **one** statement: with a look-up followed by a write, two confirmations can succeed.
///
/// ```
/// use poem_password_reset::{PasswordHash, StoredUser};
/// use poem_password_reset::store::{Swap, UserStore};
/// use sqlx::{FromRow, SqlitePool};
///
/// struct Users(SqlitePool);
///
/// #[derive(FromRow)]
/// struct Row {
///     id: i64,
///     email: String,
///     username: Option<String>,
///     active: bool,
///     password_hash: Option<String>,
/// }
///
/// impl From<Row> for StoredUser {
///     fn from(row: Row) -> Self {
///         StoredUser::new(row.id, row.email, row.password_hash).with_username(row.username).with_active(row.active)
///     }
/// }
///
/// impl UserStore for Users {
///     type Error = sqlx::Error;
///
///     async fn find_by_email(&self, email: &str) -> Result<Vec<StoredUser>, sqlx::Error> {
///         let rows: Vec<Row> = sqlx::query_as("SELECT * FROM users WHERE lower(email) = lower(?)")
///             .bind(email)
///             .fetch_all(&self.0)
///             .await?;
///         Ok(rows.into_iter().map(StoredUser::from).collect())
///     }
///
///     async fn find_by_id(&self, id: &str) -> Result<Option<StoredUser>, sqlx::Error> {
///         // Compares the text, so that "01" is not user 1, and an id that is not a number is not an error.
///         let row: Option<Row> = sqlx::query_as("SELECT * FROM users WHERE id = ? AND CAST(id AS TEXT) = ?")
///             .bind(id)
///             .bind(id)
///             .fetch_optional(&self.0)
///             .await?;
///         Ok(row.map(StoredUser::from))
///     }
///
///     async fn replace_password(&self, user: &StoredUser, new_hash: &PasswordHash) -> Result<Swap, sqlx::Error> {
///         // One statement. `IS`, not `=`, because a user can have no password and NULL equals nothing.
///         let done = sqlx::query(
///             "UPDATE users SET password_hash = ?
///              WHERE CAST(id AS TEXT) = ? AND email = ? AND password_hash IS ? AND active",
///         )
///         .bind(new_hash.expose())
///         .bind(user.id())
///         .bind(user.email())
///         .bind(user.password_hash().map(PasswordHash::expose))
///         .execute(&self.0)
///         .await?;
///         Ok(Swap::of_rows(done.rows_affected()))
///     }
/// }
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// # runtime.block_on(async {
/// # let options = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
/// # let pool = options.connect("sqlite::memory:").await?;
/// # sqlx::query("CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT NOT NULL, username TEXT, \
/// #     active BOOLEAN NOT NULL DEFAULT 1, password_hash TEXT)").execute(&pool).await?;
/// # sqlx::query("INSERT INTO users (email, password_hash) VALUES ('Ann@example.com', 'old')").execute(&pool).await?;
/// # let users = Users(pool);
/// # let ann = users.find_by_email("ann@EXAMPLE.com").await?.remove(0);
/// # assert_eq!(users.replace_password(&ann, &"new".into()).await?, Swap::Done);
/// # assert_eq!(users.replace_password(&ann, &"newer".into()).await?, Swap::Stale);
/// # assert!(users.find_by_id("1").await?.is_some());
/// # for id in ["01", "+1", "1 ", "x", "9223372036854775808"] {
/// #     assert!(users.find_by_id(id).await?.is_none(), "{id}");
/// # }
/// # Ok::<(), sqlx::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Test your own store with [`testing::check_user_store`](crate::testing::check_user_store) (feature `testing`).
pub trait UserStore: Send + Sync + 'static {
    /// The error if the store cannot answer. It is logged and never shown to a client.
    type Error: Into<BoxError> + Send;

    /// Returns every user whose email address equals `email` without regard to case, or an empty `Vec` if there is none.
    ///
    /// A request for an address with an international domain (`bücher.example`, `xn--bcher-kva.example`) calls this method
    /// for each spelling of the domain in turn.
    ///
    /// Several users can share an address; each gets mail at the address on record. The library compares the addresses
    /// again, so a store that compares too loosely sends no mail to the wrong user.
    fn find_by_email(&self, email: &str) -> impl Future<Output = Result<Vec<StoredUser>, Self::Error>> + Send;

    /// Returns the user with this id, active or not. The id comes from a token that this library signed. Return `None`,
    /// not an error, for text that is not an id.
    fn find_by_id(&self, id: &str) -> impl Future<Output = Result<Option<StoredUser>, Self::Error>> + Send;

    /// Stores `new_hash` in one atomic write, if the row still has `user`'s password hash and email address and is active.
    /// Returns [`Swap::Done`] if it did, and [`Swap::Stale`] if the row has changed or was deleted.
    ///
    /// If the look-ups use [`bind_also`](StoredUser::bind_also), the write must also compare the
    /// [`bound_state`](StoredUser::bound_state). Otherwise it misses a change of that state between the check of the token
    /// and the write.
    ///
    /// Make other changes that belong to the reset in the same transaction, for example end login sessions or write an
    /// outbox row.
    fn replace_password(
        &self,
        user: &StoredUser,
        new_hash: &PasswordHash,
    ) -> impl Future<Output = Result<Swap, Self::Error>> + Send;

    /// Checks that the store answers. The library calls this method after another call failed, and then every second until
    /// it succeeds. The timeout is five seconds.
    ///
    /// The default looks up `nobody@check.invalid`, which no user has (RFC 6761, section 6.4). It looks up an address and not
    /// an id, because a store can refuse an invalid id without a query. Override it if a look-up by address does not show
    /// whether the store works.
    fn check(&self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        async { self.find_by_email(UNKNOWN_ADDRESS).await.map(drop) }
    }

    /// Checks at start that the store can do its work: the database answers, and the table and the columns exist.
    ///
    /// [`build()`](crate::PasswordResetBuilder::build) calls this method once and refuses to start if it fails or takes
    /// more than five seconds. The text of the error is shown to the developer, so it should name the cure. The default
    /// is [`check`](UserStore::check). A store over SQL also prepares its other statements here, because a misspelled
    /// column would otherwise fail only when a user confirms.
    fn check_at_start(&self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.check()
    }
}

/// An address that no user has: `.invalid` is reserved (RFC 6761, section 6.4).
const UNKNOWN_ADDRESS: &str = "nobody@check.invalid";

/// The result of a compare-and-swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Swap {
    /// The row was as expected and now has the new hash.
    Done,
    /// The row was not as expected and is unchanged.
    Stale,
}

impl Swap {
    /// Converts the number of rows that an `UPDATE` changed: zero is [`Stale`](Swap::Stale).
    pub fn of_rows(changed: u64) -> Self {
        if changed == 0 { Self::Stale } else { Self::Done }
    }
}

impl<S: UserStore> UserStore for Arc<S> {
    type Error = S::Error;

    fn find_by_email(&self, email: &str) -> impl Future<Output = Result<Vec<StoredUser>, S::Error>> + Send {
        S::find_by_email(self, email)
    }

    fn find_by_id(&self, id: &str) -> impl Future<Output = Result<Option<StoredUser>, S::Error>> + Send {
        S::find_by_id(self, id)
    }

    fn replace_password(
        &self,
        user: &StoredUser,
        new_hash: &PasswordHash,
    ) -> impl Future<Output = Result<Swap, S::Error>> + Send {
        S::replace_password(self, user, new_hash)
    }

    fn check(&self) -> impl Future<Output = Result<(), S::Error>> + Send {
        S::check(self)
    }

    fn check_at_start(&self) -> impl Future<Output = Result<(), S::Error>> + Send {
        S::check_at_start(self)
    }
}
