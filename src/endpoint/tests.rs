//! The endpoints without a web framework: requests of the crate `http`, with a stream of chunks as the body.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use http::{Request, StatusCode};

use super::*;
use crate::event::ResetTokenCreated;
use crate::secret::SigningKey;
use crate::store::MemoryUsers;
use crate::user::StoredUser;

/// A body that arrives in chunks.
struct Chunks(VecDeque<io::Result<Bytes>>);

impl Stream for Chunks {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.pop_front())
    }
}

/// A body that never arrives.
struct Pending;

impl Stream for Pending {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Pending
    }
}

const MOUNT: &str = "/auth/reset";
const JSON: &str = "application/json";
const OK: &str = r#"{"status":"OK"}"#;
const TOKEN_ERROR: &str =
    r#"{"detail":"This reset token is invalid or has expired. Request a new one.","code":"invalid_token"}"#;

fn key() -> SigningKey {
    SigningKey::from_base64("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").unwrap()
}

/// A service with one user.
async fn service(usable_hash: fn(&str) -> bool) -> (PasswordReset, StoredUser) {
    let ann = StoredUser::new(1, "ann@example.com", Some("hash".to_owned()));
    let count = AtomicU32::new(0);
    let hash =
        move |password: &str| Ok::<_, Infallible>(format!("{}${password}", count.fetch_add(1, Ordering::Relaxed)));
    let reset = PasswordReset::builder(MemoryUsers::new([ann.clone()]), key())
        .link("https://app.example.com/#token={token}")
        .hasher(hash)
        .usable_hash(usable_hash)
        .user_details_on_validation(true)
        .linked_handlers(false)
        .on_reset_token_created(|_: Arc<ResetTokenCreated>| async {})
        .build()
        .await
        .unwrap();
    (reset, ann)
}

fn post<const N: usize>(path: &str, content_type: &str, chunks: [&str; N]) -> Request<Chunks> {
    let chunks = chunks.map(|chunk| Ok(Bytes::copy_from_slice(chunk.as_bytes()))).into();
    let request = Request::post(format!("{MOUNT}{path}")).header("Content-Type", content_type);
    request.body(Chunks(chunks)).unwrap()
}

/// Returns status and body, after checking the headers that every response has.
async fn send<S: Stream<Item = io::Result<Bytes>>>(reset: &PasswordReset, request: Request<S>) -> (u16, String) {
    let response = serve(reset, MOUNT, Some([192, 0, 2, 1].into()), request).await;
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap());
    assert_eq!(header("cache-control"), Some("no-store"));
    assert_eq!(header("referrer-policy"), Some("no-referrer"));
    assert_eq!(header("x-content-type-options"), Some("nosniff"));
    let status = response.status();
    let has_allow = [StatusCode::NO_CONTENT, StatusCode::METHOD_NOT_ALLOWED].contains(&status);
    assert_eq!(header("allow"), has_allow.then_some("POST, OPTIONS"));
    assert_eq!(header("content-type"), (status != StatusCode::NO_CONTENT).then_some(JSON));
    (status.as_u16(), String::from_utf8(response.into_body().to_vec()).unwrap())
}

