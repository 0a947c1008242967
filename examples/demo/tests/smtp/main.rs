//! The demo with mail servers that work, reject mails, are unreachable, do not reply, or send invalid replies. Responses to
//! clients do not change, and the log contains only the numeric codes of replies.
//!
//! `cargo test -p demo --test smtp -- --ignored` waits for real timeouts.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion, in its helpers too")]

#[path = "../support/eml.rs"]
mod eml;
#[path = "../support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;
mod sink;

use mail_parser::decoders::base64::base64_decode;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use self::process::{Demo, PASSWORD, wait_for};
use self::sink::{Reply, Script, Session, Sink};

const NEW_PASSWORD: &str = "seven lazy otters paint the barn";

/// A demo that sends through a mail server, and its output at start.
struct Site {
    demo: Demo,
    start: String,
}

impl Site {
    fn new(url: &str) -> Self {
        Self::with_log(url, "info")
    }

    fn with_log(url: &str, level: &str) -> Self {
        let command = &mut Demo::command();
        let command = command.args(["--listen", "127.0.0.1:0", "--no-throttle", "--smtp", url]);
        let demo = Demo::spawn(command.env("RUST_LOG", level));
        Self { start: demo.output(), demo }
    }

    /// Requests a reset for a user and for an unknown address. The responses must be identical. Sends one mail.
    fn request(&self) {
        let [known, unknown] = ["ann@example.com", "eve@example.com"].map(|email| {
            let mut response = self.demo.post("/api/password_reset/", &json!({ "email": email }));
            response.headers.retain(|(name, _)| name != "date");
            (response.status, response.headers, response.body)
        });
        assert_eq!(known, unknown);
        assert_eq!((known.0, known.2.as_str()), (200, r#"{"status":"OK"}"#));
    }

    /// Returns the log entries since the start.
    fn log(&self) -> Vec<Value> {
        let all = self.demo.output();
        let log = all.strip_prefix(&self.start).expect("the output at start comes first");
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    /// Returns the fields of the log entries with this message.
    fn logged(&self, message: &str) -> Vec<Value> {
        let fields = self.log().into_iter().map(|event| event["fields"].clone());
        fields.filter(|fields| fields["message"] == message).collect()
    }

    /// Requests a reset, waits until the handler fails, and returns the reason.
    fn failure(&self) -> String {
        let known = self.failures().len();
        self.request();
        wait_for("the handler to fail", || self.failures().into_iter().nth(known))
    }

    fn failures(&self) -> Vec<String> {
        self.logged("a handler failed").iter().map(|fields| fields["reason"].as_str().unwrap().to_owned()).collect()
    }

    /// Checks that the demo works and that the log contains no secrets.
    fn check(&self, secrets: &[&str]) {
        assert_eq!(self.demo.login("ann@example.com", PASSWORD), 200);
        let log = self.log().iter().map(|event| event.to_string() + "\n").collect::<String>();
        for secret in ["ann@example.com", "eve@example.com", "#token="].iter().chain(secrets) {
            assert!(!log.contains(secret), "the log contains {secret}: {log}");
        }
        assert!(!log.contains("panicked"), "{log}");
    }
}

/// Waits for the mail of a session.
fn mail(sink: &Sink, number: usize) -> Session {
    wait_for("a mail", || sink.sessions().get(number).filter(|session| session.mail.is_some()).cloned())
}

#[test]
fn mails_are_delivered_and_their_link_works() {
    let sink = Sink::start();
    let site = Site::new(&sink.url());
    site.request();
    let session = mail(&sink, 0);
    assert_eq!(session.commands[0], "EHLO [127.0.0.1]");
    assert_eq!(session.commands[1..4], ["MAIL FROM:<no-reply@example.com>", "RCPT TO:<ann@example.com>", "DATA"]);
    let reset = session.eml();
    assert_eq!((reset.to.as_str(), reset.subject.as_str()), ("ann@example.com", "Reset your password"));
    let token = reset.token();
    assert!(reset.text.contains(&format!("{}/reset-password#token={token}\n", site.demo.site)));
    assert_eq!(site.demo.post("/api/password_reset/validate_token/", &json!({ "token": token })).status, 200);
    site.check(&[token]);

    assert_eq!(site.demo.confirm(token, NEW_PASSWORD).body, r#"{"status":"OK"}"#);
    assert_eq!(site.demo.login("ann@example.com", NEW_PASSWORD), 200);
    let session = mail(&sink, 1);
    assert_eq!(session.commands[2], "RCPT TO:<ann@example.com>");
    let notice = session.eml();
    assert_eq!((notice.to.as_str(), notice.subject.as_str()), ("ann@example.com", "Your password was changed"));
    assert!(notice.text.contains("from the address 127.0.0.1") && notice.html.contains("from the address 127.0.0.1"));
    wait_for("the log entry", || (site.logged("mail sent").len() == 2).then_some(()));
    assert!(site.failures().is_empty() && site.logged("an attempt to send a mail failed, retrying").is_empty());

    let page = site.demo.get("/outbox").body;
    assert!(page.contains(&format!("the mail server <code>{}</code>", sink.address)), "{page}");
    assert!(!page.contains("outbox.js") && !page.contains(token));
}

#[test]
fn credentials_are_sent_to_the_server_and_never_logged() {
    let sink = Sink::start();
    let site = Site::with_log(&format!("smtp://the%40user:hunter%3A2@{}", sink.address), "trace");
    assert!(site.start.contains(&format!("outbox           sent through {}\n", sink.address)), "{}", site.start);
    site.request();
    let session = mail(&sink, 0);
    let signed_in = session.commands[1].strip_prefix("AUTH PLAIN ").expect("AUTH comes first");
    assert_eq!(base64_decode(signed_in.as_bytes()).unwrap(), b"\0the@user\0hunter:2");

    // A server that quotes the credentials, and one without a supported way to sign in.
    for (script, reason) in [
        (
            Script::default().say("AUTH", b"535 5.7.8 hunter:2 AHRoZUB1c2VyAGh1bnRlcjoy\r\n"),
            "answered 535 5.7.8 to AUTH",
        ),
        (Script::default().say("EHLO", b"250-sink\r\n250 AUTH GSSAPI\r\n"), "offers no supported way to sign in"),
    ] {
        let known = sink.sessions().len();
        sink.play([script]);
        let failure = site.failure();
        assert!(failure.contains(reason) && failure.ends_with("(attempts: 1)"), "{failure}");
        assert_eq!(sink.sessions().len(), known + 1);
    }
    site.check(&["hunter", "the@user", signed_in]);
    let all = site.demo.output() + &site.demo.get("/outbox").body + &site.demo.get("/").body;
    assert!(!all.contains("hunter") && !all.contains("the@user") && !all.contains("the%40user"));
}

#[test]
fn unreachable_server_is_tried_three_times() {
    // A bound socket reserves the port. Without `listen`, connections to it fail.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let site = Site::new(&format!("smtp://{}", socket.local_addr().unwrap()));
    let failure = site.failure();
    assert!(failure.starts_with("the mail could not be sent: could not connect to the mail server: "), "{failure}");
    assert!(failure.ends_with("(attempts: 3)"), "{failure}");
    assert!(site.logged("an attempt to send a mail failed, retrying").len() >= 2);
    site.check(&[]);
}

#[test]
fn temporary_error_is_tried_three_times() {
    for (script, reason) in [
        (Script::default().say("", b"421 4.3.2 come back later\r\n"), "answered 421 4.3.2 to the greeting"),
        (Script::default().say("RCPT", b"451 greylisted\r\n"), "answered 451 to RCPT TO"),
        (Script::default().say(".", b"452 4.3.1 full\r\n"), "answered 452 4.3.1 to the mail"),
    ] {
        let sink = Sink::start();
        let site = Site::new(&sink.url());
        sink.play([script]);
        let failure = site.failure();
        assert!(failure.contains(reason) && failure.ends_with("(attempts: 3)"), "{failure}");
        // The queue calls the handler again later.
        assert!(sink.sessions().len() >= 3, "{reason}");
        sink.play([Script::default()]);
        wait_for("the mail", || sink.sessions().iter().any(|session| session.mail.is_some()).then_some(()));
        wait_for("the log entry", || (site.logged("mail sent").len() == 1).then_some(()));
        site.check(&[]);
    }

    let sink = Sink::start();
    let site = Site::new(&sink.url());
    sink.play([Script::default().say("RCPT", b"450 not now\r\n"), Script::default()]);
    site.request();
    assert_eq!(mail(&sink, 1).eml().to, "ann@example.com");
    wait_for("the log entry", || (site.logged("mail sent").len() == 1).then_some(()));
    assert_eq!((sink.sessions().len(), site.failures().len()), (2, 0));
    site.check(&[]);
}

#[test]
fn permanent_error_is_tried_once() {
    let sink = Sink::start();
    let site = Site::new(&sink.url());
    for (script, reason) in [
        (Script::default().say("", b"554 go away\r\n"), "answered 554 to the greeting"),
        (Script::default().say("EHLO", b"502 no\r\n"), "answered 502 to the greeting"),
        (Script::default().say("MAIL", b"553 5.1.8 you\r\n"), "answered 553 5.1.8 to MAIL FROM"),
        (Script::default().say("RCPT", b"550 5.1.1 who?\r\n"), "answered 550 5.1.1 to RCPT TO"),
        (Script::default().say("DATA", b"554 no\r\n"), "answered 554 to DATA"),
        (Script::default().say(".", b"554 5.7.1 spam\r\n"), "answered 554 5.7.1 to the mail"),
        // The rejection is reported even if the server does not reply to QUIT.
        (Script::default().say("RCPT", b"550 who?\r\n").at("QUIT", Reply::Silence), "answered 550 to RCPT TO"),
    ] {
        let known = sink.sessions().len();
        sink.play([script]);
        let failure = site.failure();
        assert!(failure.contains(reason) && failure.ends_with("(attempts: 1)"), "{failure}");
        assert_eq!(sink.sessions().len(), known + 1, "{reason}");
    }
    assert!(site.logged("an attempt to send a mail failed, retrying").is_empty());
    site.check(&[]);
}

#[test]
fn reset_is_kept_if_the_notice_cannot_be_sent() {
    let sink = Sink::start();
    let site = Site::new(&sink.url());
    sink.play([Script::default(), Script::default().say("RCPT", b"550 who?\r\n")]);
    site.request();
    let token = mail(&sink, 0).eml().token().to_owned();
    assert_eq!(site.demo.confirm(&token, NEW_PASSWORD).status, 200);
    wait_for("the handler to fail", || (site.failures().len() == 1).then_some(()));
    assert_eq!(site.logged("a handler failed")[0]["event"], "PostPasswordReset");
    assert_eq!(site.demo.login("ann@example.com", NEW_PASSWORD), 200);
}

#[test]
fn accepted_mail_is_not_sent_again_without_a_reply_to_quit() {
    let sink = Sink::start();
    let site = Site::new(&sink.url());
    sink.play([Script::default().at("QUIT", Reply::Silence)]);
    site.request();
    wait_for("the log entry", || (site.logged("mail sent").len() == 1).then_some(()));
    assert!(site.logged("an attempt to send a mail failed, retrying").is_empty());
    assert_eq!(sink.sessions().len(), 1);
}

#[test]
fn stop_waits_for_further_attempts() {
    let sink = Sink::start();
    let site = Site::new(&sink.url());
    sink.play([Script::default().say("RCPT", b"450 not now\r\n"), Script::default()]);
    site.request();
    site.demo.terminate();
    let (status, _) = site.demo.ended();
    assert_eq!(status.code(), Some(0));
    assert_eq!(mail(&sink, 1).eml().to, "ann@example.com");
}

#[test]
fn silent_server_does_not_change_responses() {
    for silent_at in ["", "RCPT", "."] {
        let sink = Sink::start();
        let site = Site::new(&sink.url());
        sink.play([Script::default().at(silent_at, Reply::Silence)]);
        site.request();
        wait_for("a connection", || sink.sessions().first().cloned());
        site.request();
        // The attempts take more than 20 s, so the responses did not wait for them.
        assert!(site.failures().is_empty(), "{:?}", site.failures());
        site.check(&[]);
    }
}

#[test]
#[ignore = "waits for three timeouts of eight seconds"]
fn silent_server_is_given_up_before_the_handler_timeout() {
    let sink = Sink::start();
    let site = Site::new(&sink.url());
    sink.play([Script::default().at("", Reply::Silence)]);
    let failure = site.failure();
    assert_eq!(failure, "the mail could not be sent: the mail server did not finish within 8s (attempts: 3)");
    assert_eq!(sink.sessions().len(), 3);
    site.check(&[]);
}

#[test]
fn invalid_and_hostile_replies_are_contained() {
    const LONG: &[u8] = &{
        let mut line = [b'x'; 5000];
        (line[0], line[1], line[2], line[3]) = (b'2', b'5', b'0', b' ');
        (line[4998], line[4999]) = (b'\r', b'\n');
        line
    };
    let sink = Sink::start();
    let site = Site::new(&sink.url());
    let junk = b"550 \x1b[31m\x07\x00\xff\xfe\t{\"level\":\"ERROR\"}\r\n";
    for (script, reason) in [
        (Script::default().say("", b"220 hello\n"), "the reply of the mail server to the greeting is not valid SMTP"),
        (Script::default().say("", b"HTTP/1.1 400 Bad Request\r\n\r\n"), "to the greeting is not valid SMTP"),
        (Script::default().say("", b"\r\n\r\n\r\n"), "to the greeting is not valid SMTP"),
        (Script::default().say("RCPT", b"250 o\rERROR forged\r\n"), "to RCPT TO is not valid SMTP"),
        (Script::default().say("RCPT", b"250-x\r\n550 y\r\n"), "to RCPT TO is not valid SMTP"),
        (Script::default().say("RCPT", junk), "answered 550 to RCPT TO"),
        (Script::default().say("RCPT", LONG), "to RCPT TO is not valid SMTP"),
        (Script::default().at("", Reply::Flood), "to the greeting is not valid SMTP"),
        (Script::default().at(".", Reply::Quote), "answered 550 5.7.1 to the mail"),
        (Script::default().at("RCPT", Reply::Quote), "answered 550 5.7.1 to RCPT TO"),
    ] {
        let known = sink.sessions().len();
        sink.play([script]);
        let failure = site.failure();
        assert!(failure.contains(reason) && failure.ends_with("(attempts: 1)"), "{failure}");
        assert_eq!(sink.sessions().len(), known + 1, "{reason}");
    }
    let flooded = sink.sessions().iter().map(|session| session.flooded).max();
    assert!(flooded < Some(32 << 20), "the demo read {flooded:?} bytes of an endless line");

    // White space in the reply to EHLO.
    let known = sink.sessions().len();
    sink.play([Script::default().say("EHLO", b"250-sink\r\n250-\r\n250-  \r\n250-\t\r\n250-\xc2\xa0\r\n250 ok\r\n")]);
    site.request();
    let token = mail(&sink, known).eml().token().to_owned();
    let quoted = sink.sessions().iter().find(|session| session.mail.is_some()).unwrap().eml().token().to_owned();
    site.check(&[&token, &quoted, "forged", "x1b", "[31m"]);
    let all = site.demo.output();
    assert!(!all.contains('\u{1b}') && !all.contains('\u{2028}') && !all.contains("u001b"));
}
