//! Quotas: a client over its quota gets 429 with a correct Retry-After, and an address over its quota gets no mail.

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/doubles.rs"]
mod doubles;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/log.rs"]
mod log;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use doubles::{GOOD_PASSWORD, builder, no_mail, people};
use poem::http::StatusCode;
use poem::test::TestClient;
use poem::{Endpoint, EndpointExt as _, Route};
use poem_openapi::OpenApiService;
use poem_password_reset::throttle::{MemoryThrottle, Quota, Quotas, Throttle, ThrottleKey, Verdict};
use poem_password_reset::{
    BoxError, Client, HttpContract, PasswordReset, PasswordResetBuilder, Problem, ResetApi, ResetError, SigningKey,
};

fn client(address: &str) -> Client {
    Client::new(Some(address.parse().unwrap()), None)
}

fn throttled() -> PasswordResetBuilder {
    builder(people()).quotas(Quotas::default())
}

fn is_throttled<T>(answer: &Result<T, ResetError>) -> bool {
    matches!(answer, Err(ResetError::Throttled { .. }))
}

async fn settled(reset: &PasswordReset) {
    while reset.ledger().waiting > 0 {
        tokio::task::yield_now().await;
    }
}

/// Returns how many of 100 requests from this client are accepted.
async fn passing(reset: &PasswordReset, client: &Client) -> usize {
    let mut passed = 0;
    for number in 0..100 {
        let answer = reset.request(&format!("nobody{number}@example.com"), client.clone()).await;
        assert!(answer.is_ok() || is_throttled(&answer));
        passed += usize::from(answer.is_ok());
    }
    passed
}

#[tokio::test]
async fn client_can_send_30_requests_an_hour() {
    let reset = throttled().on_reset_token_created(no_mail).build().await.unwrap();
    assert_eq!(passing(&reset, &client("192.0.2.1")).await, 30);
    assert_eq!(passing(&reset, &client("::ffff:192.0.2.1")).await, 0, "the same address in its IPv6 form");
    assert_eq!(passing(&reset, &client("192.0.2.2")).await, 30, "another client has a quota of its own");
    assert_eq!(passing(&reset, &client("2001:db8::1")).await, 30);
    assert_eq!(passing(&reset, &client("2001:db8::ffff:2")).await, 0, "a /64 of IPv6 is one client");
    assert_eq!(passing(&reset, &client("2001:db8:0:1::1")).await, 30);
    assert_eq!(passing(&reset, &Client::none()).await, 30, "clients without an address are one");
    assert_eq!(passing(&reset, &Client::none()).await, 0);
}

#[tokio::test(start_paused = true)]
async fn client_can_request_again_after_retry_after() {
    let reset = throttled().on_reset_token_created(no_mail).build().await.unwrap();
    assert_eq!(passing(&reset, &client("192.0.2.1")).await, 30);
    let Err(ResetError::Throttled { retry_after }) = reset.request("a@example.com", client("192.0.2.1")).await else {
        panic!();
    };
    assert!(retry_after > Duration::from_secs(3590) && retry_after <= Duration::from_secs(3600), "{retry_after:?}");
    tokio::time::advance(retry_after - Duration::from_millis(5)).await;
    assert_eq!(passing(&reset, &client("192.0.2.1")).await, 0);
    tokio::time::advance(Duration::from_millis(5)).await;
    assert_eq!(passing(&reset, &client("192.0.2.1")).await, 30);
}

