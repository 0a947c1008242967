//! [`HttpContract`]: what the endpoints promise over HTTP and cannot keep by themselves.

use poem::error::{MethodNotAllowedError, NotFoundError};
use poem::http::header::{self, CACHE_CONTROL, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use poem::http::uri::PathAndQuery;
use poem::http::{Method, StatusCode, Uri};
use poem::{Endpoint, IntoResponse as _, Middleware, Request, Response};

use super::answer::{ALLOW, Answer};
use super::mount::{MountPath, is_mountable};
use crate::catch_panic::{Panicked, catch_panic_future};

/// Headers of every answer: nothing of it may be kept, guessed at or passed on.
const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
];

/// Marks a request that [`HttpContract`] handed on to one of the endpoints.
#[derive(Clone, Copy, Debug)]
pub(super) struct Covered;

/// The middleware to mount a service of [`ResetApi`](crate::ResetApi) with: `service.with(HttpContract)`.
///
/// * Paths are taken with or without the last slash, and repeated slashes as one.
/// * 404, 405 and a panic are answered in JSON like everything else; 405 with `Allow: POST, OPTIONS`, and `OPTIONS`
///   with 204 and the same.
/// * Every answer has `Cache-Control: no-store`, `Referrer-Policy: no-referrer` and `X-Content-Type-Options: nosniff`.
///   There is no cookie and no CORS header. For a front end on another origin, add poem's `Cors` as the outer layer:
///   `service.with(HttpContract).with(Cors::new().allow_origin("https://app.example.com")..)`. The other way round, errors of
///   routing are plain text. `examples/cors.rs` has the settings.
///
/// Wrap the service itself, not the whole application: the middleware recognizes the endpoints by their paths within the
/// service. If it is missing, the endpoints log a warning at the first request.
///
/// What a middleware cannot do is close a connection whose headers do not arrive: it sees requests, and there is none yet.
/// A body has ten seconds; for the headers use hyper's `header_read_timeout` in an accept loop of your own, as the demo
/// does, or a proxy in front.
///
/// Another API in the same service keeps its own methods, its own errors and, where it sets them, its own headers. To leave
/// it alone altogether, mount with [`HttpContract::at`].
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpContract;

impl HttpContract {
    /// The contract for endpoints that are [mounted at a path](crate::ResetApi::at) of a service which the application
    /// shares with them.
    ///
    /// It keeps the same promises for the three endpoints. Every other request of the service, and the answer to it, pass
    /// unchanged: slashes, errors and headers of the application's own endpoints stay as they are without the contract, and
    /// so does the 404 of a path that does not exist.
    pub fn at<P: MountPath>() -> HttpContractAt {
        const { assert!(is_mountable(P::PATH), "MountPath::PATH is \"/\", or segments like \"/auth/reset\"") };
        HttpContractAt { mount: P::PATH }
    }
}

impl<E: Endpoint> Middleware<E> for HttpContract {
    type Output = HttpContractEndpoint<E>;

    fn transform(&self, endpoint: E) -> HttpContractEndpoint<E> {
        HttpContractEndpoint { endpoint, mount: "/", covers_all: true }
    }
}

/// [`HttpContract`] for endpoints at a path of a shared service. Created by [`HttpContract::at`].
#[derive(Clone, Copy, Debug)]
pub struct HttpContractAt {
    mount: &'static str,
}

impl<E: Endpoint> Middleware<E> for HttpContractAt {
    type Output = HttpContractEndpoint<E>;

    fn transform(&self, endpoint: E) -> HttpContractEndpoint<E> {
        HttpContractEndpoint { endpoint, mount: self.mount, covers_all: false }
    }
}

/// A service with [`HttpContract`].
#[derive(Debug)]
pub struct HttpContractEndpoint<E> {
    endpoint: E,
    mount: &'static str,
    /// Whether answers to other paths than those of the three endpoints get the headers and the JSON errors too.
    covers_all: bool,
}

impl<E: Endpoint> Endpoint for HttpContractEndpoint<E> {
    type Output = Response;

    // No `async fn`, which would keep the request twice: as it came, and in the call that it is handed on to.
    fn call(&self, mut request: Request) -> impl Future<Output = poem::Result<Response>> + Send {
        let normal = normal(request.uri());
        let is_ours = is_ours(self.mount, normal.as_ref().unwrap_or(request.uri()).path());
        let is_covered = is_ours || self.covers_all;
        if let Some(uri) = normal.filter(|_| is_covered) {
            *request.uri_mut() = uri;
        }
        let is_options = request.method() == Method::OPTIONS;
        if is_ours {
            request.extensions_mut().insert(Covered);
        }
        let call = Box::pin(self.endpoint.call(request));
        async move {
            if !is_covered {
                return call.await.map(poem::IntoResponse::into_response);
            }
            let mut response = match catch_panic_future(call).await {
                Ok(Ok(output)) => output.into_response(),
                Ok(Err(error)) => answer(error, is_ours, is_options),
                Err(Panicked) => Answer::Failed.into_response(),
            };
            for (name, value) in HEADERS {
                response.headers_mut().entry(name).or_insert(value);
            }
            Ok(response)
        }
    }
}

/// What an error of a service is answered with.
fn answer(error: poem::Error, is_ours: bool, is_options: bool) -> Response {
    match error {
        error if error.is::<NotFoundError>() => Answer::NoSuchPath.into_response(),
        // Another API in the same service has methods and errors of its own.
        error if !is_ours => error.into_response(),
        error if error.is::<MethodNotAllowedError>() && is_options => {
            Response::builder().status(StatusCode::NO_CONTENT).header(header::ALLOW, ALLOW).finish()
        }
        error if error.is::<MethodNotAllowedError>() => Answer::MethodNotAllowed.into_response(),
        error if error.is_from_response() => error.into_response(),
        // An error that is not ours has a text that is not ours either: it might quote what was sent.
        _ => Answer::Failed.into_response(),
    }
}

/// The same without a last slash, and with one slash for several; `None` if it is so already, as it mostly is.
fn normal(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let has_empty_segment = || path.as_bytes().windows(2).any(|pair| pair == b"//");
    let is_normal = path.len() < 2 || !(path.ends_with('/') || has_empty_segment());
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

/// Whether one of the endpoints of a [`ResetApi`](crate::ResetApi) mounted here is at this path, which is [`normal`].
fn is_ours(mount: &str, path: &str) -> bool {
    let below = match mount {
        "/" if path == "/" => Some(""),
        "/" => Some(path),
        _ => path.strip_prefix(mount),
    };
    matches!(below, Some("" | "/validate_token" | "/confirm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ours_recognizes_the_endpoints_below_their_mount_path_alone() {
        for (mount, path, expected) in [
            ("/", "/", true),
            ("/", "/confirm", true),
            ("/", "/validate_token", true),
            ("/", "/profile", false),
            ("/auth/reset", "/auth/reset", true),
            ("/auth/reset", "/auth/reset/confirm", true),
            ("/auth/reset", "/auth/reset/validate_token", true),
            ("/auth/reset", "/auth/reset/history", false),
            ("/auth/reset", "/auth/resetconfirm", false),
            ("/auth/reset", "/auth/reset/confirm/x", false),
            ("/auth/reset", "/", false),
            ("/auth/reset", "/confirm", false),
        ] {
            assert_eq!(is_ours(mount, path), expected, "{mount} {path}");
        }
    }

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
