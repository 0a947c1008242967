//! SQLite.

use sqlx::sqlite::{SqlitePool, SqliteQueryResult, SqliteRow};
use sqlx::{QueryBuilder, Row as _, Sqlite};
use uuid::Uuid;

use super::SqlUsers;
use super::dialect::{Column, Dialect, Folding, Layout, TableName};
use super::driver::Driver;
use super::id::{Id, IdType};
use super::statement::column;
use crate::error::BoxError;

impl Dialect for Sqlite {
    fn quoted(name: &str) -> String {
        format!("\"{}\"", name.replace('"', "\"\""))
    }

    async fn columns(pool: &SqlitePool, table: &TableName<'_>) -> Result<Vec<Column>, sqlx::Error> {
        let sql = "SELECT name, type FROM pragma_table_xinfo(?, ?)";
        let rows = sqlx::query(sql).bind(table.name).bind(table.schema).fetch_all(pool).await?;
        let column =
            |row: &SqliteRow| Ok(Column { name: row.try_get(0)?, declared: row.try_get(1)?, folding: Folding::Lower });
        rows.iter().map(column).collect()
    }

    async fn tables(pool: &SqlitePool) -> Result<Vec<String>, sqlx::Error> {
        let sql = "SELECT name FROM pragma_table_list WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' \
                   ESCAPE '\\' ORDER BY name";
        sqlx::query_scalar(sql).fetch_all(pool).await
    }

    /// Returns the most frequent type of the first ids, or `None` if there are none. Look-ups skip rows whose ids have
    /// another type, so one odd id does not block the others. Ignores the declared type of the column, because SQLite stores
    /// values of any type in any column.
    async fn layout(users: &SqlUsers<Self>) -> Result<Option<Layout>, BoxError> {
        if let Some(id_type) = users.settings.id_type {
            return Ok(Some(Layout { id_type, email: Folding::Lower }));
        }
        let id = column::<Self>(&users.settings.id);
        let sql = format!("SELECT typeof({id}), length({id}) FROM {} LIMIT 16", users.table_as_alias());
        let (mut texts, mut integers, mut uuids) = (0, 0, 0);
        for row in Self::rows(&users.pool, QueryBuilder::new(sql)).await? {
            let (stored, length) = (row.try_get::<String, _>(0)?, row.try_get::<Option<i64>, _>(1)?);
            match (stored.as_str(), length) {
                ("text", _) => texts += 1,
                ("integer", _) => integers += 1,
                ("blob", Some(16)) => uuids += 1,
                _ => {}
            }
        }
        let counts = [(texts, IdType::Text), (integers, IdType::Integer), (uuids, IdType::Uuid)];
        let most = counts.into_iter().rev().max_by_key(|(count, _)| *count);
        Ok(most.filter(|(count, _)| *count > 0).map(|(_, id_type)| Layout { id_type, email: Folding::Lower }))
    }

    /// SQLite notices this at a write only.
    async fn read_only(_: &SqlUsers<Self>, _: &str) -> Result<Option<String>, sqlx::Error> {
        Ok(None)
    }

    fn is_unknown_column(error: &sqlx::Error) -> bool {
        error.as_database_error().is_some_and(|error| error.message().starts_with("no such column"))
    }

    /// SQLite stores every text.
    fn is_unrepresentable(_: &sqlx::Error) -> bool {
        false
    }

    /// SQLite waits for the lock instead, for as long as the pool's `busy_timeout`.
    fn is_rolled_back(_: &sqlx::Error) -> bool {
        false
    }

    fn selected_id(column: &str, _: IdType) -> String {
        column.to_owned()
    }

    fn selected_text(column: &str) -> String {
        column.to_owned()
    }

    fn bytes(column: &str) -> String {
        format!("CAST({column} AS BLOB)")
    }

    fn read_id(row: &SqliteRow, column: usize, id_type: IdType) -> Result<String, BoxError> {
        Ok(match id_type {
            IdType::Text => Self::value::<String>(row, column)?,
            IdType::Integer => Self::value::<i64>(row, column)?.to_string(),
            IdType::Uuid => Uuid::from_slice(&Self::value::<Vec<u8>>(row, column)?)?.to_string(),
        })
    }

    fn read_text(row: &SqliteRow, column: usize) -> Result<Option<String>, BoxError> {
        Ok(row.try_get(column)?)
    }

    fn push_id(query: &mut QueryBuilder<Self>, id: &Id) {
        match id {
            Id::Text(id) => query.push_bind(id.clone()),
            Id::Integer(id) => query.push_bind(*id),
            Id::Uuid(id) => query.push_bind(id.as_bytes().to_vec()),
        };
    }

    fn push_text(query: &mut QueryBuilder<Self>, text: &str) {
        query.push_bind(text.to_owned());
    }

    /// The collation is written, because a column declared `COLLATE NOCASE` would compare without regard to case.
    fn push_has_id(query: &mut QueryBuilder<Self>, column: &str, id: &Id) {
        query.push(format_args!("{column} = "));
        Self::push_id(query, id);
        if matches!(id, Id::Text(_)) {
            query.push(" COLLATE BINARY");
        }
    }

    fn push_has_email(query: &mut QueryBuilder<Self>, column: &str, email: &str, _: Layout) {
        query.push(format_args!("lower({column}) = lower("));
        query.push_bind(email.to_owned()).push(")");
    }

    fn push_has_text(query: &mut QueryBuilder<Self>, column: &str, text: Option<&str>) {
        query.push(format_args!("{column} IS "));
        query.push_bind(text.map(str::to_owned)).push(" COLLATE BINARY");
    }

    fn push_has_bytes(query: &mut QueryBuilder<Self>, column: &str, bytes: Option<Vec<u8>>) {
        query.push(format_args!("{} IS ", Self::bytes(column)));
        query.push_bind(bytes);
    }

    fn rows_affected(result: &SqliteQueryResult) -> u64 {
        result.rows_affected()
    }
}
