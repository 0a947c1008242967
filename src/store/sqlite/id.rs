//! [`IdType`]: how ids are stored, and its detection from the rows.

use sqlx::{AssertSqlSafe, Row as _};

use super::{SqliteUsers, column, table};
use crate::error::BoxError;

/// The type of an id column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdType {
    /// Text, including UUIDs in text form.
    Text,
    /// An integer.
    Integer,
    /// The 16 bytes of a UUID. Tokens contain the hyphenated text form in lower case.
    UuidBlob,
}

impl SqliteUsers {
    /// Returns the configured type, or detects it from the first rows. Ignores the declared type of the column, because
    /// SQLite stores values of any type in any column.
    pub(super) async fn known_id_type(&self) -> Result<IdType, BoxError> {
        if let Some(id_type) = self.set_id_type.or_else(|| self.id_type.get().copied()) {
            return Ok(id_type);
        }
        match self.id_type_of_rows().await? {
            Some(id_type) => {
                // Look-ups that race detect the same type.
                let _ = self.id_type.set(id_type);
                Ok(id_type)
            }
            // Any type works for a table without users. Not stored, because the first row determines the type.
            None => Ok(IdType::Text),
        }
    }

    /// Returns the most frequent type of the first ids, or `None` if there are none. Look-ups skip rows whose ids have
    /// another type, so one odd id does not block the others.
    async fn id_type_of_rows(&self) -> Result<Option<IdType>, BoxError> {
        let id = column(&self.id);
        let sql = format!("SELECT typeof({id}), length({id}) FROM {} LIMIT 16", table(&self.table));
        let (mut texts, mut integers, mut uuids) = (0, 0, 0);
        for row in sqlx::query(AssertSqlSafe(sql)).fetch_all(&self.pool).await? {
            let (stored, length) = (row.try_get::<String, _>(0)?, row.try_get::<Option<i64>, _>(1)?);
            match (stored.as_str(), length) {
                ("text", _) => texts += 1,
                ("integer", _) => integers += 1,
                ("blob", Some(16)) => uuids += 1,
                _ => {}
            }
        }
        let counts = [(texts, IdType::Text), (integers, IdType::Integer), (uuids, IdType::UuidBlob)];
        let most = counts.into_iter().rev().max_by_key(|(count, _)| *count);
        Ok(most.filter(|(count, _)| *count > 0).map(|(_, id_type)| id_type))
    }
}
