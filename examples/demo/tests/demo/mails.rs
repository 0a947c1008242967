//! The mails: content, recipients, files, and the independence of responses from them.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::eml::Eml;
use crate::helpers::{NEW_PASSWORD, mails, next_mail, outbox_flags, token_for};
use crate::process::{Demo, Directory, PASSWORD, STEP_TIMEOUT, wait_for};

#[test]
fn reset_by_mail_changes_the_password_once() {
    let directory = Directory::new();
    let demo = Demo::start(outbox_flags(&directory));
    let token = token_for(&demo, directory.path(), "ann@example.com");
    let mails = mails(directory.path());
    let mail = mails.values().next().unwrap();
    for part in [&mail.text, &mail.html] {
        assert!(part.contains("Hello ann") && part.contains("60 minutes") && part.contains(" UTC)"), "{part}");
        assert!(part.contains("If you did not request this, ignore this email"), "{part}");
    }
    let link = format!("{}/reset-password#token={token}", demo.site);
    assert!(mail.text.contains(&format!("{link}\n")));
    assert!(mail.html.contains(&format!(">{link}</a>")), "the link is visible text: {}", mail.html);

    assert_eq!(demo.post("/api/password_reset/validate_token/", &json!({ "token": token })).status, 200);
    let weak = demo.confirm(&token, "12345678");
    assert_eq!(weak.status, 400);
    assert!(weak.json()["password"].as_array().is_some_and(|texts| texts.len() > 1), "{weak:?}");
    assert_eq!(demo.login("ann@example.com", PASSWORD), 200);

    assert_eq!(demo.confirm(&token, NEW_PASSWORD).body, r#"{"status":"OK"}"#);
    assert_eq!(demo.login("ann@example.com", NEW_PASSWORD), 200);
    assert_eq!(demo.login("ann@example.com", PASSWORD), 401);
    assert_eq!(demo.confirm(&token, "and once more, with feeling").status, 404);

    let notice = next_mail(directory.path(), "Your password was changed", &mails);
    assert_eq!(notice.to, "ann@example.com");
    for part in [&notice.text, &notice.html] {
        assert!(part.contains("from the address 127.0.0.1"), "{part}");
        assert!(part.contains(&format!("{}/forgot-password", demo.site)), "{part}");
        assert!(!part.contains(&token) && !part.contains(NEW_PASSWORD));
    }

    let page = demo.get("/outbox");
    assert!(page.body.contains(directory.path().to_str().unwrap()), "the page shows the directory");
    for name in self::mails(directory.path()).keys() {
        assert!(page.body.contains(name), "the page lists the mails");
    }
}

#[test]
fn links_in_mails_begin_with_the_public_url() {
    let directory = Directory::new();
    let flags = outbox_flags(&directory);
    let demo = Demo::start([&flags[0], &flags[1], "--public-url", "https://Reset.example.com:8443/"]);
    assert!(demo.output().contains("links in mails   https://reset.example.com:8443\n"), "{}", demo.output());
    let token = token_for(&demo, directory.path(), "ann@example.com");
    assert_eq!(demo.confirm(&token, NEW_PASSWORD).status, 200);
    next_mail(directory.path(), "Your password was changed", &BTreeMap::new());
    for mail in mails(directory.path()).values() {
        for part in [&mail.text, &mail.html] {
            assert!(part.contains("https://reset.example.com:8443/"), "{part}");
            assert!(!part.contains(&demo.site), "{part}");
        }
    }
}

#[tokio::test]
async fn username_with_a_web_address_is_not_mailed() {
    let directory = Directory::new();
    let outbox = Directory::new();
    let database = format!("sqlite://{}?mode=rwc", directory.join("demo.db").display());
    let flags = outbox_flags(&outbox);
    let demo = Demo::start([&flags[0], &flags[1], "--database", &database]);
    let users = sqlx::SqlitePool::connect(&database).await.unwrap();
    let rename = sqlx::query("UPDATE users SET username = 'win at evil.example' WHERE email = 'ann@example.com'");
    assert_eq!(rename.execute(&users).await.unwrap().rows_affected(), 1);
    let token = token_for(&demo, outbox.path(), "ann@example.com");
    assert_eq!(demo.confirm(&token, NEW_PASSWORD).status, 200);
    next_mail(outbox.path(), "Your password was changed", &BTreeMap::new());
    for mail in mails(outbox.path()).values() {
        for part in [&mail.text, &mail.html] {
            assert!(part.contains("Hello,") && !part.contains("evil"), "{part}");
        }
    }
}

#[test]
fn mail_files_appear_complete() {
    const MAILS: usize = 40;
    let directory = Directory::new();
    let demo = Demo::start(outbox_flags(&directory).into_iter().chain(["--no-throttle".to_owned()]));
    thread::scope(|scope| {
        scope.spawn(|| {
            for count in 0..MAILS {
                demo.request(["ann@example.com", "bob@example.com"][count % 2]);
            }
        });
        // Reads each mail as soon as its file appears.
        let begun = Instant::now();
        let mut seen = BTreeMap::new();
        while seen.len() < MAILS {
            assert!(begun.elapsed() < STEP_TIMEOUT, "only {} mails arrived", seen.len());
            for file in fs::read_dir(directory.path()).unwrap().map(Result::unwrap) {
                let name = file.file_name().into_string().unwrap();
                if name.ends_with(".eml") && !seen.contains_key(&name) {
                    let mail = Eml::parse(&fs::read(file.path()).unwrap());
                    assert!(mail.html.trim_end().ends_with("</html>") && !mail.token().is_empty());
                    seen.insert(name, mail);
                }
            }
        }
    });
    let names: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names.len(), MAILS, "no temporary files are left: {names:?}");
}

