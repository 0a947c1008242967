//! What is read and what is answered; the one place where an error becomes HTTP.

use std::time::Duration;

use poem::http::StatusCode;
use poem::http::header::{self, HeaderName};
use poem::{IntoResponse, Response};
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchemaRef, Registry};
use poem_openapi::types::{ToJSON, Type};
use poem_openapi::{ApiResponse, Enum, Object, Union};

use super::body::{Fields, FromFields, Value};
use crate::error::ResetError;
use crate::secret::{NewPassword, ResetToken};
use crate::user::StoredUser;

/// The methods that the endpoints take.
pub(super) const ALLOW: (HeaderName, &str) = (header::ALLOW, "POST, OPTIONS");

const JSON: &str = "application/json";

// ---- what is read

/// Asks for a reset.
#[derive(Object)]
#[oai(rename = "PasswordResetRequestBody")]
pub(super) struct RequestBody {
    /// The address of the user. White space around it is dropped.
    #[oai(validator(max_length = 254))]
    email: String,
}

/// Checks a token.
#[derive(Object)]
#[oai(rename = "PasswordResetValidateBody")]
pub(super) struct ValidateBody {
    /// The token from the mail. White space around it is dropped.
    token: String,
}

/// Sets a new password.
#[derive(Object)]
#[oai(rename = "PasswordResetConfirmBody")]
pub(super) struct ConfirmBody {
    /// The token from the mail. White space around it is dropped.
    token: String,
    /// The new password. It is stored exactly as sent.
    password: String,
}

/// The fields of a request for a reset.
pub(super) struct RequestForm {
    pub(super) email: String,
}

impl FromFields for RequestForm {
    type Schema = RequestBody;

    fn from_fields(mut fields: Fields) -> Result<Self, FieldErrors> {
        let email = match fields.remove("email") {
            // A number is the text of a number in a token or a password, but no address.
            Some(Value::Number(_)) => Err(NOT_TEXT),
            value => text(value),
        };
        match email {
            Ok(email) => Ok(Self { email: trim(&email) }),
            Err(error) => Err(FieldErrors { email: Some(vec![error.to_owned()]), ..FieldErrors::default() }),
        }
    }
}

/// The fields of a validation.
pub(super) struct ValidateForm {
    pub(super) token: ResetToken,
}

impl FromFields for ValidateForm {
    type Schema = ValidateBody;

