//! What each operation reads: from the fields of a body to what the operation takes, or to what is wrong with them.

use poem_openapi::registry::{MetaSchema, MetaSchemaRef};

use super::answer::FieldErrors;
use super::body::{Fields, FromFields, Value, has_byte};
use crate::email::MAX_EMAIL_BYTES;
use crate::secret::{NewPassword, ResetToken};
use crate::white_space;

/// The fields of a request for a reset.
pub(super) struct RequestForm {
    pub(super) email: String,
}

impl FromFields for RequestForm {
    const SCHEMA: &'static str = "PasswordResetRequestBody";

    fn schema() -> MetaSchema {
        body("Asks for a reset.", vec![email_property()])
    }

    fn from_fields(fields: Fields) -> Result<Self, FieldErrors> {
        match trimmed(fields.email) {
            Ok(email) => Ok(Self { email }),
            Err(error) => Err(FieldErrors { email: Some(vec![error.to_owned()]), ..FieldErrors::default() }),
        }
    }
}

/// The fields of a validation.
pub(super) struct ValidateForm {
    pub(super) token: ResetToken,
}

impl FromFields for ValidateForm {
    const SCHEMA: &'static str = "PasswordResetValidateBody";

    fn schema() -> MetaSchema {
        body("Checks a token.", vec![token_property()])
    }

    fn from_fields(fields: Fields) -> Result<Self, FieldErrors> {
        match trimmed(fields.token) {
            Ok(token) => Ok(Self { token: token.into() }),
            Err(error) => Err(FieldErrors { token: Some(vec![error.to_owned()]), ..FieldErrors::default() }),
        }
    }
}

/// The fields of a confirmation.
pub(super) struct ConfirmForm {
    pub(super) token: ResetToken,
    pub(super) password: NewPassword,
}

impl FromFields for ConfirmForm {
    const SCHEMA: &'static str = "PasswordResetConfirmBody";

    fn schema() -> MetaSchema {
        body("Sets a new password.", vec![token_property(), password_property()])
    }

    fn from_fields(fields: Fields) -> Result<Self, FieldErrors> {
        match (trimmed(fields.token), text(fields.password)) {
            (Ok(token), Ok(password)) => Ok(Self { token: token.into(), password: password.into() }),
            (token, password) => {
                let faults = |field: Result<String, &str>| field.err().map(|error| vec![error.to_owned()]);
                Err(FieldErrors { token: faults(token), password: faults(password), ..FieldErrors::default() })
            }
        }
    }
}

/// What is said of a field that is not there.
pub(super) const MISSING: &str = "This field is missing.";
const NOT_TEXT: &str = "This must be text.";
const BLANK: &str = "This must not be blank.";

/// The text of a field, exactly as it was sent; or what is wrong with it.
fn text(value: Option<Value>) -> Result<String, &'static str> {
    match value {
        None => Err(MISSING),
        Some(Value::Null) => Err("This must not be null."),
        Some(Value::Other) => Err(NOT_TEXT),
        // Cut at NUL is what a C library somewhere would do with it.
        Some(Value::Text(text)) if has_byte(&text, b'\0') => Err("This must not contain NUL."),
        Some(Value::Text(text)) if text.trim().is_empty() => Err(BLANK),
        Some(Value::Text(text) | Value::Number(text)) => Ok(text),
    }
}

/// The text of a field without the white space and zero-width characters around it; or what is wrong with the field.
fn trimmed(value: Option<Value>) -> Result<String, &'static str> {
    let mut text = text(value)?;
    white_space::trim_in_place(&mut text);
    if text.is_empty() { Err(BLANK) } else { Ok(text) }
}

fn body(description: &'static str, properties: Vec<(&'static str, MetaSchemaRef)>) -> MetaSchema {
    let required = properties.iter().map(|(name, _)| *name).collect();
    MetaSchema { description: Some(description), required, properties, ..MetaSchema::new("object") }
}

fn email_property() -> (&'static str, MetaSchemaRef) {
    let schema = MetaSchema {
        description: Some("The address of the user. White space and zero-width characters around it are dropped."),
        max_length: Some(MAX_EMAIL_BYTES),
        example: Some("ann@example.com".into()),
        ..MetaSchema::new_with_format("string", "email")
    };
    ("email", MetaSchemaRef::Inline(Box::new(schema)))
}

fn token_property() -> (&'static str, MetaSchemaRef) {
    let schema = MetaSchema {
        description: Some("The token from the mail. White space and zero-width characters around it are dropped."),
        // Looks like one, so that nobody takes it for something to be typed.
        example: Some(
            "eyJ0eXAiOiJyZXNldCtqd3QiLCJhbGciOiJIUzI1NiIsImtpZCI6ImtleS0wMSJ9.eyJzdWIiOiI3In0.c2lnbmF0dXJl".into(),
        ),
        ..not_blank(MetaSchema::new("string"))
    };
    ("token", MetaSchemaRef::Inline(Box::new(schema)))
}

fn password_property() -> (&'static str, MetaSchemaRef) {
    let schema = MetaSchema {
        description: Some("The new password. It is stored exactly as sent."),
        example: Some("purple tractor hums at dawn".into()),
        ..not_blank(MetaSchema::new_with_format("string", "password"))
    };
    ("password", MetaSchemaRef::Inline(Box::new(schema)))
}

/// Neither blank nor with a NUL.
fn not_blank(schema: MetaSchema) -> MetaSchema {
    MetaSchema { min_length: Some(1), pattern: Some(r"^[^\x00]*[^\s\x00][^\x00]*$".to_owned()), ..schema }
}