#[test]
fn only_active_users_with_a_password_get_mail() {
    let directory = Directory::new();
    let demo = Demo::start(outbox_flags(&directory));
    for email in ["carol@example.com", "dave@example.com", "eve@example.com", "BOB@example.com"] {
        demo.request(email);
    }
    // The demo finishes accepted requests before it ends.
    demo.terminate();
    let (status, _) = demo.ended();
    assert!(status.success());
    let mails = mails(directory.path());
    let to: Vec<_> = mails.values().map(|mail| mail.to.as_str()).collect();
    assert_eq!(to, ["bob@example.com"], "mail goes to the address on record, not to the typed one");
}

#[test]
fn failing_or_slow_mailer_does_not_change_responses() {
    let responses = |demo: &Demo| {
        ["ann@example.com", "eve@example.com"].map(|email| {
            let begun = Instant::now();
            let mut response = demo.post("/api/password_reset/", &json!({ "email": email }));
            let took = begun.elapsed();
            assert!(took < Duration::from_secs(20), "the response for {email} took {took:?}");
            response.headers.retain(|(name, _)| name != "date");
            (response.status, response.headers, response.body)
        })
    };
    let [usual, unknown] = responses(&Demo::start::<&str>([]));
    assert_eq!(usual, unknown);

    let failing = Demo::start(["--mail-fail"]);
    assert_eq!(responses(&failing), [usual.clone(), usual.clone()]);
    wait_for("the log entry", || failing.output().contains("--mail-fail").then_some(()));
    assert!(failing.get("/outbox").body.contains("No emails yet"));

    let slow = Demo::start(["--mail-delay-ms", "25000"]);
    assert_eq!(responses(&slow), [usual.clone(), usual]);
    assert!(slow.get("/outbox").body.contains("No emails yet"));
}

#[test]
fn forwarded_address_is_used_behind_a_trusted_proxy_only() {
    let by_header = ["--trusted-proxy", "127.0.0.1", "--client-address-header", "CF-Connecting-IP"];
    for (flags, expected) in [
        (&[][..], "127.0.0.1"),
        (&["--trusted-proxy", "127.0.0.0/8"], "203.0.113.9"),
        (&by_header, "192.0.2.44"),
        (&by_header[2..], "127.0.0.1"),
    ] {
        let directory = Directory::new();
        let demo = Demo::start(outbox_flags(&directory).iter().map(String::as_str).chain(flags.iter().copied()));
        let token = token_for(&demo, directory.path(), "ann@example.com");
        let body = json!({ "token": token, "password": NEW_PASSWORD }).to_string();
        let headers = [
            "Content-Type: application/json",
            "X-Forwarded-For: 198.51.100.1, 203.0.113.9",
            "CF-Connecting-IP: 192.0.2.44",
        ];
        assert_eq!(demo.send("POST", "/api/password_reset/confirm/", &headers, &body).status, 200);
        let notice = next_mail(directory.path(), "Your password was changed", &BTreeMap::new());
        assert!(notice.text.contains(&format!("from the address {expected}.")), "{}", notice.text);
        let warned = demo.output().contains("set .trusted_proxies([");
        assert_eq!(warned, expected == "127.0.0.1", "{flags:?}: {}", demo.output());
    }
}
