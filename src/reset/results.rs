//! The results of the operations.

use time::OffsetDateTime;

use crate::user::StoredUser;

/// The result of [`PasswordReset::request`](crate::PasswordReset::request): the request was accepted.
///
/// It holds nothing that depends on whether a user has the address.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Requested {}

/// The result of [`PasswordReset::validate`](crate::PasswordReset::validate): the token can be used now.
#[derive(Clone, Debug)]
pub struct Validated {
    pub(super) user: StoredUser,
    pub(super) expires_at: OffsetDateTime,
}

impl Validated {
    /// Returns the user to whom the token was issued.
    pub fn user(&self) -> &StoredUser {
        &self.user
    }

    /// Returns the user to whom the token was issued, by value.
    pub fn into_user(self) -> StoredUser {
        self.user
    }

    /// Returns when the token expires.
    pub fn expires_at(&self) -> OffsetDateTime {
        self.expires_at
    }
}

/// The result of [`PasswordReset::confirm`](crate::PasswordReset::confirm): the store has the new password hash.
#[derive(Clone, Debug)]
pub struct Confirmed {
    pub(super) user: StoredUser,
}

impl Confirmed {
    /// Returns the user with the new password hash.
    pub fn user(&self) -> &StoredUser {
        &self.user
    }

    /// Returns the user with the new password hash, by value.
    pub fn into_user(self) -> StoredUser {
        self.user
    }
}

/// The result of [`PasswordReset::send`](crate::PasswordReset::send): every handler of the token succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub(super) expires_at: OffsetDateTime,
}

impl Sent {
    /// Returns when the token expires.
    pub fn expires_at(&self) -> OffsetDateTime {
        self.expires_at
    }
}
