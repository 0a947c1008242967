//! The endpoints over HTTP, in process and over a socket; and what is promised of every answer, whatever was asked.

#[path = "document.rs"]
pub mod document;
#[path = "doubles.rs"]
pub mod doubles;

use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use poem::http::Method;
use poem::listener::{Acceptor as _, Listener as _, TcpListener};
use poem::test::TestClient;
use poem::{Body, EndpointExt as _, Route, Server};
use poem_openapi::OpenApiService;
use poem_password_reset::store::MemoryUsers;
use poem_password_reset::token::TokenCodec;
use poem_password_reset::{BoxError, HttpContract, PasswordReset, PasswordResetBuilder, ResetApi};
use time::{Duration, OffsetDateTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use self::document::Document;
use self::doubles::{Call, Calls, Watched, builder, key, no_mail, people};

/// Where the endpoints are mounted.
pub const MOUNT: &str = "/api/password_reset";

pub const JSON: &str = "application/json";

/// The headers of every answer.
const ALWAYS: [(&str, &str); 3] =
    [("cache-control", "no-store"), ("referrer-policy", "no-referrer"), ("x-content-type-options", "nosniff")];

/// What belongs to the connection, and not to the answer.
const OF_THE_CONNECTION: [&str; 4] = ["date", "content-length", "connection", "transfer-encoding"];

// ---- what is asked

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Request,
    Validate,
    Confirm,
}

impl Operation {
    pub const ALL: [Self; 3] = [Self::Request, Self::Validate, Self::Confirm];

    /// The path below the mount point, as the OpenAPI document spells it.
    pub fn path(self) -> &'static str {
        match self {
            Self::Request => "/",
            Self::Validate => "/validate_token",
            Self::Confirm => "/confirm",
        }
    }

    /// The address without the last slash and with it.
    pub fn urls(self) -> [String; 2] {
        let bare = format!("{MOUNT}{}", self.path().trim_end_matches('/'));
        [bare.clone(), bare + "/"]
    }

    pub fn url(self) -> String {
        self.urls()[1].clone()
    }

    /// The operation that a path leads to, however its slashes are written.
    fn at(path: &str) -> Option<Self> {
        let path = path.split('?').next().unwrap_or_default();
        let below = path.strip_prefix(MOUNT)?.trim_matches('/');
        Self::ALL.into_iter().find(|operation| operation.path().trim_matches('/') == below)
    }
}

/// The three encodings of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Json,
    UrlEncoded,
    Multipart,
}

impl Encoding {
    pub const ALL: [Self; 3] = [Self::Json, Self::UrlEncoded, Self::Multipart];

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::UrlEncoded => "application/x-www-form-urlencoded",
            Self::Multipart => "multipart/form-data; boundary=between-the-fields",
        }
    }

    /// These fields in this order, repeated names and all.
    pub fn encode(self, fields: &[(&str, &str)]) -> Vec<u8> {
        let each = |write: fn(&str, &str) -> String| fields.iter().map(|(name, text)| write(name, text)).collect();
        match self {
            Self::Json => {
                let members: Vec<String> =
                    each(|name, text| format!("{}:{}", serde_json::Value::from(name), serde_json::Value::from(text)));
                format!("{{{}}}", members.join(",")).into_bytes()
            }
            Self::UrlEncoded => {
                let pairs: Vec<String> = each(|name, text| format!("{}={}", percent(name), percent(text)));
                pairs.join("&").into_bytes()
            }
            Self::Multipart => {
                let mut parts: Vec<String> = each(|name, text| {
                    format!("--between-the-fields\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n")
                });
                parts.push("--between-the-fields--\r\n".to_owned());
                parts.concat().into_bytes()
            }
        }
    }
}

fn percent(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b' ' => "+".to_owned(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    chunked: bool,
}

impl Ask {
    pub fn new(method: &str, url: impl Into<String>) -> Self {
        Self { method: method.to_owned(), url: url.into(), headers: Vec::new(), body: Vec::new(), chunked: false }
    }

    pub fn post(operation: Operation) -> Self {
        Self::new("POST", operation.url())
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn body(self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.untyped_body(body).header("Content-Type", content_type)
    }

    /// A body that does not say what it is.
    #[must_use]
    pub fn untyped_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    #[must_use]
    pub fn json(self, body: impl Into<Vec<u8>>) -> Self {
        self.body(JSON, body)
    }

    #[must_use]
    pub fn fields(self, encoding: Encoding, fields: &[(&str, &str)]) -> Self {
        self.body(encoding.content_type(), encoding.encode(fields))
    }

    /// Sends the body in chunks, and not how long it is.
    #[must_use]
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// The request as it goes over a socket.
    fn to_bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: app.example.com\r\n", self.method, self.url);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let body = match (self.chunked, self.body.as_slice()) {
            (true, body) => {
                head += "Transfer-Encoding: chunked\r\n";
                body.chunks(1000).flat_map(chunk).chain(*b"0\r\n\r\n").collect()
            }
            (false, body) => {
                head += &format!("Content-Length: {}\r\n", body.len());
                body.to_vec()
            }
        };
        [head.as_bytes(), b"\r\n", &body].concat()
    }
}

