//! MySQL and MariaDB.

use sqlx::mysql::{MySqlDatabaseError, MySqlPool, MySqlQueryResult, MySqlRow};
use sqlx::{MySql, QueryBuilder, Row as _};
use uuid::Uuid;

use super::SqlUsers;
use super::dialect::{Column, Dialect, Folding, Layout, TableName, declared_layout};
use super::driver::Driver;
use super::id::{Id, IdType};
use crate::error::BoxError;

impl Dialect for MySql {
    fn quoted(name: &str) -> String {
        format!("`{}`", name.replace('`', "``"))
    }

    async fn columns(pool: &MySqlPool, table: &TableName<'_>) -> Result<Vec<Column>, sqlx::Error> {
        // The types of these columns differ between the servers, so each is cast.
        let sql = "SELECT CAST(column_name AS CHAR), CAST(column_type AS CHAR), CAST(collation_name AS CHAR) \
                   FROM information_schema.columns \
                   WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ? ORDER BY ordinal_position";
        let rows = sqlx::query(sql).bind(table.schema).bind(table.name).fetch_all(pool).await?;
        let column = |row: &MySqlRow| {
            let collation: Option<String> = row.try_get(2)?;
            Ok(Column { name: row.try_get(0)?, declared: row.try_get(1)?, folding: folding(collation.as_deref()) })
        };
        rows.iter().map(column).collect()
    }

    async fn tables(pool: &MySqlPool) -> Result<Vec<String>, sqlx::Error> {
        let sql = "SELECT CAST(table_name AS CHAR) FROM information_schema.tables \
                   WHERE table_schema = DATABASE() ORDER BY 1";
        sqlx::query_scalar(sql).fetch_all(pool).await
    }

    async fn layout(users: &SqlUsers<Self>) -> Result<Option<Layout>, BoxError> {
        declared_layout(users, |declared| {
            let word = declared.split([' ', '(']).next().unwrap_or_default();
            match word {
                "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => IdType::Integer,
                "binary" if declared == "binary(16)" => IdType::Uuid,
                _ => IdType::Text,
            }
        })
        .await
    }

    /// Starts a transaction that may write, which takes no lock. A read-only server refuses it with
    /// `ER_OPTION_PREVENTS_STATEMENT`, unless this user may write there. The server checks the right to update the table when
    /// it prepares the statement.
    async fn read_only(users: &SqlUsers<Self>, _: &str) -> Result<Option<String>, sqlx::Error> {
        match users.pool.begin_with("START TRANSACTION READ WRITE").await {
            Ok(transaction) => transaction.rollback().await.map(|()| None),
            Err(error) if has_number(&error, &[1290]) => {
                Ok(Some("the database is read-only: is this server a replica?".to_owned()))
            }
            Err(error) => Err(error),
        }
    }

    /// `ER_BAD_FIELD_ERROR`.
    fn is_unknown_column(error: &sqlx::Error) -> bool {
        has_number(error, &[1054])
    }

    /// `ER_CANT_AGGREGATE_2COLLATIONS`, `ER_CANT_AGGREGATE_NCOLLATIONS`, and MySQL's `ER_CANNOT_CONVERT_STRING` and
    /// `ER_IMPOSSIBLE_STRING_CONVERSION`: the character set of the column lacks a letter of the parameter.
    fn is_unrepresentable(error: &sqlx::Error) -> bool {
        has_number(error, &[1267, 1271, 3854, 3988])
    }

    /// `ER_LOCK_DEADLOCK`, and MariaDB's `ER_CHECKREAD` with `innodb_snapshot_isolation`.
    fn is_rolled_back(error: &sqlx::Error) -> bool {
        has_number(error, &[1213, 1020])
    }

    fn selected_id(column: &str, id_type: IdType) -> String {
        match id_type {
            IdType::Text => column.to_owned(),
            IdType::Integer => format!("CAST({column} AS CHAR)"),
            IdType::Uuid => column.to_owned(),
        }
    }

    fn selected_text(column: &str) -> String {
        column.to_owned()
    }

    fn bytes(column: &str) -> String {
        format!("CAST({column} AS BINARY)")
    }

    fn read_id(row: &MySqlRow, column: usize, id_type: IdType) -> Result<String, BoxError> {
        Ok(match id_type {
            IdType::Text | IdType::Integer => Self::read_text(row, column)?.ok_or("NULL in the id column")?,
            IdType::Uuid => Uuid::from_slice(&Self::value::<Vec<u8>>(row, column)?)?.to_string(),
        })
    }

    /// Reads bytes, because sqlx does not read a `VARBINARY` as a text.
    fn read_text(row: &MySqlRow, column: usize) -> Result<Option<String>, BoxError> {
        Ok(row.try_get::<Option<Vec<u8>>, _>(column)?.map(String::from_utf8).transpose()?)
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

    /// The first comparison of a text uses the index and depends on the collation. The second one is exact.
    fn push_has_id(query: &mut QueryBuilder<Self>, column: &str, id: &Id) {
        query.push(format_args!("{column} = "));
        Self::push_id(query, id);
        if let Id::Text(text) = id {
            query.push(" AND ");
            Self::push_has_text(query, column, Some(text));
        }
    }

    fn push_has_email(query: &mut QueryBuilder<Self>, column: &str, email: &str, layout: Layout) {
        if layout.email == Folding::Column {
            query.push(format_args!("{column} = "));
            query.push_bind(email.to_owned());
        } else {
            query.push(format_args!("lower(CONVERT({column} USING utf8mb4)) = lower("));
            query.push_bind(email.to_owned()).push(")");
        }
    }

    /// Compares the bytes of the UTF-8 form: a column of another character set has other bytes than the parameter.
    fn push_has_text(query: &mut QueryBuilder<Self>, column: &str, text: Option<&str>) {
        query.push(format_args!("CAST(CONVERT({column} USING utf8mb4) AS BINARY) <=> CAST("));
        query.push_bind(text.map(str::to_owned)).push(" AS BINARY)");
    }

    fn push_has_bytes(query: &mut QueryBuilder<Self>, column: &str, bytes: Option<Vec<u8>>) {
        query.push(format_args!("{} <=> CAST(", Self::bytes(column)));
        query.push_bind(bytes).push(" AS BINARY)");
    }

    fn rows_affected(result: &MySqlQueryResult) -> u64 {
        result.rows_affected()
    }
}

/// Returns how a column with this collation ignores case. The Turkish collations distinguish `I` from `i`.
fn folding(collation: Option<&str>) -> Folding {
    let name = collation.unwrap_or_default();
    let is_turkish = name.contains("turkish") || name.contains("_tr_");
    if name.ends_with("_ci") && !is_turkish { Folding::Column } else { Folding::FixedLower }
}

fn has_number(error: &sqlx::Error, numbers: &[u16]) -> bool {
    let error = error.as_database_error().and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>());
    error.is_some_and(|error| numbers.contains(&error.number()))
}
