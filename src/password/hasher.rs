//! [`PasswordHasher`], and [`Argon2id`], the default one.

use argon2::password_hash::PasswordHasher as _;
use argon2::{Algorithm, Argon2, Params, Version};

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
/// Beware of hashers that cut: bcrypt hashes the first 72 bytes and says nothing. With the `bcrypt` crate use
/// `non_truncating_hash`, which refuses instead.
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

/// Argon2id with the parameters of the OWASP Password Storage Cheat Sheet: 19 MiB, two passes, one lane, and a random
/// salt of 16 bytes. Makes PHC strings; one hash takes about 20 ms.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Argon2id;

impl Argon2id {
    const MEMORY_KIB: u32 = 19 * 1024;
    const PASSES: u32 = 2;
    const LANES: u32 = 1;
}

impl PasswordHasher for Argon2id {
    fn hash(&self, password: &str) -> Result<String, BoxError> {
        let params = Params::new(Self::MEMORY_KIB, Self::PASSES, Self::LANES, None)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        Ok(argon2.hash_password(password.as_bytes())?.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argon2id_as_owasp_wants_it() {
        let hash = Argon2id.hash("correct horse battery staple").unwrap();
        let parts: Vec<&str> = hash.split('$').collect();
        assert_eq!(parts[1..4], ["argon2id", "v=19", "m=19456,t=2,p=1"]);
        assert!(parts[4].len() >= 22, "a salt of 16 bytes or more: {}", parts[4]);
        assert_ne!(hash, Argon2id.hash("correct horse battery staple").unwrap(), "a new salt each time");
    }
}
