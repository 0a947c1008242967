//! One service, one OpenAPI document and one Swagger UI for the application's own endpoints and the password reset.
//!
//! Run `cargo run --example one_document`, then open <http://127.0.0.1:3000/docs>. The example prints the mail.

use poem::{EndpointExt, Route, Server, listener::TcpListener};
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi, OpenApiService};
use poem_password_reset::store::MemoryUsers;
use poem_password_reset::{
    Argon2id, BoxError, HttpContract, MountPath, PasswordHasher, PasswordReset, ResetApi, SigningKey, StoredUser,
};

/// Path of the password reset within the service.
pub struct AuthReset;

impl MountPath for AuthReset {
    const PATH: &'static str = "/auth/reset";
}

/// The application's own endpoints.
pub struct Profiles;

#[derive(Object)]
struct Profile {
    name: String,
}

#[derive(ApiResponse)]
enum Found {
    /// The profile.
    #[oai(status = 200)]
    Profile(Json<Profile>),
    /// There is no such profile.
    #[oai(status = 404)]
    Missing,
}

#[OpenApi]
impl Profiles {
    /// Show a profile
    #[oai(path = "/profiles/:id", method = "get", operation_id = "ShowProfile")]
    async fn show(&self, id: Path<u32>) -> Found {
        match id.0 {
            1 => Found::Profile(Json(Profile { name: "Ann".to_owned() })),
            _ => Found::Missing,
        }
    }
}

/// Returns the service with both APIs.
pub fn service(reset: PasswordReset) -> OpenApiService<(ResetApi<AuthReset>, Profiles), ()> {
    let apis = (ResetApi::new(reset).at::<AuthReset>(), Profiles);
    OpenApiService::new(apis, "My application", "1.0").server("/api")
}

/// Returns the routes. `HttpContract` applies to the endpoints of the password reset, and does not change other requests or
/// responses.
pub fn app(reset: PasswordReset) -> Route {
    let service = service(reset);
    Route::new().nest("/docs", service.swagger_ui()).nest("/api", service.with(HttpContract::at::<AuthReset>()))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let hash = Argon2id::default().hash("correct horse battery staple")?;
    let users = MemoryUsers::new([StoredUser::new(1, "ann@example.com", Some(hash))]);
    let reset = PasswordReset::builder(users, SigningKey::generate()?)
        .link("http://localhost:3000/reset-password#token={token}")
        .on_reset_token_created(async |event| println!("To: {}\n\n{}", event.user().email(), event.link()))
        .build()
        .await?;
    println!("http://127.0.0.1:3000/docs");
    Ok(Server::new(TcpListener::bind("127.0.0.1:3000")).run(app(reset)).await?)
}