/// One chunk of a chunked body.
pub fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

// ---- what is answered

/// An answer, without what belongs to the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// Names in lower case, in alphabetical order.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Reply {
    fn new(status: u16, headers: impl Iterator<Item = (String, String)>, body: Vec<u8>) -> Self {
        let mut headers: Vec<_> = headers.filter(|(name, _)| !OF_THE_CONNECTION.contains(&name.as_str())).collect();
        headers.sort();
        Self { status, headers, body: String::from_utf8(body).expect("every body is text") }
    }

    /// The values of a header; its name in lower case.
    pub fn header(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("every body is JSON")
    }

    #[track_caller]
    pub fn is(&self, status: u16, body: &str) {
        assert_eq!((self.status, self.body.as_str()), (status, body));
    }

    #[track_caller]
    pub fn is_ok(&self) {
        self.is(200, r#"{"status":"OK"}"#);
    }

    /// 400 with at least one sentence under each of these names, and nothing under another.
    #[track_caller]
    pub fn is_faulty(&self, fields: &[&str]) {
        let body = self.json();
        let sentences = body.as_object().expect("an object");
        assert_eq!(self.status, 400, "{body}");
        let mut expected = fields.to_vec();
        expected.sort_unstable();
        assert_eq!(sentences.keys().collect::<Vec<_>>(), expected, "{body}");
        for list in sentences.values() {
            let list = list.as_array().expect("a list");
            assert!(!list.is_empty() && list.iter().all(|text| text.as_str().is_some_and(|text| text.ends_with('.'))));
        }
    }

    /// The answer to every bad token.
    #[track_caller]
    pub fn is_bad_token(&self) {
        self.is(404, r#"{"detail":"The reset token is not valid. Ask for a new one.","code":"invalid_token"}"#);
    }

    #[track_caller]
    pub fn is_parse_error(&self) {
        self.is(400, r#"{"detail":"The body cannot be read.","code":"parse_error"}"#);
    }

    /// `{"detail": ".."}` with this status.
    #[track_caller]
    pub fn is_refused(&self, status: u16) {
        let body = self.json();
        assert_eq!(self.status, status, "{body}");
        assert!(body["detail"].as_str().is_some_and(|text| text.ends_with('.')), "{body}");
        assert_eq!(body.as_object().map(serde_json::Map::len), Some(1), "{body}");
    }

    /// 503 with the one text, and when to try again.
    #[track_caller]
    pub fn is_unavailable(&self) {
        self.is(503, r#"{"detail":"Not available just now. Try again in a moment."}"#);
        let [after] = self.header("retry-after")[..] else { panic!("one Retry-After: {self:?}") };
        assert!((1..=5).contains(&after.parse::<u64>().expect("whole seconds")), "{after}");
    }
}

// ---- where it is asked

/// What the store of a [`World`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    Works,
    Errs,
    /// The look-ups work; the write may have happened, and nobody knows.
    LosesTheAnswerToAWrite,
    Hangs,
    Panics,
}

/// A mounted service with its users, behind one of the two transports.
pub struct World {
    pub users: MemoryUsers,
    pub calls: Arc<Calls>,
    pub reset: PasswordReset,
    pub document: Document,
    codec: TokenCodec,
    store: Arc<Mutex<Store>>,
    wire: Wire,
    journal: Mutex<Vec<(String, Reply)>>,
}

enum Wire {
    InProcess(Box<TestClient<Route>>),
    Socket(SocketAddr),
}

/// Runs the same check in process and over a socket. Whatever was asked in the one and the other, the answers must be
/// the same.
pub async fn on_both_wires(
    settings: impl Fn(PasswordResetBuilder) -> PasswordResetBuilder,
    check: impl AsyncFn(&World),
) {
    let in_process = World::in_process(&settings);
    check(&in_process).await;
    let over_a_socket = World::over_a_socket(&settings).await;
    check(&over_a_socket).await;
    let journals = [in_process, over_a_socket].map(|world| world.journal.into_inner().unwrap());
    assert!(!journals[0].is_empty());
    assert_eq!(journals[0], journals[1], "in process, and over a socket");
}

/// Settings that leave everything as it is by default.
pub fn defaults(builder: PasswordResetBuilder) -> PasswordResetBuilder {
    builder
}

impl World {
    pub fn in_process(settings: impl Fn(PasswordResetBuilder) -> PasswordResetBuilder) -> Self {
        Self::new(settings, |app| Wire::InProcess(Box::new(TestClient::new(app))))
    }

    pub async fn over_a_socket(settings: impl Fn(PasswordResetBuilder) -> PasswordResetBuilder) -> Self {
        let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.unwrap();
        let address = *acceptor.local_addr()[0].as_socket_addr().unwrap();
        Self::new(settings, |app| {
            tokio::spawn(Server::new_with_acceptor(acceptor).run(app));
            Wire::Socket(address)
        })
    }

    fn new(
        settings: impl Fn(PasswordResetBuilder) -> PasswordResetBuilder,
        connect: impl FnOnce(Route) -> Wire,
    ) -> Self {
        let (users, calls) = (people(), Arc::new(Calls::default()));
        let store = Arc::new(Mutex::new(Store::Works));
        let mode = Arc::clone(&store);
        let watched = Watched {
            users: users.clone(),
            calls: Arc::clone(&calls),
            before: move |call| before(*mode.lock().unwrap(), call),
        };
        let reset = settings(builder(watched)).on_reset_token_created(no_mail).build().unwrap();
        let api = OpenApiService::new(ResetApi::new(reset.clone()), "Accounts", "1.0").server(MOUNT);
        let document = Document::read(api.spec());
        let wire = connect(Route::new().nest(MOUNT, api.with(HttpContract)));
        let codec = TokenCodec::new(key());
        Self { users, calls, reset, document, codec, store, wire, journal: Mutex::default() }
    }

    /// The address of the server.
    pub fn address(&self) -> SocketAddr {
        match &self.wire {
            Wire::Socket(address) => *address,
            Wire::InProcess(_) => panic!("there is no server"),
        }
    }

    pub fn store(&self, store: Store) {
        *self.store.lock().unwrap() = store;
    }

    /// A good token of this user.
    pub fn token(&self, id: &str) -> String {
        self.token_at(id, OffsetDateTime::now_utc())
    }

    /// A token that this user was given at another time.
    pub fn token_at(&self, id: &str, now: OffsetDateTime) -> String {
        let user = self.users.get(id).unwrap();
        self.codec.issue(&user, now, Duration::HOUR).unwrap().expose().to_owned()
    }

    /// Whether this is the password of the user.
    pub fn has_password(&self, id: &str, password: &str) -> bool {
        self.users.get(id).is_some_and(|user| doubles::verifies(&user, password))
    }

    /// Asks, and holds the answer to what is promised of every answer.
    pub async fn ask(&self, ask: &Ask) -> Reply {
        let reply = match &self.wire {
            Wire::InProcess(client) if ask.chunked => send_in_process(client, ask, ask.body.clone().into()).await,
            Wire::InProcess(client) => {
                let ask = ask.clone().header("Content-Length", &ask.body.len().to_string());
                send_in_process(client, &ask, ask.body.clone().into()).await
            }
            Wire::Socket(address) => {
                let mut socket = Socket::open(*address).await;
                socket.send(&ask.to_bytes()).await;
                socket.reply(&ask.method).await
            }
        };
        self.check_promises(ask, &reply);
        let path = ask.url.split('?').next().unwrap_or_default();
        let label = format!("{} {path} {:?}", ask.method, ask.headers);
        self.journal.lock().unwrap().push((label, reply.clone()));
        reply
    }

    /// Asks in process with a body of poem's: one that is slow, or never ends.
    pub async fn ask_with(&self, ask: &Ask, body: Body) -> Reply {
        let Wire::InProcess(client) = &self.wire else { panic!("over a socket, a body is bytes") };
        let reply = send_in_process(client, ask, body).await;
        self.check_promises(ask, &reply);
        reply
    }

    /// Posts the same fields in each encoding, with and without the last slash. Each answer must be the same.
    pub async fn post(&self, operation: Operation, fields: &[(&str, &str)]) -> Reply {
        let mut replies = self.post_each(operation, || fields.to_vec()).await;
        let reply = replies.pop().unwrap();
        for other in &replies {
            assert_eq!(*other, reply, "{operation:?} {fields:?}");
        }
        reply
    }

    /// Posts fields in each encoding, with and without the last slash: new ones each time, as a token is used up.
    pub async fn post_each<N, T>(&self, operation: Operation, mut fields: impl FnMut() -> Vec<(N, T)>) -> Vec<Reply>
    where
        N: AsRef<str>,
        T: AsRef<str>,
    {
        let mut replies = Vec::new();
        for encoding in Encoding::ALL {
            for url in operation.urls() {
                let fields = fields();
                let fields: Vec<_> = fields.iter().map(|(name, text)| (name.as_ref(), text.as_ref())).collect();
                replies.push(self.ask(&Ask::new("POST", url).fields(encoding, &fields)).await);
            }
        }
        replies
    }

    /// Posts this JSON, with and without the last slash. Both answers must be the same.
    pub async fn post_json(&self, operation: Operation, body: &str) -> Reply {
        let [bare, slash] = operation.urls().map(|url| Ask::new("POST", url).json(body));
        let reply = self.ask(&bare).await;
        assert_eq!(self.ask(&slash).await, reply, "{body}");
        reply
    }

    fn check_promises(&self, ask: &Ask, reply: &Reply) {
        let shown = || format!("{} {} {:?}: {reply:?}", ask.method, ask.url, ask.headers);
        for (name, value) in ALWAYS {
            assert_eq!(reply.header(name), [value], "{}", shown());
        }
        for (name, _) in &reply.headers {
            assert!(name != "set-cookie" && !name.starts_with("access-control-"), "{}", shown());
        }
        if reply.status == 204 {
            assert!(reply.body.is_empty() && reply.header("content-type").is_empty(), "{}", shown());
            return;
        }
        assert_eq!(reply.header("content-type"), [JSON], "{}", shown());
        if ask.method == "HEAD" {
            return;
        }
        assert_eq!(reply.json().to_string().len(), reply.body.len(), "compact JSON: {}", shown());
        if let Some(operation) = Operation::at(&ask.url).filter(|_| ask.method == "POST") {
            self.document.check(operation.path(), reply);
        }
    }
}

async fn before(store: Store, call: Call) -> Result<(), BoxError> {
    match store {
        Store::Works => Ok(()),
        Store::LosesTheAnswerToAWrite if call != Call::ReplacePassword => Ok(()),
        Store::Errs | Store::LosesTheAnswerToAWrite => Err("the connection is gone".into()),
        Store::Hangs => pending().await,
        Store::Panics => panic!("as planned"),
    }
}

async fn send_in_process(client: &TestClient<Route>, ask: &Ask, body: Body) -> Reply {
    let method = Method::from_bytes(ask.method.as_bytes()).unwrap();
    let mut request = client.request(method, ask.url.as_str());
    for (name, value) in &ask.headers {
        request = request.header(name.as_str(), value.as_str());
    }
    reply_of(request.body(body).send().await.0, &ask.method).await
}

/// The reply in a response of poem's.
pub async fn reply_of(response: poem::Response, method: &str) -> Reply {
    let (parts, body) = response.into_parts();
    let headers = parts.headers.iter();
    let headers = headers.map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap().to_owned()));
    let body = match method {
        // A server sends none.
        "HEAD" => Vec::new(),
        _ => body.into_vec().await.unwrap(),
    };
    Reply::new(parts.status.as_u16(), headers, body)
}

