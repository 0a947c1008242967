//! The demo over real sockets: flags, mails, sign-in, headers, start and stop.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion, in its helpers too")]

#[path = "support/eml.rs"]
mod eml;
#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use self::eml::Eml;
use self::process::{Answer, Demo, Directory, PASSWORD, PATIENCE, connect, head, receive, wait_for};

const KEY: &str = "zJc0Tr1dVvX3cZ5nqFq0Wk2pQm9yA7sLhUuE4iB8oGM";
const NEW_PASSWORD: &str = "seven lazy otters paint the barn";

/// The mails in a directory, by the name of the file.
fn mails(directory: &Path) -> BTreeMap<String, Eml> {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    files
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "eml"))
        .map(|file| (file.file_name().into_string().unwrap(), Eml::parse(&fs::read(file.path()).unwrap())))
        .collect()
}

/// Waits for the next mail with this subject that is not among the known ones.
fn next_mail(directory: &Path, subject: &str, known: &BTreeMap<String, Eml>) -> Eml {
    wait_for(subject, || {
        mails(directory).into_iter().find(|(name, mail)| mail.subject == subject && !known.contains_key(name))
    })
    .1
}

/// Asks for a reset and gives the token that comes by mail.
fn token_for(demo: &Demo, directory: &Path, email: &str) -> String {
    let known = mails(directory);
    demo.request(email);
    let mail = next_mail(directory, "Reset your password", &known);
    assert_eq!(mail.to, email);
    mail.token().to_owned()
}

fn outbox_flags(directory: &Directory) -> [String; 2] {
    ["--outbox".to_owned(), directory.path().to_str().unwrap().to_owned()]
}

#[test]
fn it_says_what_there_is_and_where() {
    let demo = Demo::start::<&str>([]);
    let said = demo.output();
    for path in ["/forgot-password", "/outbox", "/login", "/docs"] {
        assert!(said.contains(&format!("{}{path}", demo.site)), "{said}");
        assert_eq!(demo.get(path).status, 200);
    }
    for part in ["ann@example.com, bob@example.com, carol@example.com (deactivated)", "(no password)", PASSWORD] {
        assert!(said.contains(part), "{said}");
    }
    assert!(said.contains("signing key      generated"), "{said}");

    let demo = Demo::start(["--key", KEY]);
    assert!(demo.output().contains("signing key      as given"), "{}", demo.output());
    assert!(!demo.output().contains(KEY));
}

