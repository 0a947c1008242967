//! Schemas and examples of the responses.
//!
//! The types are for documentation only: they describe the JSON of `endpoint/response.rs`.

use std::time::Duration;

use poem::http::StatusCode;
use poem_openapi::registry::{MetaHeader, MetaMediaType, MetaResponse, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use poem_openapi::{Enum, Object, Union};

use crate::endpoint::{ErrorResponse, FieldErrors, JSON, whole_seconds};
use crate::error::{PasswordRefusal, ResetError};

/// Success.
#[derive(Object)]
#[oai(rename = "PasswordResetStatus")]
struct Status {
    status: StatusWord,
}

#[derive(Enum)]
#[oai(rename = "PasswordResetStatusWord")]
enum StatusWord {
    #[oai(rename = "OK")]
    Ok,
}

/// The token is valid.
#[derive(Object)]
#[oai(rename = "PasswordResetValidated")]
struct Validated {
    status: StatusWord,
    /// The name of the user, if the service is configured to return it.
    username: Option<String>,
    /// The email address of the user, if the service is configured to return it.
    email: Option<String>,
}

/// The errors of each invalid field, as sentences.
#[derive(Object)]
#[oai(rename = "PasswordResetFieldErrors")]
struct FieldErrorsBody {
    email: Option<Vec<String>>,
    token: Option<Vec<String>>,
    password: Option<Vec<String>>,
    /// Errors of the body as a whole.
    non_field_errors: Option<Vec<String>>,
}

/// An error as a sentence and as a code.
#[derive(Object)]
#[oai(rename = "PasswordResetError")]
struct CodedError {
    detail: String,
    /// For programs: `parse_error` or `invalid_token`.
    code: String,
}

/// An error as a sentence.
#[derive(Object)]
#[oai(rename = "PasswordResetDetail")]
struct Detail {
    detail: String,
}

/// A body that cannot be parsed, or has invalid fields.
#[derive(Union)]
#[oai(rename = "PasswordResetBadRequest")]
enum BadRequest {
    Fields(FieldErrorsBody),
    Coded(CodedError),
}

/// Registers the schemas of all responses.
pub(super) fn register(registry: &mut Registry) {
    Status::register(registry);
    Validated::register(registry);
    BadRequest::register(registry);
    Detail::register(registry);
}

/// The responses of *request*.
pub(super) fn request() -> Vec<MetaResponse> {
    let bad_request = error::<BadRequest>(
        ResetError::InvalidEmail,
        "The email address is missing or malformed, or the body cannot be parsed.",
    );
    [ok::<Status>("Accepted, whether or not such a user exists."), bad_request].into_iter().chain(common()).collect()
}

/// The responses of *validate*.
pub(super) fn validate() -> Vec<MetaResponse> {
    let bad_request =
        error::<BadRequest>(FieldErrors::missing_token(), "The token is missing, or the body cannot be parsed.");
    [ok::<Validated>("The token is valid."), bad_request, invalid_token()].into_iter().chain(common()).collect()
}

/// The responses of *confirm*.
pub(super) fn confirm() -> Vec<MetaResponse> {
    let refusals = vec![PasswordRefusal::TooShort { min_chars: 8 }, PasswordRefusal::TooEasyToGuess];
    let bad_request = error::<BadRequest>(
        ResetError::PasswordRefused(refusals),
        "A field is missing, the body cannot be parsed, or the password is rejected. If the password is rejected, the \
         token remains valid.",
    );
    [ok::<Status>("The password was replaced."), bad_request, invalid_token()].into_iter().chain(common()).collect()
}

fn ok<T: Type>(description: &'static str) -> MetaResponse {
    response(StatusCode::OK, description, T::schema_ref())
}

fn invalid_token() -> MetaResponse {
    error::<CodedError>(
        ErrorResponse::InvalidToken,
        "The token is invalid: forged, expired, used or outdated, or its user is not active. The response is the same in \
         each case.",
    )
}

/// The responses that every operation shares.
fn common() -> [MetaResponse; 7] {
    let delay = Duration::from_secs(5);
    [
        error::<Detail>(ErrorResponse::NotAcceptable, "`Accept` does not allow `application/json`."),
        error::<Detail>(ErrorResponse::BodyTimeout, "The body was not complete within ten seconds."),
        error::<Detail>(ErrorResponse::BodyTooLarge, "The body is larger than 16 KiB."),
        error::<Detail>(ErrorResponse::UnsupportedMediaType, "The media type of the body is not supported."),
        error::<Detail>(ErrorResponse::Throttled(delay), "The client is over its quota."),
        error::<Detail>(ErrorResponse::Failed, "An internal error. Nothing was changed."),
        error::<Detail>(
            ErrorResponse::Unavailable(delay),
            "The service is busy or shutting down, or its user store is unavailable. A retry is safe.",
        ),
    ]
}

/// Documents an error response, with its own body as the example.
fn error<T: Type>(example: impl Into<ErrorResponse>, description: &'static str) -> MetaResponse {
    let example = example.into();
    let schema = MetaSchema {
        all_of: vec![T::schema_ref()],
        example: serde_json::from_str(&example.body()).ok(),
        ..MetaSchema::ANY
    };
    let mut response = response(example.status(), description, MetaSchemaRef::Inline(Box::new(schema)));
    if let Some(delay) = example.retry_after() {
        response.headers.push(retry_after(delay));
    }
    response
}

fn retry_after(example: Duration) -> MetaHeader {
    let seconds =
        MetaSchema { minimum: Some(1.0), example: Some(whole_seconds(example).into()), ..MetaSchema::new("integer") };
    MetaHeader {
        name: "Retry-After".to_owned(),
        description: Some("Seconds to wait before a retry.".to_owned()),
        required: true,
        deprecated: false,
        schema: MetaSchemaRef::Inline(Box::new(seconds)),
    }
}

fn response(status: StatusCode, description: &'static str, schema: MetaSchemaRef) -> MetaResponse {
    MetaResponse {
        description,
        status: Some(status.as_u16()),
        status_range: None,
        content: vec![MetaMediaType { content_type: JSON, schema }],
        headers: Vec::new(),
    }
}
