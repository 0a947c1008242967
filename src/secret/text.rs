//! Secrets that are text: [`ResetToken`], [`NewPassword`], [`PasswordHash`].

use std::fmt;

use zeroize::Zeroizing;

macro_rules! secret_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Zeroizing<String>);

        impl $name {
            /// Takes the text in; from here on it is redacted, and wiped when dropped.
            pub fn new(text: impl Into<String>) -> Self {
                Self(Zeroizing::new(text.into()))
            }

            /// The text itself. Each call is a place where the secret can leak: keep it out of logs and errors.
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
    /// A reset token as it stands in the link that is mailed. Whoever holds it can set the user's password.
    ///
    /// There is deliberately no `PartialEq`: nothing here compares tokens, it verifies them.
    ResetToken
}

secret_text! {
    /// The password a user wants to have from now on, exactly as it was sent: never trimmed, cut or normalised.
    NewPassword
}

secret_text! {
    /// A password hash as the application stores it, a PHC string as a rule. The library never looks inside.
    ///
    /// There is deliberately no `PartialEq`: a store compares hashes in its own atomic write.
    PasswordHash
}
