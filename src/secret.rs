//! Secrets: [`SigningKey`], [`KeyRing`], [`ResetToken`], [`NewPassword`], [`PasswordHash`].
//!
//! None of these types has `Display`, `Deref` or `Serialize`. `Debug` is redacted, and the memory is wiped on drop. Only
//! `expose()` returns the text, so a search for `expose` finds every use.

mod key;
mod mac;
#[cfg(feature = "graphile")]
mod seal;
mod text;

pub use self::key::{KeyRing, MIN_KEY_BYTES, SigningKey};
pub(crate) use self::mac::{FieldMac, Purpose};
#[cfg(feature = "graphile")]
pub(crate) use self::seal::{OpenError, Sealer};
pub use self::text::{NewPassword, PasswordHash, ResetToken};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_a_secret_does_not_show_it() {
        let key = SigningKey::from_bytes(b"a master key that must not appear anywhere").unwrap();
        let shown = format!(
            "{key:?} {:?} {:?} {:?} {:?}",
            KeyRing::new(SigningKey::from_bytes(b"a master key that must not appear anywhere").unwrap()),
            ResetToken::new("must not appear"),
            NewPassword::new("must not appear"),
            PasswordHash::new("must not appear"),
        );
        assert!(!shown.contains("appear"), "{shown}");
    }
}
