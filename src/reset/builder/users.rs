//! Settings for users and their addresses.

#[cfg(doc)]
use super::super::PasswordReset;
use super::PasswordResetBuilder;
#[cfg(doc)]
use crate::throttle::Quotas;

impl PasswordResetBuilder {
    /// Sets whether a user without a password can set a first one. Default: `false`, because a user who signs in by other
    /// means should not get a password by accident.
    ///
    /// A user has no password if the hash is `None` or not [usable](Self::usable_hash).
    pub fn allow_first_password(mut self, allow: bool) -> Self {
        self.allow_first_password = allow;
        self
    }

    /// Sets the rule that decides whether a stored hash belongs to a password.
    ///
    /// By default an empty hash, or one that begins with `!` or `*`, does not: Django stores `!` and a random text for users
    /// without a password, and `/etc/shadow` uses both marks. A user without a password gets no mail and cannot use a token
    /// unless [first passwords are allowed](Self::allow_first_password). Tokens are always bound to the stored text.
    ///
    /// ```
    /// # use poem_password_reset::{PasswordReset, SigningKey, store::MemoryUsers};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (users, key) = (MemoryUsers::default(), SigningKey::generate()?);
    /// let reset = PasswordReset::builder(users, key)
    ///     .link("https://app.example.com/reset-password#token={token}")
    ///     .on_reset_token_created(async |_| {})
    /// #   .linked_handlers(false)
    ///     .usable_hash(|hash| hash.starts_with("$argon2id$"))
    ///     .build()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn usable_hash(mut self, is_usable: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.usable_hash = Box::new(is_usable);
        self
    }

    /// Sets the most users who get mail for one request if they share the address. Default: 5. The first users in the
    /// store's order get mail, and the log has the number of the others.
    ///
    /// The quota of an address counts requests, so an address gets at most
    /// [`mails_per_address`](Quotas::mails_per_address) times this many mails in a window.
    pub fn users_per_address(mut self, users: usize) -> Self {
        self.users_per_address = users;
        self
    }

    /// Sets whether the part of an address before the `@` can have non-ASCII letters (RFC 6531). Default: `false`: such an
    /// address is answered 400, because most mail servers do not accept it.
    pub fn international_addresses(mut self, allow: bool) -> Self {
        self.addresses.international = allow;
        self
    }

    /// Sets whether three kinds of address are accepted that exist although RFC 5321 or public DNS do not allow them:
    ///
    /// * stray dots in the local part (`taro..suzuki@example.ne.jp`, `taro.@docomo.example`, `.taro@docomo.example`),
    ///   which Japanese carriers gave out;
    /// * hosts of one label (`root@intranet`), which private networks use;
    /// * underscores within a host label (`ops@mail_host.example`).
    ///
    /// The setting applies to addresses of requests and to addresses on record, so [`PasswordReset::issue`] accepts them
    /// too. Default: `false`, because these addresses are usually typing errors: a request for `ann@example` is answered
    /// 400. Some mail servers and mail libraries refuse them, so check yours before you set it to `true`.
    ///
    /// Quoted local parts, domain literals, controls, white space and the characters ``"<>(),:;\[]`` are always refused,
    /// because they have a meaning in a mail header. So is a local part with stray dots and a `/`, because it could spell
    /// the path `../`.
    ///
    /// ```
    /// use poem_password_reset::store::MemoryUsers;
    /// use poem_password_reset::{Client, PasswordReset, ResetError, SigningKey};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let builder = || -> Result<_, Box<dyn std::error::Error>> {
    ///     Ok(PasswordReset::builder(MemoryUsers::new([]), SigningKey::generate()?)
    ///         .link("https://app.example.com/reset-password#token={token}")
    ///         .on_reset_token_created(async |_| {})
    /// #       .linked_handlers(false)
    ///     )
    /// };
    /// let lenient = builder()?.lenient_addresses(true).build().await?;
    /// assert!(lenient.request("root@intranet", Client::none()).await.is_ok());
    ///
    /// let strict = builder()?.build().await?;
    /// let refused = strict.request("root@intranet", Client::none()).await;
    /// assert!(matches!(refused, Err(ResetError::InvalidEmail)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn lenient_addresses(mut self, allow: bool) -> Self {
        self.addresses.lenient = allow;
        self
    }

    /// Sets whether the validation endpoint returns the username and the email address. Anyone with the link can then read
    /// them. Default: `false`.
    pub fn user_details_on_validation(mut self, show: bool) -> Self {
        self.user_details_on_validation = show;
        self
    }

    /// Sets whether a request for an address without an eligible user is answered 400 instead of 200. Default: `false`.
    ///
    /// **This is an enumeration oracle**: anyone can find out who has an account. Use it only if the application reveals
    /// that elsewhere.
    pub fn reveal_unknown_users(mut self, reveal: bool) -> Self {
        self.reveal_unknown_users = reveal;
        self
    }
}
