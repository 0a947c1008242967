//! [`PasswordHasher`]: what makes of a new password that which is stored.

use crate::error::BoxError;

/// Turns a new password into what the application stores.
///
/// Every `Fn(&str) -> Result<String, E>` is one, so an application that has a hashing function hands it over:
///
/// ```
/// # use poem_password_reset::PasswordHasher;
/// fn is_hasher(_: impl PasswordHasher) {}
///
/// # mod accounts { pub fn hash(password: &str) -> Result<String, std::fmt::Error> { Ok(password.to_owned()) } }
/// is_hasher(|password: &str| accounts::hash(password));
/// ```
///
/// It is called on a blocking thread, never on an async one, and as often at once as the machine has cores. It must use
/// a new random salt each time; [`build()`](crate::PasswordResetBuilder::build) refuses one that does not.
///
/// bcrypt hashes the first 72 bytes and ignores the rest without an error. Refuse longer passwords with
/// [`max_bytes(72)`](crate::PasswordPolicy::max_bytes), and use `non_truncating_hash` of the `bcrypt` crate. `build()` refuses
/// a hasher whose hashes begin with `$2` if the policy accepts longer passwords. The [guide](crate::guide::passwords) has more, and a hasher that normalizes Unicode.
pub trait PasswordHasher: Send + Sync + 'static {
    /// The hash of `password`, in the form that the application's sign-in reads.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from hashing; nothing is changed then, and the client gets a 500.
    fn hash(&self, password: &str) -> Result<String, BoxError>;
}

impl<F, E> PasswordHasher for F
where
    F: Fn(&str) -> Result<String, E> + Send + Sync + 'static,
    E: Into<BoxError>,
{
    fn hash(&self, password: &str) -> Result<String, BoxError> {
        self(password).map_err(Into::into)
    }
}
