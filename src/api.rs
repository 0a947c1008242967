//! [`ResetApi`]: the three endpoints.

mod answer;
mod body;
mod contract;
mod form;
mod mount;
mod schema;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use poem::Request;
use poem_openapi::OpenApi;

use self::answer::{Status, Validated};
use self::body::Form;
use self::contract::Covered;
pub use self::contract::{HttpContract, HttpContractAt, HttpContractEndpoint};
use self::form::{ConfirmForm, RequestForm, ValidateForm};
use self::mount::is_mountable;
pub use self::mount::{AtRoot, MountPath};
use self::schema::{Accepted, ConfirmRefused, Group, Replaced, RequestRefused, Valid, ValidateRefused};
use crate::client::Client;
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
/// | endpoint, with or without the last slash | fields | answer |
/// | --- | --- | --- |
/// | `POST /` | `email` | `{"status":"OK"}`, whether or not anybody has this address |
/// | `POST /validate_token/` | `token` | `{"status":"OK"}`, or 404 |
/// | `POST /confirm/` | `token`, `password` | `{"status":"OK"}`, or 404, or 400 with what is wrong with the password |
///
/// Bodies are JSON, `application/x-www-form-urlencoded` or `multipart/form-data`, up to 16 KiB, and must be complete
/// within ten seconds. Operation ids and schema names carry the prefix `PasswordReset`; as they are unique in a
/// document, a service takes one `ResetApi`. For one document with the application's own endpoints see [`at`](Self::at).
pub struct ResetApi<P = AtRoot> {
    reset: PasswordReset,
    has_warned: Arc<AtomicBool>,
    mount: PhantomData<fn() -> P>,
}

impl ResetApi {
    /// The endpoints of this password reset, at the root of a service.
    pub fn new(reset: PasswordReset) -> Self {
        Self { reset, has_warned: Arc::default(), mount: PhantomData }
    }
}

impl<P: MountPath> ResetApi<P> {
    /// Moves the endpoints to a path of the service, so that the application's own endpoints are in the same service, the
    /// same document and the same Swagger UI.
    ///
    /// Mount the service with [`HttpContract::at`] and the same path: it keeps its promises for the three endpoints and
    /// leaves the others alone. `examples/one_document.rs` is a whole program.
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
        const { assert!(is_mountable(Q::PATH), "MountPath::PATH is \"/\", or segments like \"/auth/reset\"") };
        ResetApi { reset: self.reset, has_warned: self.has_warned, mount: PhantomData }
    }

    /// Warns once if the request did not pass through the contract: nothing else would tell the application's author.
    fn check_contract(&self, request: &Request) {
        if request.extensions().get::<Covered>().is_none() && !self.has_warned.swap(true, Ordering::Relaxed) {
            let at = match P::PATH {
                "/" => String::new(),
                _ => format!("::at::<{}>()", std::any::type_name::<P>()),
            };
            tracing::warn!(
                "HttpContract is not mounted around this service: paths that end with a slash are not found, errors of \
                 routing are not JSON, and the security headers are missing; write service.with(HttpContract{at})"
            );
        }
    }

    fn client(&self, request: &Request) -> Client {
        self.check_contract(request);
        let peer = request.remote_addr().as_socket_addr().map(std::net::SocketAddr::ip);
        self.reset.client(peer, request.headers())
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

#[OpenApi(tag = "Group::PasswordReset", prefix_path = P::PATH)]
impl<P: MountPath> ResetApi<P> {
    /// Ask for a reset
    ///
    /// Sends a mail with a reset link to every active user with this address. The answer is the same whether or not
    /// there is one, and it is given before anybody is looked up.
    #[oai(path = "/", method = "post", operation_id = "PasswordResetRequest")]
    async fn request(&self, request: &Request, form: Form<RequestForm>) -> Result<Accepted, RequestRefused> {
        self.reset.request(&form.0.email, self.client(request)).await?;
        Ok(Accepted(Status::ok()))
    }

    /// Check a token
    ///
    /// Tells whether a token can still be used. Reads only, and may be repeated.
    #[oai(path = "/validate_token", method = "post", operation_id = "PasswordResetValidate")]
    async fn validate(&self, request: &Request, form: Form<ValidateForm>) -> Result<Valid, ValidateRefused> {
        let validated = self.reset.validate_for(form.0.token.expose(), &self.client(request)).await?;
        let details = self.reset.user_details_on_validation().then_some(validated.user());
        Ok(Valid(Validated::ok(details)))
    }

    /// Set a new password
    ///
    /// Replaces the password of the user whom the token was mailed to. From then on no token of that user works any
    /// more. If the password is refused, the token stays good.
    #[oai(path = "/confirm", method = "post", operation_id = "PasswordResetConfirm")]
    async fn confirm(&self, request: &Request, form: Form<ConfirmForm>) -> Result<Replaced, ConfirmRefused> {
        let ConfirmForm { token, password } = form.0;
        self.reset.confirm(token.expose(), password, self.client(request)).await?;
        Ok(Replaced(Status::ok()))
    }
}
