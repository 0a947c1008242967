//! The three endpoints over HTTP, independent of a web framework.
//!
//! Everything here works on the types of the crate `http` and on a stream of bytes. An adapter for a framework, such as
//! `api.rs` for poem, passes requests in and responses out.

mod accept;
mod body;
mod form;
mod response;
#[cfg(test)]
mod tests;
mod uri;

use std::net::IpAddr;
use std::pin::pin;

use bytes::Bytes;
use futures_core::Stream;
use http::{HeaderMap, Method, Response};

#[cfg(feature = "poem")]
pub(crate) use self::body::MediaType;
use self::form::{ConfirmForm, RequestForm, ValidateForm};
pub(crate) use self::response::{ErrorResponse, add_security_headers, method_not_allowed};
#[cfg(feature = "poem")]
pub(crate) use self::response::{FieldErrors, JSON, whole_seconds};
pub(crate) use self::uri::normalize;
use crate::catch_panic::{Panicked, catch_panic_future};
use crate::reset::PasswordReset;

/// One of the three endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Request,
    Validate,
    Confirm,
}

impl Endpoint {
    /// Returns the endpoint at a [normalized](normalize) path, if the endpoints are mounted at `mount`.
    pub(crate) fn at(mount: &str, path: &str) -> Option<Self> {
        let below = match mount {
            "/" if path == "/" => "",
            "/" => path,
            _ => path.strip_prefix(mount)?,
        };
        match below {
            "" => Some(Self::Request),
            "/validate_token" => Some(Self::Validate),
            "/confirm" => Some(Self::Confirm),
            _ => None,
        }
    }

    /// Responds to a `POST` request from `peer`.
    pub(crate) async fn post<S, E>(
        self,
        reset: &PasswordReset,
        peer: Option<IpAddr>,
        headers: &HeaderMap,
        body: S,
    ) -> Response<Bytes>
    where
        S: Stream<Item = Result<Bytes, E>>,
    {
        self.run(reset, peer, headers, body).await.unwrap_or_else(ErrorResponse::into_response)
    }

    /// Reads the body, runs the operation and returns the response for success.
    async fn run<S, E>(
        self,
        reset: &PasswordReset,
        peer: Option<IpAddr>,
        headers: &HeaderMap,
        body: S,
    ) -> Result<Response<Bytes>, ErrorResponse>
    where
        S: Stream<Item = Result<Bytes, E>>,
    {
        let fields = body::read(headers, body).await?;
        match self {
            Self::Request => {
                let RequestForm { email } = RequestForm::from_fields(fields)?;
                reset.request(&email, reset.client(peer, headers)).await?;
                Ok(response::ok())
            }
            Self::Validate => {
                let ValidateForm { token } = ValidateForm::from_fields(fields)?;
                let validated = reset.validate_for(token.expose(), &reset.client(peer, headers)).await?;
                let details = reset.user_details_on_validation().then_some(validated.user());
                Ok(details.map_or_else(response::ok, response::user_details))
            }
            Self::Confirm => {
                let ConfirmForm { token, password } = ConfirmForm::from_fields(fields)?;
                reset.confirm(token.expose(), password, reset.client(peer, headers)).await?;
                Ok(response::ok())
            }
        }
    }
}

/// Responds to any request from `peer`, if the endpoints are mounted at `mount`.
#[cfg_attr(
    not(test),
    allow(dead_code, reason = "the entry point for frameworks whose router does not do this, like tower")
)]
pub(crate) async fn serve<S, E>(
    reset: &PasswordReset,
    mount: &str,
    peer: Option<IpAddr>,
    request: http::Request<S>,
) -> Response<Bytes>
where
    S: Stream<Item = Result<Bytes, E>>,
{
    let (head, body) = request.into_parts();
    let normalized = normalize(&head.uri);
    let mut response = match Endpoint::at(mount, normalized.as_ref().unwrap_or(&head.uri).path()) {
        None => ErrorResponse::NotFound.into_response(),
        Some(_) if head.method != Method::POST => method_not_allowed(&head.method),
        Some(endpoint) => {
            let response = pin!(endpoint.post(reset, peer, &head.headers, body));
            catch_panic_future(response).await.unwrap_or_else(|Panicked| ErrorResponse::Failed.into_response())
        }
    };
    add_security_headers(response.headers_mut());
    response
}
