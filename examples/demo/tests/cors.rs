//! The CORS example in Chromium, which sends the preflights: the page has one origin, the endpoints have another.
//!
//! The browser tests are skipped with a message if Chromium is not installed. With `REQUIRE_SERVICES=1` they fail instead.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion, in its helpers too")]

#[path = "support/chromium.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod chromium;
#[allow(dead_code, reason = "an example has a main function")]
#[path = "../../cors.rs"]
mod example;
#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;

use std::sync::{Arc, Mutex};

use poem::http::HeaderMap;
use poem::listener::{Acceptor, Listener, TcpAcceptor, TcpListener};
use poem::test::TestClient;
use poem::{EndpointExt as _, IntoEndpoint, Request, Route, Server};
use poem_openapi::OpenApiService;
use poem_password_reset::store::MemoryUsers;
use poem_password_reset::throttle::{Quota, Quotas};
use poem_password_reset::{HttpContract, PasswordReset, ResetApi, SigningKey, StoredUser};
use serde_json::{Value, json};

use self::chromium::{Browser, Driver};

const NEW_PASSWORD: &str = "seven lazy otters paint the barn";

/// Returns a password reset with one user, Ann, that allows three requests an hour.
async fn reset() -> (PasswordReset, MemoryUsers) {
    let ann = StoredUser::new(1, "ann@example.com", Some("the hash of her password".to_owned()));
    let users = MemoryUsers::new([ann]);
    let reset = PasswordReset::builder(users.clone(), SigningKey::generate().unwrap())
        .link("https://app.example.com/#token={token}")
        .linked_handlers(false)
        .on_reset_token_created(async |_| {})
        .quotas(Quotas::off().request_per_client(Quota::per_hour(3).unwrap()))
        .build()
        .await
        .unwrap();
    (reset, users)
}

/// Issues a token for Ann.
fn token(reset: &PasswordReset, users: &MemoryUsers) -> String {
    reset.issue(&users.get("1").unwrap(), None).unwrap().token().expose().to_owned()
}

/// The requests that a server has received: method, path and headers.
type Requests = Arc<Mutex<Vec<(String, String, HeaderMap)>>>;

/// Listens on a free port. Returns the listener and its origin.
async fn listen() -> (TcpAcceptor, String) {
    let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.unwrap();
    let origin = format!("http://{}", acceptor.local_addr()[0].as_socket_addr().unwrap());
    (acceptor, origin)
}

/// Serves an application and records its requests.
fn serve<E: IntoEndpoint>(acceptor: TcpAcceptor, app: E) -> Requests
where
    E::Endpoint: 'static,
{
    let requests = Requests::default();
    let record = Arc::clone(&requests);
    let app = app.into_endpoint().before(move |request: Request| {
        let path = request.original_uri().path().to_owned();
        record.lock().unwrap().push((request.method().to_string(), path, request.headers().clone()));
        async { Ok(request) }
    });
    tokio::spawn(Server::new_with_acceptor(acceptor).run(app));
    requests
}

/// Returns the methods of the received requests for a path.
fn methods(requests: &Requests, path: &str) -> Vec<String> {
    let requests = requests.lock().unwrap();
    requests.iter().filter(|(_, other, _)| other == path).map(|(method, ..)| method.clone()).collect()
}

/// Runs a test in its own browser, which is closed even if the test panics.
fn in_browser<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Browser) -> F) {
    let Some(driver) = Driver::start() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let browser = driver.browser().await;
        let outcome = tokio::spawn(test(browser.clone())).await;
        let closed = browser.client.close().await;
        if let Err(error) = outcome {
            std::panic::resume_unwind(error.into_panic());
        }
        closed.unwrap();
    });
}

/// Sends a request with `fetch` in the page. Returns status, `Retry-After` and body, or `blocked` and the name of the error.
async fn fetch(browser: &Browser, url: &str, method: &str, body: &Value) -> Value {
    let (url, method, body) = (json!(url), json!(method), json!(body.to_string()));
    let script = format!(
        "window.outcome = undefined;
         const options = {{ method: {method}, headers: {{ 'Content-Type': 'application/json' }}, body: {body} }};
         fetch({url}, options).then(async (response) => {{
             const after = response.headers.get('Retry-After');
             window.outcome = [response.status, after, await response.text()];
         }}).catch((error) => {{ window.outcome = ['blocked', error.name, '']; }});"
    );
    browser.run(&script).await;
    browser.wait_for("the response", "return window.outcome ?? null").await
}

