//! Rows of the users table.

use super::SqlUsers;
use super::dialect::Dialect;
use super::id::IdType;
use crate::error::BoxError;
use crate::user::StoredUser;

impl<D: Dialect> SqlUsers<D> {
    /// Returns the user in a row. Logs and skips a row that cannot be read, so that other users still get mail.
    pub(super) fn readable_user(&self, id_type: IdType, row: &D::Row) -> Option<StoredUser> {
        let id = D::read_id(row, 0, id_type);
        match id.as_ref().map_err(ToString::to_string).and_then(|id| self.user(id, row).map_err(|e| e.to_string())) {
            Ok(user) => Some(user),
            Err(reason) => {
                let user = id.as_deref().unwrap_or("unreadable");
                tracing::error!(user, reason, "a row of the users table cannot be read and is skipped");
                None
            }
        }
    }

    fn user(&self, id: &str, row: &D::Row) -> Result<StoredUser, BoxError> {
        let email = D::read_text(row, 1)?.ok_or("NULL in the email column")?;
        let user = StoredUser::new(id, email, D::read_text(row, 2)?);
        let user = user.with_username(D::read_text(row, 3)?).with_active(D::boolean(row, 4)?);
        (0..self.settings.bound.len())
            .try_fold(user, |user, column| Ok(user.bind_also(tagged(D::read_bytes(row, 5 + column)?))))
    }

    /// Returns the values of the bound columns at the look-up, or `None` for a user that this store did not look up.
    pub(super) fn bound_values(&self, user: &StoredUser) -> Option<Vec<Option<Vec<u8>>>> {
        let bound = user.bound_state().get(..self.settings.bound.len())?;
        bound.iter().map(|value| untagged(value)).collect()
    }
}

/// Returns the bytes to which a token is bound. The first byte distinguishes NULL from an empty value.
fn tagged(value: Option<Vec<u8>>) -> Vec<u8> {
    match value {
        Some(value) => [&[1], &*value].concat(),
        None => vec![0],
    }
}

/// Reverses [`tagged`]. Returns `None` for bytes that `tagged` does not return.
fn untagged(bytes: &[u8]) -> Option<Option<Vec<u8>>> {
    match bytes.split_first()? {
        (1, value) => Some(Some(value.to_vec())),
        (0, []) => Some(None),
        _ => None,
    }
}