/// The default quotas of a client: the number of uses that pass at once, and that the next use passes after the window.
#[tokio::test(start_paused = true)]
async fn client_can_validate_60_and_confirm_20_times_a_minute() {
    let reset = throttled().on_reset_token_created(no_mail).build().await.unwrap();
    let http = app(reset);
    for (path, body, limit) in [
        ("/reset/validate_token/", r#"{"token":"x"}"#, 60),
        ("/reset/confirm/", r#"{"token":"x","password":"purple tractor hums"}"#, 20),
    ] {
        let passing = async || {
            let mut passed = 0;
            for _ in 0..100 {
                let answer = http.post(path).content_type("application/json").body(body).send().await.0;
                passed += usize::from(answer.status() != StatusCode::TOO_MANY_REQUESTS);
            }
            passed
        };
        assert_eq!(passing().await, limit, "{path}");
        tokio::time::advance(Duration::from_millis(59_990)).await;
        assert_eq!(passing().await, 0, "{path}: a minute is not over");
        tokio::time::advance(Duration::from_millis(1_010)).await;
        assert_eq!(passing().await, limit, "{path}: a minute is over");
    }
}

#[tokio::test(start_paused = true)]
async fn address_gets_mail_again_after_an_hour() {
    let mails = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&mails);
    let reset = throttled()
        .on_reset_token_created(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            async {}
        })
        .build()
        .await
        .unwrap();
    let request_mails = async |number: usize| {
        for number in number..number + 5 {
            reset.request("ann@example.com", client(&format!("198.51.100.{number}"))).await.unwrap();
        }
        settled(&reset).await;
        mails.load(Ordering::SeqCst)
    };
    assert_eq!(request_mails(0).await, 3);
    tokio::time::advance(Duration::from_millis(3_599_990)).await;
    assert_eq!(request_mails(5).await, 3, "an hour is not over");
    tokio::time::advance(Duration::from_millis(1_010)).await;
    assert_eq!(request_mails(10).await, 6, "an hour is over");
}

/// Fifty clients request resets for one user, in every spelling of the address. The user gets three mails.
#[tokio::test]
async fn fourth_request_for_an_address_sends_no_mail_and_returns_the_same() {
    let mails = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&mails);
    let reset = throttled()
        .on_reset_token_created(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            async {}
        })
        .build()
        .await
        .unwrap();
    let spellings = ["ann@example.com", "ANN@EXAMPLE.COM", " Ann@Example.com ", "aNN@eXAMPLE.com"];
    for number in 0..50 {
        for email in spellings {
            reset.request(email, client(&format!("198.51.100.{number}"))).await.expect("the answer is the same");
        }
    }
    settled(&reset).await;
    assert_eq!(mails.load(Ordering::SeqCst), 3);
    let ledger = reset.ledger();
    assert_eq!((ledger.accepted, ledger.delivered, ledger.suppressed), (200, 3, 197));

    reset.request("bob@example.com", client("198.51.100.1")).await.unwrap();
    settled(&reset).await;
    assert_eq!(mails.load(Ordering::SeqCst), 4, "another address has a quota of its own");
    let ann = people().get("1").unwrap();
    assert!(doubles::verifies(&ann, "ann's old password"), "the user can still sign in");
}

/// A throttle that records its keys. Unknown addresses are counted like known ones, and no key reveals an address.
#[derive(Clone, Default)]
struct Watching {
    memory: MemoryThrottle,
    keys: Arc<Mutex<Vec<String>>>,
}

impl Throttle for Watching {
    type Error = std::convert::Infallible;

    async fn count(&self, key: &ThrottleKey, quota: Quota) -> Result<Verdict, Self::Error> {
        self.keys.lock().unwrap().push(key.to_string());
        Ok(self.memory.count_now(key, quota))
    }

    async fn give_back(&self, key: &ThrottleKey) -> Result<(), Self::Error> {
        self.memory.give_back_now(key);
        Ok(())
    }

    async fn clear(&self, key: &ThrottleKey) -> Result<(), Self::Error> {
        self.memory.clear_now(key);
        Ok(())
    }
}

#[tokio::test]
async fn every_address_is_counted_and_no_key_contains_it() {
    let watching = Watching::default();
    let reset = throttled().throttle(watching.clone()).on_reset_token_created(no_mail).build().await.unwrap();
    for email in ["ann@example.com", "nobody@example.com", "carol@example.com", "dave@example.com"] {
        reset.request(email, client("192.0.2.1")).await.unwrap();
    }
    settled(&reset).await;
    let keys = watching.keys.lock().unwrap().clone();
    let mail: HashSet<&String> = keys.iter().filter(|key| key.starts_with("password-reset/mail/")).collect();
    assert_eq!(mail.len(), 4, "{keys:?}");
    assert!(keys.iter().all(|key| !key.contains('@') && !key.contains("ann")), "{keys:?}");
}

