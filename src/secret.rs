//! Secrets: [`SigningKey`], [`KeyRing`], [`ResetToken`], [`NewPassword`], [`PasswordHash`].
//!
//! None of them has `Display`, `Deref` or `Serialize`; their `Debug` is redacted and their memory is wiped when they
//! are dropped. The text inside is read by `expose()` alone, so `grep expose` is the audit.

mod key;
mod mac;
mod text;

pub use self::key::{KeyRing, MIN_KEY_BYTES, SigningKey};
pub(crate) use self::mac::{FieldMac, Purpose};
pub use self::text::{NewPassword, PasswordHash, ResetToken};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_its_content() {
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
