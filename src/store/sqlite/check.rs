//! The check at start: the table and each column exist, and the three statements compile.

use sqlx::{AssertSqlSafe, Executor as _, Row as _, SqlSafeStr as _};

use super::{SqliteUsers, column, table};
use crate::error::BoxError;

/// The most names that an error lists.
const MAX_NAMES: usize = 40;

impl SqliteUsers {
    /// Checks the table, its columns, the type of the id and the three statements. Writes nothing and reads at most 16 rows.
    ///
    /// # Errors
    ///
    /// The database fails, or the table or a column does not exist. The text names each missing column and its setter.
    pub(super) async fn check_table(&self) -> Result<(), BoxError> {
        let columns = self.columns().await?;
        if columns.is_empty() {
            return Err(self.no_table().await?.into());
        }
        let mut missing = Vec::new();
        for (name, cure) in self.wanted(&columns) {
            if !self.has_column(name).await? {
                missing.push(format!("no column `{name}` ({cure})"));
            }
        }
        if !missing.is_empty() {
            let (table, missing, columns) = (&self.table, missing.join(", "), listed(&columns));
            return Err(format!("the table `{table}` has {missing}; its columns are {columns}").into());
        }
        self.known_id_type().await?;
        for sql in [self.select_by_email(), self.select_by_id(), self.update()] {
            self.compile(sql).await?;
        }
        Ok(())
    }

    /// Returns each configured column with the cure if it does not exist.
    fn wanted<'s>(&'s self, columns: &[String]) -> Vec<(&'s str, String)> {
        let named = |setter: &str, parts: &[&str]| {
            let likely = parts.iter().find_map(|part| shortest_with(columns, part));
            format!("name it with `.{setter}(\"{}\")`", likely.unwrap_or(".."))
        };
        let mut wanted = vec![
            (&*self.id, named("id_column", &["uuid", "_id", "id"])),
            (&*self.email, named("email_column", &["mail"])),
            (&*self.password_hash, named("password_hash_column", &["password", "pwd", "hash", "pass"])),
        ];
        if let Some(name) = &self.username {
            let cure = named("username_column", &["username", "login", "nick", "name"]);
            wanted.push((name, format!("{cure}, or say that there is none with `.username_column(None)`")));
        }
        if let Some(name) = &self.active {
            let cure = named("active_column", &["active", "enabled"]);
            wanted.push((name, format!("{cure}, or say that every user is active with `.active_column(None)`")));
        }
        let bound = self.bound.iter().map(|name| (&**name, "it is given to `.bind_column(..)`".to_owned()));
        wanted.extend(bound);
        wanted
    }

    /// Returns the names of the table's columns, or an empty `Vec` if there is no such table.
    async fn columns(&self) -> Result<Vec<String>, BoxError> {
        let (schema, name) = split(&self.table);
        let sql = "SELECT name FROM pragma_table_xinfo(?, ?)";
        let rows = sqlx::query(sql).bind(name).bind(schema).fetch_all(&self.pool).await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
    }

    /// Returns whether a statement can use this column. Compiles a statement, because no list of columns has `rowid`.
    async fn has_column(&self, name: &str) -> Result<bool, BoxError> {
        let sql = format!("SELECT {} FROM {} LIMIT 0", column(name), table(&self.table));
        match self.compile(AssertSqlSafe(sql)).await {
            Ok(()) => Ok(true),
            Err(sqlx::Error::Database(error)) if error.message().starts_with("no such column") => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Compiles a statement with its triggers without running it. Running `EXPLAIN` instead crashes SQLite if the table of
    /// a trigger was dropped.
    async fn compile(&self, sql: AssertSqlSafe<String>) -> Result<(), sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        connection.prepare(sql.into_sql_str()).await.map(drop)
    }

    async fn no_table(&self) -> Result<String, BoxError> {
        let sql = "SELECT name FROM pragma_table_list WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' \
                   ESCAPE '\\' ORDER BY name";
        let rows = sqlx::query(sql).fetch_all(&self.pool).await?;
        let tables: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        let table = &self.table;
        Ok(match tables.is_empty() {
            true => format!(
                "there is no table `{table}`, and no other: is this the right database file, and was it set up?"
            ),
            false => format!(
                "there is no table `{table}` (name it with `.table(\"{}\")`); the tables are {}",
                if let [only] = &*tables { only } else { ".." },
                listed(&tables)
            ),
        })
    }
}

/// Splits a name like `main.users` into schema and table.
fn split(table: &str) -> (Option<&str>, &str) {
    table.split_once('.').map_or((None, table), |(schema, name)| (Some(schema), name))
}

/// Returns the shortest name that contains `part`, as a suggestion: `email` rather than `email_verified_at`.
fn shortest_with<'n>(names: &'n [String], part: &str) -> Option<&'n str> {
    let names = names.iter().map(String::as_str).filter(|name| name.to_ascii_lowercase().contains(part));
    names.min_by_key(|name| name.len())
}

fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(MAX_NAMES).map(|name| format!("`{name}`")).collect();
    let more = if names.len() > MAX_NAMES { ", .." } else { "" };
    format!("{}{more}", shown.join(", "))
}
