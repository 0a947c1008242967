//! Paths, methods, headers and the order of the checks.

use crate::http::doubles::GOOD_PASSWORD;
use crate::http::{Encoding, HttpRequest, JSON, MOUNT, Operation, Socket, World, defaults, over_both_transports};

const METHODS: [&str; 7] = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE", "BREW"];

#[tokio::test]
async fn path_matches_with_repeated_and_trailing_slashes() {
    over_both_transports(defaults, async |world| {
        for (paths, fields) in [
            (&["", "/", "//", "///", "?a=b", "/?a=b"][..], &["email"][..]),
            (&["/validate_token", "/validate_token/", "//validate_token", "/validate_token//"], &["token"]),
            (&["/confirm", "/confirm/", "//confirm", "///confirm///", "/confirm/?a=b"], &["token", "password"]),
        ] {
            for path in paths {
                let url = format!("{MOUNT}{path}");
                world.send(&HttpRequest::new("POST", &url).json("{}")).await.is_faulty(fields);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn unknown_path_returns_404_for_every_method() {
    over_both_transports(defaults, async |world| {
        let spellings =
            ["/nothing", "/confirm/again", "/Confirm", "/confirm%2F", "/%63onfirm", "/confirm;a", "/confirm."];
        let climbs = ["/..", "/confirm/..", "/validate_token/../confirm", "/./confirm", "/%2e/confirm", "/%00"];
        for path in spellings.into_iter().chain(climbs) {
            for method in METHODS.into_iter().chain(["POST", "OPTIONS"]) {
                let reply = world.send(&HttpRequest::new(method, format!("{MOUNT}{path}")).json("{}")).await;
                assert_eq!(reply.status, 404, "{method} {path}");
                if method != "HEAD" {
                    reply.is(404, r#"{"detail":"Not found."}"#);
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn methods_other_than_post_return_405_and_options_returns_204() {
    over_both_transports(defaults, async |world| {
        for url in Operation::ALL.iter().flat_map(|operation| operation.urls()) {
            for method in METHODS {
                let reply = world.send(&HttpRequest::new(method, &url)).await;
                assert_eq!(reply.status, 405, "{method} {url}");
                assert_eq!(reply.header("allow"), ["POST, OPTIONS"]);
                if method != "HEAD" {
                    reply.is_refused(405);
                }
            }
            let preflight = HttpRequest::new("OPTIONS", &url)
                .header("Origin", "https://elsewhere.example")
                .header("Access-Control-Request-Method", "POST");
            for options in [HttpRequest::new("OPTIONS", &url), preflight] {
                let reply = world.send(&options).await;
                assert_eq!((reply.status, reply.header("allow")), (204, vec!["POST, OPTIONS"]));
            }
        }
    })
    .await;
}

/// Mail scanners follow links, and browsers prefetch them.
#[tokio::test]
async fn get_never_uses_up_a_token() {
    over_both_transports(defaults, async |world| {
        let token = world.token("1");
        for method in METHODS {
            for operation in Operation::ALL {
                let query =
                    format!("{}?token={token}&password=another+good+one&email=ann@example.com", operation.url());
                let fields =
                    [("token", token.as_str()), ("password", "another good one"), ("email", "ann@example.com")];
                let fields = Encoding::Json.encode(&fields);
                world.send(&HttpRequest::new(method, query).json(fields)).await;
            }
        }
        assert_eq!(world.calls.all(), 0);
        assert_eq!(world.reset.ledger().accepted, 0);
        assert!(world.has_password("1", "ann's old password"));
        let confirm = [("token", token.as_str()), ("password", GOOD_PASSWORD)];
        world.send(&HttpRequest::post(Operation::Confirm).fields(Encoding::Json, &confirm)).await.is_ok();
    })
    .await;
}

/// No cookie and no credential is read, so a form on another site gains nothing. No header redirects a request.
#[tokio::test]
async fn other_request_headers_are_ignored() {
    over_both_transports(defaults, async |world| {
        let requests = || {
            [
                HttpRequest::post(Operation::Request).json(r#"{"email":"ann@example.com"}"#),
                HttpRequest::post(Operation::Request).json("{}"),
                HttpRequest::post(Operation::Validate).json(format!(r#"{{"token":"{}"}}"#, world.token("1"))),
                HttpRequest::post(Operation::Validate).json(r#"{"token":"bad"}"#),
                HttpRequest::post(Operation::Confirm).json(r#"{"token":"bad","password":"short"}"#),
            ]
        };
        for (name, value) in [
            ("Cookie", "session=1; user=ann@example.com"),
            ("Authorization", "Bearer a.b.c"),
            ("Authorization", "Basic YW5uOmFubg=="),
            ("Origin", "https://elsewhere.example"),
            ("Origin", "null"),
            ("Referer", "https://elsewhere.example/form"),
            ("Sec-Fetch-Site", "cross-site"),
            ("X-Forwarded-Host", "elsewhere.example"),
            ("X-Forwarded-For", "203.0.113.9"),
            ("X-Forwarded-Proto", "http"),
            ("X-Forwarded-Port", "8080"),
            ("X-Forwarded-Prefix", "/elsewhere"),
            ("X-Forwarded-Server", "elsewhere.example"),
            ("X-Host", "elsewhere.example"),
            ("X-Real-IP", "203.0.113.9"),
            ("True-Client-IP", "203.0.113.9"),
            ("Forwarded", "for=203.0.113.9;host=elsewhere.example;proto=http"),
            ("Forwarded", "nonsense"),
            ("Via", "1.1 elsewhere.example"),
            ("X-HTTP-Method-Override", "DELETE"),
            ("X-Original-URL", "/nothing"),
            ("X-Rewrite-URL", "/api/password_reset/confirm/"),
            ("X-Original-Host", "elsewhere.example"),
            ("From", "bob@example.com"),
            ("X-User-Id", "2"),
            ("Accept-Language", "de"),
            ("Accept-Encoding", "gzip"),
            ("Range", "bytes=0-1"),
            ("If-None-Match", "*"),
        ] {
            for (plain, with_header) in requests().into_iter().zip(requests()) {
                let with_header = world.send(&with_header.header(name, value)).await;
                assert_eq!(with_header, world.send(&plain).await, "{name}: {value}");
            }
        }
        // The mailed link is built from the configuration only.
        world.every_mail_is_anns().await;
    })
    .await;
}

/// Neither `Host` nor an absolute request target affects the link.
#[tokio::test]
async fn host_header_does_not_change_the_mailed_link() {
    let world = World::over_a_socket(defaults).await;
    let body = r#"{"email":"ann@example.com"}"#;
    let path = Operation::Request.url();
    for (target, hosts) in [
        (path.clone(), vec!["elsewhere.example"]),
        (path.clone(), vec!["elsewhere.example:8080"]),
        (path.clone(), vec!["app.example.com@elsewhere.example"]),
        (path.clone(), vec!["app.example.com/../elsewhere"]),
        (path.clone(), vec![""]),
        (path.clone(), vec!["app.example.com", "elsewhere.example"]),
        (format!("http://elsewhere.example{path}"), vec!["app.example.com"]),
        (format!("http://elsewhere.example{path}"), vec!["elsewhere.example"]),
        (format!("https://elsewhere.example:1{path}"), vec!["app.example.com"]),
    ] {
        let hosts: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        let head = format!("POST {target} HTTP/1.1\r\n{hosts}Content-Type: {JSON}\r\nContent-Length: {}", body.len());
        let mut socket = Socket::open(world.address()).await;
        socket.send(format!("{head}\r\n\r\n{body}").as_bytes()).await;
        let reply = socket.reply("POST").await;
        assert!(matches!(reply.status, 200 | 400), "{target} {hosts:?}: {reply:?}");
    }
    assert!(world.mails().await.len() >= 6);
    world.every_mail_is_anns().await;
}

/// Each request fails one check and every later check. The service is shutting down, so the last check fails for all of them.
#[tokio::test]
async fn first_failed_check_determines_the_status() {
    over_both_transports(defaults, async |world| {
        world.reset.shutdown(std::time::Duration::ZERO).await;
        let too_large = vec![b'{'; 20_000];
        let worst = |method: &str, url: &str| {
            HttpRequest::new(method, url).header("Accept", "application/xml").body("text/plain", too_large.clone())
        };
        for operation in Operation::ALL {
            let url = operation.url();
            for (request, status) in [
                (worst("GET", &format!("{url}nothing")), 404),
                (worst("GET", &url), 405),
                (worst("POST", &url), 406),
                (HttpRequest::post(operation).body("text/plain", too_large.clone()), 415),
                (HttpRequest::post(operation).json(too_large.clone()), 413),
                (HttpRequest::post(operation).json("{"), 400),
                (HttpRequest::post(operation).json("[]"), 400),
                (HttpRequest::post(operation).json("{}"), 400),
            ] {
                assert_eq!(world.send(&request).await.status, status, "{operation:?}");
            }
        }
        world.post(Operation::Request, &[("email", "no address")]).await.is_faulty(&["email"]);
        world.post(Operation::Request, &[("email", "ann@example.com")]).await.is_unavailable();
        world.post(Operation::Validate, &[("token", "bad")]).await.is_unavailable();
        world.post(Operation::Confirm, &[("token", "bad"), ("password", "short")]).await.is_unavailable();
        assert_eq!((world.calls.all(), world.reset.ledger().accepted), (0, 0));
    })
    .await;
}
