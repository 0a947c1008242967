//! The quickstart of the README: a whole program, except for the mail library.

use poem::{EndpointExt, Route, Server, listener::TcpListener};
use poem_openapi::OpenApiService;
use poem_password_reset::{HttpContract, PasswordReset, ResetApi, ResetTokenCreated};
use poem_password_reset::{SigningKey, on_reset_token_created, store::SqliteUsers};
use sqlx::sqlite::SqlitePoolOptions;

#[on_reset_token_created]
async fn mail_link(event: &ResetTokenCreated, mailer: &Mailer) -> MailResult {
    mailer.send(event.user().email(), "Reset your password", event.link()).await
}

/// The columns that `SqliteUsers` expects. Your table may name them differently.
const TABLE: &str = "
    CREATE TABLE users (
        id            INTEGER PRIMARY KEY,
        email         TEXT NOT NULL,
        username      TEXT,
        active        BOOLEAN NOT NULL DEFAULT 1,
        password_hash TEXT
    );
    CREATE INDEX users_email ON users (lower(email));
    INSERT INTO users (email, password_hash)
        VALUES ('ann@example.com', 'the hash of her old password');";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Lost requests and failed handlers are reported in the log, and only there.
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();

    // A database in memory lasts as long as its one connection.
    let options = SqlitePoolOptions::new().max_connections(1);
    let options = options.idle_timeout(None).max_lifetime(None);
    let pool = options.connect("sqlite::memory:").await?;
    sqlx::raw_sql(TABLE).execute(&pool).await?;

    // In production: SigningKey::from_env("PASSWORD_RESET_KEY")?. A generated key is
    // lost at a restart, and every link with it.
    let key = SigningKey::generate()?;
    let reset = PasswordReset::builder(SqliteUsers::new(pool), key)
        .link("https://app.example.com/reset-password#token={token}")
        .data(Mailer)
        .build()
        .await?;
    let api = OpenApiService::new(ResetApi::new(reset), "Accounts", "1.0");
    let api = api.server("/api/password_reset");
    let app = Route::new().nest("/docs", api.swagger_ui());
    let app = app.nest("/api/password_reset", api.with(HttpContract));
    Ok(Server::new(TcpListener::bind("127.0.0.1:3000")).run(app).await?)
}

/// Replace this with your mail library. Here, each mail is printed.
struct Mailer;
type MailResult = std::io::Result<()>;

impl Mailer {
    async fn send(&self, to: &str, subject: &str, link: &str) -> MailResult {
        println!("To: {to}\nSubject: {subject}\n\n{link}");
        Ok(())
    }
}
