//! Where the endpoints are mounted: with the contract and without it, and in one service with the application's own.

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/doubles.rs"]
mod doubles;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/log.rs"]
mod log;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/reply.rs"]
mod reply;

use doubles::{builder, no_mail, people};
use log::Log;
use poem::test::TestClient;
use poem::{Endpoint, EndpointExt as _, IntoEndpoint, Route};
use poem_openapi::OpenApiService;
use poem_password_reset::{HttpContract, PasswordReset, ResetApi};
use reply::{Reply, reply_of};

fn reset() -> PasswordReset {
    builder(people()).on_reset_token_created(no_mail).build().unwrap()
}

async fn ask(app: &TestClient<impl Endpoint>, method: &str, url: &str, body: &str) -> Reply {
    let request = app.request(method.parse().unwrap(), url).content_type("application/json").body(body.to_owned());
    reply_of(request.send().await.0, method).await
}

fn warnings(log: &Log) -> Vec<String> {
    log.text().lines().filter(|line| line.contains("WARN")).map(str::to_owned).collect()
}

/// A good request to each endpoint.
const GOOD: [(&str, &str); 3] = [
    ("", r#"{"email":"ann@example.com"}"#),
    ("/validate_token", r#"{"token":"x"}"#),
    ("/confirm", r#"{"token":"x","password":"purple tractor hums at dawn"}"#),
];

/// The warnings after a request to each endpoint below this path, twice.
async fn warnings_of(app: impl IntoEndpoint, mount: &str) -> Vec<String> {
    let log = Log::default();
    let _guard = log.of_thread();
    let app = TestClient::new(app.into_endpoint());
    for (path, body) in GOOD.into_iter().chain(GOOD) {
        let reply = ask(&app, "POST", &format!("{mount}{path}"), body).await;
        assert_eq!(reply.status, if path.is_empty() { 200 } else { 404 }, "{reply:?}");
    }
    warnings(&log)
}

#[tokio::test]
async fn endpoints_without_the_contract_log_one_warning_with_the_code_to_write() {
    let service = || OpenApiService::new(ResetApi::new(reset()), "Accounts", "1.0");
    let without = Route::new().nest("/reset", service());
    // Around the whole application it recognizes no path of theirs.
    let around_the_application = Route::new().nest("/reset", service()).with(HttpContract);
    for warnings in [warnings_of(without, "/reset").await, warnings_of(around_the_application, "/reset").await] {
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("service.with(HttpContract)"), "{warnings:?}");
    }
    assert_eq!(warnings_of(Route::new().nest("/reset", service().with(HttpContract)), "/reset").await, [""; 0]);
}

#[tokio::test]
async fn each_endpoint_notices_that_the_contract_is_missing() {
    for (path, body) in GOOD {
        let log = Log::default();
        let _guard = log.of_thread();
        let service = OpenApiService::new(ResetApi::new(reset()), "Accounts", "1.0");
        ask(&TestClient::new(Route::new().nest("/reset", service)), "POST", &format!("/reset{path}"), body).await;
        assert_eq!(warnings(&log).len(), 1, "{path}");
    }
}
