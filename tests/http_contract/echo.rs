//! No response and no log line repeats a submitted value.

use std::io;
use std::sync::Mutex;

use poem_password_reset::StoredUser;

use crate::http::Operation::{Confirm, Request, Validate};
use crate::http::doubles::cheap_hash;
use crate::http::{Encoding, HttpRequest, JSON, MOUNT, Operation, World, defaults};

/// A marker that the tests search for in responses and logs, in upper and lower case. The library never writes it itself.
const CANARY: &str = "qzcanaryxw";

/// The marker for numbers.
const NUMBER: &str = "907197071";

/// The log of the whole process, at level TRACE.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn assert_no_canary(source: &str, text: &str) {
    let text = text.to_lowercase();
    for secret in [CANARY, NUMBER] {
        let found = text.find(secret).map(|at| &text[at.saturating_sub(200)..(at + 100).min(text.len())]);
        assert_eq!(found, None, "{source}");
    }
}

#[tokio::test]
async fn submitted_values_appear_in_no_response_and_no_log() {
    tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false).with_writer(|| Log).init();
    for world in [World::in_process(defaults).await, World::over_a_socket(defaults).await] {
        for request in requests_with_canary() {
            let reply = world.send(&request).await;
            assert_no_canary(&format!("{request:?}"), &format!("{reply:?}"));
        }
        let secrets = complete_reset(&world).await;
        world.mails().await;
        let log = String::from_utf8_lossy(&LOG.lock().unwrap()).into_owned();
        for line in
            ["password reset is ready", "a reset was requested", "a reset token was refused", "a password was reset"]
        {
            assert!(log.contains(line), "the log is captured and contains {line:?}");
        }
        assert_no_canary("the log", &log);
        for secret in secrets {
            assert!(!log.contains(&secret), "a token or a hash is in the log");
        }
    }
}

