//! The administrator's page "I asked, and no mail came". In an application it stands behind the sign-in of administrators:
//! it tells who has an account.

use std::collections::BTreeMap;

use askama::Template;
use poem::http::header::CONTENT_SECURITY_POLICY;
use poem::web::{Data, Form};
use poem::{Endpoint, EndpointExt as _, Response, get, handler};
use poem_password_reset::PasswordReset;

use crate::pages::{PAGE_POLICY, page};

/// The page, at its own path.
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
    with_form(&DiagnosisPage { diagnosis: None })
}

/// By POST, so that the address stands in no server log and in no history.
#[handler]
async fn diagnose(reset: Data<&PasswordReset>, Form(fields): Form<BTreeMap<String, String>>) -> Response {
    let email = fields.get("email").map_or("", String::as_str);
    let diagnosis = reset.diagnose(email).await.to_string();
    with_form(&DiagnosisPage { diagnosis: Some(diagnosis) })
}

/// The only page whose form is sent without a script.
fn with_form(template: &DiagnosisPage) -> Response {
    let policy = PAGE_POLICY.replace("form-action 'none'", "form-action 'self'");
    let mut response = page(template);
    if let Ok(policy) = policy.parse() {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}
