//! Quotas, races, shutdown, lack of resources, and the log.

use std::io::{Read as _, Write as _};
use std::process::Command;
use std::sync::Barrier;
use std::thread;

use serde_json::json;

use crate::helpers::{KEY, NEW_PASSWORD, mails, outbox_flags, token_for};
use crate::process::{Demo, Directory, PASSWORD, Response, connect, head, receive, wait_for};

#[test]
fn sigterm_finishes_open_requests_and_accepted_mails() {
    let directory = Directory::new();
    let flags = outbox_flags(&directory);
    let demo = Demo::start([&flags[0], &flags[1], "--mail-delay-ms", "1000"]);
    // An open request whose body is incomplete, and an idle connection.
    let body = json!({ "email": "bob@example.com" }).to_string();
    let mut open = connect(demo.address);
    let headers = ["Content-Type: application/json", "Expect: 100-continue"];
    let head = head(demo.address, "POST", "/api/password_reset/", &headers, body.len());
    open.write_all(head.as_bytes()).unwrap();
    // The server sends this when it has read the head and waits for the body (RFC 9110, section 10.1.1).
    let mut interim = *b"HTTP/1.1 100 Continue\r\n\r\n";
    open.read_exact(&mut interim).unwrap();
    assert!(interim.starts_with(b"HTTP/1.1 100 "));
    open.write_all(&body.as_bytes()[..5]).unwrap();
    let mut idle = connect(demo.address);
    // Once a later connection has its response, the earlier ones have been accepted.
    demo.request("ann@example.com");

    demo.terminate();
    wait_for("the stop", || demo.output().contains("stopping").then_some(()));
    assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0, "an idle connection is closed");
    open.write_all(&body.as_bytes()[5..]).unwrap();
    assert_eq!(receive(&mut open).status, 200, "an open request is served");
    let (status, _) = demo.ended();
    assert_eq!(status.code(), Some(0));
    let mails = mails(directory.path());
    let mut to: Vec<_> = mails.values().map(|mail| mail.to.as_str()).collect();
    to.sort_unstable();
    assert_eq!(to, ["ann@example.com", "bob@example.com"]);
}

#[test]
#[cfg(unix)]
fn server_recovers_from_a_lack_of_file_descriptors() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 40 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_demo"), "--listen", "127.0.0.1:0"]);
    let demo = Demo::spawn(&mut command);
    let connections: Vec<_> = (0..60).map(|_| connect(demo.address)).collect();
    wait_for("the log entry", || demo.output().contains("a connection could not be accepted").then_some(()));
    drop(connections);
    assert_eq!(demo.get("/login").status, 200);
}

#[test]
fn log_at_trace_contains_no_secrets() {
    let directory = Directory::new();
    let command = &mut Demo::command();
    let command = command.args(["--listen", "127.0.0.1:0", "--key", KEY]).args(outbox_flags(&directory));
    let demo = Demo::spawn(command.env("RUST_LOG", "trace"));
    let start = demo.output();
    let token = token_for(&demo, directory.path(), "ann@example.com");
    let unused = token_for(&demo, directory.path(), "bob@example.com");
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
    let log = all.strip_prefix(start.as_str()).expect("the output at start comes first");
    assert!(log.contains("SELECT"), "the database logs its queries at trace");

    let hash = "$argon2id$";
    for secret in [&token, &unused, NEW_PASSWORD, "shorty", KEY, "ann@example.com", "eve@example.com", hash] {
        let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for form in [secret.to_owned(), secret.replace('@', "%40"), secret.replace(' ', "+"), percent] {
            assert!(!log.contains(&form), "{form:?} is in the log");
        }
    }
    // A part of a token in the log would show that a token was logged.
    for part in token.split('.').skip(1) {
        assert!(!log.contains(part));
    }
}

#[test]
fn racing_confirmations_of_one_token_succeed_once() {
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
fn default_quotas_limit_requests_confirmations_sign_ins_and_mails() {
    let directory = Directory::new();
    let demo = Demo::start(outbox_flags(&directory));
    let request = || demo.post("/api/password_reset/", &json!({ "email": "ann@example.com" }));
    let confirm = || demo.confirm("x", NEW_PASSWORD);
    let sign_in = || demo.post("/api/login", &json!({ "email": "ann@example.com", "password": PASSWORD }));
    for (send, quota, status, window) in
        [(&request as &dyn Fn() -> Response, 30, 200, 3600), (&confirm, 20, 404, 60), (&sign_in, 20, 200, 60)]
    {
        for _ in 0..quota {
            assert_eq!(send().status, status);
        }
        let over = send();
        assert_eq!(over.status, 429);
        let after: u64 = over.header("retry-after").unwrap().parse().unwrap();
        assert!((window - 30..=window).contains(&after), "{after}");
    }
    demo.terminate();
    assert!(demo.ended().0.success());
    assert_eq!(mails(directory.path()).len(), 3, "three of thirty requests lead to a mail");
}