// ---- a client that can do what no good client does

/// A connection, byte by byte.
pub struct Socket(TcpStream);

impl Socket {
    pub async fn open(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Sends as long as somebody takes it. Reports whether somebody did.
    pub async fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).await.is_ok()
    }

    /// Reads one answer, by `Content-Length`.
    pub async fn reply(&mut self, method: &str) -> Reply {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.expect("an answer"));
        }
        let head = String::from_utf8(head).unwrap();
        let (status, lines) = head.trim_end().split_once("\r\n").expect("a status line and headers");
        let status = status.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).expect("a status");
        let headers = lines.split("\r\n").map(|line| {
            let (name, value) = line.split_once(": ").expect("a header");
            (name.to_ascii_lowercase(), value.to_owned())
        });
        let length = headers
            .clone()
            .find(|(name, _)| name == "content-length")
            .map_or(0, |(_, length)| length.parse().expect("a length"));
        let mut body = vec![0; if method == "HEAD" { 0 } else { length }];
        self.0.read_exact(&mut body).await.unwrap();
        Reply::new(status, headers, body)
    }

    /// Whether the server has nothing more to say and hung up.
    pub async fn is_closed(&mut self) -> bool {
        // A reset is as good as an end.
        matches!(self.0.read(&mut [0]).await, Ok(0) | Err(_))
    }
}
