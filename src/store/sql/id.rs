//! [`IdType`]: how ids are stored.

use uuid::Uuid;

/// The type of an id column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdType {
    /// Text, including UUIDs in text form.
    Text,
    /// An integer of up to 64 bits, with a sign.
    Integer,
    /// A UUID in the type of the database: `uuid` in PostgreSQL, `BINARY(16)` in MySQL and MariaDB, and a BLOB of 16 bytes
    /// in SQLite. Tokens contain the hyphenated text form in lower case.
    Uuid,
}

/// An id in the type of its column.
#[derive(Clone, Debug)]
pub enum Id {
    Text(String),
    Integer(i64),
    Uuid(Uuid),
}

impl Id {
    /// Converts an id from its text, or returns `None` if the text cannot be an id of this type.
    pub(super) fn parse(id_type: IdType, text: &str) -> Option<Self> {
        match id_type {
            // PostgreSQL refuses a parameter with a NUL byte.
            IdType::Text => (!text.contains('\0')).then(|| Self::Text(text.to_owned())),
            // "+7" and "007" parse as 7 but are not the id "7".
            IdType::Integer => text.parse().ok().filter(|number: &i64| number.to_string() == text).map(Self::Integer),
            // A UUID has several text forms. Only the form in tokens is the id.
            IdType::Uuid => Uuid::try_parse(text).ok().filter(|uuid| uuid.to_string() == text).map(Self::Uuid),
        }
    }

    /// Returns an id of this type, for statements that are prepared and not run.
    pub(super) fn example(id_type: IdType) -> Self {
        match id_type {
            IdType::Text => Self::Text(String::new()),
            IdType::Integer => Self::Integer(0),
            IdType::Uuid => Self::Uuid(Uuid::nil()),
        }
    }
}
