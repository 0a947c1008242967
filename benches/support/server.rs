//! The endpoints of this library, and bare ones with the same paths, bodies and answers, each behind a socket.

use std::net::SocketAddr;

use poem::listener::{Acceptor as _, Listener as _, TcpListener};
use poem::{Endpoint, EndpointExt as _, IntoEndpoint, Route, Server};
use poem_openapi::payload::Json;
use poem_openapi::{Enum, Object, OpenApi, OpenApiService};
use poem_password_reset::{HttpContract, PasswordReset, ResetApi};

/// Where both are mounted.
pub const MOUNT: &str = "/api/password_reset";

/// Serves the endpoints of this library.
pub async fn ours(reset: PasswordReset) -> SocketAddr {
    serve(OpenApiService::new(ResetApi::new(reset), "Accounts", "1.0").with(HttpContract)).await
}

/// Serves bare endpoints.
pub async fn bare() -> SocketAddr {
    serve(OpenApiService::new(Bare, "Bare", "1.0")).await
}

async fn serve<E: IntoEndpoint<Endpoint: Endpoint + 'static>>(service: E) -> SocketAddr {
    let app = Route::new().nest(MOUNT, service);
    let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.unwrap();
    let address = *acceptor.local_addr()[0].as_socket_addr().unwrap();
    tokio::spawn(Server::new_with_acceptor(acceptor).run(app));
    address
}

struct Bare;

#[derive(Object)]
struct Email {
    email: String,
}

#[derive(Object)]
struct Token {
    token: String,
}

#[derive(Object)]
struct Answer {
    status: Status,
}

#[derive(Enum)]
enum Status {
    #[oai(rename = "OK")]
    Ok,
    #[oai(rename = "empty")]
    Empty,
}

/// Looks at the body, so that it is read, and says "OK".
fn ok(field: &str) -> Json<Answer> {
    Json(Answer { status: if field.is_empty() { Status::Empty } else { Status::Ok } })
}

#[OpenApi]
impl Bare {
    #[oai(path = "/", method = "post")]
    async fn request(&self, body: Json<Email>) -> Json<Answer> {
        ok(&body.email)
    }

    #[oai(path = "/validate_token", method = "post")]
    async fn validate(&self, body: Json<Token>) -> Json<Answer> {
        ok(&body.token)
    }
}
