//! [`HttpContract`]: what the endpoints promise over HTTP and cannot keep by themselves.

use std::any::Any;

use poem::error::{MethodNotAllowedError, NotFoundError};
use poem::http::header::{CACHE_CONTROL, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use poem::http::uri::PathAndQuery;
use poem::http::{Method, StatusCode, Uri};
use poem::middleware::CatchPanic;
use poem::{Endpoint, EndpointExt as _, IntoResponse as _, Middleware, Request, Response};

use super::schema::{ALLOW, Answer};

/// Headers of every answer: nothing of it may be kept, guessed at or passed on.
const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
];

/// The middleware to mount a service of [`ResetApi`](crate::ResetApi) with: `service.with(HttpContract)`.
///
/// * Paths are taken with or without the last slash, and repeated slashes as one.
/// * 404, 405 and a panic are answered in JSON like everything else; 405 with `Allow: POST, OPTIONS`, and `OPTIONS`
///   with 204 and the same.
/// * Every answer has `Cache-Control: no-store`, `Referrer-Policy: no-referrer` and `X-Content-Type-Options: nosniff`.
///   There is no cookie and no CORS header.
///
/// What a middleware cannot do is close a connection whose headers do not arrive: it sees requests, and there is none yet.
/// A body has ten seconds; for the headers use hyper's `header_read_timeout` in an accept loop of your own, as the demo
/// does, or a proxy in front.
///
/// Another API in the same service keeps its own methods, its own errors and, where it sets them, its own headers.
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpContract;

impl<E: Endpoint + 'static> Middleware<E> for HttpContract {
    type Output = HttpContractEndpoint;

    fn transform(&self, endpoint: E) -> HttpContractEndpoint {
        let endpoint =
            endpoint.with(CatchPanic::new().with_handler(|_: Box<dyn Any + Send>| Answer::Failed.into_response()));
        HttpContractEndpoint { endpoint: endpoint.map_to_response().boxed() }
    }
}

/// What [`HttpContract`] makes of a service.
pub struct HttpContractEndpoint {
    endpoint: poem::endpoint::BoxEndpoint<'static>,
}

impl Endpoint for HttpContractEndpoint {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        if let Some(uri) = normal(request.uri()) {
            *request.uri_mut() = uri;
        }
        let is_options = request.method() == Method::OPTIONS;
        let is_ours = is_ours(request.uri().path());
        let mut response = match self.endpoint.call(request).await {
            Ok(response) => response,
            Err(error) if error.is::<NotFoundError>() => Answer::NoSuchPath.into_response(),
            // Another API in the same service has methods and errors of its own.
            Err(error) if !is_ours => error.into_response(),
            Err(error) if error.is::<MethodNotAllowedError>() && is_options => {
                Response::builder().status(StatusCode::NO_CONTENT).header(ALLOW.0, ALLOW.1).finish()
            }
            Err(error) if error.is::<MethodNotAllowedError>() => Answer::MethodNotAllowed.into_response(),
            Err(error) if error.is_from_response() => error.into_response(),
            // An error that is not ours has a text that is not ours either: it might quote what was sent.
            Err(_) => Answer::Failed.into_response(),
        };
        for (name, value) in HEADERS {
            response.headers_mut().entry(name).or_insert(value);
        }
        Ok(response)
    }
}

/// The same without a last slash, and with one slash for several; `None` if it is so already, as it mostly is.
fn normal(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let is_normal = path.len() < 2 || !(path.ends_with('/') || path.contains("//"));
    if is_normal {
        return None;
    }
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    let mut normal = segments.fold(String::with_capacity(path.len()), |normal, segment| normal + "/" + segment);
    if normal.is_empty() {
        normal.push('/');
    }
    if let Some(query) = uri.query() {
        normal = normal + "?" + query;
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(normal).ok()?);
    Uri::from_parts(parts).ok()
}

/// Whether one of the endpoints of [`ResetApi`](crate::ResetApi) is at this path, however its slashes are written.
fn is_ours(path: &str) -> bool {
    matches!(path.trim_matches('/'), "" | "validate_token" | "confirm")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes() {
        for (path, expected) in [
            ("/confirm/", "/confirm"),
            ("//confirm", "/confirm"),
            ("///a//b///", "/a/b"),
            ("//", "/"),
            ("/confirm/?a=/b//c/", "/confirm?a=/b//c/"),
            ("http://example.com/confirm/?a", "http://example.com/confirm?a"),
        ] {
            let normal = normal(&path.parse().unwrap()).expect("it changes");
            assert_eq!(normal.to_string(), expected);
        }
        for path in ["/", "/confirm", "/a/b", "/?a=//", "*", "http://example.com", "http://example.com/a"] {
            assert_eq!(normal(&path.parse().unwrap()), None, "{path}");
        }
    }
}
