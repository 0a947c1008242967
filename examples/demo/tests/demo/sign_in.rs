//! `POST /api/login`.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::helpers::{NEW_PASSWORD, mails, outbox_flags, token_for};
use crate::process::{Demo, Directory, PASSWORD, wait_for};

#[test]
fn sign_in_failures_get_one_response() {
    let demo = Demo::start(["--no-throttle"]);
    for email in ["ann@example.com", "bob@example.com", "Ann@Example.com", " ann@example.com "] {
        let response = demo.post("/api/login", &json!({ "email": email, "password": PASSWORD }));
        assert_eq!((response.status, response.body.as_str()), (200, r#"{"status":"OK"}"#), "{email}");
    }
    let mut bodies = Vec::new();
    for (email, password) in [
        ("ann@example.com", "wrong"),
        ("ann@example.com", "correct horse battery staple "),
        ("ann@example.com", "Correct horse battery staple"),
        ("carol@example.com", PASSWORD),
        ("dave@example.com", PASSWORD),
        ("dave@example.com", "decoy"),
        ("eve@example.com", PASSWORD),
        ("eve@example.com", "decoy"),
        ("%", PASSWORD),
        ("' OR 1=1 --", PASSWORD),
    ] {
        let response = demo.post("/api/login", &json!({ "email": email, "password": password }));
        assert_eq!(response.status, 401, "{email} {password}");
        bodies.push(response.body);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "all failures get the same response: {bodies:?}");
}

#[test]
fn sign_in_of_unknown_user_takes_as_long_as_of_a_user() {
    let demo = Demo::start(["--no-throttle"]);
    let time = |email: &str| {
        let begun = Instant::now();
        assert_eq!(demo.login(email, "wrong"), 401);
        begun.elapsed()
    };
    // Compares the fastest of several attempts, because load on the machine only adds time. A response without a password
    // check takes at most a tenth of one with a check, so more attempts would not hide a missing check.
    let classes = ["ann@example.com", "eve@example.com", "carol@example.com", "dave@example.com"];
    let mut fastest = [Duration::MAX; 4];
    for attempts in 1.. {
        for (email, fastest) in classes.iter().zip(&mut fastest) {
            *fastest = (*fastest).min(time(email));
        }
        let (least, most) = (fastest.iter().min().unwrap(), fastest.iter().max().unwrap());
        if attempts >= 5 && *most < *least * 3 {
            return;
        }
        assert!(attempts < 100, "{fastest:?} for {classes:?}");
    }
}

#[test]
fn sign_in_bodies_are_validated() {
    let demo = Demo::start::<&str>([]);
    let valid = json!({ "email": "ann@example.com", "password": PASSWORD }).to_string();
    let send = |content_type: &str, body: &str| demo.send("POST", "/api/login", &[content_type], body);
    for content_type in ["Content-Type: application/json", "content-type: Application/JSON; charset=utf-8"] {
        assert_eq!(send(content_type, &valid).status, 200);
    }
    let json = |body: &str| send("Content-Type: application/json", body);
    for (body, text) in [
        ("{", r#"{"detail":"The body is not a JSON object."}"#),
        ("[]", r#"{"detail":"The body is not a JSON object."}"#),
        ("\"canary\"", r#"{"detail":"The body is not a JSON object."}"#),
        ("", r#"{"email":["This field is missing."],"password":["This field is missing."]}"#),
        ("{}", r#"{"email":["This field is missing."],"password":["This field is missing."]}"#),
        (r#"{"email":7,"password":null}"#, r#"{"email":["This must be text."],"password":["This must not be null."]}"#),
        (r#"{"email":" ","password":"canary"}"#, r#"{"email":["This must not be blank."]}"#),
    ] {
        let response = json(body);
        assert_eq!((response.status, response.body.as_str()), (400, text), "{body}");
    }
    assert_eq!(json(&" ".repeat(17 * 1024)).status, 413);
    assert_eq!(send("Content-Type: text/plain", &valid).status, 415);
    assert_eq!(send("X-No-Content-Type: 1", &valid).status, 415);
    assert_eq!(send("Content-Type: application/x-www-form-urlencoded", "email=ann%40example.com").status, 415);
    let response = demo.get("/api/login");
    assert_eq!((response.status, response.header("Allow")), (405, Some("POST")));
    assert!(response.json()["detail"].is_string());
}

#[test]
fn reset_clears_the_failed_sign_ins_of_the_user() {
    let directory = Directory::new();
    let flags = outbox_flags(&directory);
    let delay = ["--mail-delay-ms", "4000"];
    let demo = Demo::start([&flags[0], &flags[1], delay[0], delay[1], "--trusted-proxy", "127.0.0.0/8"]);
    // Each attempt comes from another client, so none of them is over its own quota.
    let attempts = AtomicU32::new(0);
    let login = |email: &str, password: &str| {
        let client = format!("X-Forwarded-For: 203.0.113.{}", attempts.fetch_add(1, Ordering::Relaxed) % 256);
        let body = json!({ "email": email, "password": password }).to_string();
        demo.send("POST", "/api/login", &["Content-Type: application/json", &client], &body)
    };
    // A correct password clears the counter too.
    for password in ["wrong", "wrong", PASSWORD] {
        login("ann@example.com", password);
    }
    let mut rejected = Vec::new();
    for email in ["ann@example.com", "bob@example.com", "eve@example.com"] {
        for _ in 0..20 {
            assert_eq!(login(email, "wrong").status, 401, "{email}");
        }
        rejected.push(login(email, PASSWORD));
    }
    for response in &rejected {
        assert_eq!(
            (response.status, &response.body),
            (429, &rejected[0].body),
            "the response is the same for unknown addresses"
        );
        let after: u64 = response.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&after), "{after}");
    }

    let token = token_for(&demo, directory.path(), "ann@example.com");
    assert_eq!(login("ann@example.com", PASSWORD).status, 429, "a request alone does not clear the counter");
    let known = mails(directory.path());
    assert_eq!(demo.confirm(&token, NEW_PASSWORD).status, 200);
    // The handler runs after the response and before the mail, which takes four seconds.
    wait_for("the sign-in", || (login("ann@example.com", NEW_PASSWORD).status == 200).then_some(()));
    assert_eq!(mails(directory.path()).len(), known.len(), "the counter is cleared before the mail is sent");
    assert_eq!(login("bob@example.com", PASSWORD).status, 429, "the counter of another user is kept");
    assert_eq!(login("eve@example.com", PASSWORD).status, 429);
}