#[test]
fn page_on_allowed_origin_resets_a_password_after_a_preflight() {
    in_browser(|browser| async move {
        let ((page, page_origin), (api, api_origin)) = (listen().await, listen().await);
        let (reset, users) = reset().await;
        let received = serve(api, example::api(reset.clone(), &page_origin));
        serve(page, example::front_end(&api_origin));

        browser.open(&format!("{page_origin}/")).await;
        browser.fill("[name=email]", "ann@example.com").await;
        browser.click("#ask button").await;
        browser.wait_for_text("#message", "Check your email.").await;
        let requested: Vec<_> = received.lock().unwrap().clone();
        let [(options, path, preflight), (post, ..)] = &requested[..] else { panic!("{requested:?}") };
        assert_eq!((&**options, &**path, &**post), ("OPTIONS", "/api/password_reset/", "POST"));
        assert_eq!(preflight["origin"], page_origin);
        assert_eq!(preflight["access-control-request-method"], "POST");
        assert_eq!(preflight["access-control-request-headers"], "content-type");

        // A weak password, then a strong one: the script can read errors too.
        browser.open(&format!("{page_origin}/?again#token={}", token(&reset, &users))).await;
        browser.fill("[name=password]", "12345678").await;
        browser.click("#reset button").await;
        browser.wait_for_text("#message", "digit").await;
        browser.fill("[name=password]", NEW_PASSWORD).await;
        browser.click("#reset button").await;
        browser.wait_for_text("#message", "Your password was changed.").await;
        let confirm = methods(&received, "/api/password_reset/confirm/");
        assert_eq!(confirm, ["OPTIONS", "POST", "POST"], "the browser caches the preflight");
        assert_ne!(users.get("1").unwrap().password_hash().unwrap().expose(), "the hash of her password");

        // The script can read the Retry-After header of a 429.
        browser.open(&format!("{page_origin}/?third")).await;
        for _ in 0..2 {
            let email = json!({ "email": "ann@example.com" });
            let ok = fetch(&browser, &format!("{api_origin}/api/password_reset/"), "POST", &email).await;
            assert_eq!(ok, json!([200, null, "{\"status\":\"OK\"}"]));
        }
        browser.fill("[name=email]", "ann@example.com").await;
        browser.click("#ask button").await;
        browser.wait_for_text("#message", "Try again in 3").await;

        let bad_token = fetch(
            &browser,
            &format!("{api_origin}/api/password_reset/validate_token"),
            "POST",
            &json!({ "token": "x" }),
        )
        .await;
        assert_eq!(bad_token[0], 404);
        assert!(bad_token[2].as_str().unwrap().contains("invalid_token"), "{bad_token}");
        let put = fetch(&browser, &format!("{api_origin}/api/password_reset/"), "PUT", &json!({})).await;
        assert_eq!(put[0], "blocked", "the preflight rejects other methods");
    });
}

#[test]
fn page_on_other_origin_is_blocked_before_it_sends_the_request() {
    in_browser(|browser| async move {
        let (page, page_origin) = listen().await;
        let (other_page, other_origin) = listen().await;
        let ((with, with_origin), (without, without_origin)) = (listen().await, listen().await);
        let received_with = serve(with, example::api(reset().await.0, &page_origin));
        let service = OpenApiService::new(ResetApi::new(reset().await.0), "Accounts", "1.0").with(HttpContract);
        let received_without = serve(without, Route::new().nest("/api/password_reset", service));
        serve(page, example::front_end(&with_origin));
        serve(other_page, example::front_end(&with_origin));

        let email = json!({ "email": "ann@example.com" });
        let path = "/api/password_reset/";
        browser.open(&format!("{other_origin}/")).await;
        assert_eq!(fetch(&browser, &format!("{with_origin}{path}"), "POST", &email).await[0], "blocked");
        assert_eq!(methods(&received_with, path), ["OPTIONS"], "the browser does not send the request itself");
        browser.open(&format!("{page_origin}/")).await;
        assert_eq!(fetch(&browser, &format!("{without_origin}{path}"), "POST", &email).await[0], "blocked");
        assert_eq!(methods(&received_without, path), ["OPTIONS"], "without `Cors` there is no CORS header");
    });
}

/// Without a browser: every response to the allowed origin has the CORS header. A request without an
/// origin gets the same response without the header, and a request of another origin gets 403.
#[tokio::test]
async fn responses_have_the_cors_headers_and_stay_json() {
    let origin = "https://app.example.com";
    let app = TestClient::new(example::api(reset().await.0, origin));
    for (method, path, body, status) in [
        ("POST", "/", r#"{"email":"ann@example.com"}"#, 200),
        ("POST", "/", "{", 400),
        ("POST", "/confirm/", r#"{"token":"x","password":"purple tractor hums"}"#, 404),
        ("GET", "/confirm/", "", 405),
        ("POST", "/nothing", "", 404),
    ] {
        for from in [Some(origin), None, Some("https://evil.example.com")] {
            let request = app.request(method.parse().unwrap(), format!("/api/password_reset{path}"));
            let request = from.into_iter().fold(request, |request, from| request.header("Origin", from));
            let response = request.content_type("application/json").body(body).send().await.0;
            let allowed = response.headers().get("access-control-allow-origin").map(|value| value.to_str().unwrap());
            if from.is_some_and(|from| from != origin) {
                assert_eq!((response.status().as_u16(), allowed), (403, None), "{method} {path}");
                continue;
            }
            assert_eq!((response.status().as_u16(), allowed), (status, from), "{method} {path}");
            assert_eq!(response.headers()["content-type"], "application/json", "{method} {path}");
            assert_eq!(response.headers()["cache-control"], "no-store", "{method} {path}");
        }
    }
}
