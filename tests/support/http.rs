//! Calls the endpoints in process and over a socket, and checks what is promised for every response.

#[path = "document.rs"]
mod document;
#[path = "doubles.rs"]
pub mod doubles;
#[path = "http_request.rs"]
mod http_request;
#[path = "reply.rs"]
mod reply;
#[path = "socket.rs"]
mod socket;

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
use poem_password_reset::{BoxError, HttpContract, PasswordReset, PasswordResetBuilder, ResetApi, ResetTokenCreated};
use time::{Duration, OffsetDateTime};
use tokio::time::timeout;

use self::document::Document;
use self::doubles::{Call, Calls, Watched, builder, key, people};
pub use self::http_request::{Encoding, HttpRequest, JSON, MOUNT, Operation};
pub use self::reply::{Reply, reply_of};
pub use self::socket::Socket;

/// Headers of every response.
const ALWAYS: [(&str, &str); 3] =
    [("cache-control", "no-store"), ("referrer-policy", "no-referrer"), ("x-content-type-options", "nosniff")];

/// Timeout of a step of a test, so that a test fails instead of hanging.
pub const STEP_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

/// Behavior of the store of a [`World`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    Works,
    Errs,
    /// Look-ups succeed. The write fails with an unknown outcome.
    LosesTheAnswerToAWrite,
    Hangs,
    Panics,
}

/// A mounted service with its users, called in process or over a socket.
pub struct World {
    pub users: MemoryUsers,
    pub calls: Arc<Calls>,
    pub reset: PasswordReset,
    pub document: Document,
    codec: TokenCodec,
    store: Arc<Mutex<Store>>,
    mails: Arc<Mutex<Vec<(String, String)>>>,
    transport: Transport,
    journal: Mutex<Vec<(String, Reply)>>,
}

enum Transport {
    InProcess(Box<TestClient<Route>>),
    Socket(SocketAddr),
}

/// Runs the same check in process and over a socket. Both must give the same responses to the same requests.
pub async fn over_both_transports(
    settings: impl Fn(PasswordResetBuilder) -> PasswordResetBuilder,
    check: impl AsyncFn(&World),
) {
    let in_process = World::in_process(&settings).await;
    check(&in_process).await;
    let over_a_socket = World::over_a_socket(&settings).await;
    check(&over_a_socket).await;
    let journals = [in_process, over_a_socket].map(|world| world.journal.into_inner().unwrap());
    assert!(!journals[0].is_empty());
    assert_eq!(journals[0], journals[1], "in process and over a socket");
}

/// Returns the text without surrounding Unicode White_Space and zero-width characters, which the library removes from
/// addresses and tokens.
pub fn trimmed(text: &str) -> &str {
    text.trim_matches(|letter| {
        matches!(letter, '\t'..='\r' | ' ' | '\u{85}' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200d}')
            || matches!(
                letter,
                '\u{2028}' | '\u{2029}' | '\u{202f}' | '\u{205f}' | '\u{2060}' | '\u{3000}' | '\u{feff}'
            )
    })
}

/// Default settings: returns the builder unchanged.
pub fn defaults(builder: PasswordResetBuilder) -> PasswordResetBuilder {
    builder
}

impl World {
    pub async fn in_process(settings: impl Fn(PasswordResetBuilder) -> PasswordResetBuilder) -> Self {
        Self::new(settings, |app| Transport::InProcess(Box::new(TestClient::new(app)))).await
    }

    pub async fn over_a_socket(settings: impl Fn(PasswordResetBuilder) -> PasswordResetBuilder) -> Self {
        let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.unwrap();
        let address = *acceptor.local_addr()[0].as_socket_addr().unwrap();
        Self::new(settings, |app| {
            tokio::spawn(Server::new_with_acceptor(acceptor).run(app));
            Transport::Socket(address)
        })
        .await
    }

    async fn new(
        settings: impl Fn(PasswordResetBuilder) -> PasswordResetBuilder,
        connect: impl FnOnce(Route) -> Transport,
    ) -> Self {
        let (users, calls) = (people(), Arc::new(Calls::default()));
        let store = Arc::new(Mutex::new(Store::Works));
        let mode = Arc::clone(&store);
        let watched = Watched {
            users: users.clone(),
            calls: Arc::clone(&calls),
            before: move |call| before(*mode.lock().unwrap(), call),
        };
        let mails = Arc::new(Mutex::new(Vec::new()));
        let outbox = Arc::clone(&mails);
        let mail = move |event: Arc<ResetTokenCreated>| {
            let link = event.link().replace(event.token().expose(), "{token}");
            outbox.lock().unwrap().push((event.user().email().to_owned(), link));
            async {}
        };
        let reset = settings(builder(watched)).on_reset_token_created(mail).build().await.unwrap();
        let api = OpenApiService::new(ResetApi::new(reset.clone()), "Accounts", "1.0").server(MOUNT);
        let document = Document::read(api.spec());
        let transport = connect(Route::new().nest(MOUNT, api.with(HttpContract)));
        let codec = TokenCodec::new(key());
        Self { users, calls, reset, document, codec, store, mails, transport, journal: Mutex::default() }
    }

    /// Returns the address of the server.
    pub fn address(&self) -> SocketAddr {
        match &self.transport {
            Transport::Socket(address) => *address,
            Transport::InProcess(_) => panic!("an in-process world has no server"),
        }
    }

    pub fn store(&self, store: Store) {
        *self.store.lock().unwrap() = store;
    }

