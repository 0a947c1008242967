//! Users in diesel, with diesel-async.

use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_async::pooled_connection::bb8::Pool;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use poem_password_reset::store::{Swap, UserStore};
use poem_password_reset::{BoxError, PasswordHash, StoredUser};

diesel::table! {
    users (id) {
        id -> BigInt,
        email -> Text,
        username -> Nullable<Text>,
        active -> Bool,
        password_hash -> Nullable<Text>,
    }
}

#[diesel::declare_sql_function]
extern "SQL" {
    fn lower(text: Text) -> Text;
}

/// Users over a pool of connections to PostgreSQL.
#[derive(Clone)]
pub struct DieselUsers(pub Pool<AsyncPgConnection>);

#[derive(Queryable, Selectable)]
#[diesel(table_name = users)]
struct Row {
    id: i64,
    email: String,
    username: Option<String>,
    active: bool,
    password_hash: Option<String>,
}

impl From<Row> for StoredUser {
    fn from(row: Row) -> Self {
        StoredUser::new(row.id, row.email, row.password_hash).with_username(row.username).with_active(row.active)
    }
}

/// Reads an id. A text that is not an id belongs to no user; it is not an error.
fn read_id(text: &str) -> Option<i64> {
    // "007" and "+7" are the number 7, and not the id "7".
    text.parse().ok().filter(|id: &i64| id.to_string() == text)
}

impl UserStore for DieselUsers {
    type Error = BoxError;

    async fn find_by_email(&self, email: &str) -> Result<Vec<StoredUser>, BoxError> {
        let mut connection = self.0.get().await?;
        let found = users::table.filter(lower(users::email).eq(lower(email))).select(Row::as_select());
        let rows: Vec<Row> = found.load(&mut connection).await?;
        Ok(rows.into_iter().map(StoredUser::from).collect())
    }

    async fn find_by_id(&self, id: &str) -> Result<Option<StoredUser>, BoxError> {
        let Some(id) = read_id(id) else { return Ok(None) };
        let mut connection = self.0.get().await?;
        let row = users::table.find(id).select(Row::as_select()).first::<Row>(&mut connection).await.optional()?;
        Ok(row.map(StoredUser::from))
    }

    async fn replace_password(&self, user: &StoredUser, new_hash: &PasswordHash) -> Result<Swap, BoxError> {
        let Some(id) = read_id(user.id()) else { return Ok(Swap::Stale) };
        let old_hash = user.password_hash().map(PasswordHash::expose);
        let mut connection = self.0.get().await?;
        // One statement that compares and writes. A look-up followed by a write would let two confirmations succeed.
        // The comparison of the hash is null-safe, because a user without a password has NULL, which equals nothing.
        let row = users::table
            .filter(users::id.eq(id))
            .filter(users::email.eq(user.email()))
            .filter(users::active)
            .filter(users::password_hash.is_not_distinct_from(old_hash));
        let done = diesel::update(row).set(users::password_hash.eq(new_hash.expose())).execute(&mut connection).await?;
        Ok(Swap::of_rows(u64::try_from(done)?))
    }
}
