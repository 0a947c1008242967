//! The pages. They are plain forms whose script talks to the same API that everybody else uses.

use std::path::Path;
use std::sync::Arc;

use askama::Template;
use poem::error::NotFoundError;
use poem::http::StatusCode;
use poem::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use poem::web::{Data, Html, Json, Redirect};
use poem::{EndpointExt, IntoResponse, Request, Response, Route, get, handler};
use serde_json::{Value, json};

use crate::asset::Asset;
use crate::database::{PASSWORD, SEEDS, Seed};
use crate::outbox::{self, Mail, Outbox};
use crate::smtp::Smtp;

/// Everything from here, nothing inline, and forms go nowhere by themselves: a script that failed to load must not
/// turn a password into a query string. Scripts cannot write markup at all.
pub(crate) const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                           connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; \
                           frame-ancestors 'none'; require-trusted-types-for 'script'";

/// A mail may be anybody's: no script, no request, no origin. Its links open in a window of their own.
const MAIL_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                           frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox";

/// Where the pages are.
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

/// The address where password managers look for the page that changes a password
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

/// What there is to see of the mails.
enum Shown<'a> {
    Mails(Vec<(u64, Arc<Mail>)>),
    /// The newest files in a directory.
    Files(&'a Path, Vec<String>),
    /// Where they are sent.
    Server(&'a Smtp),
}

#[handler]
async fn show_outbox(outbox: Data<&Arc<Outbox>>) -> Response {
    let shown = match outbox.as_ref() {
        Outbox::Memory(_) => Shown::Mails(outbox.mails()),
        Outbox::Server(smtp) => Shown::Server(smtp),
        Outbox::Directory(path) => match outbox::newest_files(path).await {
            Ok(names) => Shown::Files(path, names),
            Err(error) => {
                tracing::error!(%error, "the outbox cannot be read");
                return problem(StatusCode::INTERNAL_SERVER_ERROR, "The outbox cannot be read");
            }
        },
    };
    page(&OutboxPage { shown })
}

/// The number of the newest mail, for the page to see that there is a new one.
#[handler]
fn newest(outbox: Data<&Arc<Outbox>>) -> Json<Value> {
    Json(json!({ "newest": outbox.mails().first().map_or(0, |(number, _)| *number) }))
}

/// The HTML part of a mail.
#[handler]
fn show_html(request: &Request, outbox: Data<&Arc<Outbox>>) -> poem::Result<Response> {
    let number = request.raw_path_param("number").and_then(|number| number.parse().ok());
    let mail = number.and_then(|number| outbox.mail(number)).ok_or(NotFoundError)?;
    Ok(Html(mail.html.clone()).with_header(CONTENT_SECURITY_POLICY, MAIL_POLICY).into_response())
}

/// A run of characters of a mail's text.
enum Run<'a> {
    Text(&'a str),
    Link(&'a str),
}

/// The text of a mail with its links found.
fn runs(text: &str) -> Vec<Run<'_>> {
    let words = text.split_inclusive(char::is_whitespace);
    words
        .flat_map(|word| {
            let bare = word.trim_end();
            let run = match bare.starts_with("http://") || bare.starts_with("https://") {
                true => Run::Link(bare),
                false => Run::Text(bare),
            };
            [run, Run::Text(&word[bare.len()..])]
        })
        .collect()
}

#[derive(Template)]
#[template(path = "problem.html")]
struct Problem<'a> {
    title: &'a str,
}

/// A page that says what went wrong.
pub(crate) fn problem(status: StatusCode, title: &str) -> Response {
    let mut response = page(&Problem { title });
    response.set_status(status);
    response
}

pub(crate) fn page(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => Html(html).with_header(CONTENT_SECURITY_POLICY, PAGE_POLICY).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be written");
            let response = Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR);
            response.header(CONTENT_TYPE, "text/plain; charset=utf-8").body("The page could not be written.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_and_nothing_is_lost() {
        let text = "Open\n\nhttps://example.com/#token=a.b-c_d\n\nor javascript:alert(1) or http://[::1]:1/ .\n";
        let runs = runs(text);
        let links: Vec<&str> =
            runs.iter().filter_map(|run| if let Run::Link(link) = run { Some(*link) } else { None }).collect();
        assert_eq!(links, ["https://example.com/#token=a.b-c_d", "http://[::1]:1/"]);
        let again: String = runs
            .iter()
            .map(|run| match run {
                Run::Text(text) | Run::Link(text) => *text,
            })
            .collect();
        assert_eq!(again, text);
    }
}
