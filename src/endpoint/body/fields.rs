//! [`Fields`]: the result of parsing a body in any encoding.

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::endpoint) enum Value {
    Text(String),
    /// A JSON number, as written.
    Number(String),
    Null,
    /// Anything else: an object, an array, a boolean, a file, bytes that are not UTF-8.
    Other,
}

/// The fields that an operation reads. The last of several fields with the same name wins; other fields are ignored.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::endpoint) struct Fields {
    pub(in crate::endpoint) email: Option<Value>,
    pub(in crate::endpoint) token: Option<Value>,
    pub(in crate::endpoint) password: Option<Value>,
}

impl Fields {
    /// Sets the field `name` if an operation reads it.
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
