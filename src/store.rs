//! [`UserStore`]: all that an application implements. Ready ones stand beside it.

mod health;
#[cfg(feature = "testing")]
mod memory;
#[cfg(feature = "sqlite")]
mod sqlite;
mod users;

use std::future::Future;
use std::sync::Arc;

#[cfg(feature = "testing")]
pub use self::memory::MemoryUsers;
#[cfg(feature = "sqlite")]
pub use self::sqlite::{IdType, SqliteUsers};
pub(crate) use self::users::Users;
use crate::error::BoxError;
use crate::secret::PasswordHash;
use crate::user::StoredUser;

/// Where an application keeps its users: two look-ups and one write.
///
/// The methods are plain `async fn`s. An error says that the store could not answer; "there is none" is not an error.
/// A call that takes more than ten seconds is given up, and counts as an error, as a panic does.
///
/// # One failed call is not an outage
///
/// A call that fails concerns its own request alone: one unreadable row, or an address with a letter that the database
/// cannot represent, must not stop the service for others. After a failed call the library calls
/// [`check`](UserStore::check), which depends on no user. The store counts as down, and every operation answers 503,
/// only while `check` fails; it is repeated every second until it succeeds.
///
/// # The write is a compare-and-swap
///
/// [`replace_password`](UserStore::replace_password) is what makes a token single-use. Of several confirms that race
/// with one token, all have found the same user and checked the same token; the store lets one of them write. It must
/// be **one** statement that both compares and writes. A look-up followed by a write lets two of them win.
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
///         // An id that is no number is nobody's: that is not an error.
///         let Ok(id) = id.parse::<i64>() else { return Ok(None) };
///         let row: Option<Row> =
///             sqlx::query_as("SELECT * FROM users WHERE id = ?").bind(id).fetch_optional(&self.0).await?;
///         Ok(row.map(StoredUser::from))
///     }
///
///     async fn replace_password(&self, user: &StoredUser, new_hash: &PasswordHash) -> Result<Swap, sqlx::Error> {
///         // One statement. `IS`, not `=`: a user may have no password yet, and NULL equals nothing.
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
/// # Ok::<(), sqlx::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Run [`testing::check_user_store`](crate::testing::check_user_store) (feature `testing`) against your own.
pub trait UserStore: Send + Sync + 'static {
    /// What the store says when it cannot answer. It is logged, and never shown to a client.
    type Error: Into<BoxError> + Send;

    /// Every user whose email address equals `email` without regard to case. Empty: nobody.
    ///
    /// A request for an address whose domain is international (`bücher.example`, `xn--bcher-kva.example`) asks for each
    /// spelling of the domain, one after the other.
    ///
    /// More than one may be found; each gets mail at the address on record. What is found is compared once more, so a
    /// store that compares too loosely does no harm.
    fn find_by_email(&self, email: &str) -> impl Future<Output = Result<Vec<StoredUser>, Self::Error>> + Send;

    /// The user with this id, whether active or not. The id is text from a token that this library signed; if it does
    /// not even look like an id, there is no such user.
    fn find_by_id(&self, id: &str) -> impl Future<Output = Result<Option<StoredUser>, Self::Error>> + Send;

    /// One atomic write: stores `new_hash`, but only while the row still has `user`'s password hash and email address
    /// and is active. Reports [`Swap::Done`] if it did, [`Swap::Stale`] if the row has changed or is gone.
    ///
    /// If the look-ups of the store add to the user with [`bind_also`](StoredUser::bind_also), the write compares that
    /// as well: it is in [`bound_state`](StoredUser::bound_state). Otherwise a change of that state between the check
    /// of the token and the write goes unnoticed.
    ///
    /// This is also the place for what must happen together with the change or not at all (end login sessions, write an
    /// outbox row): in the same transaction.
    fn replace_password(
        &self,
        user: &StoredUser,
        new_hash: &PasswordHash,
    ) -> impl Future<Output = Result<Swap, Self::Error>> + Send;

    /// Finds out whether the store answers at all. Called after another call failed, then every second until it
    /// succeeds; given up after five seconds.
    ///
    /// The default looks up `nobody@check.invalid`, an address that no mail server has (RFC 6761, section 6.4). It goes
    /// by address because an id that looks wrong may be refused before the database is asked. Replace it if a look-up
    /// by address does not show whether the store works.
    fn check(&self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        async { self.find_by_email(NOBODY).await.map(drop) }
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
const NOBODY: &str = "nobody@check.invalid";

/// What became of a compare-and-swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Swap {
    /// The row was as expected and has the new hash now.
    Done,
    /// The row was not as expected, and is unchanged.
    Stale,
}

impl Swap {
    /// From the number of rows that an `UPDATE` changed: none is [`Stale`](Swap::Stale).
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