/// The key of an address depends on the signing key, so a reader of the counters cannot test addresses against them.
#[tokio::test]
async fn throttle_key_of_an_address_depends_on_the_signing_key() {
    let key_with = async |signing_key: &[u8]| {
        let (watching, signing_key) = (Watching::default(), SigningKey::from_bytes(signing_key).unwrap());
        let reset = PasswordReset::builder(people(), signing_key)
            .link("https://app.example.com/reset-password#token={token}")
            .hasher(doubles::cheap_hash)
            .linked_handlers(false)
            .throttle(watching.clone())
            .on_reset_token_created(no_mail)
            .build()
            .await
            .unwrap();
        reset.request("ann@example.com", client("192.0.2.1")).await.unwrap();
        let keys = watching.keys.lock().unwrap().clone();
        keys.into_iter().find(|key| key.starts_with("password-reset/mail/")).expect("the address is counted")
    };
    let key = key_with(b"a signing key of 32 bytes or more").await;
    assert_eq!(key, key_with(b"a signing key of 32 bytes or more").await, "every instance has the same");
    assert_ne!(key, key_with(b"another signing key of 32 bytes..").await);
}

fn app(reset: PasswordReset) -> TestClient<impl Endpoint> {
    let api = OpenApiService::new(ResetApi::new(reset), "Accounts", "1.0");
    TestClient::new(Route::new().nest("/reset", api.with(HttpContract)))
}