/// Resets the password of a user whose fields all contain the canary, except the id. Returns the secrets of the reset.
async fn complete_reset(world: &World) -> Vec<String> {
    let hash = cheap_hash(CANARY).unwrap();
    let email = format!("{CANARY}@{CANARY}.example");
    let user = StoredUser::new(77, email.as_str(), Some(hash.clone())).with_username(CANARY.to_owned());
    world.users.put(user.bind_also(CANARY));
    let token = world.token("77");
    let password = format!("purple {CANARY} hums at dawn {NUMBER}");
    world.post(Request, &[("email", &email)]).await.is_ok();
    world.post(Validate, &[("token", &token)]).await.is_ok();
    for similar in [email.as_str(), CANARY] {
        let reply = world.post(Confirm, &[("token", &token), ("password", similar)]).await;
        reply.is_faulty(&["password"]);
        assert_no_canary("a weak password", &reply.body);
    }
    let confirm = HttpRequest::post(Confirm).fields(Encoding::Multipart, &[("token", &token), ("password", &password)]);
    world.send(&confirm).await.is_ok();
    world.send(&confirm).await.is_bad_token();
    let [_, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    vec![token.clone(), claims.to_owned(), signature.to_owned(), hash]
}

fn requests_with_canary() -> Vec<HttpRequest> {
    let mut requests = Vec::new();
    for operation in Operation::ALL {
        requests.extend(in_fields(operation));
        requests.extend(in_bodies(operation));
        requests.extend(in_headers(operation));
    }
    for method in ["GET", "POST", "OPTIONS", "QZCANARYXW"] {
        for path in [
            format!("/{CANARY}"),
            format!("/confirm/{CANARY}"),
            format!("/validate_token/?token={CANARY}"),
            format!("/confirm/?password={NUMBER}#{CANARY}"),
            format!("/?{CANARY}"),
            format!("/%00{CANARY}/../%2e"),
        ] {
            requests.push(HttpRequest::new(method, format!("{MOUNT}{path}")).json(format!(r#"{{"{CANARY}":"#)));
        }
    }
    requests
}

/// Requests with the canary in every field, as text and as every other type.
fn in_fields(operation: Operation) -> Vec<HttpRequest> {
    let mut requests = Vec::new();
    let texts = [
        CANARY.to_owned(),
        format!("{CANARY}@example.com"),
        format!("ann@{CANARY}"),
        format!("{CANARY}\0"),
        format!("{CANARY}.{CANARY}.{CANARY}"),
        CANARY.repeat(200),
        NUMBER.to_owned(),
        format!("<script>{CANARY}</script>\r\nSet-Cookie: a=b"),
    ];
    for text in &texts {
        for encoding in Encoding::ALL {
            let fields = [("email", text.as_str()), ("token", text), ("password", text), (CANARY, text)];
            requests.push(HttpRequest::post(operation).fields(encoding, &fields));
            requests.push(HttpRequest::post(operation).fields(encoding, &fields[..2]));
            requests.push(HttpRequest::post(operation).fields(encoding, &fields[2..]));
        }
    }
    for value in [
        NUMBER.to_owned(),
        format!("-{NUMBER}.5e3"),
        format!("[\"{CANARY}\"]"),
        format!("{{\"{CANARY}\":\"{CANARY}\"}}"),
        format!("\"{CANARY}\\ud800\""),
        format!("[[{NUMBER}],\"{CANARY}\",null]"),
    ] {
        requests.push(
            HttpRequest::post(operation).json(format!(r#"{{"email":{value},"token":{value},"password":{value}}}"#)),
        );
    }
    requests
}

/// Requests with the canary in malformed bodies and in bodies of unsupported media types.
fn in_bodies(operation: Operation) -> Vec<HttpRequest> {
    let multipart = "multipart/form-data; boundary=b";
    let mut requests = Vec::new();
    for body in [
        CANARY.to_owned(),
        NUMBER.to_owned(),
        format!("\"{CANARY}\""),
        format!("[\"{CANARY}\"]"),
        format!("{{\"{CANARY}"),
        format!("{{\"email\":\"{CANARY}"),
        format!("{{\"email\":{CANARY}}}"),
        format!("{{\"{CANARY}\":1,,}}"),
        format!("{{\"email\":\"\\x{CANARY}\"}}"),
        format!("--b\r\n{CANARY}: {CANARY}\r\n\r\n{CANARY}\r\n--b--"),
        format!("--b\r\nContent-Disposition: form-data; name={CANARY}; filename={CANARY}\r\n\r\n{CANARY}\r\n--b"),
        format!(
            "--b\r\nContent-Disposition: form-data; name=email\r\nContent-Type: {CANARY}/{CANARY}\r\n\r\n{CANARY}\r\n--b--"
        ),
        format!("%zz={CANARY}&{CANARY}"),
        CANARY.repeat(2000),
    ] {
        let types = [JSON, "application/x-www-form-urlencoded", multipart, "multipart/form-data", "text/plain"];
        requests.extend(types.map(|content_type| HttpRequest::post(operation).body(content_type, body.clone())));
    }
    requests.push(HttpRequest::post(operation).json([CANARY.as_bytes(), b"\xff"].concat()));
    requests
}

/// Requests with the canary in headers.
fn in_headers(operation: Operation) -> Vec<HttpRequest> {
    let mut requests = Vec::new();
    for (name, value) in [
        ("Content-Type", format!("{CANARY}/{CANARY}")),
        ("Content-Type", format!("application/json; charset={CANARY}")),
        ("Content-Type", format!("multipart/form-data; boundary={CANARY}")),
        ("Accept", format!("{CANARY}/{CANARY}")),
        ("Accept", format!("application/json;{CANARY}={CANARY}")),
        ("User-Agent", CANARY.to_owned()),
        ("Cookie", format!("{CANARY}={CANARY}")),
        ("Authorization", format!("Bearer {CANARY}")),
        ("Origin", format!("https://{CANARY}.example")),
        ("Referer", format!("https://{CANARY}.example/?{CANARY}")),
        ("X-Forwarded-For", CANARY.to_owned()),
        ("X-Forwarded-Host", CANARY.to_owned()),
        ("Forwarded", format!("for={CANARY};host={CANARY}")),
        ("X-Request-Id", CANARY.to_owned()),
        (CANARY, CANARY.to_owned()),
    ] {
        let body = br#"{"email":"ann@example.com","token":"bad","password":"short"}"#;
        let request = HttpRequest::post(operation).untyped_body(body).header(name, &value);
        requests.push(if name == "Content-Type" { request } else { request.header("Content-Type", JSON) });
    }
    requests
}
