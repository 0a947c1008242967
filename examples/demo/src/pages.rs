//! The pages: forms whose scripts call the public API.

use std::path::Path;
use std::sync::Arc;

use askama::Template;
use poem::error::NotFoundError;
use poem::http::StatusCode;
use poem::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use poem::web::{Data, Html, Json, Redirect};
use poem::{EndpointExt, IntoResponse, Request, Response, Route, get, handler};
use poem_password_reset::mail::SmtpTransport;
use serde_json::{Value, json};

use crate::asset::Asset;
use crate::database::{PASSWORD, SEEDS, Seed};
use crate::outbox::{self, Outbox, SentMail};

/// Policy of the pages: resources from this origin only, nothing inline, and no markup from scripts. Forms cannot be sent
/// without a script: if the script failed to load, the browser could send a password in a query string.
pub(crate) const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                           connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; \
                           frame-ancestors 'none'; require-trusted-types-for 'script'";

/// Policy of an HTML mail, which is not trusted: no scripts, no requests, no origin. Links open in a new window.
const MAIL_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                           frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox";

/// Returns the routes of the pages and their assets.
pub(crate) fn routes(outbox: Arc<Outbox>) -> Route {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    let style = Asset::new("text/css; charset=utf-8", include_str!("../assets/style.css"));
    let icon = Asset::new("image/svg+xml", include_str!("../assets/icon.svg"));
    Route::new()
        .at("/", get(home))
        .at("/forgot-password", get(forgot_password))
        .at("/reset-password", get(reset_password))
        .at("/login", get(login))
        .at("/.well-known/change-password", get(change_password))
        .at("/outbox", get(show_outbox.data(outbox.clone())))
        .at("/outbox/newest", get(newest.data(outbox.clone())))
        .at("/outbox/:number", get(show_html.data(outbox)))
        .at("/assets/style.css", get(style))
        .at("/assets/icon.svg", get(icon))
        .at("/assets/form.js", get(Asset::new(SCRIPT, include_str!("../assets/form.js"))))
        .at("/assets/forgot-password.js", get(Asset::new(SCRIPT, include_str!("../assets/forgot-password.js"))))
        .at("/assets/reset-password.js", get(Asset::new(SCRIPT, include_str!("../assets/reset-password.js"))))
        .at("/assets/login.js", get(Asset::new(SCRIPT, include_str!("../assets/login.js"))))
        .at("/assets/outbox.js", get(Asset::new(SCRIPT, include_str!("../assets/outbox.js"))))
}

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    seeds: &'static [Seed],
    password: &'static str,
}

#[handler]
fn home() -> Response {
    page(&Home { seeds: &SEEDS, password: PASSWORD })
}

#[derive(Template)]
#[template(path = "forgot-password.html")]
struct ForgotPassword;

#[handler]
fn forgot_password() -> Response {
    page(&ForgotPassword)
}

#[derive(Template)]
#[template(path = "reset-password.html")]
struct ResetPassword;

#[handler]
fn reset_password() -> Response {
    page(&ResetPassword)
}

#[derive(Template)]
#[template(path = "login.html")]
struct Login;

#[handler]
fn login() -> Response {
    page(&Login)
}

/// Redirects from the path where password managers look for the page that changes a password
/// (<https://www.w3.org/TR/change-password-url/>).
#[handler]
fn change_password() -> Redirect {
    Redirect::temporary("/forgot-password")
}

#[derive(Template)]
#[template(path = "outbox.html")]
struct OutboxPage<'a> {
    shown: Shown<'a>,
}

/// Content of the outbox page.
enum Shown<'a> {
    Mails(Vec<(u64, Arc<SentMail>)>),
    /// The newest files in a directory.
    Files(&'a Path, Vec<String>),
    /// The mail server that receives the mails.
    Server(&'a SmtpTransport),
}

#[handler]
async fn show_outbox(outbox: Data<&Arc<Outbox>>) -> Response {
    let shown = match outbox.as_ref() {
        Outbox::Memory(_) => Shown::Mails(outbox.mails()),
        Outbox::Server(smtp) => Shown::Server(smtp),
        Outbox::Directory(directory) => match outbox::newest_files(directory.path()).await {
            Ok(names) => Shown::Files(directory.path(), names),
            Err(error) => {
                tracing::error!(%error, "the outbox directory could not be read");
                return problem(StatusCode::INTERNAL_SERVER_ERROR, "The outbox could not be read");
            }
        },
    };
    page(&OutboxPage { shown })
}

/// Returns the number of the newest mail. The outbox page polls it.
#[handler]
fn newest(outbox: Data<&Arc<Outbox>>) -> Json<Value> {
    Json(json!({ "newest": outbox.mails().first().map_or(0, |(number, _)| *number) }))
}

/// Returns the HTML part of a mail.
#[handler]
fn show_html(request: &Request, outbox: Data<&Arc<Outbox>>) -> poem::Result<Response> {
    let number = request.raw_path_param("number").and_then(|number| number.parse().ok());
    let mail = number.and_then(|number| outbox.mail(number)).ok_or(NotFoundError)?;
    Ok(Html(mail.mail.html().to_owned()).with_header(CONTENT_SECURITY_POLICY, MAIL_POLICY).into_response())
}

/// A piece of a mail's text.
enum Piece<'a> {
    Text(&'a str),
    Link(&'a str),
}

/// Splits the text of a mail into links and other text.
fn split_links(text: &str) -> Vec<Piece<'_>> {
    let words = text.split_inclusive(char::is_whitespace);
    words
        .flat_map(|word| {
            let bare = word.trim_end();
            let piece = match bare.starts_with("http://") || bare.starts_with("https://") {
                true => Piece::Link(bare),
                false => Piece::Text(bare),
            };
            [piece, Piece::Text(&word[bare.len()..])]
        })
        .collect()
}

#[derive(Template)]
#[template(path = "problem.html")]
struct Problem<'a> {
    title: &'a str,
}

/// Returns an error page.
pub(crate) fn problem(status: StatusCode, title: &str) -> Response {
    let mut response = page(&Problem { title });
    response.set_status(status);
    response
}

/// Renders a page.
pub(crate) fn page(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => Html(html).with_header(CONTENT_SECURITY_POLICY, PAGE_POLICY).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            let response = Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR);
            response.header(CONTENT_TYPE, "text/plain; charset=utf-8").body("The page could not be rendered.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_split_into_links_and_other_text_without_loss() {
        let text = "Open\n\nhttps://example.com/#token=a.b-c_d\n\nor javascript:alert(1) or http://[::1]:1/ .\n";
        let pieces = split_links(text);
        let links: Vec<&str> =
            pieces.iter().filter_map(|piece| if let Piece::Link(link) = piece { Some(*link) } else { None }).collect();
        assert_eq!(links, ["https://example.com/#token=a.b-c_d", "http://[::1]:1/"]);
        let joined: String = pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) | Piece::Link(text) => *text,
            })
            .collect();
        assert_eq!(joined, text);
    }
}
