//! [`StoredUser`]: a row of the application's users table, as far as a password reset needs it.

use std::fmt;

use crate::secret::PasswordHash;

/// A user as the application's store holds it: id, email address, username, whether active, password hash.
///
/// `Debug` shows the id and whether the user is active; neither address nor hash appears.
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
    /// An active user without a username.
    ///
    /// The id is a number, a UUID or text; it stands in the token for everybody to read. The address must be the one on
    /// record, byte for byte: mail is sent there. `password_hash` is `None` for a user who has no password, because he
    /// signs in otherwise or was only invited.
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

    /// The name the user signs in with or is greeted by: a new password must not resemble it.
    #[must_use]
    pub fn with_username(mut self, username: impl Into<Option<String>>) -> Self {
        self.username = username.into();
        self
    }

    /// Whether the user may sign in. One who may not gets no mail and cannot use a token.
    #[must_use]
    pub fn with_active(mut self, active: bool) -> Self {
        self.active = active;
        self
    }

    /// Binds tokens to something more: when it changes, every outstanding token of this user is dead.
    ///
    /// Id, email address and password hash are bound already. A last-login stamp ends a link when its user remembers
    /// the password after all; a session epoch ends it whenever all login sessions are ended. May be called repeatedly;
    /// the order counts.
    ///
    /// The token is checked against the row as it was looked up. For a change between that check and the write to win
    /// too, the store's write compares [`bound_state`](Self::bound_state), as `MemoryUsers` and `SqliteUsers` do.
    #[must_use]
    pub fn bind_also(mut self, state: impl AsRef<[u8]>) -> Self {
        self.bound.push(state.as_ref().to_vec());
        self
    }

    /// The id, as text.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The email address on record, the only one that mail may go to.
    pub fn email(&self) -> &str {
        &self.email
    }

    /// The username, if there is one.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// Whether the user may sign in.
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// The current password hash, if the user has a password.
    pub fn password_hash(&self) -> Option<&PasswordHash> {
        self.password_hash.as_ref()
    }

    /// The state that [`bind_also`](Self::bind_also) added, in the order in which it was added.
    ///
    /// For the write of a [`UserStore`](crate::store::UserStore): a store whose look-ups add state compares it there.
    pub fn bound_state(&self) -> &[Vec<u8>] {
        &self.bound
    }

    /// The user as the row stands after the password was replaced.
    #[cfg_attr(not(feature = "reset"), allow(dead_code))]
    pub(crate) fn with_password(mut self, hash: PasswordHash) -> Self {
        self.password_hash = Some(hash);
        self
    }
}

/// The parts of a user that an error may quote and the log must not show: the address and the hash.
#[cfg_attr(not(feature = "reset"), allow(dead_code))]
pub(crate) fn secrets_of(user: &StoredUser) -> impl Iterator<Item = &str> {
    [Some(user.email()), user.password_hash().map(PasswordHash::expose)].into_iter().flatten()
}

impl fmt::Debug for StoredUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredUser").field("id", &self.id).field("active", &self.active).finish_non_exhaustive()
    }
}