#[test]
fn bad_values_end_the_start_with_a_reason() {
    let directory = Directory::new();
    let file = directory.join("file");
    fs::write(&file, "").unwrap();
    let file = file.to_str().unwrap();
    let missing = format!("sqlite://{}/missing/demo.db?mode=rwc", directory.path().display());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (flags, reason) in [
        (&["--listen", "here"][..], "127.0.0.1:3000"),
        (&["--listen", &taken], &taken),
        (&["--listen", "192.0.2.1:0"], "--listen 192.0.2.1:0"),
        (&["--database", "postgres://demo:hunter2@localhost/demo"], "--database: only SQLite"),
        (&["--database", "demo.db"], "--database: only SQLite"),
        (&["--database", "sqlite://x?mode=strange"], "--database"),
        (&["--database", &missing], "--database"),
        (&["--outbox", file], "--outbox"),
        (&["--public-url", ""], "--public-url: expected https://HOST"),
        (&["--public-url", "reset.example.com"], "--public-url: expected https://HOST"),
        (&["--public-url", "-hunter2"], "--public-url: expected https://HOST"),
        (&["--public-url", "http://reset.example.com"], "--public-url: http is only possible for localhost"),
        (&["--public-url", "https://user:hunter2@example.com"], "--public-url: a user or password"),
        (&["--public-url", "https://example.com/reset"], "--public-url: nothing may follow the host and port"),
        (&["--smtp", ""], "--smtp: expected smtp://"),
        (&["--smtp", "-hunter2"], "--smtp: expected smtp://"),
        (&["--smtp", "http://user:hunter2@localhost"], "--smtp: expected smtp://"),
        (&["--smtp", "smtp://user:hunter2@"], "--smtp: expected smtp://"),
        (&["--smtp", "smtps://user:hunter2@localhost:465"], "--smtp: smtps is SMTP over TLS"),
        (&["--smtp", "smtp://user:hunter2@localhost:587?tls=required"], "--smtp: nothing may follow the port"),
        (&["--smtp", "smtp://user:hunter2@localhost", "--outbox", "mails"], "cannot be used with"),
        (&["--key", ""], "--key"),
        (&["--key", "c2hvcnQ="], "--key: the signing key has 5 bytes"),
        (&["--key", "hunter2!"], "--key: the signing key is not base64"),
        (&["--key", "-hunter2!"], "--key: the signing key is not base64"),
        (&["--key=hunter2!"], "--key: the signing key is not base64"),
        (&["--key", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="], "--key: the signing key is one byte repeated"),
        (&["--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "10.0.0.0/99"], "10.0.0.0/99"),
        (&["--mail-delay-ms", "soon"], "--mail-delay-ms"),
        (&["--smoke"], "--smoke"),
        (&["extra"], "extra"),
    ] {
        let listen: &[&str] = if flags[0] == "--listen" { &[] } else { &["--listen", "127.0.0.1:0"] };
        let output = Demo::command().args(listen).args(flags).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {said}");
        assert!(said.contains(reason), "{flags:?}: {said}");
        assert!(!said.contains("hunter2") && !said.contains("c2hvcnQ") && !said.contains("AAAAAAA"), "{said}");
        assert!(output.stdout.is_empty(), "{flags:?}");
    }
}

#[test]
fn a_reset_by_mail_from_the_first_to_the_last() {
    let directory = Directory::new();
    let demo = Demo::start(outbox_flags(&directory));
    let token = token_for(&demo, directory.path(), "ann@example.com");
    let mails = mails(directory.path());
    let mail = mails.values().next().unwrap();
    for part in [&mail.text, &mail.html] {
        assert!(part.contains("Hello ann") && part.contains("60 minutes") && part.contains(" UTC"), "{part}");
        assert!(part.contains("If it was not you, ignore this mail"), "{part}");
    }
    let link = format!("{}/reset-password#token={token}", demo.site);
    assert!(mail.text.contains(&format!("{link}\n")));
    assert!(mail.html.contains(&format!(">{link}</a>")), "a link to copy is visible: {}", mail.html);

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
    assert!(page.body.contains(directory.path().to_str().unwrap()), "the page says where the mails are");
    for name in self::mails(directory.path()).keys() {
        assert!(page.body.contains(name), "and lists them");
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
async fn mail_greets_without_a_username_that_has_a_web_address_in_it() {
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
    let mut refused = Vec::new();
    for email in ["ann@example.com", "bob@example.com", "eve@example.com"] {
        for _ in 0..20 {
            assert_eq!(login(email, "wrong").status, 401, "{email}");
        }
        refused.push(login(email, PASSWORD));
    }
    for answer in &refused {
        assert_eq!((answer.status, &answer.body), (429, &refused[0].body), "known or not, the answer is the same");
        let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&after), "{after}");
    }

    let token = token_for(&demo, directory.path(), "ann@example.com");
    assert_eq!(login("ann@example.com", PASSWORD).status, 429, "a request alone clears nothing");
    let known = mails(directory.path());
    assert_eq!(demo.confirm(&token, NEW_PASSWORD).status, 200);
    // The handler runs after the answer. It does not wait for the mail, which takes four seconds.
    wait_for("the sign-in", || (login("ann@example.com", NEW_PASSWORD).status == 200).then_some(()));
    assert_eq!(mails(directory.path()).len(), known.len(), "the mail was sent first");
    assert_eq!(login("bob@example.com", PASSWORD).status, 429, "the counter of another user stays");
    assert_eq!(login("eve@example.com", PASSWORD).status, 429);
}

/// The administrator's page says why no mail came, whatever the reason, and changes nothing.
#[test]
fn diagnosis_says_why_no_mail_came() {
    let directory = Directory::new();
    let flags = outbox_flags(&directory);
    let demo = Demo::start([&flags[0], &flags[1]]);
    let diagnose = |email: &str| {
        let body = format!("email={}", email.replace('@', "%40").replace('+', "%2B"));
        let answer = demo.send("POST", "/diagnose", &["Content-Type: application/x-www-form-urlencoded"], &body);
        assert_eq!(answer.status, 200, "{email}");
        answer.body
    };
    assert!(demo.get("/outbox").body.contains("href=\"/diagnose\""));
    let page = demo.get("/diagnose");
    assert_hardened("/diagnose", &page);
    assert!(page.body.contains("<form method=\"post\" action=\"/diagnose\">"));
    let policy = page.header("Content-Security-Policy").unwrap();
    assert!(policy.contains("script-src 'self'") && policy.contains("form-action 'self'"), "{policy}");
    for (email, told) in [
        ("ann@example.com", "A request now would lead to mail."),
        ("nobody@example.com", "The store knows no user with this address."),
        ("carol@example.com", "because the user is not active"),
        ("<script>", "The text is not an email address."),
    ] {
        let page = diagnose(email);
        assert!(page.contains(told), "{email}: {page}");
        assert!(!page.contains("<script>"), "nothing is echoed");
    }
    for _ in 0..3 {
        let known = mails(directory.path());
        demo.request("ann@example.com");
        next_mail(directory.path(), "Reset your password", &known);
    }
    assert!(diagnose("Ann@Example.com").contains("quota of the address: used up"), "three mails were sent");
    assert_eq!(mails(directory.path()).len(), 3, "a diagnosis sends nothing");
}

#[test]
fn mails_appear_whole() {
    const MAILS: usize = 40;
    let directory = Directory::new();
    let demo = Demo::start(outbox_flags(&directory).into_iter().chain(["--no-throttle".to_owned()]));
    thread::scope(|scope| {
        scope.spawn(|| {
            for count in 0..MAILS {
                demo.request(["ann@example.com", "bob@example.com"][count % 2]);
            }
        });
        // Each one is read, and parsed to its end, at the very moment when its name can be seen.
        let begun = Instant::now();
        let mut seen = BTreeMap::new();
        while seen.len() < MAILS {
            assert!(begun.elapsed() < PATIENCE, "only {} mails came", seen.len());
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
    assert_eq!(names.len(), MAILS, "nothing is left lying about: {names:?}");
}

#[test]
fn only_active_users_with_a_password_get_mail() {
    let directory = Directory::new();
    let demo = Demo::start(outbox_flags(&directory));
    for email in ["carol@example.com", "dave@example.com", "eve@example.com", "BOB@example.com"] {
        demo.request(email);
    }
    // What was accepted is finished before the end.
    demo.terminate();
    let (status, _) = demo.ended();
    assert!(status.success());
    let mails = mails(directory.path());
    let to: Vec<_> = mails.values().map(|mail| mail.to.as_str()).collect();
    assert_eq!(to, ["bob@example.com"], "to the address on record, not the one that was typed");
}

#[test]
fn who_may_sign_in() {
    let demo = Demo::start(["--no-throttle"]);
    for email in ["ann@example.com", "bob@example.com", "Ann@Example.com", " ann@example.com "] {
        let answer = demo.post("/api/login", &json!({ "email": email, "password": PASSWORD }));
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"status":"OK"}"#), "{email}");
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
        let answer = demo.post("/api/login", &json!({ "email": email, "password": password }));
        assert_eq!(answer.status, 401, "{email} {password}");
        bodies.push(answer.body);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "one answer for all: {bodies:?}");
}

/// The default quotas: of requests, confirmations and sign-ins by one client, and of mails to one address.
#[test]
fn quotas() {
    let directory = Directory::new();
    let demo = Demo::start(outbox_flags(&directory));
    let request = || demo.post("/api/password_reset/", &json!({ "email": "ann@example.com" }));
    let confirm = || demo.confirm("x", NEW_PASSWORD);
    let sign_in = || demo.post("/api/login", &json!({ "email": "ann@example.com", "password": PASSWORD }));
    for (once, quota, passed, seconds) in
        [(&request as &dyn Fn() -> Answer, 30, 200, 3600), (&confirm, 20, 404, 60), (&sign_in, 20, 200, 60)]
    {
        for _ in 0..quota {
            assert_eq!(once().status, passed);
        }
        let over = once();
        assert_eq!(over.status, 429);
        let after: u64 = over.header("retry-after").unwrap().parse().unwrap();
        assert!((seconds - 30..=seconds).contains(&after), "{after}");
    }
    demo.terminate();
    assert!(demo.ended().0.success());
    assert_eq!(mails(directory.path()).len(), 3, "of thirty requests three led to mail");
}

#[test]
fn unknown_users_take_as_long_to_be_refused() {
    let demo = Demo::start(["--no-throttle"]);
    let time = |email: &str| {
        let begun = Instant::now();
        assert_eq!(demo.login(email, "wrong"), 401);
        begun.elapsed()
    };
    // The fastest of many: whatever else the machine does only adds to it. Without a check of a password an answer
    // takes a tenth of one with, or less, so no number of tries would bring the classes together.
    let classes = ["ann@example.com", "eve@example.com", "carol@example.com", "dave@example.com"];
    let mut fastest = [Duration::MAX; 4];
    for tries in 1.. {
        for (email, fastest) in classes.iter().zip(&mut fastest) {
            *fastest = (*fastest).min(time(email));
        }
        let (least, most) = (fastest.iter().min().unwrap(), fastest.iter().max().unwrap());
        if tries >= 5 && *most < *least * 3 {
            return;
        }
        assert!(tries < 100, "{fastest:?} for {classes:?}");
    }
}

#[test]
fn bodies_of_a_sign_in() {
    let demo = Demo::start::<&str>([]);
    let whole = json!({ "email": "ann@example.com", "password": PASSWORD }).to_string();
    let send = |content_type: &str, body: &str| demo.send("POST", "/api/login", &[content_type], body);
    for content_type in ["Content-Type: application/json", "content-type: Application/JSON; charset=utf-8"] {
        assert_eq!(send(content_type, &whole).status, 200);
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
        let answer = json(body);
        assert_eq!((answer.status, answer.body.as_str()), (400, text), "{body}");
    }
    assert_eq!(json(&" ".repeat(17 * 1024)).status, 413);
    assert_eq!(send("Content-Type: text/plain", &whole).status, 415);
    assert_eq!(send("X-No-Content-Type: 1", &whole).status, 415);
    assert_eq!(send("Content-Type: application/x-www-form-urlencoded", "email=ann%40example.com").status, 415);
    let answer = demo.get("/api/login");
    assert_eq!((answer.status, answer.header("Allow")), (405, Some("POST")));
    assert!(answer.json()["detail"].is_string());
}

/// What every answer must carry.
fn assert_hardened(path: &str, answer: &Answer) {
    assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"), "{path}");
    assert_eq!(answer.header("Referrer-Policy"), Some("no-referrer"), "{path}");
    assert_eq!(answer.header("Set-Cookie"), None, "{path}");
    assert_eq!(answer.header("Access-Control-Allow-Origin"), None, "{path}");
    let policy = answer.header("Content-Security-Policy").unwrap_or_else(|| panic!("{path} has no policy"));
    assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors "), "{path}: {policy}");
}

#[test]
fn headers_of_every_answer() {
    let demo = Demo::start::<&str>([]);
    demo.request("ann@example.com");
    let mail = wait_for("the mail", || Some(demo.get("/outbox/1")).filter(|answer| answer.status == 200));
    assert!(mail.header("Content-Security-Policy").is_some_and(|policy| policy.contains("sandbox allow-popups ")));
    assert_hardened("/outbox/1", &mail);

    for path in ["/", "/forgot-password", "/reset-password", "/login", "/outbox"] {
        let answer = demo.get(path);
        assert_hardened(path, &answer);
        assert_eq!((answer.status, answer.header("Content-Type")), (200, Some("text/html; charset=utf-8")));
        assert_eq!(answer.header("Cache-Control"), Some("no-store"), "{path}");
        let policy = answer.header("Content-Security-Policy").unwrap();
        for directive in ["script-src 'self'", "style-src 'self'", "connect-src 'self'", "base-uri 'none'"] {
            assert!(policy.contains(directive), "{path}: {policy}");
        }
        assert!(policy.contains("form-action 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert!(!answer.body.contains(" style=") && !answer.body.contains("<script>"), "{path}: nothing is inline");
        let head = demo.send("HEAD", path, &[], "");
        assert_eq!((head.status, head.body.as_str()), (200, ""));
        let posted = demo.post(path, &json!({}));
        assert_eq!((posted.status, posted.header("Allow")), (405, Some("GET, HEAD")), "{path}");
        assert_hardened(path, &posted);
    }
    for (path, status) in [("/missing", 404), ("/docs/missing", 404), ("/outbox/2", 404), ("/outbox/x", 404)] {
        let answer = demo.get(path);
        assert_eq!(answer.status, status, "{path}");
        assert_hardened(path, &answer);
    }
    for answer in [demo.post("/api/login", &json!({})), demo.post("/api/password_reset/", &json!({}))] {
        assert_eq!((answer.status, answer.header("Content-Type")), (400, Some("application/json")));
        assert_eq!(answer.header("Cache-Control"), Some("no-store"));
        assert_hardened("the API", &answer);
    }
}

#[test]
fn well_known_change_password_redirects_to_the_forgot_page() {
    let demo = Demo::start::<&str>([]);
    let answer = demo.get("/.well-known/change-password");
    assert_eq!((answer.status, answer.header("Location")), (307, Some("/forgot-password")));
    assert_hardened("/.well-known/change-password", &answer);
    // Password managers ask for this one to learn whether the server answers 200 to everything.
    let path = "/.well-known/resource-that-should-not-exist-whose-status-code-should-not-be-200";
    assert_eq!(demo.get(path).status, 404);
}

#[test]
fn what_does_not_change_is_sent_once() {
    let demo = Demo::start::<&str>([]);
    for path in ["/docs", "/docs/", "/openapi.json", "/assets/style.css", "/assets/form.js", "/assets/icon.svg"] {
        let first = demo.get(path);
        assert_eq!((first.status, first.header("Cache-Control")), (200, Some("no-cache")), "{path}");
        assert_hardened(path, &first);
        let etag = first.header("ETag").unwrap_or_else(|| panic!("{path} has no ETag"));
        for known in [etag, &format!("\"other\", W/{etag}"), "*"] {
            let again = demo.send("GET", path, &[&format!("If-None-Match: {known}")], "");
            assert_eq!((again.status, again.body.as_str(), again.header("ETag")), (304, "", Some(etag)), "{path}");
        }
        let other = demo.send("GET", path, &["If-None-Match: \"other\""], "");
        assert_eq!((other.status, other.body.len()), (200, first.body.len()), "{path}");
    }
    let docs = demo.get("/docs");
    assert!(docs.body.len() > 1_000_000 && docs.body.contains("SwaggerUIBundle"));
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

#[test]
fn of_racing_confirms_one_wins() {
    let directory = Directory::new();
    let file = format!("sqlite://{}?mode=rwc", directory.join("demo.db").display());
    for database in ["sqlite::memory:", &file] {
        let outbox = Directory::new();
        let flags = outbox_flags(&outbox);
        let demo = Demo::start([&flags[0], &flags[1], "--no-throttle", "--database", database]);
        let token = token_for(&demo, outbox.path(), "ann@example.com");
        let barrier = Barrier::new(64);
        let password = |count: usize| format!("{count} lazy otters paint the barn");
        let statuses: Vec<u16> = thread::scope(|scope| {
            let confirm = |count| {
                barrier.wait();
                demo.confirm(&token, &password(count)).status
            };
            let confirms: Vec<_> = (0..64).map(|count| scope.spawn(move || confirm(count))).collect();
            confirms.into_iter().map(|confirm| confirm.join().unwrap()).collect()
        });
        let winners: Vec<usize> = (0..64).filter(|count| statuses[*count] == 200).collect();
        assert_eq!(winners.len(), 1, "{database}: {statuses:?}");
        assert!(statuses.iter().all(|status| [200, 404].contains(status)), "{database}: {statuses:?}");
        assert_eq!(demo.login("ann@example.com", &password(winners[0])), 200);
    }
}

#[test]
fn users_in_a_file_outlive_the_process() {
    let directory = Directory::new();
    let outbox = Directory::new();
    let database = format!("sqlite://{}?mode=rwc", directory.join("demo.db").display());
    let flags = outbox_flags(&outbox);
    let start = |key: &str| Demo::start([&flags[0], &flags[1], "--database", &database, "--key", key]);

    let demo = start(KEY);
    let for_ann = token_for(&demo, outbox.path(), "ann@example.com");
    let for_bob = token_for(&demo, outbox.path(), "bob@example.com");
    assert_eq!(demo.confirm(&for_ann, NEW_PASSWORD).status, 200);
    // Not even a chance to tidy up.
    drop(demo);

    let other_key = "AJc0Tr1dVvX3cZ5nqFq0Wk2pQm9yA7sLhUuE4iB8oGM=";
    assert_eq!(start(other_key).confirm(&for_bob, NEW_PASSWORD).status, 404, "signed with another key");

    let demo = start(&format!("{KEY}="));
    assert_eq!(demo.login("ann@example.com", NEW_PASSWORD), 200);
    assert_eq!(demo.login("ann@example.com", PASSWORD), 401, "seeded once, not at each start");
    assert_eq!(demo.login("bob@example.com", PASSWORD), 200);
    assert_eq!(demo.confirm(&for_ann, PASSWORD).status, 404);
    assert_eq!(demo.confirm(&for_bob, NEW_PASSWORD).status, 200, "the same key, however it is written");
}

#[test]
fn instances_can_start_on_one_new_file_together() {
    let directory = Directory::new();
    let database = format!("sqlite://{}?mode=rwc", directory.join("demo.db").display());
    let demos: Vec<Demo> = thread::scope(|scope| {
        let start = || Demo::start(["--database", &database, "--key", KEY]);
        let starts: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    for demo in demos {
        assert_eq!(demo.login("ann@example.com", PASSWORD), 200);
    }
}

#[test]
fn a_failing_or_slow_mailer_is_invisible() {
    let answers = |demo: &Demo| {
        ["ann@example.com", "eve@example.com"].map(|email| {
            let begun = Instant::now();
            let mut answer = demo.post("/api/password_reset/", &json!({ "email": email }));
            let took = begun.elapsed();
            assert!(took < Duration::from_secs(20), "nobody waits for a mail, {email} not for {took:?}");
            answer.headers.retain(|(name, _)| name != "date");
            (answer.status, answer.headers, answer.body)
        })
    };
    let [usual, unknown] = answers(&Demo::start::<&str>([]));
    assert_eq!(usual, unknown);

    let failing = Demo::start(["--mail-fail"]);
    assert_eq!(answers(&failing), [usual.clone(), usual.clone()]);
    wait_for("the log to tell", || failing.output().contains("--mail-fail").then_some(()));
    assert!(failing.get("/outbox").body.contains("There is none yet"));

    let slow = Demo::start(["--mail-delay-ms", "25000"]);
    assert_eq!(answers(&slow), [usual.clone(), usual]);
    assert!(slow.get("/outbox").body.contains("There is none yet"));
}

#[test]
fn sigterm_lets_everybody_finish() {
    let directory = Directory::new();
    let flags = outbox_flags(&directory);
    let demo = Demo::start([&flags[0], &flags[1], "--mail-delay-ms", "1000"]);
    // Two connections in the middle of a request: one is sent to its end, the other is given up.
    let body = json!({ "email": "bob@example.com" }).to_string();
    let mut half = connect(demo.address);
    let headers = ["Content-Type: application/json", "Expect: 100-continue"];
    let head = head(demo.address, "POST", "/api/password_reset/", &headers, body.len());
    half.write_all(head.as_bytes()).unwrap();
    // Said when the head has been read and the body is waited for (RFC 9110, section 10.1.1).
    let mut go_on = *b"HTTP/1.1 100 Continue\r\n\r\n";
    half.read_exact(&mut go_on).unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100 "));
    half.write_all(&body.as_bytes()[..5]).unwrap();
    let mut idle = connect(demo.address);
    // Answered on a connection that came later: the others have been accepted.
    demo.request("ann@example.com");

    demo.terminate();
    wait_for("it to stop", || demo.output().contains("stopping").then_some(()));
    assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0, "an idle connection is closed");
    half.write_all(&body.as_bytes()[5..]).unwrap();
    assert_eq!(receive(&mut half).status, 200, "a request that has begun is served");
    let (status, _) = demo.ended();
    assert_eq!(status.code(), Some(0));
    let mails = mails(directory.path());
    let mut to: Vec<_> = mails.values().map(|mail| mail.to.as_str()).collect();
    to.sort_unstable();
    assert_eq!(to, ["ann@example.com", "bob@example.com"]);
}

#[test]
fn forwarded_addresses_count_behind_a_trusted_proxy_only() {
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

#[test]
#[cfg(unix)]
fn it_outlives_a_want_of_file_descriptors() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 40 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_demo"), "--listen", "127.0.0.1:0"]);
    let demo = Demo::spawn(&mut command);
    let connections: Vec<_> = (0..60).map(|_| connect(demo.address)).collect();
    wait_for("the log to tell", || demo.output().contains("no connection can be accepted").then_some(()));
    drop(connections);
    assert_eq!(demo.get("/login").status, 200);
}

#[test]
fn the_log_keeps_secrets_even_at_trace() {
    let directory = Directory::new();
    let command = &mut Demo::command();
    let command = command.args(["--listen", "127.0.0.1:0", "--key", KEY]).args(outbox_flags(&directory));
    let demo = Demo::spawn(command.env("RUST_LOG", "trace"));
    let said = demo.output();
    let token = token_for(&demo, directory.path(), "ann@example.com");
    let lost = token_for(&demo, directory.path(), "bob@example.com");
    assert_eq!(demo.confirm(&token, "shorty").status, 400);
    assert_eq!(demo.confirm(&token, NEW_PASSWORD).status, 200);
    assert_eq!(demo.confirm(&token, NEW_PASSWORD).status, 404);
    assert_eq!(demo.login("ann@example.com", NEW_PASSWORD), 200);
    assert_eq!(demo.login("eve@example.com", NEW_PASSWORD), 401);
    assert_eq!(demo.post("/api/login", &json!([NEW_PASSWORD])).status, 400);
    for path in ["/outbox", "/openapi.json", "/missing"] {
        demo.get(path);
    }
    demo.terminate();
    let (_, all) = demo.ended();
    let log = all.strip_prefix(said.as_str()).expect("it goes on where it was");
    assert!(log.contains("SELECT"), "at trace the database tells what it does");

    let hash = "$argon2id$";
    for secret in [&token, &lost, NEW_PASSWORD, "shorty", KEY, "ann@example.com", "eve@example.com", hash] {
        let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for shape in [secret.to_owned(), secret.replace('@', "%40"), secret.replace(' ', "+"), percent] {
            assert!(!log.contains(&shape), "{shape:?} is in the log");
        }
    }
    // In pieces, too: the signature alone is as good as nothing, but it shows that a token was there.
    for part in token.split('.').skip(1) {
        assert!(!log.contains(part));
    }
}
