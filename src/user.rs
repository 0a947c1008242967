//! [`StoredUser`]: the columns of a users table that a password reset needs.

use std::fmt;

use crate::secret::PasswordHash;

/// A user as the application's store returns it: id, email address, username, active flag and password hash.
///
/// `Debug` shows the id and the active flag, never the address or the hash.
///
/// ```
/// use poem_password_reset::StoredUser;
///
/// let (id, email, hash, username) = (42, "ann@example.com", Some("$argon2id$..".to_owned()), Some("ann".to_owned()));
/// let user = StoredUser::new(id, email, hash).with_username(username).with_active(true);
/// assert_eq!(user.id(), "42");
/// ```
#[derive(Clone)]
pub struct StoredUser {
    id: String,
    email: String,
    username: Option<String>,
    active: bool,
    password_hash: Option<PasswordHash>,
    bound: Vec<Vec<u8>>,
}

impl StoredUser {
    /// Creates an active user without a username.
    ///
    /// The id is a number, a UUID or text. It is readable in the token. `email` must be the address on record, byte for
    /// byte, because mail goes there. `password_hash` is `None` for a user without a password, for example one who signs in
    /// with another provider or was only invited.
    pub fn new(id: impl ToString, email: impl Into<String>, password_hash: Option<String>) -> Self {
        Self {
            id: id.to_string(),
            email: email.into(),
            username: None,
            active: true,
            password_hash: password_hash.map(PasswordHash::new),
            bound: Vec::new(),
        }
    }

    /// Sets the username. A new password must not be similar to it.
    #[must_use]
    pub fn with_username(mut self, username: impl Into<Option<String>>) -> Self {
        self.username = username.into();
        self
    }

    /// Sets whether the user may sign in. A user who may not gets no mail and cannot use a token.
    #[must_use]
    pub fn with_active(mut self, active: bool) -> Self {
        self.active = active;
        self
    }

    /// Binds tokens to additional state. A change of the state invalidates every outstanding token of this user.
    ///
    /// Id, email address and password hash are always bound. Two useful additions: the time of the last sign-in, which
    /// invalidates a link when the user signs in with the old password after all, and a session epoch, which invalidates
    /// links together with all sessions. This method can be called repeatedly; the order matters.
    ///
    /// The token is checked against the row as it was looked up. To detect a change between that check and the write, the
    /// store's write must compare [`bound_state`](Self::bound_state), as the ready stores do.
    #[must_use]
    pub fn bind_also(mut self, state: impl AsRef<[u8]>) -> Self {
        self.bound.push(state.as_ref().to_vec());
        self
    }

    /// Returns the id as text.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the email address on record. Mail goes to this address only.
    pub fn email(&self) -> &str {
        &self.email
    }

    /// Returns the username, if the user has one.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// Returns whether the user may sign in.
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// Returns the current password hash, if the user has a password.
    pub fn password_hash(&self) -> Option<&PasswordHash> {
        self.password_hash.as_ref()
    }

    /// Returns the state added by [`bind_also`](Self::bind_also), in the order of the calls.
    ///
    /// A [`UserStore`](crate::store::UserStore) whose look-ups add state compares it in its write.
    pub fn bound_state(&self) -> &[Vec<u8>] {
        &self.bound
    }

    /// Returns the user with another password hash.
    #[cfg_attr(not(feature = "reset"), allow(dead_code))]
    pub(crate) fn with_password(mut self, hash: PasswordHash) -> Self {
        self.password_hash = Some(hash);
        self
    }
}

/// Returns the values that must be redacted from an error before it is logged: address and hash.
#[cfg_attr(not(feature = "reset"), allow(dead_code))]
pub(crate) fn secrets_of(user: &StoredUser) -> impl Iterator<Item = &str> {
    [Some(user.email()), user.password_hash().map(PasswordHash::expose)].into_iter().flatten()
}

impl fmt::Debug for StoredUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredUser").field("id", &self.id).field("active", &self.active).finish_non_exhaustive()
    }
}
