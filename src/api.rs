//! [`ResetApi`]: the three endpoints.

mod answer;
mod body;
mod contract;
mod form;
mod schema;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use poem::Request;
use poem_openapi::OpenApi;

use self::answer::{Status, Validated};
use self::body::Form;
use self::contract::Covered;
pub use self::contract::{HttpContract, HttpContractEndpoint};
use self::form::{ConfirmForm, RequestForm, ValidateForm};
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
/// document, a service takes one `ResetApi`.
#[derive(Clone, Debug)]
pub struct ResetApi {
    reset: PasswordReset,
    has_warned: Arc<AtomicBool>,
}

impl ResetApi {
    /// The endpoints of this password reset.
    pub fn new(reset: PasswordReset) -> Self {
        Self { reset, has_warned: Arc::default() }
    }

    /// Warns once if the request did not pass through the contract: nothing else would tell the application's author.
    fn check_contract(&self, request: &Request) {
        if request.extensions().get::<Covered>().is_none() && !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "HttpContract is not mounted around this service: paths that end with a slash are not found, errors of \
                 routing are not JSON, and the security headers are missing; write service.with(HttpContract)"
            );
        }
    }

    fn client(&self, request: &Request) -> Client {
        self.check_contract(request);
        let peer = request.remote_addr().as_socket_addr().map(std::net::SocketAddr::ip);
        self.reset.client(peer, request.headers())
    }
}

#[OpenApi(tag = "Group::PasswordReset")]
impl ResetApi {
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
        let user = self.reset.validate_for(&self.client(request), form.0.token.expose()).await?;
        let details = self.reset.user_details_on_validation().then_some(&user);
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
