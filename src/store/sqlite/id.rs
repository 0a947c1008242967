//! [`IdType`]: how ids are stored, and how the store finds that out.

use sqlx::{AssertSqlSafe, Row as _};

use super::{SqliteUsers, column, table};
use crate::error::BoxError;

/// How an id is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdType {
    /// As text; UUIDs in their text form too.
    Text,
    /// As an integer.
    Integer,
    /// As the 16 bytes of a UUID; in tokens it has the usual text form, in lower case.
    UuidBlob,
}

impl SqliteUsers {
    /// Returns the type that was set, or finds it out from the first rows. The declared type of the column does not matter:
    /// SQLite stores values of any type in a column of any type.
    pub(super) async fn known_id_type(&self) -> Result<IdType, BoxError> {
        if let Some(id_type) = self.set_id_type.or_else(|| self.id_type.get().copied()) {
            return Ok(id_type);
        }
        match self.id_type_of_rows().await? {
            Some(id_type) => {
                // Two look-ups that race find the same.
                let _ = self.id_type.set(id_type);
                Ok(id_type)
            }
            // Any type will do for a table without users. Not kept: the first row shows the type.
            None => Ok(IdType::Text),
        }
    }

    /// The type of the first ids; `None` if there are none.
    async fn id_type_of_rows(&self) -> Result<Option<IdType>, BoxError> {
        let id = column(&self.id);
        let sql = format!("SELECT typeof({id}), length({id}) FROM {} LIMIT 16", table(&self.table));
        let mut found = None;
        for row in sqlx::query(AssertSqlSafe(sql)).fetch_all(&self.pool).await? {
            let (stored, length) = (row.try_get::<String, _>(0)?, row.try_get::<Option<i64>, _>(1)?);
            let id_type = match (stored.as_str(), length) {
                ("text", _) => IdType::Text,
                ("integer", _) => IdType::Integer,
                ("blob", Some(16)) => IdType::UuidBlob,
                // A row without a usable id is skipped by look-ups.
                _ => continue,
            };
            if found.is_some_and(|found| found != id_type) {
                let reason = format!(
                    "the column `{}` of the table `{}` holds ids of several types: say which are ids with \
                     `.id_type(IdType::..)`",
                    self.id, self.table
                );
                return Err(reason.into());
            }
            found = Some(id_type);
        }
        Ok(found)
    }
}
