//! The settings of [`SqlUsers`].

use std::sync::Arc;

use sqlx::Pool;

use super::dialect::Dialect;
use super::id::IdType;
use super::{Settings, SqlUsers};

impl<D: Dialect> SqlUsers<D> {
    /// Creates a store over the table `users` with the default column names.
    pub fn new(pool: Pool<D>) -> Self {
        let settings = Settings {
            table: "users".to_owned(),
            id: "id".to_owned(),
            id_type: None,
            layout: Arc::default(),
            email: "email".to_owned(),
            username: Some("username".to_owned()),
            active: Some("active".to_owned()),
            password_hash: "password_hash".to_owned(),
            bound: Vec::new(),
            conditions: Vec::new(),
            also: Vec::new(),
        };
        Self { pool, settings }
    }

    /// Sets the name of the table. `main.users` is the table `users` of the schema or database `main`. Names are quoted, so
    /// that reserved words and spaces work and PostgreSQL does not fold the case. Default: `users`.
    #[must_use]
    pub fn table(mut self, name: impl Into<String>) -> Self {
        self.settings.table = name.into();
        self.settings.layout = Arc::default();
        self
    }

    /// Sets the name of the id column. Default: `id`.
    #[must_use]
    pub fn id_column(mut self, name: impl Into<String>) -> Self {
        self.settings.id = name.into();
        self.settings.layout = Arc::default();
        self
    }

    /// Sets how ids are stored. Default: the type of the column, and in SQLite the most frequent type among the first 16
    /// rows.
    #[must_use]
    pub fn id_type(mut self, id_type: IdType) -> Self {
        self.settings.id_type = Some(id_type);
        self.settings.layout = Arc::default();
        self
    }

    /// Sets the name of the email column. Default: `email`.
    #[must_use]
    pub fn email_column(mut self, name: impl Into<String>) -> Self {
        self.settings.email = name.into();
        self.settings.layout = Arc::default();
        self
    }

    /// Sets the name of the username column, or `None` for a table without one. Default: `username`.
    #[must_use]
    pub fn username_column<'n>(mut self, name: impl Into<Option<&'n str>>) -> Self {
        self.settings.username = name.into().map(str::to_owned);
        self
    }

    /// Sets the name of the column that is true for users who may sign in, or `None` if all users may. Default: `active`.
    #[must_use]
    pub fn active_column<'n>(mut self, name: impl Into<Option<&'n str>>) -> Self {
        self.settings.active = name.into().map(str::to_owned);
        self
    }

    /// Sets the name of the password hash column, in which NULL means no password. Default: `password_hash`.
    #[must_use]
    pub fn password_hash_column(mut self, name: impl Into<String>) -> Self {
        self.settings.password_hash = name.into();
        self
    }

    /// Adds a column to which tokens are bound, besides id, address and hash. Can be called repeatedly. A change of the
    /// value invalidates every outstanding token of the user, and the write compares the value too.
    ///
    /// Choose a column that changes with a security event, such as a counter of session revocations. A column that changes
    /// often, such as the time of the last visit, would invalidate links without a reason.
    #[must_use]
    pub fn bind_column(mut self, name: impl Into<String>) -> Self {
        self.settings.bound.push(name.into());
        self
    }

    /// Adds an SQL condition that a row must meet: `deleted_at IS NULL`. Can be called repeatedly; all conditions must hold.
    ///
    /// The condition is part of every look-up and of the write. A row that does not meet it does not exist for the library.
    /// The text is SQL and is used as it is, so never build it from input. It cannot have parameters. The table has the
    /// alias `u`, for conditions with a subquery.
    ///
    /// ```no_run
    /// # use poem_password_reset::store::SqliteUsers;
    /// # fn example(pool: sqlx::SqlitePool) -> SqliteUsers {
    /// SqliteUsers::new(pool)
    ///     .condition("deleted_at IS NULL")
    ///     .condition("EXISTS (SELECT 1 FROM tenants AS t WHERE t.id = u.tenant_id AND t.open)")
    /// # }
    /// ```
    #[must_use]
    pub fn condition(mut self, sql: impl Into<String>) -> Self {
        self.settings.conditions.push(sql.into());
        self
    }

    /// Adds an SQL statement that runs in the same transaction as a successful write of a new password. Can be called
    /// repeatedly; the statements run in the order of the calls.
    ///
    /// `{id}` stands for the user's id. It becomes a parameter of the type of the id column, so write it without quotes. It
    /// may occur several times, and other braces are left as they are. If a statement fails, nothing was written: the user
    /// keeps the old password, the token stays valid, and the client gets a 503. The text is SQL and is used as it is, so
    /// never build it from input.
    ///
    /// ```no_run
    /// # use poem_password_reset::store::SqliteUsers;
    /// # fn example(pool: sqlx::SqlitePool) -> SqliteUsers {
    /// SqliteUsers::new(pool)
    ///     .also_on_reset("DELETE FROM sessions WHERE user_id = {id}")
    ///     .also_on_reset("UPDATE users SET must_change_password = 0 WHERE id = {id}")
    /// # }
    /// ```
    #[must_use]
    pub fn also_on_reset(mut self, sql: impl Into<String>) -> Self {
        self.settings.also.push(sql.into());
        self
    }
}
