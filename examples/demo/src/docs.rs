//! The OpenAPI document and Swagger UI.

use poem_openapi::{OpenApi, OpenApiService, Webhook};

use crate::asset::Asset;

/// The strictest policy that works: Swagger UI has inline scripts and styles. It can send requests to this origin only.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Returns Swagger UI with its language, which screen readers need. poem-openapi's own endpoint copies 1.6 MB for each GET and
/// sends no ETag.
pub(crate) fn swagger_ui<T: OpenApi, W: Webhook>(service: &OpenApiService<T, W>) -> Asset {
    let html = service.swagger_ui_html().replacen("<html", "<html lang=\"en\"", 1);
    Asset::new("text/html; charset=utf-8", html).policy(POLICY)
}

/// Returns the OpenAPI document.
pub(crate) fn document<T: OpenApi, W: Webhook>(service: &OpenApiService<T, W>) -> Asset {
    Asset::new("application/json; charset=utf-8", service.spec())
}
