//! [`HttpContract`]: the promises of the endpoints that concern paths, methods and headers.

use poem::error::{MethodNotAllowedError, NotFoundError};
use poem::http::Method;
use poem::{IntoResponse as _, Middleware, Request, Response};

use super::into_poem;
use super::mount::{MountPath, is_mountable};
use crate::catch_panic::{Panicked, catch_panic_future};
use crate::endpoint::{Endpoint, ErrorResponse, add_security_headers, method_not_allowed, normalize};

/// Marks a request to one of the endpoints that passed through [`HttpContract`].
#[derive(Clone, Copy, Debug)]
pub(super) struct PassedContract;

/// The middleware to mount a service of [`ResetApi`](crate::ResetApi) with: `service.with(HttpContract)`.
///
/// * A path matches with or without the last slash, and repeated slashes count as one.
/// * 404, 405 and 500 after a panic have a JSON body like every other response. 405 has `Allow: POST, OPTIONS`. `OPTIONS` is
///   answered by 204 with the same header.
/// * Every response has `Cache-Control: no-store`, `Referrer-Policy: no-referrer` and `X-Content-Type-Options: nosniff`.
/// * No response has a cookie or a CORS header. For a front end on another origin, add poem's `Cors` as the outer layer:
///   `service.with(HttpContract).with(Cors::new().allow_origin("https://app.example.com")..)`. With the layers in the
///   opposite order, routing errors are plain text. `examples/cors.rs` shows the settings.
///
/// Wrap the service itself, not the whole application: the middleware recognizes the endpoints by their paths within the
/// service. If it is missing, the endpoints log a warning at the first request.
///
/// A middleware cannot close a connection whose request headers do not arrive, because there is no request yet. A body
/// has ten seconds. For the headers, set hyper's `header_read_timeout` in your own accept loop, as the demo does, or use
/// a proxy in front.
///
/// Another API in the same service keeps its own methods, its own errors and the headers that it sets. To leave it
/// entirely unchanged, mount with [`HttpContract::at`].
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpContract;

impl HttpContract {
    /// Returns the contract for endpoints that are [mounted at a path](crate::ResetApi::at) of a shared service.
    ///
    /// The contract covers the three endpoints only. Every other request to the service, and its response, passes
    /// unchanged: slashes, errors and headers of the application's own endpoints stay as they are without the contract,
    /// and so does the 404 of an unknown path.
    pub fn at<P: MountPath>() -> HttpContractAt {
        const { assert!(is_mountable(P::PATH), "MountPath::PATH must be \"/\" or segments like \"/auth/reset\"") };
        HttpContractAt { mount: P::PATH }
    }
}

impl<E: poem::Endpoint> Middleware<E> for HttpContract {
    type Output = HttpContractEndpoint<E>;

    fn transform(&self, service: E) -> HttpContractEndpoint<E> {
        HttpContractEndpoint { service, mount: "/", covers_all: true }
    }
}

/// [`HttpContract`] for endpoints at a path of a shared service. Created by [`HttpContract::at`].
#[derive(Clone, Copy, Debug)]
pub struct HttpContractAt {
    mount: &'static str,
}

impl<E: poem::Endpoint> Middleware<E> for HttpContractAt {
    type Output = HttpContractEndpoint<E>;

    fn transform(&self, service: E) -> HttpContractEndpoint<E> {
        HttpContractEndpoint { service, mount: self.mount, covers_all: false }
    }
}

/// A service with [`HttpContract`].
#[derive(Debug)]
pub struct HttpContractEndpoint<E> {
    service: E,
    mount: &'static str,
    /// Whether the headers and JSON errors also apply to paths other than those of the three endpoints.
    covers_all: bool,
}

impl<E: poem::Endpoint> poem::Endpoint for HttpContractEndpoint<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let normalized = normalize(request.uri());
        let path = normalized.as_ref().unwrap_or(request.uri()).path();
        let is_ours = Endpoint::at(self.mount, path).is_some();
        let is_covered = is_ours || self.covers_all;
        if !is_covered {
            return self.service.call(request).await.map(poem::IntoResponse::into_response);
        }
        if let Some(uri) = normalized {
            *request.uri_mut() = uri;
        }
        if is_ours {
            request.extensions_mut().insert(PassedContract);
        }
        let method = request.method().clone();
        let mut response = match catch_panic_future(Box::pin(self.service.call(request))).await {
            Ok(Ok(output)) => output.into_response(),
            Ok(Err(error)) => error_response(error, is_ours, &method),
            Err(Panicked) => into_poem(ErrorResponse::Failed.into_response()),
        };
        add_security_headers(response.headers_mut());
        Ok(response)
    }
}

/// Converts an error of the service into a response.
fn error_response(error: poem::Error, is_ours: bool, method: &Method) -> Response {
    match error {
        error if error.is::<NotFoundError>() => into_poem(ErrorResponse::NotFound.into_response()),
        // The path is an endpoint of another API, which keeps its errors.
        error if !is_ours => error.into_response(),
        error if error.is::<MethodNotAllowedError>() => into_poem(method_not_allowed(method)),
        error if error.is_from_response() => error.into_response(),
        // The text of any other error is not ours and might repeat a value of the request.
        _ => into_poem(ErrorResponse::Failed.into_response()),
    }
}
