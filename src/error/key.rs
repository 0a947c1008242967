//! [`KeyError`]: a signing key or a key ring that cannot be used.

use std::fmt;

use thiserror::Error;

/// Reason why a signing key or a key ring could not be created.
///
/// `Debug` is the same as `Display`, so a `main` that returns this error prints what is wrong and how to fix it.
#[derive(Clone, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// The key is missing.
    #[error("the signing key is missing; create one with `head -c 32 /dev/urandom | base64`")]
    Missing,
    /// The text is not base64.
    #[error("the signing key is not base64; create one with `head -c 32 /dev/urandom | base64`")]
    NotBase64,
    /// The key is shorter than 32 bytes, the length of the hash it is used with (RFC 7518, section 3.2).
    #[error(
        "the signing key is too short: it has {bytes} bytes and needs at least 32; create one with \
         `head -c 32 /dev/urandom | base64`"
    )]
    TooShort {
        /// Length of the key in bytes.
        bytes: usize,
    },
    /// The key is a single byte repeated, such as a placeholder that was never replaced.
    #[error("the signing key is one byte repeated; create a random one with `head -c 32 /dev/urandom | base64`")]
    Repeated,
    /// The random number generator of the operating system failed.
    #[error("the operating system returned no random bytes for a signing key; start the program again")]
    NoRandomness,
    /// The key ring already contains the key.
    #[error("the key ring already contains the key with id {id:?}; add each key once")]
    Duplicate {
        /// The id of the key.
        id: String,
    },
    /// The key in an environment variable cannot be used.
    #[error("{}", describe_variable(variable, reason))]
    Variable {
        /// Name of the variable.
        variable: String,
        /// Reason why its value cannot be used.
        reason: Box<KeyError>,
    },
}

impl fmt::Debug for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn describe_variable(variable: &str, reason: &KeyError) -> String {
    match reason {
        KeyError::Missing => format!(
            "the environment variable {variable} is not set; set it to a signing key, for example with \
             `export {variable}=$(head -c 32 /dev/urandom | base64)`"
        ),
        reason => format!("the environment variable {variable} does not contain a signing key: {reason}"),
    }
}
