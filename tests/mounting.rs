//! Mounting of the endpoints: with and without the contract, and in one service with the application's own endpoints.

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/doubles.rs"]
mod doubles;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/log.rs"]
mod log;
#[allow(dead_code, reason = "an example has a main function")]
#[path = "../examples/one_document.rs"]
mod one_document;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/reply.rs"]
mod reply;

use std::collections::{BTreeMap, BTreeSet};

use doubles::{GOOD_PASSWORD, builder, no_mail, people, verifies};
use log::Log;
use poem::error::NotFoundError;
use poem::test::TestClient;
use poem::{Endpoint, EndpointExt as _, IntoEndpoint, Route};
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::{Json, PlainText, Response};
use poem_openapi::{OpenApi, OpenApiService};
use poem_password_reset::{AtRoot, HttpContract, MountPath, PasswordReset, ResetApi};
use reply::{Reply, reply_of};
use serde_json::Value;

async fn reset() -> PasswordReset {
    builder(people()).on_reset_token_created(no_mail).build().await.unwrap()
}

async fn send(app: &TestClient<impl Endpoint>, method: &str, url: &str, body: &str) -> Reply {
    let request = app.request(method.parse().unwrap(), url).content_type("application/json").body(body.to_owned());
    reply_of(request.send().await.0, method).await
}

fn warnings(log: &Log) -> Vec<String> {
    log.text().lines().filter(|line| line.contains("WARN")).map(str::to_owned).collect()
}

