//! How what is answered is documented in OpenAPI, operation by operation.

use std::time::Duration;

use poem::http::StatusCode;
use poem::{IntoResponse, Response};
use poem_openapi::registry::{
    MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::Type;
use poem_openapi::{ApiResponse, Tags, Union};

use super::answer::{Answer, CodedError, Detail, FieldErrors, JSON, Status, Validated, json, whole_seconds};
use super::form::MISSING;
use crate::error::{PasswordRefusal, ResetError};

/// Groups the operations in the OpenAPI document.
#[derive(Tags)]
pub(super) enum Group {
    /// A new password for users who forgot theirs.
    PasswordReset,
}

macro_rules! success {
    ($($(#[$doc:meta])* $name:ident($body:ty): $meaning:literal),*) => {$(
        $(#[$doc])*
        pub(super) struct $name(pub(super) $body);

        impl IntoResponse for $name {
            fn into_response(self) -> Response {
                json(self.0.to_body())
            }
        }

        impl ApiResponse for $name {
            fn meta() -> MetaResponses {
                let response = response(StatusCode::OK, $meaning, <$body>::schema_ref());
                MetaResponses { responses: vec![response] }
            }

            fn register(registry: &mut Registry) {
                <$body>::register(registry);
            }
        }
    )*};
}

success! {
    /// What a request that is taken is answered.
    Accepted(Status): "Accepted, whether or not there is such a user.",
    /// What a good token is answered.
    Valid(Validated): "The token is good.",
    /// What a confirmation is answered.
    Replaced(Status): "The password is replaced."
}

/// A body that is faulty as a whole or in its fields.
#[derive(Union)]
#[oai(rename = "PasswordResetBadRequest")]
pub(super) enum BadRequest {
    Fields(FieldErrors),
    Coded(CodedError),
}

/// What the operation *request* answers but success.
#[derive(Debug)]
pub(super) struct RequestRefused(Answer);

/// What the operation *validate* answers but success.
#[derive(Debug)]
pub(super) struct ValidateRefused(Answer);

/// What the operation *confirm* answers but success.
#[derive(Debug)]
pub(super) struct ConfirmRefused(Answer);

macro_rules! refused {
    ($($name:ident: $answers:ident),*) => {$(
        impl ApiResponse for $name {
            fn meta() -> MetaResponses {
                MetaResponses { responses: $answers() }
            }

            fn register(registry: &mut Registry) {
                BadRequest::register(registry);
                Detail::register(registry);
            }
        }

        impl From<ResetError> for $name {
            fn from(error: ResetError) -> Self {
                Self(error.into())
            }
        }

        impl From<$name> for poem::Error {
            fn from(refused: $name) -> Self {
                refused.0.into()
            }
        }
    )*};
}

refused!(RequestRefused: request_answers, ValidateRefused: validate_answers, ConfirmRefused: confirm_answers);

fn request_answers() -> Vec<MetaResponse> {
    let bad_request = refusal::<BadRequest>(
        ResetError::InvalidEmail,
        "The address is missing or is none, or the body cannot be read.",
    );
    std::iter::once(bad_request).chain(common_answers()).collect()
}

fn validate_answers() -> Vec<MetaResponse> {
    let missing = FieldErrors { token: Some(vec![MISSING.to_owned()]), ..FieldErrors::default() };
    let bad_request =
        refusal::<BadRequest>(Answer::FaultyFields(missing), "The token is missing, or the body cannot be read.");
    [bad_request, invalid_token()].into_iter().chain(common_answers()).collect()
}

fn confirm_answers() -> Vec<MetaResponse> {
    let weak = vec![PasswordRefusal::TooShort { min_chars: 8 }, PasswordRefusal::TooEasyToGuess];
    let bad_request = refusal::<BadRequest>(
        ResetError::PasswordRefused(weak),
        "A field is missing, the body cannot be read, or the password is refused: then the token stays good.",
    );
    [bad_request, invalid_token()].into_iter().chain(common_answers()).collect()
}

fn invalid_token() -> MetaResponse {
    refusal::<CodedError>(
        Answer::InvalidToken,
        "The token is not valid: forged, expired, used or stale, or its user is not active. Which of these is not told.",
    )
}

fn common_answers() -> Vec<MetaResponse> {
    let soon = Duration::from_secs(5);
    vec![
        refusal::<Detail>(Answer::NotAcceptable, "`Accept` rules out `application/json`."),
        refusal::<Detail>(Answer::BodyTimeout, "The body was not complete within ten seconds."),
        refusal::<Detail>(Answer::BodyTooLarge, "The body is larger than 16 KiB."),
        refusal::<Detail>(Answer::UnsupportedMediaType, "The body is of another type."),
        refusal::<Detail>(Answer::Throttled(soon), "Over the quota of the client."),
        refusal::<Detail>(Answer::Failed, "Something failed; nothing was changed."),
        refusal::<Detail>(
            Answer::Unavailable(soon),
            "Busy, shutting down, or without its user store. A second try is safe.",
        ),
    ]
}

/// Documents a refusal, with the answer itself as the example.
fn refusal<T: Type>(example: impl Into<Answer>, description: &'static str) -> MetaResponse {
    let example = example.into();
    let schema = MetaSchema {
        all_of: vec![T::schema_ref()],
        example: serde_json::from_str(&example.body()).ok(),
        ..MetaSchema::ANY
    };
    let mut response = response(example.status(), description, MetaSchemaRef::Inline(Box::new(schema)));
    if let Some(after) = example.retry_after() {
        response.headers.push(retry_after(after));
    }
    response
}

fn retry_after(example: Duration) -> MetaHeader {
    let seconds =
        MetaSchema { minimum: Some(1.0), example: Some(whole_seconds(example).into()), ..MetaSchema::new("integer") };
    MetaHeader {
        name: "Retry-After".to_owned(),
        description: Some("Seconds until another try makes sense.".to_owned()),
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
