//! The events that handlers receive: [`ResetTokenCreated`], [`PrePasswordReset`], [`PostPasswordReset`].

use std::fmt;

use time::OffsetDateTime;

use crate::client::Client;
use crate::error::BoxError;
use crate::secret::ResetToken;
use crate::user::StoredUser;

/// A token was issued: send the mail.
///
/// Received by functions annotated with [`#[on_reset_token_created]`](macro@crate::on_reset_token_created), off the
/// request path: the client has its answer already, and nothing that happens here can change it. An error is logged
/// and counted; other handlers still run.
///
/// `Debug` shows neither token nor address.
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

    /// Whom it was issued to. Send the mail to [`user().email()`](StoredUser::email), the address on record, and to no
    /// other.
    pub fn user(&self) -> &StoredUser {
        &self.user
    }

    /// The token. Whoever holds it can set the password: it belongs in the mail and nowhere else.
    pub fn token(&self) -> &ResetToken {
        &self.token
    }

    /// The link to mail, made from the configured one; as secret as the token in it.
    pub fn link(&self) -> &str {
        self.link.expose()
    }

    /// When the token expires.
    pub fn expires_at(&self) -> OffsetDateTime {
        self.expires_at
    }

    /// Who asked.
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

/// A password is about to be replaced: token, user and policy have passed, nothing is written yet.
///
/// Received by functions annotated with [`#[on_pre_password_reset]`](macro@crate::on_pre_password_reset). Returning
/// [`Veto`] refuses with a text for the user, any other error with a 500; the token stays good.
#[derive(Debug)]
pub struct PrePasswordReset {
    user: StoredUser,
    client: Client,
}

impl PrePasswordReset {
    pub(crate) fn new(user: StoredUser, client: Client) -> Self {
        Self { user, client }
    }

    /// Whose password it is, as the row stands now.
    pub fn user(&self) -> &StoredUser {
        &self.user
    }

    /// Who asked.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

/// A password was replaced, and the store has acknowledged it.
///
/// Received once per reset by functions annotated with
/// [`#[on_post_password_reset]`](macro@crate::on_post_password_reset): end the user's login sessions, send a notice. An
/// error is logged and counted; the reset stands.
#[derive(Debug)]
pub struct PostPasswordReset {
    user: StoredUser,
    client: Client,
}

impl PostPasswordReset {
    pub(crate) fn new(user: StoredUser, client: Client) -> Self {
        Self { user, client }
    }

    /// Whose password it was, as the row stands now.
    pub fn user(&self) -> &StoredUser {
        &self.user
    }

    /// Who asked.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

/// A reason not to replace the password, for the user to read.
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
    /// Refuses with this text, which the client gets under `password`.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The veto in a handler's error, if it is one.
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
