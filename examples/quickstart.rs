//! The quickstart of the README: a whole program, but for the mail.

use poem::{EndpointExt, Route, Server, listener::TcpListener, web::Data};
use poem_openapi::OpenApiService;
use poem_password_reset::{HttpContract, PasswordReset, ResetApi, ResetTokenCreated, SigningKey};
use poem_password_reset::{on_reset_token_created, store::SqliteUsers};

#[on_reset_token_created]
async fn mail_reset_link(event: &ResetTokenCreated, mailer: Data<&Mailer>) -> Result<(), MailError> {
    mailer.send(event.user().email(), "Reset your password", event.link()).await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let users = SqliteUsers::new(sqlx::SqlitePool::connect("sqlite://app.db").await?);
    let reset = PasswordReset::builder(users, SigningKey::from_env("PASSWORD_RESET_KEY")?)
        .link("https://app.example.com/reset-password#token={token}")
        .data(Mailer)
        .build()
        .await?;
    let api = OpenApiService::new(ResetApi::new(reset), "Accounts", "1.0").server("/api/password_reset");
    let app = Route::new().nest("/docs", api.swagger_ui()).nest("/api/password_reset", api.with(HttpContract));
    Ok(Server::new(TcpListener::bind("127.0.0.1:3000")).run(app).await?)
}

/// Whatever sends your mail.
struct Mailer;
type MailError = std::io::Error;

impl Mailer {
    async fn send(&self, to: &str, subject: &str, link: &str) -> Result<(), MailError> {
        println!("To: {to}\nSubject: {subject}\n\n{link}");
        Ok(())
    }
}
