//! The pages and their headers, without a browser.

use serde_json::json;

use crate::helpers::{mails, next_mail, outbox_flags};
use crate::process::{Demo, Directory, Response, wait_for};

/// Checks the security headers of a response.
fn assert_hardened(path: &str, response: &Response) {
    assert_eq!(response.header("X-Content-Type-Options"), Some("nosniff"), "{path}");
    assert_eq!(response.header("Referrer-Policy"), Some("no-referrer"), "{path}");
    assert_eq!(response.header("Set-Cookie"), None, "{path}");
    assert_eq!(response.header("Access-Control-Allow-Origin"), None, "{path}");
    let policy = response.header("Content-Security-Policy").unwrap_or_else(|| panic!("{path} has no policy"));
    assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors "), "{path}: {policy}");
}

#[test]
fn diagnosis_explains_why_no_email_arrived() {
    let directory = Directory::new();
    let flags = outbox_flags(&directory);
    let demo = Demo::start([&flags[0], &flags[1]]);
    let diagnose = |email: &str| {
        let body = format!("email={}", email.replace('@', "%40").replace('+', "%2B"));
        let response = demo.send("POST", "/diagnose", &["Content-Type: application/x-www-form-urlencoded"], &body);
        assert_eq!(response.status, 200, "{email}");
        response.body
    };
    assert!(demo.get("/outbox").body.contains("href=\"/diagnose\""));
    let page = demo.get("/diagnose");
    assert_hardened("/diagnose", &page);
    assert!(page.body.contains("<form method=\"post\" action=\"/diagnose\">"));
    let policy = page.header("Content-Security-Policy").unwrap();
    assert!(policy.contains("script-src 'self'") && policy.contains("form-action 'self'"), "{policy}");
    for (email, finding) in [
        ("ann@example.com", "A request now would lead to mail."),
        ("nobody@example.com", "The store knows no user with this address."),
        ("carol@example.com", "because the user is not active"),
        ("<script>", "The text is not an email address."),
    ] {
        let page = diagnose(email);
        assert!(page.contains(finding), "{email}: {page}");
        assert!(!page.contains("<script>"), "the page does not repeat the input");
    }
    for _ in 0..3 {
        let known = mails(directory.path());
        demo.request("ann@example.com");
        next_mail(directory.path(), "Reset your password", &known);
    }
    assert!(diagnose("Ann@Example.com").contains("quota of the address: used up"), "three mails use the quota up");
    assert_eq!(mails(directory.path()).len(), 3, "a diagnosis sends nothing");
}

#[test]
fn every_response_has_the_security_headers() {
    let demo = Demo::start::<&str>([]);
    demo.request("ann@example.com");
    let mail = wait_for("the mail", || Some(demo.get("/outbox/1")).filter(|response| response.status == 200));
    assert!(mail.header("Content-Security-Policy").is_some_and(|policy| policy.contains("sandbox allow-popups ")));
    assert_hardened("/outbox/1", &mail);

    for path in ["/", "/forgot-password", "/reset-password", "/login", "/outbox"] {
        let response = demo.get(path);
        assert_hardened(path, &response);
        assert_eq!((response.status, response.header("Content-Type")), (200, Some("text/html; charset=utf-8")));
        assert_eq!(response.header("Cache-Control"), Some("no-store"), "{path}");
        let policy = response.header("Content-Security-Policy").unwrap();
        for directive in ["script-src 'self'", "style-src 'self'", "connect-src 'self'", "base-uri 'none'"] {
            assert!(policy.contains(directive), "{path}: {policy}");
        }
        assert!(policy.contains("form-action 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert!(
            !response.body.contains(" style=") && !response.body.contains("<script>"),
            "{path}: inline style or script"
        );
        let head = demo.send("HEAD", path, &[], "");
        assert_eq!((head.status, head.body.as_str()), (200, ""));
        let posted = demo.post(path, &json!({}));
        assert_eq!((posted.status, posted.header("Allow")), (405, Some("GET, HEAD")), "{path}");
        assert_hardened(path, &posted);
    }
    for (path, status) in [("/missing", 404), ("/docs/missing", 404), ("/outbox/2", 404), ("/outbox/x", 404)] {
        let response = demo.get(path);
        assert_eq!(response.status, status, "{path}");
        assert_hardened(path, &response);
    }
    for response in [demo.post("/api/login", &json!({})), demo.post("/api/password_reset/", &json!({}))] {
        assert_eq!((response.status, response.header("Content-Type")), (400, Some("application/json")));
        assert_eq!(response.header("Cache-Control"), Some("no-store"));
        assert_hardened("the API", &response);
    }
}

#[test]
fn well_known_change_password_redirects_to_the_forgot_page() {
    let demo = Demo::start::<&str>([]);
    let response = demo.get("/.well-known/change-password");
    assert_eq!((response.status, response.header("Location")), (307, Some("/forgot-password")));
    assert_hardened("/.well-known/change-password", &response);
    // Password managers request this path to detect servers that response every path with 200.
    let path = "/.well-known/resource-that-should-not-exist-whose-status-code-should-not-be-200";
    assert_eq!(demo.get(path).status, 404);
}

#[test]
fn static_files_are_cached_by_etag() {
    let demo = Demo::start::<&str>([]);
    for path in ["/docs", "/docs/", "/openapi.json", "/assets/style.css", "/assets/form.js", "/assets/icon.svg"] {
        let first = demo.get(path);
        assert_eq!((first.status, first.header("Cache-Control")), (200, Some("no-cache")), "{path}");
        assert_hardened(path, &first);
        let etag = first.header("ETag").unwrap_or_else(|| panic!("{path} has no ETag"));
        for sent in [etag, &format!("\"other\", W/{etag}"), "*"] {
            let again = demo.send("GET", path, &[&format!("If-None-Match: {sent}")], "");
            assert_eq!((again.status, again.body.as_str(), again.header("ETag")), (304, "", Some(etag)), "{path}");
        }
        let other = demo.send("GET", path, &["If-None-Match: \"other\""], "");
        assert_eq!((other.status, other.body.len()), (200, first.body.len()), "{path}");
    }
    let docs = demo.get("/docs");
    assert!(docs.body.len() > 1_000_000 && docs.body.contains("SwaggerUIBundle"));
    assert!(docs.body.contains("<html lang=\"en\""), "a screen reader needs the language: {:.200}", docs.body);
    assert_eq!(
        docs.header("Content-Security-Policy"),
        Some(
            "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
    );
    let document = demo.get("/openapi.json").json();
    assert_eq!(document["servers"][0]["url"], "/api/password_reset");
    assert_eq!(document["paths"].as_object().map(serde_json::Map::len), Some(3), "{document}");
}
