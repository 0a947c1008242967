//! PostgreSQL.

use sqlx::postgres::{PgPool, PgQueryResult, PgRow};
use sqlx::{AssertSqlSafe, Postgres, QueryBuilder, Row as _};

use super::SqlUsers;
use super::dialect::{Column, Dialect, Folding, Layout, TableName, declared_layout};
use super::driver::Driver;
use super::id::{Id, IdType};
use super::statement::column;
use crate::error::BoxError;

impl Dialect for Postgres {
    fn quoted(name: &str) -> String {
        format!("\"{}\"", name.replace('"', "\"\""))
    }

    async fn columns(pool: &PgPool, table: &TableName<'_>) -> Result<Vec<Column>, sqlx::Error> {
        let sql = "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute \
                   WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
        let rows = sqlx::query(sql).bind(table.quoted::<Self>()).fetch_all(pool).await?;
        let column = |row: &PgRow| {
            let declared: String = row.try_get(1)?;
            // The name is qualified if the extension is in a schema that is not in the search path.
            let is_citext = declared.rsplit('.').next() == Some("citext");
            let folding = if is_citext { Folding::Column } else { Folding::Lower };
            Ok(Column { name: row.try_get(0)?, declared, folding })
        };
        rows.iter().map(column).collect()
    }

    async fn tables(pool: &PgPool) -> Result<Vec<String>, sqlx::Error> {
        let sql = "SELECT CASE WHEN pg_table_is_visible(c.oid) THEN c.relname::text \
                       ELSE n.nspname || '.' || c.relname END AS name \
                   FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
                   WHERE c.relkind IN ('r', 'p', 'v', 'f') AND n.nspname NOT LIKE 'pg\\_%' \
                       AND n.nspname <> 'information_schema' ORDER BY name";
        sqlx::query_scalar(sql).fetch_all(pool).await
    }

    async fn layout(users: &SqlUsers<Self>) -> Result<Option<Layout>, BoxError> {
        let layout = declared_layout(users, |declared| match declared {
            "smallint" | "integer" | "bigint" => IdType::Integer,
            "uuid" => IdType::Uuid,
            _ => IdType::Text,
        });
        let Some(layout) = layout.await? else { return Ok(None) };
        // The letter gets the collation of the column, also if the table is empty.
        let (email, table) = (column::<Self>(&users.settings.email), users.table_as_alias());
        let sql = format!(
            "SELECT lower(CASE WHEN true THEN 'I' ELSE {email}::text END) FROM (VALUES (1)) AS one LEFT JOIN {table} ON false"
        );
        let small: String = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&users.pool).await?;
        Ok(Some(if small == "i" { layout } else { Layout { email: Folding::FixedLower, ..layout } }))
    }

    async fn read_only(users: &SqlUsers<Self>, column: &str) -> Result<Option<String>, sqlx::Error> {
        let table = TableName::parse(&users.settings.table).quoted::<Self>();
        let sql = "SELECT has_column_privilege($1, $2, 'UPDATE'), current_setting('transaction_read_only') = 'on', \
                   current_user::text";
        let row = sqlx::query(sql).bind(table).bind(column).fetch_one(&users.pool).await?;
        let (may_update, is_read_only, role): (bool, bool, String) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let table = &users.settings.table;
        Ok(match (may_update, is_read_only) {
            (_, true) => Some("the database is read-only: is this a standby server?".to_owned()),
            (false, false) => {
                Some(format!("the role `{role}` may not update the column `{column}` of the table `{table}`"))
            }
            (true, false) => None,
        })
    }

    fn is_unknown_column(error: &sqlx::Error) -> bool {
        has_state(error, &["42703"])
    }

    /// `untranslatable_character` and `character_not_in_repertoire`.
    fn is_unrepresentable(error: &sqlx::Error) -> bool {
        has_state(error, &["22P05", "22021"])
    }

    /// `serialization_failure` and `deadlock_detected`. Under REPEATABLE READ the loser of a race gets the first one
    /// instead of no rows.
    fn is_rolled_back(error: &sqlx::Error) -> bool {
        has_state(error, &["40001", "40P01"])
    }

    fn selected_id(column: &str, _: IdType) -> String {
        format!("{column}::text")
    }

    fn selected_text(column: &str) -> String {
        format!("{column}::text")
    }

    fn bytes(column: &str) -> String {
        format!("convert_to({column}::text, 'UTF8')")
    }

    fn read_id(row: &PgRow, column: usize, _: IdType) -> Result<String, BoxError> {
        Self::value(row, column)
    }

    fn read_text(row: &PgRow, column: usize) -> Result<Option<String>, BoxError> {
        Ok(row.try_get(column)?)
    }

    fn push_id(query: &mut QueryBuilder<Self>, id: &Id) {
        match id {
            Id::Text(id) => query.push_bind(id.clone()).push("::text"),
            Id::Integer(id) => query.push_bind(*id).push("::bigint"),
            // The text form needs no feature of sqlx.
            Id::Uuid(id) => query.push_bind(id.to_string()).push("::text::uuid"),
        };
    }

    fn push_text(query: &mut QueryBuilder<Self>, text: &str) {
        query.push_bind(text.to_owned()).push("::text");
    }

    /// The first comparison of a text uses an index on a column of the type `text` or `varchar`, and a nondeterministic
    /// collation may ignore case. The second one is exact.
    fn push_has_id(query: &mut QueryBuilder<Self>, column: &str, id: &Id) {
        let cast = if matches!(id, Id::Text(_)) { "::text" } else { "" };
        query.push(format_args!("{column}{cast} = "));
        Self::push_id(query, id);
        if let Id::Text(text) = id {
            query.push(" AND ");
            Self::push_has_text(query, column, Some(text));
        }
    }

    fn push_has_email(query: &mut QueryBuilder<Self>, column: &str, email: &str, layout: Layout) {
        match layout.email {
            // A comparison with a parameter of the type `text` would be case-sensitive.
            Folding::Column => {
                query.push(format_args!("{column} = "));
                query.push_bind(email.to_owned()).push("::text::citext");
            }
            Folding::Lower => {
                query.push(format_args!("lower({column}::text) = lower("));
                query.push_bind(email.to_owned()).push("::text)");
            }
            Folding::FixedLower => {
                query.push(format_args!("lower({column}::text COLLATE \"C\") = lower("));
                query.push_bind(email.to_owned()).push("::text COLLATE \"C\")");
            }
        }
    }

    /// The collation "C" compares bytes. The cast matters for `citext`, which ignores case.
    fn push_has_text(query: &mut QueryBuilder<Self>, column: &str, text: Option<&str>) {
        query.push(format_args!("{column}::text COLLATE \"C\" IS NOT DISTINCT FROM "));
        query.push_bind(text.map(str::to_owned)).push("::text");
    }

    fn push_has_bytes(query: &mut QueryBuilder<Self>, column: &str, bytes: Option<Vec<u8>>) {
        query.push(format_args!("{} IS NOT DISTINCT FROM ", Self::bytes(column)));
        query.push_bind(bytes).push("::bytea");
    }

    fn rows_affected(result: &PgQueryResult) -> u64 {
        result.rows_affected()
    }
}

fn has_state(error: &sqlx::Error, states: &[&str]) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| states.contains(&&*code))
}
