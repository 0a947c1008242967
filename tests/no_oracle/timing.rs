//! Response times are equal for all addresses, also for the next request on the same connection.
//!
//! Samples of both classes are taken in random order over one connection, so a drift of the machine affects both. A test fails
//! only if three independent comparisons all find a leak. For equal classes, |t| above 4.5 in all three occurs by chance once in
//! 10^15 tests. A real leak is found by all three.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use poem::listener::{Acceptor as _, Listener as _, TcpListener};
use poem::web::{Data, Json};
use poem::{EndpointExt as _, Route, Server, handler};
use poem_openapi::OpenApiService;
use poem_password_reset::delivery::GraphileDelivery;
use poem_password_reset::{BoxError, HttpContract, PasswordReset, PasswordResetBuilder, ResetApi, UserStore as _};
use tokio::runtime::{Builder, Runtime};

use crate::http::doubles::{Watched, builder, people};
use crate::http::{Encoding, HttpRequest, MOUNT, Operation};
use crate::random::Random;
use crate::welch::{Comparison, compare};

/// The |t| above which a comparison finds a leak.
const MOST: f64 = 4.5;

/// The difference of the medians above which a comparison finds a leak.
const MOST_OF_THE_MEDIAN: f64 = 0.02;

/// The delays and the threads of a measured service.
///
/// tokio's `sleep` takes about a millisecond for a delay of zero, so no store here answers at once. If one does, the work
/// for a known user competes with the next request on the connection, and 20,000 samples show it.
#[derive(Clone, Copy, Debug)]
struct Setting {
    store_delay: Duration,
    handler_delay: Duration,
    threads: usize,
}

impl Setting {
    const fn new(store_ms: u64, handler_ms: u64, threads: usize) -> Self {
        let ms = Duration::from_millis;
        Self { store_delay: ms(store_ms), handler_delay: ms(handler_ms), threads }
    }

    async fn reset(self) -> PasswordReset {
        self.builder().build().await.unwrap()
    }

    fn builder(self) -> PasswordResetBuilder {
        let store = Watched {
            users: people(),
            calls: Arc::default(),
            before: move |_| async move {
                tokio::time::sleep(self.store_delay).await;
                Ok::<(), BoxError>(())
            },
        };
        let mail = move |_| tokio::time::sleep(self.handler_delay);
        builder(store).queue(1_000_000).handled_at_once(1_000_000).on_reset_token_created(mail)
    }
}

/// A server on separate threads.
struct Service {
    address: SocketAddr,
    _runtime: Runtime,
}

impl Service {
    fn start(threads: usize, app: impl AsyncFnOnce() -> Route) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
        let acceptor = runtime.block_on(TcpListener::bind("127.0.0.1:0").into_acceptor()).unwrap();
        let address = *acceptor.local_addr()[0].as_socket_addr().unwrap();
        let app = runtime.block_on(app());
        runtime.spawn(Server::new_with_acceptor(acceptor).run(app));
        Self { address, _runtime: runtime }
    }

    fn of(setting: Setting) -> Self {
        Self::start(setting.threads, async || routes(setting.reset().await))
    }

    /// Starts a service with a durable queue in this database.
    fn durable(setting: Setting, url: &str) -> Self {
        Self::start(setting.threads, async || {
            let queue = GraphileDelivery::new(crate::postgres::pool(url).await);
            let reset =
                setting.builder().max_age(Duration::from_secs(3600)).delivery(queue.clone()).build().await.unwrap();
            tokio::spawn(reset.worker(&queue).run());
            routes(reset)
        })
    }
}

fn routes(reset: PasswordReset) -> Route {
    let api = OpenApiService::new(ResetApi::new(reset), "Accounts", "1.0");
    Route::new().nest(MOUNT, api.with(HttpContract))
}

/// Returns the time of one exchange in microseconds.
fn exchange(stream: &mut TcpStream, request: &[u8]) -> f64 {
    let mut answer = [0; 2048];
    let start = Instant::now();
    stream.write_all(request).unwrap();
    let mut length = 0;
    // Each response is a JSON object, so its last byte is a brace.
    while length == 0 || answer[length - 1] != b'}' {
        let read = stream.read(&mut answer[length..]).unwrap();
        assert!(read > 0, "hung up");
        length += read;
    }
    start.elapsed().as_secs_f64() * 1e6
}

/// Requests a reset for both addresses in random order, each followed by another request on the same connection.
fn measure(address: SocketAddr, emails: [&str; 2], samples: usize) -> [Comparison; 2] {
    let mut random = Random::seeded();
    let requests = emails
        .map(|email| HttpRequest::post(Operation::Request).fields(Encoding::Json, &[("email", email)]).to_bytes());
    let next = HttpRequest::post(Operation::Validate).fields(Encoding::Json, &[("token", "garbage")]).to_bytes();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    for request in requests.iter().cycle().take(200) {
        exchange(&mut stream, request);
        exchange(&mut stream, &next);
    }
    let (mut answers, mut afterwards) = ([vec![], vec![]], [vec![], vec![]]);
    while answers.iter().any(|class| class.len() < samples) {
        let class = random.below(2);
        answers[class].push(exchange(&mut stream, &requests[class]));
        afterwards[class].push(exchange(&mut stream, &next));
    }
    [compare(&answers[0], &answers[1]), compare(&afterwards[0], &afterwards[1])]
}

