//! A front end on another origin: the endpoints with poem's `Cors`, and a page whose script calls them.
//!
//! Run `cargo run --example cors`, then open <http://127.0.0.1:4000>. The example prints the mail.

use poem::http::Method;
use poem::http::header::{CONTENT_TYPE, RETRY_AFTER};
use poem::listener::TcpListener;
use poem::middleware::Cors;
use poem::web::Html;
use poem::{EndpointExt, Route, Server, endpoint, get};
use poem_openapi::OpenApiService;
use poem_password_reset::store::MemoryUsers;
use poem_password_reset::{Argon2id, BoxError, HttpContract, PasswordHasher, PasswordReset, ResetApi};
use poem_password_reset::{SigningKey, StoredUser};

/// Returns the endpoints, for pages of one other origin.
///
/// `Cors` is the outer layer: it answers preflights and adds its headers to errors too. List each origin exactly, because `*`
/// or a pattern also allows pages of other sites. Browsers send `Origin` for pages of the API's own origin too: if such a page
/// calls the API, list this origin as well. The endpoints use no credentials, so `allow_credentials` is not needed.
pub fn api(reset: PasswordReset, front_end: &str) -> Route {
    let cors = Cors::new()
        .allow_origin(front_end)
        .allow_method(Method::POST)
        .allow_header(CONTENT_TYPE)
        // Scripts can read this header only if it is exposed. It says how long to wait after a 429 or a 503.
        .expose_header(RETRY_AFTER)
        .max_age(3600);
    let service = OpenApiService::new(ResetApi::new(reset), "Accounts", "1.0");
    Route::new().nest("/api/password_reset", service.with(HttpContract).with(cors))
}

/// Returns the front end. Any web server can serve its page.
pub fn front_end(api: &str) -> Route {
    let page = PAGE.replace("{api}", api);
    Route::new().at("/", get(endpoint::make_sync(move |_| Html(page.clone()))))
}

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Reset your password</title>
<form id="ask">
    <label>Email <input name="email" type="email" autocomplete="username" required></label>
    <button>Send link</button>
</form>
<form id="reset" hidden>
    <label>New password <input name="password" type="password" autocomplete="new-password" required></label>
    <button>Set password</button>
</form>
<p id="message" role="status"></p>
<script>
    const token = new URLSearchParams(location.hash.slice(1)).get("token");
    ask.hidden = token !== null;
    reset.hidden = token === null;

    async function send(path, body, success) {
        const response = await fetch("{api}/api/password_reset" + path, {
            method: "POST",
            headers: { "Content-Type": "application/json" },
            body: JSON.stringify(body),
        });
        if (response.ok) {
            message.textContent = success;
        } else if (response.headers.has("Retry-After")) {
            message.textContent = `Try again in ${response.headers.get("Retry-After")} seconds.`;
        } else {
            const errors = await response.json();
            message.textContent = errors.detail ?? Object.values(errors).flat().join(" ");
        }
    }

    ask.onsubmit = (event) => {
        event.preventDefault();
        send("/", { email: ask.elements.email.value }, "Check your email.");
    };
    reset.onsubmit = (event) => {
        event.preventDefault();
        send("/confirm/", { token, password: reset.elements.password.value }, "Your password was changed.");
    };
</script>
"#;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (api_origin, front_end_origin) = ("http://127.0.0.1:3000", "http://127.0.0.1:4000");
    let hash = Argon2id::default().hash("correct horse battery staple")?;
    let users = MemoryUsers::new([StoredUser::new(1, "ann@example.com", Some(hash))]);
    let reset = PasswordReset::builder(users, SigningKey::generate()?)
        .link(format!("{front_end_origin}/#token={{token}}"))
        .on_reset_token_created(async |event| println!("To: {}\n\n{}", event.user().email(), event.link()))
        .build()
        .await?;
    println!("{front_end_origin}");
    tokio::try_join!(
        Server::new(TcpListener::bind("127.0.0.1:3000")).run(api(reset, front_end_origin)),
        Server::new(TcpListener::bind("127.0.0.1:4000")).run(front_end(api_origin)),
    )?;
    Ok(())
}
