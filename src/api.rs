//! [`ResetApi`]: the endpoints for poem-openapi, with their documentation. The endpoints themselves are in `endpoint.rs`.

mod contract;
mod mount;
mod schema;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use poem::{Request, Response};
use poem_openapi::OpenApi;

use self::contract::PassedContract;
pub use self::contract::{HttpContract, HttpContractAt, HttpContractEndpoint};
use self::mount::is_mountable;
pub use self::mount::{AtRoot, MountPath};
use self::schema::{Body, Confirm, DocumentedResponse, Group, RequestReset, Validate};
use crate::endpoint::Endpoint;
use crate::reset::PasswordReset;

/// The three endpoints, for `OpenApiService::new(ResetApi::new(reset), ..)`.
///
/// Mount the service with [`HttpContract`]:
///
/// ```
/// # use poem::{EndpointExt, Route};
/// # use poem_openapi::OpenApiService;
/// # use poem_password_reset::{HttpContract, PasswordReset, ResetApi};
/// # fn mount(reset: PasswordReset) -> Route {
/// let api = OpenApiService::new(ResetApi::new(reset), "Accounts", "1.0").server("/api/password_reset");
/// let app = Route::new().nest("/api/password_reset", api.with(HttpContract));
/// # app
/// # }
/// ```
///
/// | endpoint, with or without the last slash | fields | response |
/// | --- | --- | --- |
/// | `POST /` | `email` | `{"status":"OK"}`, whether or not a user has this address |
/// | `POST /validate_token/` | `token` | `{"status":"OK"}`, or 404 for an invalid token |
/// | `POST /confirm/` | `token`, `password` | `{"status":"OK"}`, 404 for an invalid token, or 400 with the reasons why the password is rejected |
///
/// Bodies are JSON, `application/x-www-form-urlencoded` or `multipart/form-data`, up to 16 KiB, and must be complete
/// within ten seconds. Operation ids and schema names have the prefix `PasswordReset`. They are unique in a document, so a
/// service takes one `ResetApi`. For one document with the application's own endpoints see [`at`](Self::at).
pub struct ResetApi<P = AtRoot> {
    reset: PasswordReset,
    has_warned: Arc<AtomicBool>,
    mount: PhantomData<fn() -> P>,
}

impl ResetApi {
    /// Creates the endpoints of `reset`, at the root of a service.
    pub fn new(reset: PasswordReset) -> Self {
        Self { reset, has_warned: Arc::default(), mount: PhantomData }
    }
}

impl<P: MountPath> ResetApi<P> {
    /// Moves the endpoints to a path of the service, so that the application's own endpoints are in the same service, the
    /// same document and the same Swagger UI.
    ///
    /// Mount the service with [`HttpContract::at`] and the same path. It covers the three endpoints only.
    /// `examples/one_document.rs` is a complete program.
    ///
    /// ```
    /// use poem::{EndpointExt, Route};
    /// use poem_openapi::payload::PlainText;
    /// use poem_openapi::{OpenApi, OpenApiService};
    /// use poem_password_reset::{HttpContract, MountPath, PasswordReset, ResetApi};
    ///
    /// struct AuthReset;
    ///
    /// impl MountPath for AuthReset {
    ///     const PATH: &'static str = "/auth/reset";
    /// }
    ///
    /// struct Profile;
    ///
    /// #[OpenApi]
    /// impl Profile {
    ///     #[oai(path = "/profile", method = "get")]
    ///     async fn profile(&self) -> PlainText<&'static str> {
    ///         PlainText("Ann")
    ///     }
    /// }
    ///
    /// # fn mount(reset: PasswordReset) -> Route {
    /// let apis = (ResetApi::new(reset).at::<AuthReset>(), Profile);
    /// let service = OpenApiService::new(apis, "Accounts", "1.0").server("/api");
    /// // POST /api/auth/reset/, /api/auth/reset/validate_token/, /api/auth/reset/confirm/, and GET /api/profile
    /// Route::new().nest("/docs", service.swagger_ui()).nest("/api", service.with(HttpContract::at::<AuthReset>()))
    /// # }
    /// ```
    pub fn at<Q: MountPath>(self) -> ResetApi<Q> {
        const { assert!(is_mountable(Q::PATH), "MountPath::PATH must be \"/\" or segments like \"/auth/reset\"") };
        ResetApi { reset: self.reset, has_warned: self.has_warned, mount: PhantomData }
    }

    /// Warns once if the request did not pass through the contract. The author of the application has no other sign of it.
    fn check_contract(&self, request: &Request) {
        if request.extensions().get::<PassedContract>().is_none() && !self.has_warned.swap(true, Ordering::Relaxed) {
            let at = match P::PATH {
                "/" => String::new(),
                _ => format!("::at::<{}>()", std::any::type_name::<P>()),
            };
            tracing::warn!(
                "HttpContract is not mounted around this service: paths with a slash at the end return 404, routing \
                 errors are not JSON, and the security headers are missing; write service.with(HttpContract{at})"
            );
        }
    }

    async fn post<T>(&self, endpoint: Endpoint, request: &Request, body: Body<T>) -> DocumentedResponse<T> {
        self.check_contract(request);
        let peer = request.remote_addr().as_socket_addr().map(std::net::SocketAddr::ip);
        let response = endpoint.post(&self.reset, peer, request.headers(), body.into_stream()).await;
        DocumentedResponse::new(response)
    }
}

impl<P> Clone for ResetApi<P> {
    fn clone(&self) -> Self {
        Self { reset: self.reset.clone(), has_warned: Arc::clone(&self.has_warned), mount: PhantomData }
    }
}

impl<P: MountPath> fmt::Debug for ResetApi<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResetApi").field("reset", &self.reset).field("path", &P::PATH).finish_non_exhaustive()
    }
}

/// Converts a response of an endpoint into one of poem.
fn into_poem(response: http::Response<Bytes>) -> Response {
    let (head, body) = response.into_parts();
    let mut response = Response::from(body);
    response.set_status(head.status);
    *response.headers_mut() = head.headers;
    response
}

#[OpenApi(tag = "Group::PasswordReset", prefix_path = P::PATH)]
impl<P: MountPath> ResetApi<P> {
    /// Request a password reset
    ///
    /// Sends an email with a reset link to every active user with this address. The response is the same whether or not
    /// such a user exists. It is sent before any user is looked up.
    #[oai(path = "/", method = "post", operation_id = "PasswordResetRequest")]
    async fn request(&self, request: &Request, body: Body<RequestReset>) -> DocumentedResponse<RequestReset> {
        self.post(Endpoint::Request, request, body).await
    }

    /// Validate a reset token
    ///
    /// Returns whether a token can still be used. Changes nothing and may be repeated.
    #[oai(path = "/validate_token", method = "post", operation_id = "PasswordResetValidate")]
    async fn validate(&self, request: &Request, body: Body<Validate>) -> DocumentedResponse<Validate> {
        self.post(Endpoint::Validate, request, body).await
    }

    /// Set a new password
    ///
    /// Replaces the password of the user to whom the token was sent. This invalidates all tokens of the user. If the
    /// password is rejected, the token remains valid.
    #[oai(path = "/confirm", method = "post", operation_id = "PasswordResetConfirm")]
    async fn confirm(&self, request: &Request, body: Body<Confirm>) -> DocumentedResponse<Confirm> {
        self.post(Endpoint::Confirm, request, body).await
    }
}