/// A well-formed request to each endpoint.
const GOOD: [(&str, &str); 3] = [
    ("", r#"{"email":"ann@example.com"}"#),
    ("/validate_token", r#"{"token":"x"}"#),
    ("/confirm", r#"{"token":"x","password":"purple tractor hums at dawn"}"#),
];

/// Sends two requests to each endpoint below `mount` and returns the warnings in the log.
async fn warnings_of(app: impl IntoEndpoint, mount: &str) -> Vec<String> {
    let log = Log::default();
    let _guard = log.of_thread();
    let app = TestClient::new(app.into_endpoint());
    for (path, body) in GOOD.into_iter().chain(GOOD) {
        let reply = send(&app, "POST", &format!("{mount}{path}"), body).await;
        assert_eq!(reply.status, if path.is_empty() { 200 } else { 404 }, "{reply:?}");
    }
    warnings(&log)
}

#[tokio::test]
async fn endpoints_without_the_contract_log_one_warning_with_the_missing_code() {
    let reset = reset().await;
    let service = || OpenApiService::new(ResetApi::new(reset.clone()), "Accounts", "1.0");
    let without = Route::new().nest("/reset", service());
    // A contract around the whole application does not recognize the paths of the endpoints.
    let around_the_application = Route::new().nest("/reset", service()).with(HttpContract);
    for warnings in [warnings_of(without, "/reset").await, warnings_of(around_the_application, "/reset").await] {
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("service.with(HttpContract)"), "{warnings:?}");
    }
    assert_eq!(warnings_of(Route::new().nest("/reset", service().with(HttpContract)), "/reset").await, [""; 0]);
}

#[tokio::test]
async fn each_endpoint_warns_about_the_missing_contract() {
    for (path, body) in GOOD {
        let log = Log::default();
        let _guard = log.of_thread();
        let service = OpenApiService::new(ResetApi::new(reset().await), "Accounts", "1.0");
        send(&TestClient::new(Route::new().nest("/reset", service)), "POST", &format!("/reset{path}"), body).await;
        assert_eq!(warnings(&log).len(), 1, "{path}");
    }
}

struct Account;

impl MountPath for Account {
    const PATH: &'static str = "/account/v1.0/password-reset";
}

#[tokio::test]
async fn warning_about_the_missing_contract_names_the_mount_path() {
    let reset = reset().await;
    let service = || OpenApiService::new(ResetApi::new(reset.clone()).at::<Account>(), "Accounts", "1.0");
    let mount = format!("/api{}", Account::PATH);
    // The contract for the root does not recognize them either.
    let for_the_root = Route::new().nest("/api", service().with(HttpContract));
    for warnings in
        [warnings_of(Route::new().nest("/api", service()), &mount).await, warnings_of(for_the_root, &mount).await]
    {
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("service.with(HttpContract::at::<mounting::Account>())"), "{warnings:?}");
    }
    let with = Route::new().nest("/api", service().with(HttpContract::at::<Account>()));
    assert_eq!(warnings_of(with, &mount).await, [""; 0]);
}

/// Returns the operations of a document by method and path.
fn operations(document: &Value) -> BTreeMap<String, &Value> {
    let paths = document["paths"].as_object().unwrap().iter();
    let methods = paths.flat_map(|(path, methods)| {
        methods.as_object().unwrap().iter().map(move |(method, operation)| (format!("{method} {path}"), operation))
    });
    methods.collect()
}

#[tokio::test]
async fn shared_document_differs_from_separate_documents_in_the_paths_only() {
    let shared: Value = serde_json::from_str(&one_document::service(reset().await).spec()).unwrap();
    let alone = OpenApiService::new(ResetApi::new(reset().await), "Accounts", "1.0");
    let alone: Value = serde_json::from_str(&alone.spec()).unwrap();

    let operations = operations(&shared);
    let expected = [
        ("get /profiles/{id}", "ShowProfile", ""),
        ("post /auth/reset", "PasswordResetRequest", "/"),
        ("post /auth/reset/confirm", "PasswordResetConfirm", "/confirm"),
        ("post /auth/reset/validate_token", "PasswordResetValidate", "/validate_token"),
    ];
    let names: Vec<_> = operations.keys().map(String::as_str).collect();
    assert_eq!(names, expected.map(|(name, ..)| name));
    for (name, id, path_alone) in expected {
        assert_eq!(operations[name]["operationId"], id);
        if !path_alone.is_empty() {
            assert_eq!(*operations[name], alone["paths"][path_alone]["post"], "{name}");
        }
    }

    let schemas = |document: &Value| document["components"]["schemas"].as_object().unwrap().clone();
    let (shared_schemas, alone_schemas) = (schemas(&shared), schemas(&alone));
    let own: BTreeSet<_> = shared_schemas.keys().filter(|name| !alone_schemas.contains_key(*name)).collect();
    assert_eq!(own, BTreeSet::from([&"Profile".to_owned()]));
    for (name, schema) in &alone_schemas {
        assert!(name.starts_with("PasswordReset"), "{name}");
        assert_eq!(&shared_schemas[name], schema, "{name}");
    }
    assert_eq!(shared["servers"][0]["url"], "/api");
}

/// Returns a path below `/api` with single, trailing and repeated slashes.
fn spellings(path: &str) -> [String; 3] {
    ["/api".to_owned() + path, format!("/api{path}/"), "/api".to_owned() + &path.replace('/', "//")]
}

#[tokio::test]
async fn contract_at_a_path_covers_the_endpoints_there() {
    let users = people();
    let reset = builder(users.clone()).on_reset_token_created(no_mail).build().await.unwrap();
    let token = || reset.issue(&users.get("1").unwrap(), None).unwrap().token().expose().to_owned();
    let app = TestClient::new(one_document::app(reset.clone()));
    let mut replies = Vec::new();
    for (path, body) in GOOD {
        for url in spellings(&format!("/auth/reset{path}")) {
            let bad = send(&app, "POST", &url, body).await;
            if path.is_empty() {
                bad.is_ok()
            } else {
                bad.is_bad_token()
            }
            let parse_error = send(&app, "POST", &url, "{").await;
            parse_error.is_parse_error();
            let empty = send(&app, "POST", &url, "{}").await;
            assert_eq!(empty.status, 400, "{url}");
            replies.extend([bad, parse_error, empty]);
            for method in ["GET", "PUT", "DELETE", "PATCH"] {
                let refused = send(&app, method, &url, "").await;
                refused.is_refused(405);
                assert_eq!(refused.header("allow"), ["POST, OPTIONS"], "{method} {url}");
                replies.push(refused);
            }
            let options = send(&app, "OPTIONS", &url, "").await;
            assert_eq!((options.status, options.header("allow")), (204, vec!["POST, OPTIONS"]), "{url}");
            replies.push(options);
        }
    }
    for url in spellings("/auth/reset/validate_token") {
        send(&app, "POST", &url, &format!(r#"{{"token":"{}"}}"#, token())).await.is_ok();
    }
    for url in spellings("/auth/reset/confirm") {
        let confirm = format!(r#"{{"token":"{}","password":"{GOOD_PASSWORD}"}}"#, token());
        send(&app, "POST", &url, &confirm).await.is_ok();
    }
    assert!(verifies(&users.get("1").unwrap(), GOOD_PASSWORD));
    for reply in replies {
        for (name, value) in
            [("cache-control", "no-store"), ("referrer-policy", "no-referrer"), ("x-content-type-options", "nosniff")]
        {
            assert_eq!(reply.header(name), [value], "{reply:?}");
        }
    }
}

#[tokio::test]
async fn panic_in_an_endpoint_at_a_path_returns_500_as_json() {
    let users = people();
    let issuer = builder(users.clone()).on_reset_token_created(no_mail).build().await.unwrap();
    let token = issuer.issue(&users.get("1").unwrap(), None).unwrap().token().expose().to_owned();
    let reset =
        builder(users).usable_hash(|_| panic!("planned")).on_reset_token_created(no_mail).build().await.unwrap();
    let app = TestClient::new(one_document::app(reset));
    let reply = send(&app, "POST", "/api/auth/reset/validate_token/", &format!(r#"{{"token":"{token}"}}"#)).await;
    reply.is_refused(500);
    assert_eq!(reply.header("cache-control"), ["no-store"]);
}

/// Endpoints of an application with responses that the contract would change if it covered them.
struct Shop;

#[OpenApi]
impl Shop {
    #[oai(path = "/orders", method = "get")]
    async fn list(&self, page: Query<u32>) -> Json<Vec<u32>> {
        Json(vec![page.0])
    }

    #[oai(path = "/orders/:id", method = "get")]
    async fn show(&self, id: Path<u32>) -> poem::Result<Response<PlainText<String>>> {
        match id.0 {
            0 => Err(NotFoundError.into()),
            1 => Err(poem::Error::from_string("gone", poem::http::StatusCode::GONE)),
            id => Ok(Response::new(PlainText(id.to_string())).header("Cache-Control", "max-age=60")),
        }
    }

    #[oai(path = "/account/v1.0/password-reset/history", method = "get")]
    async fn below_the_reset(&self) -> poem::Result<PlainText<&'static str>> {
        Ok(PlainText("none"))
    }

    #[oai(path = "/confirm", method = "post")]
    async fn named_like_ours(&self, order: Json<u32>) -> PlainText<String> {
        PlainText(format!("order {} confirmed", order.0))
    }

    #[oai(path = "/", method = "get")]
    async fn root(&self) -> PlainText<&'static str> {
        PlainText("shop")
    }
}

/// Requests to the application's endpoints and to unknown paths, with their statuses.
const TO_THE_APPLICATION: [(&str, &str, &str, u16); 22] = [
    ("GET", "/", "", 200),
    ("GET", "/orders?page=7", "", 200),
    ("GET", "/orders?page=none", "", 400),
    ("GET", "/orders", "", 400),
    ("GET", "/orders/?page=7", "", 404),
    ("GET", "//orders?page=7", "", 404),
    ("POST", "/orders", "", 405),
    ("OPTIONS", "/orders", "", 405),
    ("HEAD", "/orders?page=7", "", 200),
    ("GET", "/orders/7", "", 200),
    ("GET", "/orders/0", "", 404),
    ("GET", "/orders/1", "", 410),
    ("GET", "/orders/x", "", 400),
    ("GET", "/account/v1.0/password-reset/history", "", 200),
    ("GET", "/account/v1.0/password-reset/history/", "", 404),
    ("GET", "/account/v1.0/password-reset/nothing", "", 404),
    ("POST", "/confirm", "7", 200),
    ("POST", "/confirm", "x", 400),
    ("POST", "/confirm/", "7", 404),
    ("GET", "/confirm", "", 405),
    ("GET", "/nothing", "", 404),
    ("GET", "/nothing/", "", 404),
];

#[tokio::test]
async fn contract_at_a_path_does_not_change_other_endpoints() {
    let reset = reset().await;
    let service = || OpenApiService::new((ResetApi::new(reset.clone()).at::<Account>(), Shop), "Shop", "1.0");
    let without = TestClient::new(Route::new().nest("/api", service()));
    let with = TestClient::new(Route::new().nest("/api", service().with(HttpContract::at::<Account>())));
    for (method, path, body, status) in TO_THE_APPLICATION {
        let url = format!("/api{path}");
        let (without, with) = (send(&without, method, &url, body).await, send(&with, method, &url, body).await);
        assert_eq!(with.status, status, "{method} {path}: {with:?}");
        assert_eq!(with, without, "{method} {path}");
    }
    send(&with, "POST", "/api/account/v1.0/password-reset/confirm/", "{}").await.is_faulty(&["token", "password"]);
}

#[tokio::test]
async fn contract_at_the_root_path_does_not_change_other_endpoints() {
    struct Neighbor;

    #[OpenApi]
    impl Neighbor {
        #[oai(path = "/orders", method = "get")]
        async fn list(&self) -> PlainText<&'static str> {
            PlainText("none")
        }
    }

    let reset = reset().await;
    let service = || OpenApiService::new((ResetApi::new(reset.clone()), Neighbor), "Shop", "1.0");
    let without = TestClient::new(Route::new().nest("/api", service()));
    let with = TestClient::new(Route::new().nest("/api", service().with(HttpContract::at::<AtRoot>())));
    for (method, path) in [("GET", "/api/orders"), ("GET", "/api/orders/"), ("PUT", "/api/orders"), ("GET", "/api/x")] {
        assert_eq!(send(&with, method, path, "").await, send(&without, method, path, "").await, "{method} {path}");
    }
    send(&with, "POST", "/api/", r#"{"email":"ann@example.com"}"#).await.is_ok();
    send(&with, "GET", "/api/confirm/", "").await.is_refused(405);
}

#[tokio::test]
async fn one_document_example_serves_its_own_endpoint_and_the_docs() {
    let app = TestClient::new(one_document::app(reset().await));
    let reply = send(&app, "GET", "/api/profiles/1", "").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"name":"Ann"}"#));
    assert_eq!(reply.header("referrer-policy"), [""; 0]);
    assert_eq!(send(&app, "GET", "/api/profiles/2", "").await.status, 404);
    assert_eq!(send(&app, "GET", "/docs", "").await.status, 200);
}
