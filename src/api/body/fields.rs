//! [`Fields`]: what every encoding of a body is read to, each with its [`Value`].

/// A value of a body, as far as a field can be made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::api) enum Value {
    /// Text.
    Text(String),
    /// A JSON number, as it was written.
    Number(String),
    /// JSON's `null`.
    Null,
    /// Anything else: an object, an array, a truth value, a file, bytes that are not UTF-8.
    Other,
}

/// The fields of a body that any operation reads. Of several with one name, the last; others are ignored.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::api) struct Fields {
    pub(in crate::api) email: Option<Value>,
    pub(in crate::api) token: Option<Value>,
    pub(in crate::api) password: Option<Value>,
}

impl Fields {
    /// Sets a field, if it is one.
    pub(super) fn set(&mut self, name: &str, value: impl FnOnce() -> Value) {
        let field = match name {
            "email" => &mut self.email,
            "token" => &mut self.token,
            "password" => &mut self.password,
            _ => return,
        };
        *field = Some(value());
    }
}

/// Whether a text has this byte, an ASCII one. Without an early exit: so the compiler looks at many bytes at a time, where
/// `contains` looks at few.
pub(in crate::api) fn has_byte(text: &str, wanted: u8) -> bool {
    text.bytes().fold(false, |has, byte| has | (byte == wanted))
}
