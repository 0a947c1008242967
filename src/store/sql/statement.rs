//! The statements of [`SqlUsers`].

use sqlx::QueryBuilder;

use super::dialect::{Dialect, Layout, TableName};
use super::id::Id;
use super::{ExpectedUser, SqlUsers};

/// The alias of the table in statements.
const ALIAS: &str = "u";

/// Stands for the user's id in a statement of [`SqlUsers::also_on_reset`].
pub(super) const ID: &str = "{id}";

impl<D: Dialect> SqlUsers<D> {
    /// Returns the table with its [`ALIAS`], quoted.
    pub(super) fn table_as_alias(&self) -> String {
        format!("{} AS {ALIAS}", TableName::parse(&self.settings.table).quoted::<D>())
    }

    /// Returns a `SELECT` up to its conditions, with the columns in the order that `user` reads.
    fn select(&self, layout: Layout) -> QueryBuilder<D> {
        let mut query = QueryBuilder::new("SELECT ");
        query.push(D::selected_id(&column::<D>(&self.settings.id), layout.id_type));
        for name in [Some(&self.settings.email), Some(&self.settings.password_hash), self.settings.username.as_ref()] {
            let text = name.map_or_else(|| "NULL".to_owned(), |name| D::selected_text(&column::<D>(name)));
            query.push(", ").push(text);
        }
        query.push(", ").push(self.active_condition());
        for name in &self.settings.bound {
            query.push(", ").push(D::bytes(&column::<D>(name)));
        }
        query.push(format_args!(" FROM {} WHERE ", self.table_as_alias()));
        query
    }

    pub(super) fn select_by_email(&self, email: &str, layout: Layout) -> QueryBuilder<D> {
        let mut query = self.select(layout);
        D::push_has_email(&mut query, &column::<D>(&self.settings.email), email, layout);
        self.push_conditions(&mut query);
        query
    }

    pub(super) fn select_by_id(&self, id: &Id, layout: Layout) -> QueryBuilder<D> {
        let mut query = self.select(layout);
        D::push_has_id(&mut query, &column::<D>(&self.settings.id), id);
        self.push_conditions(&mut query);
        query
    }

    /// Returns the `UPDATE`, one statement that both compares and writes.
    pub(super) fn update(&self, expected: &ExpectedUser<'_>, new_hash: &str) -> QueryBuilder<D> {
        // SQL does not allow a qualified name after SET.
        let (table, new) = (self.table_as_alias(), D::quoted(&self.settings.password_hash));
        let mut query = QueryBuilder::new(format!("UPDATE {table} SET {new} = "));
        D::push_text(&mut query, new_hash);
        query.push(" WHERE ");
        D::push_has_id(&mut query, &column::<D>(&self.settings.id), &expected.id);
        query.push(" AND ");
        D::push_has_text(&mut query, &column::<D>(&self.settings.email), Some(expected.email));
        query.push(" AND ");
        D::push_has_text(&mut query, &column::<D>(&self.settings.password_hash), expected.password_hash);
        query.push(format_args!(" AND {}", self.active_condition()));
        for (name, value) in self.settings.bound.iter().zip(&expected.bound) {
            query.push(" AND ");
            D::push_has_bytes(&mut query, &column::<D>(name), value.clone());
        }
        self.push_conditions(&mut query);
        query
    }

    /// Returns a statement of [`also_on_reset`](Self::also_on_reset) for this user.
    pub(super) fn also_statement(&self, sql: &str, id: &Id) -> QueryBuilder<D> {
        let mut parts = sql.split(ID);
        let mut query = QueryBuilder::new(parts.next().unwrap_or_default());
        for part in parts {
            D::push_id(&mut query, id);
            query.push(part);
        }
        query
    }

    /// Returns a statement that compiles only if this condition does.
    pub(super) fn with_condition(&self, condition: &str) -> QueryBuilder<D> {
        QueryBuilder::new(format!("SELECT 1 FROM {} WHERE ({condition}\n) LIMIT 0", self.table_as_alias()))
    }

    /// Returns a statement that compiles only if the table has this column.
    pub(super) fn with_column(&self, name: &str) -> QueryBuilder<D> {
        QueryBuilder::new(format!("SELECT {} FROM {} LIMIT 0", column::<D>(name), self.table_as_alias()))
    }

    fn push_conditions(&self, query: &mut QueryBuilder<D>) {
        for condition in &self.settings.conditions {
            // The line break ends a comment at the end of the condition.
            query.push(format_args!(" AND ({condition}\n)"));
        }
    }

    fn active_condition(&self) -> String {
        self.settings.active.as_deref().map_or_else(|| "TRUE".to_owned(), column::<D>)
    }
}

/// Returns a column, qualified by the table and quoted. SQLite reads an unqualified `"email"` as the string `'email'` if
/// there is no such column. A qualified name without a column is an error.
pub(super) fn column<D: Dialect>(name: &str) -> String {
    format!("{ALIAS}.{}", D::quoted(name))
}
