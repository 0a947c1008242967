//! What is where, and the headers of every answer.

use poem::error::{MethodNotAllowedError, NotFoundError};
use poem::http::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use poem::http::{HeaderValue, StatusCode};
use poem::middleware::CatchPanic;
use poem::{Endpoint, EndpointExt, IntoResponse, Response, Route};

use crate::pages;

/// What every answer carries unless it says otherwise: it is not stored, not sniffed, not framed, runs nothing, and the
/// address of the page it was on is nobody's business.
const HEADERS: [(poem::http::HeaderName, &str); 4] = [
    (CACHE_CONTROL, "no-store"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (REFERRER_POLICY, "no-referrer"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

/// The routes, with an answer for whatever none of them is for and for whatever panics.
pub(crate) fn whole(routes: Route) -> impl Endpoint<Output = Response> + 'static {
    routes
        .catch_error(|_: NotFoundError| async { pages::problem(StatusCode::NOT_FOUND, "There is no such page") })
        .catch_error(|_: MethodNotAllowedError| async {
            let response = pages::problem(StatusCode::METHOD_NOT_ALLOWED, "This page can only be read");
            response.with_header(ALLOW, "GET, HEAD")
        })
        .with(CatchPanic::new())
        .after(|result| async {
            // Of an error, too, the headers matter.
            let mut response = result.map_or_else(|error| error.into_response(), IntoResponse::into_response);
            for (name, value) in HEADERS {
                response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
            }
            Ok::<_, poem::Error>(response)
        })
}
