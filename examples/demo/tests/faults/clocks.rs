//! F13: the wall clock jumps. Tokens expire by the current clock, and quotas do not change. The tests set the clock of the
//! demo process with the library of `faketime`.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::process::{Demo, Directory, wait_for};

/// Returns the path of the library, or `None` if it is not installed.
fn library() -> Option<String> {
    let listed = Command::new("faketime").args(["-f", "+0", "printenv", "LD_PRELOAD"]).output().ok()?;
    Some(String::from_utf8(listed.stdout).unwrap().trim().to_owned())
}

/// The file that sets the clock of the demo.
struct Clock(std::path::PathBuf);

impl Clock {
    fn set(&self, to: &str) {
        fs::write(&self.0, to).unwrap();
    }
}

/// Validates a token and returns the status.
fn validate(demo: &Demo, token: &str) -> u16 {
    demo.post("/api/password_reset/validate_token/", &json!({ "token": token })).status
}

/// Requests a reset and returns the token in its mail. Deletes the mail, because its file name contains the time: after a
/// jump of the clock, the names do not show which mail is the newest.
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
    let (_, rest) = text.split_once("#token=").expect("the mail has a link");
    rest.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn clock_jumps_do_not_extend_tokens_or_quotas() {
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
    // Quotas use the monotonic clock, which a jump of the wall clock does not change.
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let demo = Demo::spawn(&mut command);

    let token = token_for(&demo, &outbox, "ann@example.com");
    assert_eq!(validate(&demo, &token), 200);
    for (jump, status) in [
        ("+3500", 200),
        ("+3700", 404),
        ("+1y", 404),
        ("+200y", 404),
        // Before the token was issued. Clocks may differ by one minute.
        ("-30", 200),
        ("-90", 404),
        ("-1y", 404),
        ("@1970-01-01 00:00:01", 404),
        // Back at the real time, the token is valid again.
        ("+0", 200),
    ] {
        clock.set(jump);
        assert_eq!(validate(&demo, &token), status, "clock set to {jump}");
    }

    clock.set("@1970-01-02 00:00:00");
    let old = token_for(&demo, &outbox, "bob@example.com");
    assert_eq!(validate(&demo, &old), 200, "a token issued in 1970 is valid in 1970");
    clock.set("+0");
    assert_eq!(validate(&demo, &old), 404, "a token issued in 1970 has expired today");

    // A leap second, which the clock shows as a repeated second, and a reset a hundred years later.
    clock.set("@2016-12-31 23:59:60");
    assert_eq!(validate(&demo, &token), 404);
    clock.set("+100y");
    let token = token_for(&demo, &outbox, "bob@example.com");
    assert_eq!(demo.confirm(&token, "purple tractor hums at dawn").status, 200);
    assert_eq!(demo.confirm(&token, "purple tractor hums at noon").status, 404);
    assert_eq!(demo.login("bob@example.com", "purple tractor hums at dawn"), 200);

    // The quota is 30 requests. Three were sent, and the jumps do not restore any.
    for request in 3..32 {
        clock.set(if request % 2 == 0 { "+2h" } else { "-2h" });
        let status = demo.post("/api/password_reset/", &json!({ "email": "nobody@example.com" })).status;
        assert_eq!(status, if request < 30 { 200 } else { 429 }, "request {request}");
    }
    assert!(!demo.output().contains("panicked"), "{}", demo.output());
}
