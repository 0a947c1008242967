//! Two services in one application, and another API in the same service.

use poem::test::TestClient;
use poem::{EndpointExt as _, Route};
use poem_openapi::param::Query;
use poem_openapi::payload::{Json, PlainText};
use poem_openapi::{ApiResponse, OpenApi, OpenApiService};
use poem_password_reset::{HttpContract, PasswordReset, ResetApi};

use crate::http::doubles::{builder, no_mail, people};
use crate::http::{Reply, reply_of};

async fn reset() -> PasswordReset {
    builder(people()).on_reset_token_created(no_mail).build().await.unwrap()
}

async fn request(client: &TestClient<Route>, method: &str, url: &str, body: &str) -> Reply {
    let method = method.parse().unwrap();
    let request = client.request(method, url).content_type("application/json").body(body.to_owned());
    reply_of(request.send().await.0, "").await
}

/// For example for customers and for staff. Each service has its own path and document.
#[tokio::test]
async fn two_services_in_one_application_work_independently() {
    let service = async |path: &str| OpenApiService::new(ResetApi::new(reset().await), path, "1.0").server(path);
    let (customers, staff) = (service("/customers/reset").await, service("/staff/reset").await);
    let app = Route::new()
        .nest("/customers/docs", customers.swagger_ui())
        .nest("/staff/docs", staff.swagger_ui())
        .nest("/customers/reset", customers.with(HttpContract))
        .nest("/staff/reset", staff.with(HttpContract));
    let client = TestClient::new(app);
    for mount in ["/customers/reset", "/staff/reset"] {
        request(&client, "POST", mount, r#"{"email":"ann@example.com"}"#).await.is_ok();
        request(&client, "POST", &format!("{mount}/validate_token/"), r#"{"token":"bad"}"#).await.is_bad_token();
        request(&client, "GET", &format!("{mount}/confirm/"), "").await.is_refused(405);
    }
    for docs in ["/customers/docs", "/staff/docs"] {
        client.get(docs).send().await.assert_status_is_ok();
    }
}

/// Another API of the application.
struct Profile;

#[derive(ApiResponse)]
enum NotAllowed {
    /// Not yours.
    #[oai(status = 403)]
    Forbidden(Json<String>),
}

#[OpenApi]
impl Profile {
    #[oai(path = "/profile", method = "get", operation_id = "profile")]
    async fn show(&self, id: Query<u32>) -> Result<PlainText<String>, NotAllowed> {
        match id.0 {
            0 => Err(NotAllowed::Forbidden(Json("not yours".to_owned()))),
            id => Ok(PlainText(format!("profile {id}"))),
        }
    }

    #[oai(path = "/profile", method = "put", operation_id = "change_profile")]
    async fn change(&self, name: Json<String>) -> poem::Result<poem_openapi::payload::Response<PlainText<String>>> {
        match name.0.as_str() {
            "" => Err(poem::Error::from_string("no name", poem::http::StatusCode::CONFLICT)),
            name => {
                Ok(poem_openapi::payload::Response::new(PlainText(name.to_owned()))
                    .header("Cache-Control", "max-age=60"))
            }
        }
    }
}

/// The contract adds headers to the responses of the other API and changes nothing else.
#[tokio::test]
async fn another_api_in_the_same_service_keeps_its_responses() {
    let service = OpenApiService::new((ResetApi::new(reset().await), Profile), "Accounts", "1.0").server("/api");
    let document: serde_json::Value = serde_json::from_str(&service.spec()).unwrap();
    assert_eq!(document["paths"].as_object().unwrap().len(), 4);
    let plain = TestClient::new(Route::new().nest("/api", OpenApiService::new(Profile, "Accounts", "1.0")));
    let client = TestClient::new(Route::new().nest("/api", service.with(HttpContract)));

    request(&client, "POST", "/api/", r#"{"email":"ann@example.com"}"#).await.is_ok();
    request(&client, "POST", "/api/confirm/", "{}").await.is_faulty(&["token", "password"]);
    request(&client, "GET", "/api/confirm", "").await.is_refused(405);
    request(&client, "GET", "/api/nothing", "").await.is_refused(404);

    for (method, url, body, status) in [
        ("GET", "/api/profile?id=7", "", 200),
        ("GET", "/api/profile?id=0", "", 403),
        ("GET", "/api/profile?id=none", "", 400),
        ("GET", "/api/profile", "", 400),
        ("PUT", "/api/profile", "\"ann\"", 200),
        ("PUT", "/api/profile", "\"\"", 409),
        ("PUT", "/api/profile", "{", 400),
        ("POST", "/api/profile", "", 405),
        ("OPTIONS", "/api/profile", "", 405),
    ] {
        let (alone, beside) = (request(&plain, method, url, body).await, request(&client, method, url, body).await);
        assert_eq!(beside.status, status, "{method} {url}");
        assert_eq!((beside.status, &beside.body), (alone.status, &alone.body), "{method} {url}");
        for header in &alone.headers {
            assert!(beside.headers.contains(header), "{method} {url}: {header:?}");
        }
        assert_eq!(beside.header("cache-control").len(), 1, "{method} {url}");
    }
}
