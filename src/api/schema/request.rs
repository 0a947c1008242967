//! Schemas of the request bodies.

use poem_openapi::registry::{MetaSchema, MetaSchemaRef};

use crate::email::MAX_EMAIL_BYTES;

/// The schema of an object with these properties, all required.
pub(super) fn object(description: &'static str, properties: Vec<(&'static str, MetaSchemaRef)>) -> MetaSchema {
    let required = properties.iter().map(|(name, _)| *name).collect();
    MetaSchema { description: Some(description), required, properties, ..MetaSchema::new("object") }
}

pub(super) fn email() -> (&'static str, MetaSchemaRef) {
    let schema = MetaSchema {
        description: Some(
            "The email address of the user. Surrounding white space and zero-width characters are removed.",
        ),
        max_length: Some(MAX_EMAIL_BYTES),
        example: Some("ann@example.com".into()),
        ..MetaSchema::new_with_format("string", "email")
    };
    ("email", MetaSchemaRef::Inline(Box::new(schema)))
}

pub(super) fn token() -> (&'static str, MetaSchemaRef) {
    let schema = MetaSchema {
        description: Some("The token from the email. Surrounding white space and zero-width characters are removed."),
        // Has the shape of a token, so that readers do not mistake it for a code to be typed.
        example: Some(
            "eyJ0eXAiOiJyZXNldCtqd3QiLCJhbGciOiJIUzI1NiIsImtpZCI6ImtleS0wMSJ9.eyJzdWIiOiI3In0.c2lnbmF0dXJl".into(),
        ),
        ..not_blank(MetaSchema::new("string"))
    };
    ("token", MetaSchemaRef::Inline(Box::new(schema)))
}

pub(super) fn password() -> (&'static str, MetaSchemaRef) {
    let schema = MetaSchema {
        description: Some("The new password. It is stored exactly as sent."),
        example: Some("purple tractor hums at dawn".into()),
        ..not_blank(MetaSchema::new_with_format("string", "password"))
    };
    ("password", MetaSchemaRef::Inline(Box::new(schema)))
}

/// Requires a character other than white space, and forbids NUL.
fn not_blank(schema: MetaSchema) -> MetaSchema {
    MetaSchema { min_length: Some(1), pattern: Some(r"^[^\x00]*[^\s\x00][^\x00]*$".to_owned()), ..schema }
}
