//! The page that explains why no email arrived. In an application, restrict it to administrators: it reveals who has an
//! account.

use std::collections::BTreeMap;

use askama::Template;
use poem::http::header::CONTENT_SECURITY_POLICY;
use poem::web::{Data, Form};
use poem::{Endpoint, EndpointExt as _, Response, get, handler};
use poem_password_reset::PasswordReset;

use crate::pages::{PAGE_POLICY, page};

/// Returns the endpoint of the page.
pub(crate) fn endpoint(reset: PasswordReset) -> impl Endpoint {
    get(form).post(diagnose.data(reset))
}

#[derive(Template)]
#[template(path = "diagnose.html")]
struct DiagnosisPage {
    diagnosis: Option<String>,
}

#[handler]
fn form() -> Response {
    render(&DiagnosisPage { diagnosis: None })
}

/// Uses POST, so that server logs and the browser's history do not contain the address.
#[handler]
async fn diagnose(reset: Data<&PasswordReset>, Form(fields): Form<BTreeMap<String, String>>) -> Response {
    let email = fields.get("email").map_or("", String::as_str);
    let diagnosis = reset.diagnose(email).await.to_string();
    render(&DiagnosisPage { diagnosis: Some(diagnosis) })
}

/// Renders the page. Its form is sent without a script, so the policy must allow that.
fn render(template: &DiagnosisPage) -> Response {
    let policy = PAGE_POLICY.replace("form-action 'none'", "form-action 'self'");
    let mut response = page(template);
    if let Ok(policy) = policy.parse() {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}
