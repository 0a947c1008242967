//! The events that handlers receive: [`ResetTokenCreated`], [`PrePasswordReset`], [`PostPasswordReset`].

use std::fmt;

use time::OffsetDateTime;

use crate::client::Client;
use crate::error::BoxError;
use crate::secret::ResetToken;
use crate::user::StoredUser;

/// The event of an issued reset token: send the mail.
///
/// Functions annotated with [`#[on_reset_token_created]`](macro@crate::on_reset_token_created) receive it. They run after
/// the client was answered, so they cannot change or delay the response. A handler's error is logged and counted, and the
/// other handlers still run.
///
/// `Debug` shows neither token, link nor email address.
pub struct ResetTokenCreated {
    user: StoredUser,
    token: ResetToken,
    link: ResetToken,
    expires_at: OffsetDateTime,
    client: Client,
}

impl ResetTokenCreated {
    pub(crate) fn new(
        user: StoredUser,
        token: ResetToken,
        link: ResetToken,
        expires_at: OffsetDateTime,
        client: Client,
    ) -> Self {
        Self { user, token, link, expires_at, client }
    }

    /// Returns the user that the token was issued to.
    ///
    /// Send the mail to [`user().email()`](StoredUser::email), the address on record, and to no other address.
    pub fn user(&self) -> &StoredUser {
        &self.user
    }

    /// Returns the token. Its holder can set the password, so it belongs in the mail and nowhere else.
    pub fn token(&self) -> &ResetToken {
        &self.token
    }

    /// Returns the link to mail: the configured link with the token in it. It is as secret as the token.
    pub fn link(&self) -> &str {
        self.link.expose()
    }

    /// Returns the time at which the token expires.
    pub fn expires_at(&self) -> OffsetDateTime {
        self.expires_at
    }

    /// Returns the client that asked for the reset. It is empty if the application issued the token itself.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

impl fmt::Debug for ResetTokenCreated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResetTokenCreated")
            .field("user", &self.user)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// The event before a password is replaced: token, user and new password passed every check, and nothing is written yet.
///
/// Functions annotated with [`#[on_pre_password_reset]`](macro@crate::on_pre_password_reset) receive it. A [`Veto`] refuses
/// the reset with a text for the user; any other error fails it with status 500. The token stays valid either way.
///
/// `Debug` shows no email address.
#[derive(Debug)]
pub struct PrePasswordReset {
    user: StoredUser,
    client: Client,
}

impl PrePasswordReset {
    pub(crate) fn new(user: StoredUser, client: Client) -> Self {
        Self { user, client }
    }

    /// Returns the user as currently stored, with the old password hash.
    pub fn user(&self) -> &StoredUser {
        &self.user
    }

    /// Returns the client that sent the new password.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

/// The event after a password was replaced and the store acknowledged the write.
///
/// Functions annotated with [`#[on_post_password_reset]`](macro@crate::on_post_password_reset) receive it once per reset,
/// for example to end the user's sessions and to send a notice. A handler's error is logged and counted; it does not undo
/// the reset.
///
/// `Debug` shows no email address.
#[derive(Debug)]
pub struct PostPasswordReset {
    user: StoredUser,
    client: Client,
}

impl PostPasswordReset {
    pub(crate) fn new(user: StoredUser, client: Client) -> Self {
        Self { user, client }
    }

    /// Returns the user as stored after the reset, with the new password hash.
    pub fn user(&self) -> &StoredUser {
        &self.user
    }

    /// Returns the client that sent the new password.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

/// The error of an [`#[on_pre_password_reset]`](macro@crate::on_pre_password_reset) handler that refuses a reset, with a
/// reason for the user.
///
/// ```
/// use poem_password_reset::{PrePasswordReset, Veto, on_pre_password_reset};
///
/// #[on_pre_password_reset]
/// async fn not_during_migration(_event: &PrePasswordReset) -> Result<(), Veto> {
///     Err(Veto::new("Passwords cannot be changed before noon today."))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Veto {
    text: String,
}

impl Veto {
    /// Creates a veto. The client receives the text with status 400, as an error of the field `password`.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    /// Returns the text for the user.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the error as a veto, if it is one.
    pub(crate) fn of(error: &BoxError) -> Option<&Self> {
        error.downcast_ref()
    }
}

impl fmt::Display for Veto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Veto {}
