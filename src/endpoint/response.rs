//! Responses: success, and the only place that turns an error into HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, Response, StatusCode};
use serde::Serialize;

use crate::error::ResetError;
use crate::user::StoredUser;

/// The media type of every response.
pub(crate) const JSON: &str = "application/json";

/// The methods that each endpoint accepts.
const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("POST, OPTIONS");

/// Headers of every response. They forbid caching, referrers and content sniffing.
const SECURITY_HEADERS: [(HeaderName, HeaderValue); 3] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
];

/// Adds the security headers that are not set yet.
pub(crate) fn add_security_headers(headers: &mut HeaderMap) {
    for (name, value) in SECURITY_HEADERS {
        headers.entry(name).or_insert(value);
    }
}

/// The response of an operation that succeeded.
pub(super) fn ok() -> Response<Bytes> {
    json(StatusCode::OK, Bytes::from_static(br#"{"status":"OK"}"#))
}

/// The response to a valid token, with the details of its user.
pub(super) fn user_details(user: &StoredUser) -> Response<Bytes> {
    #[derive(Serialize)]
    struct Details<'u> {
        status: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        username: Option<&'u str>,
        email: &'u str,
    }
    json(StatusCode::OK, to_json(&Details { status: "OK", username: user.username(), email: user.email() }).into())
}

/// The response to a method other than `POST`.
pub(crate) fn method_not_allowed(method: &Method) -> Response<Bytes> {
    if method != Method::OPTIONS {
        return ErrorResponse::MethodNotAllowed.into_response();
    }
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(ALLOW, ALLOWED_METHODS);
    response
}

fn json(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

/// Serializes to compact JSON with the members in the order of their declaration.
fn to_json(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("text and lists of text serialize")
}

/// The errors of each invalid field, as sentences.
#[derive(Debug, Default, Serialize)]
pub(crate) struct FieldErrors {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) email: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) token: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) password: Vec<String>,
    /// Errors of the body as a whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) non_field_errors: Vec<String>,
}

impl FieldErrors {
    pub(super) const MISSING: &str = "This field is required.";

    pub(super) fn email(error: &str) -> Self {
        Self { email: vec![error.to_owned()], ..Self::default() }
    }

    /// The error of a form without a token.
    #[cfg(feature = "poem")]
    pub(crate) fn missing_token() -> Self {
        Self { token: vec![Self::MISSING.to_owned()], ..Self::default() }
    }
}

/// An error as a sentence, with a code for programs.
#[derive(Serialize)]
struct Detail {
    detail: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

/// A response other than success.
#[derive(Debug)]
pub(crate) enum ErrorResponse {
    InvalidFields(FieldErrors),
    NotAnObject,
    ParseError,
    InvalidToken,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    BodyTimeout,
    BodyTooLarge,
    UnsupportedMediaType,
    Throttled(Duration),
    Failed,
    Unavailable(Duration),
}

impl From<FieldErrors> for ErrorResponse {
    fn from(errors: FieldErrors) -> Self {
        Self::InvalidFields(errors)
    }
}

impl From<ResetError> for ErrorResponse {
    fn from(error: ResetError) -> Self {
        match error {
            ResetError::InvalidEmail => FieldErrors::email("Enter a valid email address.").into(),
            ResetError::UnknownUser => FieldErrors::email("No active user has this email address.").into(),
            ResetError::InvalidToken(_) => Self::InvalidToken,
            ResetError::PasswordRefused(refusals) => {
                FieldErrors { password: refusals.iter().map(ToString::to_string).collect(), ..FieldErrors::default() }
                    .into()
            }
            ResetError::Throttled { retry_after } => Self::Throttled(retry_after),
            ResetError::Unavailable { retry_after, .. } => Self::Unavailable(retry_after),
            ResetError::Failed(_) => Self::Failed,
        }
    }
}

impl ErrorResponse {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::InvalidFields(_) | Self::NotAnObject | Self::ParseError => StatusCode::BAD_REQUEST,
            Self::InvalidToken | Self::NotFound => StatusCode::NOT_FOUND,
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

    /// Returns the body. Its text never repeats a value of the request.
    pub(crate) fn body(&self) -> String {
        let detail = |detail| to_json(&Detail { detail, code: None });
        let coded = |detail, code| to_json(&Detail { detail, code: Some(code) });
        match self {
            Self::InvalidFields(errors) => to_json(errors),
            Self::NotAnObject => {
                let errors = vec!["The request body must be a JSON object.".to_owned()];
                to_json(&FieldErrors { non_field_errors: errors, ..FieldErrors::default() })
            }
            Self::ParseError => coded("The request body could not be parsed.", "parse_error"),
            Self::InvalidToken => {
                coded("This reset token is invalid or has expired. Request a new one.", "invalid_token")
            }
            Self::NotFound => detail("Not found."),
            Self::MethodNotAllowed => detail("Only POST is allowed."),
            Self::NotAcceptable => detail("The response is available as application/json only."),
            Self::BodyTimeout => detail("The request body did not arrive within ten seconds."),
            Self::BodyTooLarge => detail("The request body is larger than 16 KiB."),
            Self::UnsupportedMediaType => detail(
                "The request body must be application/json, application/x-www-form-urlencoded or multipart/form-data.",
            ),
            Self::Throttled(_) => detail("Too many requests. Try again later."),
            Self::Failed => detail("An internal error occurred. Nothing was changed."),
            Self::Unavailable(_) => detail("The service is temporarily unavailable. Try again in a moment."),
        }
    }

    /// Returns the delay after which a retry can succeed, if it is known.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled(after) | Self::Unavailable(after) => Some(*after),
            _ => None,
        }
    }

    pub(crate) fn into_response(self) -> Response<Bytes> {
        let mut response = json(self.status(), self.body().into());
        if let Some(after) = self.retry_after() {
            response.headers_mut().insert(RETRY_AFTER, whole_seconds(after).into());
        }
        if matches!(self, Self::MethodNotAllowed) {
            response.headers_mut().insert(ALLOW, ALLOWED_METHODS);
        }
        response
    }
}

/// Rounds up to whole seconds, at least one, so that a client does not retry too early. The result stays within the window of a
/// quota, because windows are whole seconds.
pub(crate) fn whole_seconds(delay: Duration) -> u64 {
    delay.as_secs().saturating_add(u64::from(delay.subsec_nanos() > 0)).max(1)
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
