//! Request bodies at the three endpoints, checked against the documented responses and against other parsers of the same
//! bytes.

use std::collections::BTreeSet;

use poem::Body;
use poem_password_reset::{PasswordPolicy, StoredUser, Strength};
use serde_json::Value;
use time::Duration;
use tokio::runtime::Runtime;

use crate::forger::{NOW, at};
use crate::http::doubles::{GOOD_PASSWORD, verifies};
use crate::http::{Encoding, HttpRequest, JSON, Operation, Reply, World, trimmed};
use crate::input::Input;

/// Ids of the users in the store.
const IDS: [&str; 4] = ["1", "2", "3", "4"];

thread_local! {
    static SERVICE: Service = Service::new();
}

/// Every body gets a documented response that quotes nothing of the body. Mail goes only to the requested address, and a
/// password changes only to the one that was sent, with a valid token.
///
/// Three digits choose the operation, the kind of the body, and whether its length is announced. `{token}` in the rest is
/// replaced by a valid token.
pub fn holds(input: &[u8]) {
    let mut input = Input::new(input);
    let operation = Operation::ALL[input.digit(3)];
    let kind = input.digit(10);
    let has_length = input.digit(2) == 0;
    // Header values are limited to visible ASCII, because the server handles all others.
    let header = |input: &mut Input<'_>| {
        let line = String::from_utf8_lossy(input.until(b'\n')).into_owned();
        line.chars().filter(|letter| (' '..='~').contains(letter)).collect::<String>()
    };
    let mut request = HttpRequest::post(operation);
    request = match kind {
        0..=2 => request.header("Content-Type", Encoding::ALL[kind].content_type()),
        3 => request.header("Content-Type", "multipart/form-data; boundary=b"),
        4 => request.header("Content-Type", "Application/JSON; charset=utf-8"),
        5 => request.header("Content-Type", "application/x-www-form-urlencoded;charset=utf-8"),
        6 => request,
        7 => request.header("Content-Type", JSON).header("Accept", &header(&mut input)),
        _ => request.header("Content-Type", &header(&mut input)),
    };
    SERVICE.with(|service| {
        let body = replace(input.rest(), b"{token}", service.token.as_bytes());
        request = if has_length { request.header("Content-Length", &body.len().to_string()) } else { request };
        service.check(operation, kind, &request, &body);
    });
}

struct Service {
    runtime: Runtime,
    world: World,
    people: Vec<StoredUser>,
    token: String,
    /// Names and texts of all responses.
    texts: BTreeSet<String>,
}