/// Malformed and oversized bodies use no quota at any endpoint. Well-formed bodies do.
#[tokio::test]
async fn only_well_formed_posts_use_quota() {
    let quotas = || {
        let two = Quota::per_hour(2).unwrap();
        Quotas::default().request_per_client(two).validate_per_client(two).confirm_per_client(two)
    };
    for (path, well_formed) in [
        ("/reset/", r#"{"email":"ann@example.com"}"#),
        ("/reset/validate_token/", r#"{"token":"x"}"#),
        ("/reset/confirm/", r#"{"token":"x","password":"purple tractor hums"}"#),
    ] {
        let reset = builder(people()).quotas(quotas()).on_reset_token_created(no_mail).build().await.unwrap();
        let http = app(reset);
        let too_large = "x".repeat(17_000);
        for (content_type, body) in [
            ("application/json", ""),
            ("application/json", "{}"),
            ("application/json", "[]"),
            ("application/json", "{"),
            ("application/json", r#"{"email":"no address","token":null,"password":[]}"#),
            ("text/plain", well_formed),
            ("application/json", &too_large),
        ] {
            for _ in 0..3 {
                let answer = http.post(path).content_type(content_type).body(body.to_owned()).send().await;
                assert!(answer.0.status().is_client_error() && answer.0.status() != StatusCode::TOO_MANY_REQUESTS);
            }
        }
        for _ in 0..3 {
            http.get(path).send().await.assert_status(StatusCode::METHOD_NOT_ALLOWED);
        }
        let post = async || http.post(path).content_type("application/json").body(well_formed).send().await.0;
        for _ in 0..2 {
            assert_ne!(post().await.status(), StatusCode::TOO_MANY_REQUESTS, "{path}");
        }
        let mut over = post().await;
        assert_eq!(over.status(), StatusCode::TOO_MANY_REQUESTS, "{path}");
        let after: u64 = over.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((3590..=3600).contains(&after), "{after}");
        assert_eq!(over.headers()["cache-control"], "no-store");
        assert!(over.take_body().into_string().await.unwrap().starts_with("{\"detail\":"));
        for other in [format!("{path}/"), path.trim_end_matches('/').to_owned(), format!("{path}?a=b")] {
            let answer = http.post(&other).content_type("application/json").body(well_formed).send().await;
            answer.assert_status(StatusCode::TOO_MANY_REQUESTS);
        }
    }
}

/// The service checks for a full queue before it counts the quota.
#[tokio::test]
async fn unavailable_answer_uses_no_quota() {
    let reset = throttled()
        .queue(1)
        .handled_at_once(1)
        .on_reset_token_created(|_| std::future::pending::<()>())
        .build()
        .await
        .unwrap();
    reset.request("ann@example.com", client("192.0.2.9")).await.unwrap();
    tokio::task::yield_now().await;
    reset.request("ann@example.com", client("192.0.2.9")).await.unwrap();
    for _ in 0..30 {
        let answer = reset.request("ann@example.com", client("192.0.2.1")).await;
        assert!(matches!(answer, Err(ResetError::Unavailable { .. })));
    }
    assert_eq!(reset.ledger().accepted, 2);
}

/// A throttle that fails, hangs or returns nonsense is replaced by counters in memory for five seconds.
#[tokio::test(start_paused = true)]
async fn failed_throttle_is_replaced_by_the_memory_throttle() {
    #[derive(Clone)]
    struct Failing {
        how: &'static str,
        fails: Arc<AtomicBool>,
        asked: Arc<AtomicUsize>,
    }

    impl Throttle for Failing {
        type Error = BoxError;

        async fn count(&self, _: &ThrottleKey, _: Quota) -> Result<Verdict, BoxError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            match self.how {
                _ if !self.fails.load(Ordering::SeqCst) => Ok(Verdict::Within),
                "errs" => Err("connection refused".into()),
                "panics" => panic!("an injected panic"),
                "hangs" => std::future::pending().await,
                _ => Ok(Verdict::Over { retry_after: Duration::MAX }),
            }
        }
    }

    for how in ["errs", "hangs", "panics"] {
        let failing = Failing { how, fails: Arc::new(AtomicBool::new(true)), asked: Arc::default() };
        let reset = throttled().throttle(failing.clone()).on_reset_token_created(no_mail).build().await.unwrap();
        let before = tokio::time::Instant::now();
        assert_eq!(passing(&reset, &client("192.0.2.1")).await, 30, "{how}");
        assert!(before.elapsed() <= Duration::from_millis(80), "{how}: {:?}", before.elapsed());
        assert_eq!(failing.asked.load(Ordering::SeqCst), 1, "{how}: it is not called during the cool-down");
        failing.fails.store(false, Ordering::SeqCst);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(
            passing(&reset, &client("192.0.2.1")).await,
            100,
            "{how}: it is called again, and accepts every client"
        );
    }

    let nonsense = Failing { how: "lies", fails: Arc::new(AtomicBool::new(true)), asked: Arc::default() };
    let reset = throttled().throttle(nonsense).on_reset_token_created(no_mail).build().await.unwrap();
    let answer = reset.request("ann@example.com", client("192.0.2.1")).await;
    let Err(ResetError::Throttled { retry_after }) = answer else { panic!() };
    assert_eq!(retry_after, Duration::from_secs(3600), "retry_after is at most the window");
}

/// A call from before an outage succeeds after another call has failed. The outage goes on.
#[tokio::test(start_paused = true)]
async fn late_success_does_not_end_an_outage() {
    struct Stalling(AtomicUsize);

    impl Throttle for Stalling {
        type Error = BoxError;

        async fn count(&self, _: &ThrottleKey, _: Quota) -> Result<Verdict, BoxError> {
            match self.0.fetch_add(1, Ordering::SeqCst) {
                0 => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    Ok(Verdict::Within)
                }
                1 | 2 => Err("connection refused".into()),
                _ => Ok(Verdict::Within),
            }
        }
    }

    let log = log::Log::default();
    let _guard = log.of_thread();
    let lines = |text: &str| log.text().matches(text).count();
    let quotas = Quotas::off().request_per_client(Quota::per_hour(30).unwrap());
    let throttle = Stalling(AtomicUsize::new(0));
    let reset =
        builder(people()).quotas(quotas).throttle(throttle).on_reset_token_created(no_mail).build().await.unwrap();
    let request = || reset.request("nobody@example.com", client("192.0.2.1"));
    let (late, failed) = tokio::join!(request(), request());
    assert!(late.is_ok() && failed.is_ok());
    assert_eq!((lines("the throttle failed"), lines("the throttle works again")), (1, 0), "{}", log.text());
    tokio::time::advance(Duration::from_secs(5)).await;
    request().await.unwrap();
    assert_eq!((lines("the throttle failed"), lines("the throttle works again")), (1, 0), "{}", log.text());
    tokio::time::advance(Duration::from_secs(5)).await;
    request().await.unwrap();
    assert_eq!((lines("the throttle failed"), lines("the throttle works again")), (1, 1), "{}", log.text());
}

#[tokio::test]
async fn disabled_quotas_count_nothing() {
    let reset = throttled().quotas(Quotas::off()).on_reset_token_created(no_mail).build().await.unwrap();
    assert_eq!(passing(&reset, &client("192.0.2.1")).await, 100);
    for _ in 0..100 {
        let answer = reset.confirm("x", GOOD_PASSWORD.into(), client("192.0.2.1")).await;
        assert!(matches!(answer, Err(ResetError::InvalidToken(_))));
    }
}

/// Services with one throttle and one signing key: every counter depends on the namespace.
#[tokio::test]
async fn services_with_different_namespaces_do_not_count_together() {
    let shared = MemoryThrottle::new();
    let mailer = |namespace: &'static str| {
        let shared = shared.clone();
        Mailer::new(people(), move |builder| {
            builder.quotas(Quotas::default()).throttle(shared).throttle_namespace(namespace)
        })
    };
    let (staff, shop, staff_too) = (mailer("staff").await, mailer("shop").await, mailer("staff").await);
    assert_eq!(staff.mails_for("ann@example.com", 5).await, 3);
    assert_eq!(staff_too.mails_for("ann@example.com", 5).await, 0, "instances of one service count together");
    assert_eq!(shop.mails_for("ann@example.com", 5).await, 3);

    let client = client("192.0.2.1");
    assert_eq!(passing(&staff.reset, &client).await, 30);
    assert_eq!(passing(&staff_too.reset, &client).await, 0);
    assert_eq!(passing(&shop.reset, &client).await, 30);
}

#[tokio::test]
async fn every_key_begins_with_namespace_and_purpose() {
    let watching = Watching::default();
    let settings = throttled().throttle(watching.clone()).throttle_namespace("staff".to_owned());
    let reset = settings.on_reset_token_created(no_mail).build().await.unwrap();
    let client = client("192.0.2.7");
    reset.request("ann@example.com", client.clone()).await.unwrap();
    assert!(reset.validate_for("x", &client).await.is_err());
    assert!(reset.confirm("x", GOOD_PASSWORD.into(), client).await.is_err());
    let keys = watching.keys.lock().unwrap().clone();
    let [request, mail, validate, confirm] = &keys[..] else { panic!("{keys:?}") };
    assert_eq!(request, "staff/request/192.0.2.7");
    assert_eq!((validate.as_str(), confirm.as_str()), ("staff/validate/192.0.2.7", "staff/confirm/192.0.2.7"));
    let mac = mail.strip_prefix("staff/mail/").expect("the address is counted");
    assert!(mac.len() == 32 && mac.bytes().all(|byte| byte.is_ascii_hexdigit()), "{mail}");
}

#[tokio::test]
async fn build_with_invalid_throttle_namespace_fails() {
    for namespace in ["", "staff/request", "two words", "line\n"] {
        let error =
            throttled().throttle_namespace(namespace).on_reset_token_created(no_mail).build().await.unwrap_err();
        let problem = Problem::ThrottleNamespace { namespace: namespace.to_owned() };
        assert_eq!(error.problems(), [problem], "{namespace:?}");
    }
}

#[tokio::test]
async fn validate_counts_no_quota_and_validate_for_counts_one_use() {
    let users = people();
    let quotas = Quotas::default().validate_per_client(Quota::per_hour(2).unwrap());
    let reset = builder(users.clone()).quotas(quotas).on_reset_token_created(no_mail).build().await.unwrap();
    let event = reset.issue(&users.get("1").unwrap(), None).unwrap();
    let (token, client) = (event.token().expose(), client("192.0.2.1"));
    for _ in 0..10 {
        reset.validate(token).await.unwrap();
    }
    for _ in 0..2 {
        reset.validate_for(token, &client).await.unwrap();
    }
    for token in [token, "garbage"] {
        assert!(is_throttled(&reset.validate_for(token, &client).await), "the quota comes before the token");
    }
    reset.validate(token).await.unwrap();
    reset.validate_for(token, &Client::none()).await.expect("another client has its own quota");
}

/// An application that counts by client uses the same client addresses as the endpoints.
#[tokio::test]
async fn client_returns_the_same_client_as_the_endpoints() {
    let reset = throttled().trusted_proxies(["203.0.113.0/24"]).on_reset_token_created(no_mail).build().await.unwrap();
    let mut headers = poem::http::HeaderMap::new();
    headers.insert("X-Forwarded-For", "198.51.100.7".parse().unwrap());
    for (peer, expected) in [("203.0.113.5", "198.51.100.7"), ("192.0.2.9", "192.0.2.9")] {
        let client = reset.client(peer.parse().ok(), &headers);
        assert_eq!(client.address(), expected.parse().ok());
    }
    assert_eq!(reset.client(None, &headers).address(), None);
}

/// A service whose mail server may be down, and the ids of the users who got mail.
struct Mailer {
    reset: PasswordReset,
    is_down: Arc<AtomicBool>,
    mails: Arc<AtomicUsize>,
    next_client: AtomicUsize,
}

impl Mailer {
    async fn new(
        users: impl poem_password_reset::UserStore,
        settings: impl FnOnce(PasswordResetBuilder) -> PasswordResetBuilder,
    ) -> Self {
        let (is_down, mails) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (fails, count) = (Arc::clone(&is_down), Arc::clone(&mails));
        let settings = settings(builder(users).quotas(Quotas::default().without_request_per_client()));
        let reset = settings
            .on_reset_token_created(move |_| {
                let fails = fails.load(Ordering::SeqCst);
                if !fails {
                    count.fetch_add(1, Ordering::SeqCst);
                }
                async move { if fails { Err(BoxError::from("421 try again later")) } else { Ok(()) } }
            })
            .build()
            .await
            .unwrap();
        Self { reset, is_down, mails, next_client: AtomicUsize::new(0) }
    }

    /// Sends this many requests, each from another client, and returns the number of mails.
    async fn mails_for(&self, email: &str, requests: usize) -> usize {
        let before = self.mails.load(Ordering::SeqCst);
        for _ in 0..requests {
            let number = self.next_client.fetch_add(1, Ordering::SeqCst);
            let client = client(&format!("198.51.{}.{}", number / 250, number % 250));
            self.reset.request(email, client).await.expect("the result is the same for every address");
            while self.reset.ledger().waiting > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        self.mails.load(Ordering::SeqCst) - before
    }
}

/// Runs a test with the throttle in memory and with one of the application, which implements `give_back` and `clear`.
fn throttles() -> [Option<Watching>; 2] {
    [None, Some(Watching::default())]
}

fn with(throttle: Option<Watching>) -> impl FnOnce(PasswordResetBuilder) -> PasswordResetBuilder {
    move |builder| match throttle {
        Some(throttle) => builder.throttle(throttle),
        None => builder,
    }
}

/// A user requests three mails, resets the password and forgets the new one: the next request leads to a mail again. The same
/// holds if an attacker with access to the mailbox used the mails up.
#[tokio::test]
async fn successful_confirm_clears_the_counter_of_the_address() {
    for throttle in throttles() {
        let users = people();
        let mailer = Mailer::new(users.clone(), with(throttle)).await;
        assert_eq!(mailer.mails_for("Ann@Example.com", 5).await, 3);
        let token = mailer.reset.issue(&users.get("1").unwrap(), None).unwrap();
        for (token, password) in [("garbage", GOOD_PASSWORD), (token.token().expose(), "short")] {
            assert!(mailer.reset.confirm(token, password.into(), client("192.0.2.1")).await.is_err());
            assert_eq!(mailer.mails_for("ann@example.com", 1).await, 0, "a refused confirmation clears nothing");
        }
        mailer.reset.confirm(token.token().expose(), GOOD_PASSWORD.into(), client("192.0.2.1")).await.unwrap();
        assert_eq!(mailer.mails_for("ANN@example.com", 5).await, 3);
        assert_eq!(mailer.mails_for("bob@example.com", 5).await, 3, "the counter of another address is its own");
    }
}

/// Requests fail while the mail server is down. After its recovery the next request leads to a mail.
#[tokio::test]
async fn request_with_failed_mail_gives_its_use_back() {
    for throttle in throttles() {
        let mailer = Mailer::new(people(), with(throttle)).await;
        assert_eq!(mailer.mails_for("ann@example.com", 1).await, 1);
        mailer.is_down.store(true, Ordering::SeqCst);
        assert_eq!(mailer.mails_for("ann@example.com", 20).await, 0);
        assert_eq!(mailer.reset.ledger().failed, 20, "none of them was over the quota");
        mailer.is_down.store(false, Ordering::SeqCst);
        assert_eq!(mailer.mails_for("ann@example.com", 5).await, 2, "one was used before");
        mailer.is_down.store(true, Ordering::SeqCst);
        assert_eq!(mailer.mails_for("ann@example.com", 5).await, 0);
        mailer.is_down.store(false, Ordering::SeqCst);
        assert_eq!(
            mailer.mails_for("ann@example.com", 5).await,
            0,
            "a request over the quota has nothing to give back"
        );
    }
}

/// If the store fails, the requests are lost and give their use back, also for an unknown address.
#[tokio::test(start_paused = true)]
async fn lost_request_gives_its_use_back() {
    for throttle in throttles() {
        let fails = Arc::new(AtomicBool::new(true));
        let store_fails = Arc::clone(&fails);
        let store = doubles::Watched {
            users: people(),
            calls: Arc::default(),
            before: move |call| {
                let fails = store_fails.load(Ordering::SeqCst) && call != doubles::Call::Check;
                async move { if fails { Err(BoxError::from("deadlock")) } else { Ok(()) } }
            },
        };
        let mailer = Mailer::new(store, with(throttle)).await;
        assert_eq!(mailer.mails_for("ann@example.com", 10).await, 0);
        assert_eq!(mailer.reset.ledger().lost, 10);
        fails.store(false, Ordering::SeqCst);
        assert_eq!(mailer.mails_for("ann@example.com", 5).await, 3);
    }
}

/// A request that is lost because the service shuts down gives its count back to a throttle that others share.
#[tokio::test(start_paused = true)]
async fn request_lost_in_shutdown_gives_its_use_back() {
    let shared = MemoryThrottle::new();
    let reset = throttled()
        .throttle(shared.clone())
        .handled_at_once(1)
        .on_reset_token_created(|_| std::future::pending::<()>())
        .build()
        .await
        .unwrap();
    for number in 0..3 {
        reset.request("ann@example.com", client(&format!("192.0.2.{number}"))).await.unwrap();
    }
    assert_eq!(reset.shutdown(Duration::from_secs(1)).await.lost_requests, 3);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mailer = Mailer::new(people(), |builder| builder.throttle(shared)).await;
    assert_eq!(mailer.mails_for("ann@example.com", 5).await, 3);
}

/// One of two handlers always fails. The other one sends the mail, so the use stays counted.
#[tokio::test]
async fn handler_that_always_fails_does_not_disable_the_quota() {
    let mailer = Mailer::new(people(), |builder| {
        builder.on_reset_token_created(async |_| Err::<(), _>("the audit log is full"))
    })
    .await;
    assert_eq!(mailer.mails_for("ann@example.com", 10).await, 3);
    assert_eq!((mailer.reset.ledger().failed, mailer.reset.ledger().suppressed), (3, 7));
}

/// A throttle that implements only `count` keeps its counts. A failure of `give_back` or `clear` has no other effect.
#[tokio::test(start_paused = true)]
async fn give_back_and_clear_are_optional_and_their_failures_harmless() {
    #[derive(Clone, Default)]
    struct CountsOnly(MemoryThrottle);

    impl Throttle for CountsOnly {
        type Error = std::convert::Infallible;

        async fn count(&self, key: &ThrottleKey, quota: Quota) -> Result<Verdict, Self::Error> {
            Ok(self.0.count_now(key, quota))
        }
    }

    struct Fails(MemoryThrottle, &'static str);

    impl Fails {
        async fn fail(&self) -> Result<(), BoxError> {
            match self.1 {
                "errs" => Err("READONLY".into()),
                "panics" => panic!("an injected panic"),
                _ => std::future::pending().await,
            }
        }
    }

    impl Throttle for Fails {
        type Error = BoxError;

        async fn count(&self, key: &ThrottleKey, quota: Quota) -> Result<Verdict, BoxError> {
            Ok(self.0.count_now(key, quota))
        }

        async fn give_back(&self, _: &ThrottleKey) -> Result<(), BoxError> {
            self.fail().await
        }

        async fn clear(&self, _: &ThrottleKey) -> Result<(), BoxError> {
            self.fail().await
        }
    }

    let users = people();
    let counts_only = Mailer::new(users.clone(), |builder| builder.throttle(CountsOnly::default())).await;
    let failing = |how| Mailer::new(users.clone(), move |builder| builder.throttle(Fails(MemoryThrottle::new(), how)));
    for mailer in [counts_only, failing("errs").await, failing("panics").await, failing("hangs").await] {
        mailer.is_down.store(true, Ordering::SeqCst);
        assert_eq!(mailer.mails_for("ann@example.com", 3).await, 0);
        mailer.is_down.store(false, Ordering::SeqCst);
        assert_eq!(mailer.mails_for("ann@example.com", 3).await, 0, "the counts were kept");
        let token = mailer.reset.issue(&users.get("1").unwrap(), None).unwrap();
        mailer.reset.confirm(token.token().expose(), GOOD_PASSWORD.into(), Client::none()).await.unwrap();
        assert_eq!(mailer.mails_for("ann@example.com", 3).await, 0, "the counts were kept");
        assert_eq!(mailer.mails_for("bob@example.com", 5).await, 3, "others are counted as ever");
    }
}

/// 200 users share an address: one request leads to five mails, and five requests to no more than three times as many.
#[tokio::test]
async fn users_per_address_limits_mails_and_the_rest_is_logged() {
    use poem_password_reset::StoredUser;
    use poem_password_reset::store::MemoryUsers;

    let shared =
        || MemoryUsers::new((0..200).map(|id| StoredUser::new(id, "all@example.com", Some(format!("hash {id}")))));
    for (limit, users) in [(None, 5), (Some(1), 1), (Some(7), 7), (Some(200), 200), (Some(usize::MAX), 200)] {
        let log = log::Log::default();
        let _guard = log.of_thread();
        let mailer = Mailer::new(shared(), |builder| match limit {
            Some(limit) => builder.users_per_address(limit),
            None => builder,
        })
        .await;
        assert_eq!(mailer.mails_for("all@example.com", 1).await, users, "{limit:?}");
        assert_eq!(mailer.mails_for("all@example.com", 4).await, 2 * users, "{limit:?}: two more requests");
        let line = "WARN more users share an address than get mail for one request";
        let left_out = format!("{line} left_out={} limit={users}", 200 - users);
        let lines = if users < 200 { 3 } else { 0 };
        assert_eq!(log.text().matches(&left_out).count(), lines, "{}", log.text());
        assert_eq!(log.text().matches(line).count(), lines);
    }
    // Deactivated users do not count against the limit.
    let users = shared();
    for id in 0..198 {
        users.update(&id.to_string(), |user| user.with_active(false));
    }
    assert_eq!(Mailer::new(users, |builder| builder).await.mails_for("all@example.com", 1).await, 2);
}