/// Returns the comparison with the weakest evidence of a leak, of up to three independent ones.
fn least_leak(mut measure: impl FnMut() -> [Comparison; 2], leaks: impl Fn(&Comparison) -> bool) -> [Comparison; 2] {
    let mut least = measure();
    for _ in 0..2 {
        if !least.iter().any(&leaks) {
            break;
        }
        for (least, again) in least.iter_mut().zip(measure()) {
            if !leaks(&again) || again.t.abs() < least.t.abs() {
                *least = again;
            }
        }
    }
    least
}

fn no_leak(setting: Setting, emails: [&str; 2], samples: usize) {
    no_leak_of(&Service::of(setting), setting, emails, samples);
}

fn no_leak_of(service: &Service, setting: Setting, emails: [&str; 2], samples: usize) {
    // The median of few samples is not reliable.
    let leaks = |comparison: &Comparison| {
        comparison.t.abs() >= MOST || (samples >= 10_000 && comparison.medians >= MOST_OF_THE_MEDIAN)
    };
    let [answer, next] = least_leak(|| measure(service.address, emails, samples), leaks);
    let shown = |comparison: Comparison| format!("t {:.2}, medians {:.2} %", comparison.t, comparison.medians * 100.0);
    println!("{setting:?} {emails:?}: answer {}; next {}", shown(answer), shown(next));
    assert!(!leaks(&answer) && !leaks(&next), "{setting:?} {emails:?}: {answer:?} {next:?}");
}

const KNOWN: &str = "ann@example.com";
const UNKNOWN: &str = "nob@example.com";
const DEACTIVATED: &str = "carol@example.com";
const UNKNOWN_LIKE_CAROL: &str = "clara@example.com";

#[test]
fn timing_is_equal_for_known_and_unknown_users() {
    for setting in [Setting::new(0, 0, 2), Setting::new(5, 0, 1), Setting::new(0, 1_000, 2)] {
        no_leak(setting, [KNOWN, UNKNOWN], 1_500);
    }
}

#[test]
#[ignore = "20,000 samples a class and condition: several minutes"]
fn timing_of_20_000_samples_is_equal_for_known_and_unknown_users() {
    for threads in [1, 2] {
        for (store_ms, handler_ms) in [(0, 0), (5, 0), (50, 0), (0, 1_000), (50, 1_000)] {
            no_leak(Setting::new(store_ms, handler_ms, threads), [KNOWN, UNKNOWN], 20_000);
        }
        no_leak(Setting::new(0, 0, threads), [DEACTIVATED, UNKNOWN_LIKE_CAROL], 20_000);
    }
}

/// Returns the URL of a new database, or `None` if PostgreSQL is not installed.
fn database() -> Option<String> {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async { Some(crate::postgres::postgres().await?.new_database("").await) })
}

#[test]
fn timing_with_a_durable_queue_is_equal_for_known_and_unknown_users() {
    let Some(url) = database() else { return };
    for setting in [Setting::new(0, 0, 2), Setting::new(0, 50, 2)] {
        no_leak_of(&Service::durable(setting, &url), setting, [KNOWN, UNKNOWN], 1_500);
    }
}

#[test]
#[ignore = "20,000 samples a class and condition: several minutes"]
fn timing_of_20_000_samples_with_a_durable_queue_is_equal_for_known_and_unknown_users() {
    let Some(url) = database() else { return };
    for setting in [Setting::new(0, 0, 2), Setting::new(50, 0, 2), Setting::new(0, 50, 2)] {
        no_leak_of(&Service::durable(setting, &url), setting, [KNOWN, UNKNOWN], 20_000);
    }
}

#[derive(serde::Deserialize)]
struct Body {
    email: Option<String>,
}

/// A naive implementation: looks up the user and sends the mail before the response.
#[handler]
async fn naive(reset: Data<&PasswordReset>, body: Json<Body>) -> &'static str {
    let Some(email) = &body.0.email else { return "{}" };
    if let Some(user) = people().find_by_email(email).await.unwrap().first() {
        reset.0.send(user, None).await.unwrap();
    }
    "{}"
}

/// A service that takes twenty microseconds longer for a known user.
#[handler]
fn slightly_slower(body: Json<Body>) -> &'static str {
    let start = Instant::now();
    while body.0.email.as_deref() == Some(KNOWN) && start.elapsed() < Duration::from_micros(20) {}
    "{}"
}

fn leak_of(app: impl AsyncFnOnce() -> Route, samples: usize) -> f64 {
    let service = Service::start(2, app);
    let [answer, _] = least_leak(|| measure(service.address, [KNOWN, UNKNOWN], samples), |_| true);
    println!("a leak: t {:.1}", answer.t);
    answer.t
}

/// The method detects known leaks.
#[test]
fn timing_test_detects_a_leak() {
    let route = |endpoint| Route::new().at(MOUNT.to_owned() + "/*path", endpoint);
    let reset = || Setting::new(0, 0, 2).reset();
    assert!(leak_of(async || route(poem::post(naive).data(reset().await).boxed()), 1_000) > MOST);
    assert!(leak_of(async || route(poem::post(slightly_slower).boxed()), 1_500) > MOST);
}