impl Service {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the runtime starts");
        let world = runtime.block_on(World::in_process(|builder| {
            // The strength estimate takes as long as everything else, and has its own fuzz target.
            builder.clock(|| at(NOW)).policy(PasswordPolicy::default().strength(Strength::Any))
        }));
        let people: Vec<StoredUser> = IDS.iter().filter_map(|id| world.users.get(id)).collect();
        let token = world.token_at("1", at(NOW) - Duration::MINUTE);
        let mut service = Self { runtime, world, people, token, texts: BTreeSet::new() };
        service.texts = service.texts_of_all_responses();
        service
    }

    /// Collects the texts of all responses, with requests whose bodies have no text in common with them.
    fn texts_of_all_responses(&self) -> BTreeSet<String> {
        let token = &self.token;
        let confirm =
            |password: &str| (Operation::Confirm, JSON, format!(r#"{{"token":"{token}","password":"{password}"}}"#));
        let mut requests: Vec<(Operation, &str, String)> = vec![
            (Operation::Request, "text/plain", "-".to_owned()),
            (Operation::Request, JSON, "-".repeat(20_000)),
            (Operation::Request, JSON, r#"{"email":"-"}"#.to_owned()),
            (Operation::Request, JSON, r#"{"email":"ann@example.com"}"#.to_owned()),
            (Operation::Validate, JSON, r#"{"token":"-"}"#.to_owned()),
            confirm("zq"),
            confirm("11111111"),
            confirm("annie"),
            confirm("ann@example.com"),
            confirm(&"zq".repeat(200)),
            confirm(GOOD_PASSWORD),
        ];
        for operation in Operation::ALL {
            requests.extend(["", "-", "[]"].map(|body| (operation, JSON, body.to_owned())));
            for value in ["null", "[]", r#""""#, r#""-\u0000""#] {
                requests.push((operation, JSON, format!(r#"{{"email":{value},"token":{value},"password":{value}}}"#)));
            }
        }
        let mut requests: Vec<(HttpRequest, String)> = requests
            .into_iter()
            .map(|(operation, content_type, body)| {
                (HttpRequest::post(operation).header("Content-Type", content_type), body)
            })
            .collect();
        requests.push((HttpRequest::post(Operation::Request).header("Accept", "-"), String::new()));
        let replies = requests.iter().map(|(request, body)| self.send(request, body.as_bytes()));
        let texts = replies.flat_map(|reply| texts_in(&reply.json())).collect();
        self.runtime.block_on(self.world.take_mails());
        self.people.iter().cloned().for_each(|user| self.world.users.put(user));
        texts
    }

    fn send(&self, request: &HttpRequest, body: &[u8]) -> Reply {
        self.runtime.block_on(self.world.send_with(request, Body::from_bytes(body.to_vec().into())))
    }

    fn check(&self, operation: Operation, kind: usize, request: &HttpRequest, body: &[u8]) {
        let reply = self.send(request, body);
        let shown = || format!("{request:?} {:?}: {reply:?}", String::from_utf8_lossy(body));
        // The documented statuses, without those for timeouts, rate limits and failures.
        assert!([200, 400, 404, 406, 413, 415].contains(&reply.status), "{}", shown());
        for text in texts_in(&reply.json()) {
            assert!(self.texts.contains(&text), "{text:?} is not a text of this library: {}", shown());
        }
        let is_ok = reply.status == 200;
        let parsed = Parsed::new(kind, body);

        let mails = self.runtime.block_on(self.world.take_mails());
        let mut mailed: Vec<&str> = mails.iter().map(|(address, _)| address.as_str()).collect();
        mailed.sort_unstable();
        match parsed.text("email").filter(|_| is_ok && operation == Operation::Request) {
            Some(email) => assert_eq!(mailed, eligible(trimmed(&email)), "{}", shown()),
            None => assert!(mailed.iter().all(|address| parsed.may_contain(address)), "{mailed:?} {}", shown()),
        }
        assert!(mailed.is_empty() || (is_ok && operation == Operation::Request), "{mailed:?} {}", shown());
        if let Some(email) = parsed.text("email").filter(|_| !is_ok && operation == Operation::Request) {
            assert!(eligible(trimmed(&email)).is_empty() || reply.status >= 406, "{}", shown());
        }

        if let Some(token) = parsed.text("token").filter(|_| is_ok && operation != Operation::Request) {
            assert_eq!(trimmed(&token), self.token, "{}", shown());
        }
        let hash = |user: &StoredUser| user.password_hash().map(|hash| hash.expose().to_owned());
        for before in &self.people {
            let after = self.world.users.get(before.id()).expect("no user is removed");
            if is_ok && operation == Operation::Confirm && before.id() == "1" {
                assert_ne!(hash(&after), hash(before), "{}", shown());
                if let Some(password) = parsed.text("password") {
                    assert!(verifies(&after, &password), "the password is hashed as sent: {}", shown());
                }
                self.world.users.put(before.clone());
            } else {
                assert_eq!(hash(&after), hash(before), "{}", shown());
            }
        }
    }
}

/// Returns the users who get mail for this address: it is theirs, they are active, and they have a password.
fn eligible(email: &str) -> Vec<&'static str> {
    ["ann@example.com", "bob@example.com"].into_iter().filter(|address| address.eq_ignore_ascii_case(email)).collect()
}

/// A body as another parser reads it.
enum Parsed {
    Json(Value),
    Pairs(Vec<(String, String)>),
    /// A body of another kind, or a malformed one.
    Bytes(Vec<u8>),
}

impl Parsed {
    fn new(kind: usize, body: &[u8]) -> Self {
        match kind {
            0 | 4 | 7 => serde_json::from_slice(body).map_or(Self::Bytes(body.to_vec()), Self::Json),
            1 | 5 => Self::Pairs(form_urlencoded::parse(body).into_owned().collect()),
            _ => Self::Bytes(body.to_vec()),
        }
    }

    /// Returns the text of a field, if both parsers must agree on it.
    fn text(&self, name: &str) -> Option<String> {
        match self {
            Self::Json(value) => value.get(name)?.as_str().map(str::to_owned),
            Self::Pairs(pairs) => {
                // The replacement character marks bytes that are not UTF-8.
                let field = pairs.iter().rev().find(|(other, _)| other == name);
                field.map(|(_, text)| text.clone()).filter(|text| !text.contains('\u{fffd}'))
            }
            Self::Bytes(_) => None,
        }
    }

    /// Returns whether the library can have read an address from the body.
    fn may_contain(&self, address: &str) -> bool {
        match self {
            Self::Json(_) | Self::Pairs(_) => false,
            Self::Bytes(bytes) => {
                let text = String::from_utf8_lossy(bytes).to_lowercase();
                text.contains(address) || text.contains(['\\', '%'])
            }
        }
    }
}

/// Returns the names and texts in a response.
fn texts_in(answer: &Value) -> Vec<String> {
    match answer {
        Value::Object(members) => {
            members.iter().flat_map(|(name, value)| [vec![name.clone()], texts_in(value)].concat()).collect()
        }
        Value::Array(items) => items.iter().flat_map(texts_in).collect(),
        Value::String(text) => vec![text.clone()],
        other => panic!("no response contains {other}"),
    }
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}
