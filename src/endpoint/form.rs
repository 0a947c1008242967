//! The form of each operation: its fields, checked, or an error for each invalid field.

use super::body::{Fields, Value};
use super::response::FieldErrors;
use crate::secret::{NewPassword, ResetToken};
use crate::white_space;

/// The fields of *request*.
pub(super) struct RequestForm {
    pub(super) email: String,
}

impl RequestForm {
    pub(super) fn from_fields(fields: Fields) -> Result<Self, FieldErrors> {
        match trimmed_text(fields.email) {
            Ok(email) => Ok(Self { email }),
            Err(error) => Err(FieldErrors::email(error)),
        }
    }
}

/// The fields of *validate*.
pub(super) struct ValidateForm {
    pub(super) token: ResetToken,
}

impl ValidateForm {
    pub(super) fn from_fields(fields: Fields) -> Result<Self, FieldErrors> {
        match trimmed_text(fields.token) {
            Ok(token) => Ok(Self { token: token.into() }),
            Err(error) => Err(FieldErrors { token: vec![error.to_owned()], ..FieldErrors::default() }),
        }
    }
}

/// The fields of *confirm*.
pub(super) struct ConfirmForm {
    pub(super) token: ResetToken,
    pub(super) password: NewPassword,
}

impl ConfirmForm {
    /// Reads both fields before it returns, so that the response lists the errors of both.
    pub(super) fn from_fields(fields: Fields) -> Result<Self, FieldErrors> {
        match (trimmed_text(fields.token), text(fields.password)) {
            (Ok(token), Ok(password)) => Ok(Self { token: token.into(), password: password.into() }),
            (token, password) => {
                let errors = |field: Result<String, &str>| field.err().map(str::to_owned).into_iter().collect();
                Err(FieldErrors { token: errors(token), password: errors(password), ..FieldErrors::default() })
            }
        }
    }
}

const BLANK: &str = "This field must not be blank.";

/// Returns the text of a field exactly as sent, or the error of the field.
fn text(value: Option<Value>) -> Result<String, &'static str> {
    match value {
        None => Err(FieldErrors::MISSING),
        Some(Value::Null) => Err("This field must not be null."),
        Some(Value::Other) => Err("This field must be text."),
        // A C library further down might truncate the value at the NUL.
        Some(Value::Text(text)) if text.contains('\0') => Err("This field must not contain a NUL character."),
        Some(Value::Text(text)) if text.trim().is_empty() => Err(BLANK),
        Some(Value::Text(text) | Value::Number(text)) => Ok(text),
    }
}

/// Returns the text of a field without surrounding white space and zero-width characters, or the error of the field.
fn trimmed_text(value: Option<Value>) -> Result<String, &'static str> {
    let mut text = text(value)?;
    white_space::trim_in_place(&mut text);
    if text.is_empty() { Err(BLANK) } else { Ok(text) }
}
