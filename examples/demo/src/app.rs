//! Error pages and the security headers of every response.

use poem::error::{MethodNotAllowedError, NotFoundError};
use poem::http::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use poem::http::{HeaderValue, StatusCode};
use poem::middleware::CatchPanic;
use poem::{Endpoint, EndpointExt, IntoResponse, Response, Route};

use crate::pages;

/// Headers of every response that does not set its own: no caching, no content sniffing, no frames, no scripts, no referrer.
const HEADERS: [(poem::http::HeaderName, &str); 4] = [
    (CACHE_CONTROL, "no-store"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (REFERRER_POLICY, "no-referrer"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

/// Adds error pages, a response for panics, and [`HEADERS`].
pub(crate) fn with_headers(routes: Route) -> impl Endpoint<Output = Response> + 'static {
    routes
        .catch_error(|_: NotFoundError| async { pages::problem(StatusCode::NOT_FOUND, "Page not found") })
        .catch_error(|_: MethodNotAllowedError| async {
            let response = pages::problem(StatusCode::METHOD_NOT_ALLOWED, "This page does not accept this request");
            response.with_header(ALLOW, "GET, HEAD")
        })
        .with(CatchPanic::new())
        .after(|result| async {
            // Error responses need the headers too.
            let mut response = result.map_or_else(|error| error.into_response(), IntoResponse::into_response);
            for (name, value) in HEADERS {
                response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
            }
            Ok::<_, poem::Error>(response)
        })
}