#[tokio::test]
async fn each_operation_succeeds() {
    let (reset, ann) = service(|_| true).await;
    let token = reset.issue(&ann, None).unwrap();
    let token = token.token().expose();

    let body = r#"{"email":"ann@example.com"}"#;
    assert_eq!(send(&reset, post("/", JSON, [body])).await, (200, OK.to_owned()));
    assert_eq!(reset.ledger().accepted, 1);

    let validated = r#"{"status":"OK","email":"ann@example.com"}"#.to_owned();
    let body = format!(r#"{{"token":"{token}"}}"#);
    assert_eq!(send(&reset, post("/validate_token/", JSON, [&body])).await, (200, validated.clone()));
    let body = format!("token={token}");
    let urlencoded = post("/validate_token", "application/x-www-form-urlencoded; charset=utf-8", [&body]);
    assert_eq!(send(&reset, urlencoded).await, (200, validated.clone()));
    let body = format!("--b\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\n{token}\r\n--b--\r\n");
    let multipart = post("/validate_token", "multipart/form-data; boundary=\"b\"", [&body]);
    assert_eq!(send(&reset, multipart).await, (200, validated));

    let chunks = [r#"{"token":""#, token, r#"","password":"#, r#""purple tractor hums at dawn"}"#];
    let confirm = || post("//confirm//?a=b", JSON, chunks);
    assert_eq!(send(&reset, confirm()).await, (200, OK.to_owned()));
    assert_eq!(send(&reset, confirm()).await, (404, TOKEN_ERROR.to_owned()));
}

#[tokio::test]
async fn each_error_has_its_status() {
    let (reset, ann) = service(|_| true).await;
    let token = reset.issue(&ann, None).unwrap();
    let weak = format!(r#"{{"token":"{}","password":"1234"}}"#, token.token().expose());
    let large = format!(r#"{{"email":"{}"}}"#, "a".repeat(16 * 1024));
    let required = |name: &str| format!(r#"{{"{name}":["This field is required."]}}"#);
    let both = r#"{"token":["This field is required."],"password":["This field must not be null."]}"#.to_owned();
    for (request, status, body) in [
        (post("/unknown", JSON, ["{}"]), 404, Some(r#"{"detail":"Not found."}"#.to_owned())),
        (post("/", "text/plain", ["{}"]), 415, None),
        (post("/", JSON, [&large]), 413, None),
        (post("/", JSON, [&large[..9_000], &large[9_000..]]), 413, None),
        (post("/", JSON, ["{"]), 400, None),
        (post("/", JSON, ["[]"]), 400, None),
        (post("/", JSON, [""]), 400, Some(required("email"))),
        (
            post("/", JSON, [r#"{"email":"ann"}"#]),
            400,
            Some(r#"{"email":["Enter a valid email address."]}"#.to_owned()),
        ),
        (post("/validate_token/", JSON, ["{}"]), 400, Some(required("token"))),
        (post("/validate_token/", JSON, [r#"{"token":"bad"}"#]), 404, Some(TOKEN_ERROR.to_owned())),
        (post("/confirm/", JSON, [r#"{"password":null}"#]), 400, Some(both)),
        (post("/confirm/", JSON, [&weak]), 400, None),
    ] {
        let shown = format!("{} {:?}", request.uri(), request.headers());
        let response = send(&reset, request).await;
        assert_eq!(response.0, status, "{shown} {}", response.1);
        assert!(body.is_none_or(|body| body == response.1), "{shown} {}", response.1);
    }
}

#[tokio::test]
async fn other_methods_are_not_allowed_and_options_lists_the_allowed_ones() {
    let (reset, _) = service(|_| true).await;
    for path in ["", "/", "/validate_token/", "/confirm"] {
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let mut request = post(path, JSON, ["{}"]);
            *request.method_mut() = method.clone();
            let expected = match method {
                Method::OPTIONS => (204, String::new()),
                _ => (405, r#"{"detail":"Only POST is allowed."}"#.to_owned()),
            };
            assert_eq!(send(&reset, request).await, expected, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn accept_without_json_returns_406() {
    let (reset, _) = service(|_| true).await;
    let mut request = post("/", "text/plain", ["{}"]);
    request.headers_mut().insert("accept", "text/html".parse().unwrap());
    assert_eq!(send(&reset, request).await.0, 406, "before 415");
}

#[tokio::test]
async fn announced_size_is_checked_before_the_body_arrives() {
    let (reset, _) = service(|_| true).await;
    for (content_type, length, status) in [(JSON, "16385", 413), ("text/plain", "1", 415)] {
        let request = Request::post(MOUNT).header("Content-Type", content_type).header("Content-Length", length);
        assert_eq!(send(&reset, request.body(Pending).unwrap()).await.0, status);
    }
}

#[tokio::test(start_paused = true)]
async fn body_that_does_not_arrive_returns_408_after_ten_seconds() {
    let (reset, _) = service(|_| true).await;
    let start = tokio::time::Instant::now();
    let request = Request::post(MOUNT).header("Content-Type", JSON).body(Pending).unwrap();
    assert_eq!(send(&reset, request).await.0, 408);
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn body_that_breaks_off_returns_400() {
    let (reset, _) = service(|_| true).await;
    let mut request = post("/", JSON, [r#"{"email":"ann@example.com"}"#]);
    request.body_mut().0.push_back(Err(io::ErrorKind::ConnectionReset.into()));
    let error = r#"{"detail":"The request body could not be parsed.","code":"parse_error"}"#.to_owned();
    assert_eq!(send(&reset, request).await, (400, error));
}

#[tokio::test]
async fn panic_of_the_application_returns_500() {
    let (issuer, ann) = service(|_| true).await;
    let token = issuer.issue(&ann, None).unwrap();
    let (reset, _) = service(|_| panic!("planned")).await;
    let body = format!(r#"{{"token":"{}"}}"#, token.token().expose());
    let error = r#"{"detail":"An internal error occurred. Nothing was changed."}"#.to_owned();
    assert_eq!(send(&reset, post("/validate_token/", JSON, [&body])).await, (500, error));
}

#[test]
fn at_recognizes_the_endpoints_below_their_mount_path_only() {
    for (mount, path, expected) in [
        ("/", "/", Some(Endpoint::Request)),
        ("/", "/confirm", Some(Endpoint::Confirm)),
        ("/", "/validate_token", Some(Endpoint::Validate)),
        ("/", "/profile", None),
        ("/auth/reset", "/auth/reset", Some(Endpoint::Request)),
        ("/auth/reset", "/auth/reset/confirm", Some(Endpoint::Confirm)),
        ("/auth/reset", "/auth/reset/validate_token", Some(Endpoint::Validate)),
        ("/auth/reset", "/auth/reset/history", None),
        ("/auth/reset", "/auth/resetconfirm", None),
        ("/auth/reset", "/auth/reset/confirm/x", None),
        ("/auth/reset", "/", None),
        ("/auth/reset", "/confirm", None),
    ] {
        assert_eq!(Endpoint::at(mount, path), expected, "{mount} {path}");
    }
}