    fn from_fields(mut fields: Fields) -> Result<Self, FieldErrors> {
        match text(fields.remove("token")) {
            Ok(token) => Ok(Self { token: trim(&token).into() }),
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
    type Schema = ConfirmBody;

    fn from_fields(mut fields: Fields) -> Result<Self, FieldErrors> {
        match (text(fields.remove("token")), text(fields.remove("password"))) {
            (Ok(token), Ok(password)) => Ok(Self { token: trim(&token).into(), password: password.into() }),
            (token, password) => {
                let faults = |field: Result<String, &str>| field.err().map(|error| vec![error.to_owned()]);
                Err(FieldErrors { token: faults(token), password: faults(password), ..FieldErrors::default() })
            }
        }
    }
}

const NOT_TEXT: &str = "This must be text.";

/// The text of a field, exactly as it was sent; or what is wrong with it.
fn text(value: Option<Value>) -> Result<String, &'static str> {
    match value {
        None => Err("This field is missing."),
        Some(Value::Null) => Err("This must not be null."),
        Some(Value::Other) => Err(NOT_TEXT),
        // Cut at NUL is what a C library somewhere would do with it.
        Some(Value::Text(text)) if text.contains('\0') => Err("This must not contain NUL."),
        Some(Value::Text(text)) if text.trim().is_empty() => Err("This must not be blank."),
        Some(Value::Text(text) | Value::Number(text)) => Ok(text),
    }
}

fn trim(text: &str) -> String {
    text.trim_matches(|letter: char| letter.is_ascii_whitespace()).to_owned()
}

// ---- what is answered

/// Done.
#[derive(Object)]
#[oai(rename = "PasswordResetStatus")]
pub(super) struct Status {
    status: StatusWord,
}

#[derive(Enum)]
#[oai(rename = "PasswordResetStatusWord")]
enum StatusWord {
    #[oai(rename = "OK")]
    Ok,
}

impl Status {
    pub(super) fn ok() -> Self {
        Self { status: StatusWord::Ok }
    }
}

/// The token is good.
#[derive(Object)]
#[oai(rename = "PasswordResetValidated", skip_serializing_if_is_none)]
pub(super) struct Validated {
    status: StatusWord,
    /// The user's name, where the service is set up to tell it.
    username: Option<String>,
    /// The user's e-mail address, where the service is set up to tell it.
    email: Option<String>,
}

impl Validated {
    pub(super) fn ok(details: Option<&StoredUser>) -> Self {
        Self {
            status: StatusWord::Ok,
            username: details.and_then(StoredUser::username).map(str::to_owned),
            email: details.map(|user| user.email().to_owned()),
        }
    }
}

/// What is wrong with which field: sentences, by the name of the field.
#[derive(Debug, Default, Object)]
#[oai(rename = "PasswordResetFieldErrors", skip_serializing_if_is_none)]
pub(super) struct FieldErrors {
    email: Option<Vec<String>>,
    token: Option<Vec<String>>,
    password: Option<Vec<String>>,
    /// What is wrong with the body as a whole.
    non_field_errors: Option<Vec<String>>,
}

/// What went wrong, as a sentence and as a code.
#[derive(Object)]
#[oai(rename = "PasswordResetError")]
pub(super) struct CodedError {
    detail: String,
    code: String,
}

/// What went wrong, as a sentence.
#[derive(Object)]
#[oai(rename = "PasswordResetDetail")]
pub(super) struct Detail {
    detail: String,
}

/// A body that is faulty as a whole or in its fields.
#[derive(Union)]
#[oai(rename = "PasswordResetBadRequest")]
pub(super) enum BadRequest {
    Fields(FieldErrors),
    Coded(CodedError),
}

/// JSON in its compact form.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: Type> Payload for JsonBody<T> {
    const CONTENT_TYPE: &'static str = JSON;

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: ToJSON> IntoResponse for JsonBody<T> {
    fn into_response(self) -> Response {
        Response::builder().content_type(JSON).body(self.0.to_json_string())
    }
}

impl<T: ToJSON> ApiResponse for JsonBody<T> {
    fn meta() -> MetaResponses {
        MetaResponses { responses: vec![documented::<T>(StatusCode::OK, "Done.")] }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

/// Every answer but success.
#[derive(Debug)]
pub(super) enum Answer {
    FaultyFields(FieldErrors),
    NotAnObject,
    ParseError,
    InvalidToken,
    NoSuchPath,
    MethodNotAllowed,
    NotAcceptable,
    BodyTimeout,
    BodyTooLarge,
    UnsupportedMediaType,
    Throttled(Duration),
    Failed,
    Unavailable(Duration),
}

impl From<ResetError> for Answer {
    fn from(error: ResetError) -> Self {
        let email = |reason: &str| FieldErrors { email: Some(vec![reason.to_owned()]), ..FieldErrors::default() };
        match error {
            ResetError::InvalidEmail => Self::FaultyFields(email("This is not an e-mail address.")),
            ResetError::UnknownUser => Self::FaultyFields(email("There is no active user with this e-mail address.")),
            ResetError::InvalidToken(_) => Self::InvalidToken,
            ResetError::PasswordRefused(reasons) => {
                Self::FaultyFields(FieldErrors { password: Some(reasons), ..FieldErrors::default() })
            }
            ResetError::Throttled { retry_after } => Self::Throttled(retry_after),
            ResetError::Unavailable { retry_after, .. } => Self::Unavailable(retry_after),
            ResetError::Failed(_) => Self::Failed,
        }
    }
}

impl Answer {
    fn status(&self) -> StatusCode {
        match self {
            Self::FaultyFields(_) | Self::NotAnObject | Self::ParseError => StatusCode::BAD_REQUEST,
            Self::InvalidToken | Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Throttled(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn body(self) -> String {
        let detail = |detail: &str| Detail { detail: detail.to_owned() }.to_json_string();
        let coded =
            |detail: &str, code: &str| CodedError { detail: detail.to_owned(), code: code.to_owned() }.to_json_string();
        match self {
            Self::FaultyFields(errors) => errors.to_json_string(),
            Self::NotAnObject => {
                let errors = vec!["The body must be a JSON object.".to_owned()];
                FieldErrors { non_field_errors: Some(errors), ..FieldErrors::default() }.to_json_string()
            }
            Self::ParseError => coded("The body cannot be read.", "parse_error"),
            Self::InvalidToken => coded("The reset token is not valid. Ask for a new one.", "invalid_token"),
            Self::NoSuchPath => detail("There is nothing here."),
            Self::MethodNotAllowed => detail("Only POST is possible here."),
            Self::NotAcceptable => detail("The answer can only be application/json."),
            Self::BodyTimeout => detail("The body did not arrive in time."),
            Self::BodyTooLarge => detail("The body is larger than 16 KiB."),
            Self::UnsupportedMediaType => {
                detail("The body must be application/json, application/x-www-form-urlencoded or multipart/form-data.")
            }
            Self::Throttled(_) => detail("Too many requests. Try again later."),
            Self::Failed => detail("Something went wrong here. Nothing was changed."),
            Self::Unavailable(_) => detail("Not available just now. Try again in a moment."),
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Response::builder().status(self.status()).content_type(JSON);
        match &self {
            Self::Throttled(after) | Self::Unavailable(after) => {
                response = response.header(header::RETRY_AFTER, whole_seconds(*after));
            }
            Self::MethodNotAllowed => response = response.header(ALLOW.0, ALLOW.1),
            _ => {}
        }
        response.body(self.body())
    }
}

impl From<Answer> for poem::Error {
    fn from(answer: Answer) -> Self {
        Self::from_response(answer.into_response())
    }
}

/// Rounded up, so that nobody comes back too early.
fn whole_seconds(after: Duration) -> u64 {
    after.as_millis().div_ceil(1000).max(1).try_into().unwrap_or(u64::MAX)
}

// ---- what is documented

/// What an operation answers that reads no token.
#[derive(Debug)]
pub(super) struct RequestRefused(Answer);

/// What an operation answers that reads a token.
#[derive(Debug)]
pub(super) struct TokenRefused(Answer);

impl ApiResponse for RequestRefused {
    fn meta() -> MetaResponses {
        MetaResponses { responses: common_answers() }
    }

    fn register(registry: &mut Registry) {
        register_answers(registry);
    }
}

impl ApiResponse for TokenRefused {
    fn meta() -> MetaResponses {
        let mut responses = common_answers();
        responses.push(documented::<CodedError>(
            StatusCode::NOT_FOUND,
            "The token is not valid: forged, expired, used or stale, or its user is not active. Which of these is not told.",
        ));
        MetaResponses { responses }
    }

    fn register(registry: &mut Registry) {
        register_answers(registry);
    }
}

macro_rules! refused {
    ($($name:ident),*) => {$(
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

refused!(RequestRefused, TokenRefused);

fn common_answers() -> Vec<MetaResponse> {
    let retry_after = || MetaHeader {
        name: header::RETRY_AFTER.to_string(),
        description: Some("Seconds until another try makes sense.".to_owned()),
        required: true,
        deprecated: false,
        schema: u64::schema_ref(),
    };
    let mut answers = vec![
        documented::<BadRequest>(StatusCode::BAD_REQUEST, "Fields are missing or faulty, or the body cannot be read."),
        documented::<Detail>(StatusCode::NOT_ACCEPTABLE, "`Accept` rules out `application/json`."),
        documented::<Detail>(StatusCode::REQUEST_TIMEOUT, "The body was not complete within ten seconds."),
        documented::<Detail>(StatusCode::PAYLOAD_TOO_LARGE, "The body is larger than 16 KiB."),
        documented::<Detail>(StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body is of another type."),
        documented::<Detail>(StatusCode::TOO_MANY_REQUESTS, "Over the quota of the client."),
        documented::<Detail>(StatusCode::INTERNAL_SERVER_ERROR, "Something failed; nothing was changed."),
        documented::<Detail>(
            StatusCode::SERVICE_UNAVAILABLE,
            "Busy, shutting down, or without its user store. A second try is safe.",
        ),
    ];
    for answer in &mut answers {
        if matches!(answer.status, Some(429 | 503)) {
            answer.headers.push(retry_after());
        }
    }
    answers
}

fn register_answers(registry: &mut Registry) {
    BadRequest::register(registry);
    CodedError::register(registry);
    Detail::register(registry);
}

fn documented<T: Type>(status: StatusCode, description: &'static str) -> MetaResponse {
    MetaResponse {
        description,
        status: Some(status.as_u16()),
        status_range: None,
        content: vec![MetaMediaType { content_type: JSON, schema: T::schema_ref() }],
        headers: Vec::new(),
    }
}
