//! F13: the clock of the machine jumps. A token lives no longer than it may by the clock that is, quotas do not care, and
//! nothing falls over. The clock is changed by `faketime`, a library that stands between the process and the system.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::process::{Demo, Directory, wait_for};

/// The library, if it is installed.
fn library() -> Option<String> {
    let listed = Command::new("faketime").args(["-f", "+0", "printenv", "LD_PRELOAD"]).output().ok()?;
    Some(String::from_utf8(listed.stdout).unwrap().trim().to_owned())
}

struct Clock(std::path::PathBuf);

impl Clock {
    fn set(&self, to: &str) {
        fs::write(&self.0, to).unwrap();
    }
}

/// The status of a validation.
fn validate(demo: &Demo, token: &str) -> u16 {
    demo.post("/api/password_reset/validate_token/", &json!({ "token": token })).status
}

/// The token of the mail that this user gets now. Mails are named by the time, which jumps: they are taken away when read.
fn token_for(demo: &Demo, outbox: &std::path::Path, email: &str) -> String {
    demo.request(email);
    let mail = wait_for("a mail", || {
        let mut mails = fs::read_dir(outbox).ok()?.map(|entry| entry.unwrap().path());
        mails.find(|path| path.extension().is_some_and(|end| end == "eml"))
    });
    let raw = fs::read(&mail).unwrap();
    fs::remove_file(mail).unwrap();
    let parsed = mail_parser::MessageParser::default().parse(&raw).unwrap();
    let text = parsed.body_text(0).unwrap();
    let (_, rest) = text.split_once("#token=").expect("a link");
    rest.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn a_clock_that_jumps_accepts_nothing_it_should_not() {
    let Some(library) = library() else {
        assert!(std::env::var_os("REQUIRE_SERVICES").is_none(), "faketime is not installed");
        println!("skipped: faketime is not installed");
        return;
    };
    let directory = Directory::new();
    let clock = Clock(directory.join("clock"));
    clock.set("+0");
    let outbox = directory.join("outbox");
    let mut command = Demo::command();
    command.args(["--listen", "127.0.0.1:0", "--outbox"]).arg(&outbox);
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", &clock.0).env("FAKETIME_NO_CACHE", "1");
    // What a jump of the wall clock does not touch, and quotas count by.
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let demo = Demo::spawn(&mut command);

    let token = token_for(&demo, &outbox, "ann@example.com");
    assert_eq!(validate(&demo, &token), 200);
    for (jump, status) in [
        ("+3500", 200),
        ("+3700", 404),
        ("+1y", 404),
        ("+200y", 404),
        // Behind: it was not issued yet, but for the minute that clocks may differ.
        ("-30", 200),
        ("-90", 404),
        ("-1y", 404),
        ("@1970-01-01 00:00:01", 404),
        // As it was: a token lives as long as its hour, and the jump.
        ("+0", 200),
    ] {
        clock.set(jump);
        assert_eq!(validate(&demo, &token), status, "the clock at {jump}");
    }

    clock.set("@1970-01-02 00:00:00");
    let old = token_for(&demo, &outbox, "bob@example.com");
    assert_eq!(validate(&demo, &old), 200, "a token of 1970 in 1970");
    clock.set("+0");
    assert_eq!(validate(&demo, &old), 404, "and today");

    // A leap second, which this clock spells as the same second again, and a whole reset in another century.
    clock.set("@2016-12-31 23:59:60");
    assert_eq!(validate(&demo, &token), 404);
    clock.set("+100y");
    let token = token_for(&demo, &outbox, "bob@example.com");
    assert_eq!(demo.confirm(&token, "purple tractor hums at dawn").status, 200);
    assert_eq!(demo.confirm(&token, "purple tractor hums at noon").status, 404);
    assert_eq!(demo.login("bob@example.com", "purple tractor hums at dawn"), 200);

    // Three requests were made, and 27 more are allowed: no jump gave any back.
    for request in 3..32 {
        clock.set(if request % 2 == 0 { "+2h" } else { "-2h" });
        let status = demo.post("/api/password_reset/", &json!({ "email": "nobody@example.com" })).status;
        assert_eq!(status, if request < 30 { 200 } else { 429 }, "request {request}");
    }
    assert!(!demo.output().contains("panicked"), "{}", demo.output());
}
