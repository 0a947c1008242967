//! The OpenAPI document, and Swagger UI to try it out.

use poem_openapi::{OpenApi, OpenApiService, Webhook};

use crate::asset::Asset;

/// As strict as Swagger UI can stand, which is one page with its script and style in it; and it talks to nobody but us.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Swagger UI. The stock endpoint copies 1.6 MB for each GET, and no browser may keep it.
pub(crate) fn swagger_ui<T: OpenApi, W: Webhook>(service: &OpenApiService<T, W>) -> Asset {
    Asset::new("text/html; charset=utf-8", service.swagger_ui_html()).policy(POLICY)
}

/// The document itself.
pub(crate) fn document<T: OpenApi, W: Webhook>(service: &OpenApiService<T, W>) -> Asset {
    Asset::new("application/json; charset=utf-8", service.spec())
}
