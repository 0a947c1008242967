//! [`PasswordHasher`]: trait for hashing a new password.

use crate::error::BoxError;

/// Hashes a new password for the user store.
///
/// Every `Fn(&str) -> Result<String, E>` implements it, so an application can pass its own hashing function:
///
/// ```
/// # use poem_password_reset::PasswordHasher;
/// fn is_hasher(_: impl PasswordHasher) {}
///
/// # mod accounts { pub fn hash(password: &str) -> Result<String, std::fmt::Error> { Ok(password.to_owned()) } }
/// is_hasher(|password: &str| accounts::hash(password));
/// ```
///
/// The hasher is called on blocking threads, with at most as many calls at once as the machine has cores. Each hash must use a
/// new random salt; [`build()`](crate::PasswordResetBuilder::build) refuses a hasher that does not.
///
/// bcrypt hashes the first 72 bytes and ignores the rest without an error. Refuse longer passwords with
/// [`max_bytes(72)`](crate::PasswordPolicy::max_bytes), and use `non_truncating_hash` of the `bcrypt` crate. `build()` refuses
/// a hasher whose hashes begin with `$2` if the policy accepts longer passwords.
///
/// The [guide](crate::guide::passwords) shows a hasher that normalizes Unicode.
pub trait PasswordHasher: Send + Sync + 'static {
    /// Returns the hash of `password`, in the format that the application's sign-in verifies.
    ///
    /// # Errors
    ///
    /// Any error of the hasher. The stored password then stays unchanged, and the client receives status 500.
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
