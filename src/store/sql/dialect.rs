//! [`Dialect`]: the SQL that differs between the databases.

use std::future::Future;

use sqlx::{Database, Pool, QueryBuilder};

use super::SqlUsers;
use super::driver::Driver;
use super::id::{Id, IdType};
use crate::error::BoxError;

/// The SQL in which the databases differ. Implemented for `sqlx::Sqlite`, `sqlx::Postgres` and `sqlx::MySql`.
///
/// The trait is public, because it bounds the public type [`SqlUsers`], and its module is private, so that it has no
/// implementations elsewhere. Every parameter has an explicit type in the statement: PostgreSQL would otherwise infer one
/// when a statement is prepared at start, and sqlx would send a value of another type.
pub trait Dialect: Driver {
    /// Returns a quoted name, without splitting it.
    fn quoted(name: &str) -> String;

    /// Returns the columns of a table, or an empty `Vec` if there is no such table.
    fn columns(
        pool: &Pool<Self>,
        table: &TableName<'_>,
    ) -> impl Future<Output = Result<Vec<Column>, sqlx::Error>> + Send;

    /// Returns the names of the tables that the developer may have meant.
    fn tables(pool: &Pool<Self>) -> impl Future<Output = Result<Vec<String>, sqlx::Error>> + Send;

    /// Returns how the table stores ids and addresses, or `None` if the table does not show it yet.
    fn layout(users: &SqlUsers<Self>) -> impl Future<Output = Result<Option<Layout>, BoxError>> + Send;

    /// Returns why the database refuses to update this column, if that can be found out without an update.
    fn read_only(
        users: &SqlUsers<Self>,
        column: &str,
    ) -> impl Future<Output = Result<Option<String>, sqlx::Error>> + Send;

    /// Returns whether the error says that a column does not exist.
    fn is_unknown_column(error: &sqlx::Error) -> bool;

    /// Returns whether the error says that the database cannot represent the text of a parameter.
    fn is_unrepresentable(error: &sqlx::Error) -> bool;

    /// Returns whether the database rolled the transaction back because of a concurrent one, so that trying again is safe.
    fn is_rolled_back(error: &sqlx::Error) -> bool;

    /// Returns the expression that selects an id. [`read_id`](Self::read_id) reads it.
    fn selected_id(column: &str, id_type: IdType) -> String;

    /// Returns the expression that selects a column of text.
    fn selected_text(column: &str) -> String;

    /// Returns the expression for a column's value as bytes. Different values have different bytes.
    fn bytes(column: &str) -> String;

    /// Reads a selected id as the text that tokens contain.
    fn read_id(row: &Self::Row, column: usize, id_type: IdType) -> Result<String, BoxError>;

    /// Reads a selected text, or `None` for NULL.
    fn read_text(row: &Self::Row, column: usize) -> Result<Option<String>, BoxError>;

    /// Adds an id as a parameter of the id's own type.
    fn push_id(query: &mut QueryBuilder<Self>, id: &Id);

    /// Adds a text as a parameter.
    fn push_text(query: &mut QueryBuilder<Self>, text: &str);

    /// Adds the condition that a column has this id, compared exactly.
    fn push_has_id(query: &mut QueryBuilder<Self>, column: &str, id: &Id);

    /// Adds the condition that a column has this email address, without regard to case. It may hold for other addresses too,
    /// if the column's collation says that they are equal.
    fn push_has_email(query: &mut QueryBuilder<Self>, column: &str, email: &str, layout: Layout);

    /// Adds the condition that a column has this text, byte for byte. NULL equals NULL.
    fn push_has_text(query: &mut QueryBuilder<Self>, column: &str, text: Option<&str>);

    /// Adds the condition that the [`bytes`](Self::bytes) of a column are these. NULL equals NULL.
    fn push_has_bytes(query: &mut QueryBuilder<Self>, column: &str, bytes: Option<Vec<u8>>);

    /// Returns the number of rows that an `UPDATE` matched.
    fn rows_affected(result: &<Self as Database>::QueryResult) -> u64;
}

/// How a table stores ids and addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub id_type: IdType,
    pub email: Folding,
}

/// How a look-up by address ignores case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(all(feature = "postgres", feature = "mysql")), allow(dead_code))]
pub enum Folding {
    /// The comparison of the column ignores case, and uses the index of the column.
    Column,
    /// `lower()` on both sides, which uses an index on that expression.
    Lower,
    /// `lower()` with rules that do not depend on the column. Turkish rules, for example, distinguish `I` from `i`.
    FixedLower,
}

/// A column of a table.
#[derive(Debug)]
pub struct Column {
    pub name: String,
    /// The declared type, such as `bigint` or `varchar(64)`.
    pub declared: String,
    /// How the column ignores case, if it has addresses.
    pub folding: Folding,
}

/// The name of a table, with the schema if it is qualified.
#[derive(Clone, Copy, Debug)]
pub struct TableName<'n> {
    pub schema: Option<&'n str>,
    pub name: &'n str,
}

impl<'n> TableName<'n> {
    /// Splits a name like `main.users` into schema and table.
    pub(super) fn parse(text: &'n str) -> Self {
        let (schema, name) = text.split_once('.').map_or((None, text), |(schema, name)| (Some(schema), name));
        Self { schema, name }
    }

    /// Returns the quoted name.
    pub(super) fn quoted<D: Dialect>(self) -> String {
        let schema = self.schema.map(|schema| format!("{}.", D::quoted(schema))).unwrap_or_default();
        format!("{schema}{}", D::quoted(self.name))
    }
}

/// Returns the layout of a table in a database whose columns have fixed types.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(super) async fn declared_layout<D: Dialect>(
    users: &SqlUsers<D>,
    type_of: fn(&str) -> IdType,
) -> Result<Option<Layout>, BoxError> {
    let columns = D::columns(&users.pool, &TableName::parse(&users.settings.table)).await?;
    // MySQL ignores the case of column names. PostgreSQL does not, and refuses a name in another case in its statements.
    let find = |name: &str| {
        let exact = columns.iter().find(|column| column.name == name);
        exact.or_else(|| columns.iter().find(|column| column.name.eq_ignore_ascii_case(name)))
    };
    let missing =
        |name: &str| format!("the table `{}` has no column `{name}`, or does not exist", users.settings.table);
    let id = find(&users.settings.id).ok_or_else(|| missing(&users.settings.id))?;
    let email = find(&users.settings.email).ok_or_else(|| missing(&users.settings.email))?;
    let declared = type_of(&id.declared);
    let id_type = users.settings.id_type.unwrap_or(declared);
    // Text is compared exactly with a column of any type. The other types are not: MySQL finds the text '1abc' for the
    // number 1.
    if id_type != IdType::Text && id_type != declared {
        let (column, actual) = (&users.settings.id, &id.declared);
        return Err(format!(
            "the column `{column}` has the type {actual}, which `.id_type(IdType::{id_type:?})` cannot read; \
             without this setting, its ids are read as `IdType::{declared:?}`"
        )
        .into());
    }
    Ok(Some(Layout { id_type, email: email.folding }))
}
