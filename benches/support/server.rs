//! The endpoints of this library, and bare endpoints with the same paths, bodies and responses.

use std::net::SocketAddr;

use poem::listener::{Acceptor as _, Listener as _, TcpListener};
use poem::{EndpointExt as _, Route, Server};
use poem_openapi::payload::Json;
use poem_openapi::{Enum, Object, OpenApi, OpenApiService};
use poem_password_reset::{HttpContract, PasswordReset, ResetApi};

/// Path of both.
pub const MOUNT: &str = "/api/password_reset";

/// The endpoints of this library.
pub fn ours(reset: PasswordReset) -> Route {
    Route::new().nest(MOUNT, OpenApiService::new(ResetApi::new(reset), "Accounts", "1.0").with(HttpContract))
}

/// Endpoints of poem-openapi alone.
pub fn bare() -> Route {
    bare_with(Bare)
}

/// Endpoints of a bench's own.
pub fn bare_with(api: impl OpenApi + 'static) -> Route {
    Route::new().nest(MOUNT, OpenApiService::new(api, "Bare", "1.0"))
}

/// Serves an application on a free port of the loopback interface.
pub async fn serve(app: Route) -> SocketAddr {
    let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.unwrap();
    let address = *acceptor.local_addr()[0].as_socket_addr().unwrap();
    tokio::spawn(Server::new_with_acceptor(acceptor).run(app));
    address
}

struct Bare;

#[derive(Object)]
pub struct Email {
    pub email: String,
}

#[derive(Object)]
struct Token {
    token: String,
}

#[derive(Object)]
pub struct StatusBody {
    status: Status,
}

#[derive(Enum)]
enum Status {
    #[oai(rename = "OK")]
    Ok,
    #[oai(rename = "empty")]
    Empty,
}

/// Uses a field of the body, so that the compiler cannot skip it.
pub fn ok(field: &str) -> Json<StatusBody> {
    Json(StatusBody { status: if field.is_empty() { Status::Empty } else { Status::Ok } })
}

#[OpenApi]
impl Bare {
    #[oai(path = "/", method = "post")]
    async fn request(&self, body: Json<Email>) -> Json<StatusBody> {
        ok(&body.email)
    }

    #[oai(path = "/validate_token", method = "post")]
    async fn validate(&self, body: Json<Token>) -> Json<StatusBody> {
        ok(&body.token)
    }
}