    /// Issues a token to this user.
    pub fn token(&self, id: &str) -> String {
        self.token_at(id, OffsetDateTime::now_utc())
    }

    /// Issues a token to this user at another time.
    pub fn token_at(&self, id: &str, now: OffsetDateTime) -> String {
        let user = self.users.get(id).unwrap();
        self.codec.issue(&user, now, Duration::HOUR).unwrap().expose().to_owned()
    }

    /// Returns whether the user has this password.
    pub fn has_password(&self, id: &str, password: &str) -> bool {
        self.users.get(id).is_some_and(|user| doubles::verifies(&user, password))
    }

    /// Waits until every accepted request is done. Returns the address and link of each mail.
    pub async fn mails(&self) -> Vec<(String, String)> {
        until(|| self.reset.ledger().waiting == 0).await;
        self.mails.lock().unwrap().clone()
    }

    /// Returns the [`mails`](Self::mails) and clears the list. For tests that send very many requests.
    pub async fn take_mails(&self) -> Vec<(String, String)> {
        self.mails().await;
        std::mem::take(&mut *self.mails.lock().unwrap())
    }

    /// Checks that mail was sent, and each to Ann's address on record with the configured link.
    pub async fn every_mail_is_anns(&self) {
        let mails = self.mails().await;
        assert!(!mails.is_empty());
        for (address, link) in mails {
            assert_eq!(
                (&*address, &*link),
                ("ann@example.com", "https://app.example.com/reset-password#token={token}")
            );
        }
    }

    /// Sends a request, and checks what is promised for every response.
    pub async fn send(&self, request: &HttpRequest) -> Reply {
        let reply = match &self.transport {
            Transport::InProcess(client) if request.chunked => {
                send_in_process(client, request, request.body.clone().into()).await
            }
            Transport::InProcess(client) => {
                let request = request.clone().header("Content-Length", &request.body.len().to_string());
                send_in_process(client, &request, request.body.clone().into()).await
            }
            Transport::Socket(address) => {
                let mut socket = Socket::open(*address).await;
                socket.send(&request.to_bytes()).await;
                socket.reply(&request.method).await
            }
        };
        self.check_promises(request, &reply);
        let path = request.url.split('?').next().unwrap_or_default();
        let label = format!("{} {path} {:?}", request.method, request.headers);
        self.journal.lock().unwrap().push((label, reply.clone()));
        reply
    }

    /// Sends a request in process with a `Body` of poem, which may be slow or endless.
    pub async fn send_with(&self, request: &HttpRequest, body: Body) -> Reply {
        let Transport::InProcess(client) = &self.transport else { panic!("a `Body` can only be sent in process") };
        let reply = send_in_process(client, request, body).await;
        self.check_promises(request, &reply);
        reply
    }

    /// Posts the same fields in each encoding, with and without the trailing slash. All responses must be equal.
    pub async fn post(&self, operation: Operation, fields: &[(&str, &str)]) -> Reply {
        let mut replies = self.post_each(operation, || fields.to_vec()).await;
        let reply = replies.pop().unwrap();
        for other in &replies {
            assert_eq!(*other, reply, "{operation:?} {fields:?}");
        }
        reply
    }

    /// Posts fields in each encoding, with and without the trailing slash. Calls `fields` for each request, because a token
    /// can be used only once.
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
                replies.push(self.send(&HttpRequest::new("POST", url).fields(encoding, &fields)).await);
            }
        }
        replies
    }

    /// Posts this JSON with and without the trailing slash. Both responses must be equal.
    pub async fn post_json(&self, operation: Operation, body: &str) -> Reply {
        let [bare, slash] = operation.urls().map(|url| HttpRequest::new("POST", url).json(body));
        let reply = self.send(&bare).await;
        assert_eq!(self.send(&slash).await, reply, "{body}");
        reply
    }

    fn check_promises(&self, request: &HttpRequest, reply: &Reply) {
        let shown = || format!("{} {} {:?}: {reply:?}", request.method, request.url, request.headers);
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
        if request.method == "HEAD" {
            return;
        }
        assert_eq!(reply.json().to_string().len(), reply.body.len(), "compact JSON: {}", shown());
        if let Some(operation) = Operation::at(&request.url).filter(|_| request.method == "POST") {
            self.document.check(operation.path(), reply);
        }
    }
}

/// Yields until the condition is true. Panics after [`STEP_TIMEOUT`].
pub async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    timeout(STEP_TIMEOUT, wait).await.expect("the condition becomes true before the timeout");
}

async fn before(store: Store, call: Call) -> Result<(), BoxError> {
    match store {
        Store::Works => Ok(()),
        // A panic is not an outage: the probe of the store succeeds.
        Store::Panics if call == Call::Check => Ok(()),
        Store::LosesTheAnswerToAWrite if call != Call::ReplacePassword => Ok(()),
        Store::Errs | Store::LosesTheAnswerToAWrite => Err("the connection is gone".into()),
        Store::Hangs => pending().await,
        Store::Panics => panic!("an injected panic"),
    }
}

async fn send_in_process(client: &TestClient<Route>, request: &HttpRequest, body: Body) -> Reply {
    let method = Method::from_bytes(request.method.as_bytes()).unwrap();
    let mut builder = client.request(method, request.url.as_str());
    for (name, value) in &request.headers {
        builder = builder.header(name.as_str(), value.as_str());
    }
    let response = timeout(STEP_TIMEOUT, builder.body(body).send()).await.expect("a response before the timeout");
    reply_of(response.0, &request.method).await
}
