//! Flags, start output, and the database at start.

use std::fs;
use std::net::TcpListener;
use std::thread;

use crate::helpers::{KEY, NEW_PASSWORD, outbox_flags, token_for};
use crate::process::{Demo, Directory, PASSWORD};

#[test]
fn start_prints_the_addresses_users_and_key_source() {
    let demo = Demo::start::<&str>([]);
    let output = demo.output();
    for path in ["/forgot-password", "/outbox", "/login", "/docs"] {
        assert!(output.contains(&format!("{}{path}", demo.site)), "{output}");
        assert_eq!(demo.get(path).status, 200);
    }
    for part in ["ann@example.com, bob@example.com, carol@example.com (deactivated)", "(no password)", PASSWORD] {
        assert!(output.contains(part), "{output}");
    }
    assert!(output.contains("signing key      generated"), "{output}");

    let demo = Demo::start(["--key", KEY]);
    assert!(demo.output().contains("signing key      from --key"), "{}", demo.output());
    assert!(!demo.output().contains(KEY));
}

#[test]
fn invalid_flag_ends_the_start_with_an_error_that_names_it() {
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
        (&["--database", "postgres://demo:hunter2@127.0.0.1:1/demo"], "--database: the server does not answer"),
        (&["--database", "mysql://demo:hunter2@127.0.0.1:1/demo"], "--database: the server does not answer"),
        (&["--database", "postgres://demo:hunter2@127.0.0.1:none/demo"], "--database"),
        (&["--database", "oracle://demo:hunter2@localhost/demo"], "--database: expected sqlite::memory:"),
        (&["--database", "mysql://demo:hunter2@127.0.0.1:1"], "--database: expected sqlite::memory:"),
        (&["--database", "demo.db"], "--database: expected sqlite::memory:"),
        (&["--database", "sqlite://x?mode=strange"], "--database"),
        (&["--database", &missing], "--database"),
        (&["--outbox", file], "--outbox"),
        (&["--public-url", ""], "--public-url: expected https://HOST"),
        (&["--public-url", "reset.example.com"], "--public-url: expected https://HOST"),
        (&["--public-url", "-hunter2"], "--public-url: expected https://HOST"),
        (&["--public-url", "http://reset.example.com"], "--public-url: http is only allowed for localhost"),
        (&["--public-url", "https://user:hunter2@example.com"], "--public-url: a user or password"),
        (&["--public-url", "https://example.com/reset"], "--public-url: nothing may follow the host and port"),
        (&["--smtp", ""], "--smtp: expected smtp://"),
        (&["--smtp", "-hunter2"], "--smtp: expected smtp://"),
        (&["--smtp", "http://user:hunter2@localhost"], "--smtp: expected smtp://"),
        (&["--smtp", "smtp://user:hunter2@"], "--smtp: expected smtp://"),
        (&["--smtp", "smtps://user:hunter2@localhost:465?tls=none"], "--smtp: nothing may follow the port"),
        (&["--smtp", "smtp://user:hunter2@localhost:587?tls=off"], "--smtp: nothing may follow the port"),
        (&["--smtp", "smtp://user:hunter2@localhost", "--outbox", "mails"], "cannot be used with"),
        (&["--key", ""], "--key"),
        (&["--key", "c2hvcnQ="], "--key: the signing key is too short: it has 5 bytes"),
        (&["--key", "hunter2!"], "--key: the signing key is not base64"),
        (&["--key", "-hunter2!"], "--key: the signing key is not base64"),
        (&["--key=hunter2!"], "--key: the signing key is not base64"),
        (&["--key", &format!("{KEY},hunter2!")], "--key: key 2 of 2: the signing key is not base64"),
        (&["--key", &format!("{KEY},{KEY}=")], "--key: key 2 of 2: the key ring already contains the key"),
        (&["--key", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="], "--key: the signing key is one byte repeated"),
        (&["--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "10.0.0.0/99"], "10.0.0.0/99"),
        (&["--mail-delay-ms", "soon"], "--mail-delay-ms"),
        (&["--smoke"], "--smoke"),
        (&["extra"], "extra"),
    ] {
        let listen: &[&str] = if flags[0] == "--listen" { &[] } else { &["--listen", "127.0.0.1:0"] };
        let process = Demo::command().args(listen).args(flags).output().unwrap();
        let output = String::from_utf8(process.stderr).unwrap();
        assert_eq!(process.status.code(), Some(2), "{flags:?}: {output}");
        assert!(output.contains(reason), "{flags:?}: {output}");
        assert!(!output.contains("hunter2") && !output.contains("c2hvcnQ") && !output.contains("AAAAAAA"), "{output}");
        assert!(process.stdout.is_empty(), "{flags:?}");
    }
}

#[test]
fn users_in_a_file_survive_a_restart() {
    let directory = Directory::new();
    let outbox = Directory::new();
    let database = format!("sqlite://{}?mode=rwc", directory.join("demo.db").display());
    let flags = outbox_flags(&outbox);
    let start = |key: &str| Demo::start([&flags[0], &flags[1], "--database", &database, "--key", key]);

    let demo = start(KEY);
    let for_ann = token_for(&demo, outbox.path(), "ann@example.com");
    let for_bob = token_for(&demo, outbox.path(), "bob@example.com");
    assert_eq!(demo.confirm(&for_ann, NEW_PASSWORD).status, 200);
    // Dropping the demo kills it.
    drop(demo);

    let other_key = "AJc0Tr1dVvX3cZ5nqFq0Wk2pQm9yA7sLhUuE4iB8oGM=";
    assert_eq!(start(other_key).confirm(&for_bob, NEW_PASSWORD).status, 404, "the token was signed with another key");

    let demo = start(&format!("{KEY}="));
    assert_eq!(demo.login("ann@example.com", NEW_PASSWORD), 200);
    assert_eq!(demo.login("ann@example.com", PASSWORD), 401, "the sample users are inserted once");
    assert_eq!(demo.login("bob@example.com", PASSWORD), 200);
    assert_eq!(demo.confirm(&for_ann, PASSWORD).status, 404);
    assert_eq!(demo.confirm(&for_bob, NEW_PASSWORD).status, 200, "the same key in another base64 form");
}

#[test]
fn instances_that_start_on_one_new_file_all_work() {
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
