//! Secrets that are text: [`ResetToken`], [`NewPassword`], [`PasswordHash`].

use std::fmt;
use std::mem;

use zeroize::{Zeroize as _, ZeroizeOnDrop};

/// Text that is wiped when it is dropped, and with it what room it has to spare.
///
/// As a `Zeroizing<String>` is, but in two strokes, where that one goes byte by byte: of the tokens, links and hashes that
/// a request for a mail leaves behind there are 600.
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
            /// Takes the text in; from here on it is redacted, and wiped when dropped.
            pub fn new(text: impl Into<String>) -> Self {
                Self(Wiped(text.into()))
            }

            /// The text itself. Each call is a place where the secret can leak: keep it out of logs and errors.
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
    /// A reset token as it stands in the link that is mailed. Whoever holds it can set the user's password.
    ///
    /// There is deliberately no `PartialEq`: nothing here compares tokens, it verifies them.
    ResetToken
}

secret_text! {
    /// The password a user wants to have from now on, exactly as it was sent: never trimmed, cut or normalized.
    NewPassword
}

secret_text! {
    /// A password hash as the application stores it, a PHC string as a rule. The library never looks inside.
    ///
    /// There is deliberately no `PartialEq`: a store compares hashes in its own atomic write.
    PasswordHash
}
