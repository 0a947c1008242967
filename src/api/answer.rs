//! What is answered: the one place where an error becomes HTTP.

use std::time::Duration;

use poem::http::StatusCode;
use poem::http::header::{self, HeaderValue};
use poem::{Body, IntoResponse, Response};
use poem_openapi::{Enum, Object};
use serde::Serialize;

use crate::error::ResetError;
use crate::user::StoredUser;

/// The methods that the endpoints take.
pub(super) const ALLOW: HeaderValue = HeaderValue::from_static("POST, OPTIONS");

/// The media type of every answer.
pub(super) const JSON: &str = "application/json";

/// The answer that says no more than that all is well. Spelled out: it is nearly every answer.
const OK: &str = r#"{"status":"OK"}"#;

/// Done.
#[derive(Object)]
#[oai(rename = "PasswordResetStatus")]
pub(super) struct Status {
    status: StatusWord,
}

#[derive(Enum, Serialize)]
#[oai(rename = "PasswordResetStatusWord")]
enum StatusWord {
    #[oai(rename = "OK")]
    #[serde(rename = "OK")]
    Ok,
}

impl Status {
    pub(super) fn ok() -> Self {
        Self { status: StatusWord::Ok }
    }

    pub(super) fn to_body(&self) -> Body {
        match self.status {
            StatusWord::Ok => OK.into(),
        }
    }
}

/// The token is good.
#[derive(Object, Serialize)]
#[oai(rename = "PasswordResetValidated")]
pub(super) struct Validated {
    status: StatusWord,
    /// The user's name, where the service is set up to tell it.
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    /// The user's email address, where the service is set up to tell it.
    #[serde(skip_serializing_if = "Option::is_none")]
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

    pub(super) fn to_body(&self) -> Body {
        match self {
            Self { status: StatusWord::Ok, username: None, email: None } => OK.into(),
            _ => compact(self).into(),
        }
    }
}

/// What is wrong with which field: sentences, by the name of the field.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "PasswordResetFieldErrors")]
pub(super) struct FieldErrors {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) email: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) password: Option<Vec<String>>,
    /// What is wrong with the body as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) non_field_errors: Option<Vec<String>>,
}

/// What went wrong, as a sentence and as a code.
#[derive(Object, Serialize)]
#[oai(rename = "PasswordResetError")]
pub(super) struct CodedError {
    detail: String,
    /// For programs: `parse_error` or `invalid_token`.
    code: String,
}

/// What went wrong, as a sentence.
#[derive(Object, Serialize)]
#[oai(rename = "PasswordResetDetail")]
pub(super) struct Detail {
    detail: String,
}

/// The members stand in the order in which they are declared. By way of `ToJSON` their order would be up to a feature
/// of `serde_json` that any crate can switch on.
fn compact(answer: &impl Serialize) -> String {
    serde_json::to_string(answer).expect("text and lists of text serialize")
}

/// An answer of JSON.
pub(super) fn json(body: Body) -> Response {
    let mut response = Response::from(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
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
            ResetError::InvalidEmail => Self::FaultyFields(email("This is not an email address.")),
            ResetError::UnknownUser => Self::FaultyFields(email("There is no active user with this email address.")),
            ResetError::InvalidToken(_) => Self::InvalidToken,
            ResetError::PasswordRefused(refusals) => {
                let texts = refusals.iter().map(ToString::to_string).collect();
                Self::FaultyFields(FieldErrors { password: Some(texts), ..FieldErrors::default() })
            }
            ResetError::Throttled { retry_after } => Self::Throttled(retry_after),
            ResetError::Unavailable { retry_after, .. } => Self::Unavailable(retry_after),
            ResetError::Failed(_) => Self::Failed,
        }
    }
}

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
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

    pub(super) fn body(&self) -> String {
        let detail = |detail: &str| compact(&Detail { detail: detail.to_owned() });
        let coded =
            |detail: &str, code: &str| compact(&CodedError { detail: detail.to_owned(), code: code.to_owned() });
        match self {
            Self::FaultyFields(errors) => compact(errors),
            Self::NotAnObject => {
                let errors = vec!["The body must be a JSON object.".to_owned()];
                compact(&FieldErrors { non_field_errors: Some(errors), ..FieldErrors::default() })
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

    /// When to try again, if that is known.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled(after) | Self::Unavailable(after) => Some(*after),
            _ => None,
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = json(self.body().into());
        response.set_status(self.status());
        if let Some(after) = self.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, whole_seconds(after).into());
        }
        if matches!(self, Self::MethodNotAllowed) {
            response.headers_mut().insert(header::ALLOW, ALLOW);
        }
        response
    }
}

impl From<Answer> for poem::Error {
    fn from(answer: Answer) -> Self {
        Self::from_response(answer.into_response())
    }
}

/// Rounds up, so that a client does not come back too early. A wait within a window stays within it, because windows are
/// whole seconds.
pub(super) fn whole_seconds(after: Duration) -> u64 {
    after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_rounds_up_and_is_at_least_one() {
        for (nanoseconds, seconds) in [
            (0, 1),
            (1, 1),
            (1_000_000_000, 1),
            (1_000_000_001, 2),
            (3_599_000_000_001, 3600),
            (3_600_000_000_000, 3600),
        ] {
            assert_eq!(whole_seconds(Duration::from_nanos(nanoseconds)), seconds, "{nanoseconds} ns");
        }
        assert_eq!(whole_seconds(Duration::MAX), u64::MAX);
    }
}
