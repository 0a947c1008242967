//! The check at start: the table and each column exist, and every statement compiles.

use sqlx::QueryBuilder;

use super::dialect::{Column, Dialect, TableName};
use super::id::Id;
use super::statement::ID;
use super::{ExpectedUser, SqlUsers};
use crate::error::BoxError;

/// The most names that an error lists.
const MAX_NAMES: usize = 40;

impl<D: Dialect> SqlUsers<D> {
    /// Checks the table, its columns, the type of the id and every statement. Writes nothing and reads at most 16 rows.
    ///
    /// # Errors
    ///
    /// The database fails or is read-only, the table or a column does not exist, or SQL of the application does not compile.
    /// The text names each missing column and its setter.
    pub(super) async fn check_table(&self) -> Result<(), BoxError> {
        let columns = D::columns(&self.pool, &TableName::parse(&self.settings.table)).await?;
        if columns.is_empty() {
            return Err(self.no_table().await?.into());
        }
        self.check_columns(&columns).await?;
        for condition in &self.settings.conditions {
            let setting = format!(".condition(\"{condition}\")");
            self.check_sql(&setting, self.with_condition(condition), 0).await?;
        }
        let layout = self.layout().await?;
        let id = Id::example(layout.id_type);
        for sql in &self.settings.also {
            let setting = format!(".also_on_reset(\"{sql}\")");
            self.check_sql(&setting, self.also_statement(sql, &id), sql.matches(ID).count()).await?;
        }
        let bound = self.settings.bound.iter().map(|_| None).collect();
        let no_user = ExpectedUser { id, email: "", password_hash: None, bound };
        for statement in
            [self.select_by_email("", layout), self.select_by_id(&no_user.id, layout), self.update(&no_user, "")]
        {
            D::prepare(&self.pool, statement).await?;
        }
        match D::read_only(self, &self.settings.password_hash).await? {
            Some(reason) => Err(reason.into()),
            None => Ok(()),
        }
    }

    async fn check_columns(&self, columns: &[Column]) -> Result<(), BoxError> {
        let names: Vec<&str> = columns.iter().map(|column| &*column.name).collect();
        let mut missing = Vec::new();
        for (name, cure) in self.wanted(&names) {
            if !self.has_column(name).await? {
                missing.push(format!("no column `{name}` ({cure})"));
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let (table, missing, columns) = (&self.settings.table, missing.join(", "), listed(&names));
        Err(format!("the table `{table}` has {missing}; its columns are {columns}").into())
    }

    /// Checks that SQL of the application compiles and has the expected number of parameters.
    async fn check_sql(&self, setting: &str, query: QueryBuilder<D>, expected: usize) -> Result<(), BoxError> {
        match D::prepare(&self.pool, query).await {
            Ok(parameters) if parameters == expected => Ok(()),
            Ok(0) => Err(format!("`{setting}`: write {ID} without quotes, it becomes a parameter").into()),
            Ok(_) => Err(format!("`{setting}`: the SQL has a parameter, which has no value here").into()),
            Err(error) => Err(format!("`{setting}`: {error}").into()),
        }
    }

    /// Returns each configured column with the cure if it does not exist.
    fn wanted<'s>(&'s self, columns: &[&str]) -> Vec<(&'s str, String)> {
        let named = |setter: &str, parts: &[&str]| {
            let likely = parts.iter().find_map(|part| shortest_with(columns, part));
            format!("name it with `.{setter}(\"{}\")`", likely.unwrap_or(".."))
        };
        let mut wanted = vec![
            (&*self.settings.id, named("id_column", &["uuid", "_id", "id"])),
            (&*self.settings.email, named("email_column", &["mail"])),
            (&*self.settings.password_hash, named("password_hash_column", &["password", "pwd", "hash", "pass"])),
        ];
        if let Some(name) = &self.settings.username {
            let cure = named("username_column", &["username", "login", "nick", "name"]);
            wanted.push((name, format!("{cure}, or say that there is none with `.username_column(None)`")));
        }
        if let Some(name) = &self.settings.active {
            let cure = named("active_column", &["active", "enabled"]);
            wanted.push((name, format!("{cure}, or say that every user is active with `.active_column(None)`")));
        }
        let bound = self.settings.bound.iter().map(|name| (&**name, "it is given to `.bind_column(..)`".to_owned()));
        wanted.extend(bound);
        wanted
    }

    /// Returns whether a statement can use this column. Prepares a statement, because no list of columns has SQLite's
    /// `rowid`. Preparing also compiles triggers. Running `EXPLAIN` instead crashes SQLite if the table of a trigger was
    /// dropped.
    async fn has_column(&self, name: &str) -> Result<bool, BoxError> {
        match D::prepare(&self.pool, self.with_column(name)).await {
            Ok(_) => Ok(true),
            Err(error) if D::is_unknown_column(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn no_table(&self) -> Result<String, BoxError> {
        let tables = D::tables(&self.pool).await?;
        let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
        let table = &self.settings.table;
        Ok(match tables.is_empty() {
            true => {
                format!("there is no table `{table}`, and no other: is this the right database, and was it set up?")
            }
            false => format!(
                "there is no table `{table}` (name it with `.table(\"{}\")`); the tables are {}",
                if let [only] = &*tables { only } else { ".." },
                listed(&tables)
            ),
        })
    }
}

/// Returns the shortest name that contains `part`, as a suggestion: `email` rather than `email_verified_at`.
fn shortest_with<'n>(names: &[&'n str], part: &str) -> Option<&'n str> {
    let names = names.iter().copied().filter(|name| name.to_ascii_lowercase().contains(part));
    names.min_by_key(|name| name.len())
}

fn listed(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(MAX_NAMES).map(|name| format!("`{name}`")).collect();
    let more = if names.len() > MAX_NAMES { ", .." } else { "" };
    format!("{}{more}", shown.join(", "))
}
