//! Users in sea-orm 2.

use poem_password_reset::store::{Swap, UserStore};
use poem_password_reset::{PasswordHash, StoredUser};
use sea_orm::sea_query::{Expr, ExprTrait as _, Func};
use sea_orm::{ColumnTrait as _, DatabaseConnection, DbErr, EntityTrait as _, QueryFilter as _};

/// The table `users`.
mod user {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, DeriveEntityModel)]
    #[sea_orm(table_name = "users")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub email: String,
        pub username: Option<String>,
        pub active: bool,
        pub password_hash: Option<String>,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use user::{Column, Entity};

/// Users over a connection of sea-orm, which is a pool.
#[derive(Clone)]
pub struct SeaOrmUsers(pub DatabaseConnection);

impl From<user::Model> for StoredUser {
    fn from(row: user::Model) -> Self {
        StoredUser::new(row.id, row.email, row.password_hash).with_username(row.username).with_active(row.active)
    }
}

/// Reads an id. A text that is not an id belongs to no user; it is not an error.
fn read_id(text: &str) -> Option<i64> {
    // "007" and "+7" are the number 7, and not the id "7".
    text.parse().ok().filter(|id: &i64| id.to_string() == text)
}

impl UserStore for SeaOrmUsers {
    type Error = DbErr;

    async fn find_by_email(&self, email: &str) -> Result<Vec<StoredUser>, DbErr> {
        let is_same = Expr::expr(Func::lower(Expr::col(Column::Email))).eq(Func::lower(Expr::val(email)));
        let rows = Entity::find().filter(is_same).all(&self.0).await?;
        Ok(rows.into_iter().map(StoredUser::from).collect())
    }

    async fn find_by_id(&self, id: &str) -> Result<Option<StoredUser>, DbErr> {
        let Some(id) = read_id(id) else { return Ok(None) };
        Ok(Entity::find_by_id(id).one(&self.0).await?.map(StoredUser::from))
    }

    async fn replace_password(&self, user: &StoredUser, new_hash: &PasswordHash) -> Result<Swap, DbErr> {
        let Some(id) = read_id(user.id()) else { return Ok(Swap::Stale) };
        // NULL equals nothing, so a user without a password needs a condition of its own.
        let has_old_hash = match user.password_hash() {
            Some(hash) => Column::PasswordHash.eq(hash.expose()),
            None => Column::PasswordHash.is_null(),
        };
        // One statement that compares and writes. A look-up followed by a write would let two confirmations succeed.
        let done = Entity::update_many()
            .col_expr(Column::PasswordHash, Expr::value(new_hash.expose()))
            .filter(Column::Id.eq(id))
            .filter(Column::Email.eq(user.email()))
            .filter(Column::Active.eq(true))
            .filter(has_old_hash)
            .exec(&self.0)
            .await?;
        Ok(Swap::of_rows(done.rows_affected))
    }
}
