//! Secrets that are text: [`ResetToken`], [`NewPassword`], [`PasswordHash`].

use std::fmt;

use zeroize::Zeroizing;

macro_rules! secret_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Zeroizing<String>);

        impl $name {
            /// Wraps a text. From then on it is redacted, and its memory is wiped on drop.
            pub fn new(text: impl Into<String>) -> Self {
                Self(Zeroizing::new(text.into()))
            }

            /// Returns the text. Keep it out of logs and errors.
            pub fn expose(&self) -> &str {
                &self.0
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
