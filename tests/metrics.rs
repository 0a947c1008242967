//! Metrics: every operation, refusal, failure and loss is counted once. No client can create a label.

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/doubles.rs"]
mod doubles;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use doubles::{GOOD_PASSWORD, Watched, builder, people};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use poem_password_reset::throttle::{Quota, Quotas, Throttle, ThrottleKey, Verdict};
use poem_password_reset::{
    BoxError, Client, NewPassword, PasswordReset, PasswordResetBuilder, PrePasswordReset, ResetTokenCreated, Veto,
};

/// Keeps every series by name and labels.
#[derive(Default)]
struct Counts(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Counts {
    fn series(&self, key: &Key) -> Arc<AtomicU64> {
        let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = key.name().strip_prefix("password_reset_").expect("one prefix for all");
        Arc::clone(self.0.lock().unwrap().entry(format!("{name} {}", labels.join(" "))).or_default())
    }

    /// Returns all series that are not zero. A gauge holds a float.
    fn all(&self) -> BTreeMap<String, u64> {
        let all = self.0.lock().unwrap();
        let value = |name: &str, bits: u64| if name.contains("waiting") { f64::from_bits(bits) as u64 } else { bits };
        let all = all.iter().map(|(name, count)| (name.trim().to_owned(), value(name, count.load(Ordering::SeqCst))));
        all.filter(|(_, count)| *count > 0).collect()
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, description: SharedString) {
        assert!(!description.is_empty(), "{}", name.as_str());
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, description: SharedString) {
        assert!(!description.is_empty(), "{}", name.as_str());
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.series(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        panic!("nothing is measured in a histogram, not even {}", key.name())
    }
}

/// Runs `work` on this thread and returns the counts.
fn counted(work: impl Future<Output = ()>) -> BTreeMap<String, u64> {
    let counts = Counts::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    metrics::with_local_recorder(&counts, || runtime.block_on(work));
    counts.all()
}

fn expected(series: &[(&str, u64)]) -> BTreeMap<String, u64> {
    series.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn with_mail(users: impl poem_password_reset::UserStore) -> PasswordResetBuilder {
    builder(users).on_reset_token_created(|event: Arc<ResetTokenCreated>| async move {
        match event.user().id() {
            "2" => Err(BoxError::from("no mail for Bob")),
            _ => Ok(()),
        }
    })
}

async fn confirm(reset: &PasswordReset, token: &str, password: &str) {
    let _ = reset.confirm(token, NewPassword::from(password.to_owned()), Client::none()).await;
}

#[test]
fn requests_are_counted_by_result_and_outcome() {
    let counts = counted(async {
        let quotas = Quotas::off().mails_per_address(Quota::per_hour(1).unwrap());
        let reset = with_mail(people()).quotas(quotas).build().await.unwrap();
        for email in ["ann@example.com", "ann@example.com", "bob@example.com", "nobody@example.com", "no address"] {
            let _ = reset.request(email, Client::none()).await;
        }
        reset.shutdown(Duration::from_secs(60)).await;
        let _ = reset.request("ann@example.com", Client::none()).await;
    });
    let failed = counts.keys().find(|name| name.starts_with("failed_handlers_total")).expect("Bob's").clone();
    assert!(failed.starts_with("failed_handlers_total event=ResetTokenCreated handler=metrics::"), "{failed}");
    let all = expected(&[
        ("operations_total operation=request result=ok", 4),
        ("operations_total operation=request result=invalid_email", 1),
        ("operations_total operation=request result=shutting_down", 1),
        ("requests_total outcome=delivered", 1),
        ("requests_total outcome=suppressed", 1),
        ("requests_total outcome=failed", 1),
        ("requests_total outcome=ineligible", 1),
        (&failed, 1),
    ]);
    assert_eq!(counts, all);
}

#[test]
fn waiting_requests_are_a_gauge_and_lost_requests_a_counter() {
    let hangs = async |_| std::future::pending::<Result<(), BoxError>>().await;
    let counts = counted(async move {
        let store = Watched { users: people(), calls: Arc::default(), before: hangs };
        let reset = with_mail(store).build().await.unwrap();
        for _ in 0..3 {
            reset.request("ann@example.com", Client::none()).await.unwrap();
        }
    });
    assert_eq!(counts["requests_waiting"], 3);

    let counts = counted(async move {
        let store = Watched { users: people(), calls: Arc::default(), before: hangs };
        let reset = with_mail(store).build().await.unwrap();
        reset.request("ann@example.com", Client::none()).await.unwrap();
        assert_eq!(reset.shutdown(Duration::from_secs(1)).await.lost_requests, 1);
    });
    assert_eq!(
        counts,
        expected(&[("operations_total operation=request result=ok", 1), ("requests_total outcome=lost", 1)])
    );
}

#[test]
fn validations_and_confirms_are_counted_by_result_and_refusal() {
    let counts = counted(async {
        let users = people();
        let reset = with_mail(users.clone())
            .on_pre_password_reset(|event: Arc<PrePasswordReset>| async move {
                match event.user().id() {
                    "2" => Err(Veto::new("Not Bob.")),
                    _ => Ok(()),
                }
            })
            .build()
            .await
            .unwrap();
        let token = |id: &str| {
            use poem_password_reset::store::MemoryUsers;
            let user = MemoryUsers::get(&users, id).expect("one of the people");
            reset.issue(&user, None).unwrap().token().expose().to_owned()
        };
        let (ann, bob) = (token("1"), token("2"));
        let _ = reset.validate(&ann).await;
        let _ = reset.validate("garbage").await;
        confirm(&reset, "garbage", GOOD_PASSWORD).await;
        confirm(&reset, &ann, "short").await;
        confirm(&reset, &bob, GOOD_PASSWORD).await;
        confirm(&reset, &ann, GOOD_PASSWORD).await;
        confirm(&reset, &ann, GOOD_PASSWORD).await;
    });
    let all = expected(&[
        ("operations_total operation=validate result=ok", 1),
        ("operations_total operation=validate result=invalid_token", 1),
        ("operations_total operation=confirm result=ok", 1),
        ("operations_total operation=confirm result=invalid_token", 2),
        ("operations_total operation=confirm result=password_refused", 2),
        ("refused_tokens_total refusal=malformed", 2),
        ("refused_tokens_total refusal=stale", 1),
    ]);
    assert_eq!(counts, all);
}

/// A confirm is counted even if the caller drops it or the store panics.
#[test]
fn confirm_is_counted_if_the_caller_drops_it() {
    let panics = Arc::new(AtomicBool::new(false));
    let counts = counted(async {
        let (users, store_panics) = (people(), Arc::clone(&panics));
        let before = move |call| {
            let panics = call == doubles::Call::ReplacePassword && store_panics.load(Ordering::SeqCst);
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                assert!(!panics, "an injected fault");
                Ok(())
            }
        };
        let reset = with_mail(Watched { users: users.clone(), calls: Arc::default(), before }).build().await.unwrap();
        let ann = reset.issue(&users.get("1").unwrap(), None).unwrap();
        let bob = reset.issue(&users.get("2").unwrap(), None).unwrap();
        let confirmed = confirm(&reset, ann.token().expose(), GOOD_PASSWORD);
        assert!(tokio::time::timeout(Duration::from_millis(1500), confirmed).await.is_err(), "gone too early");
        tokio::time::sleep(Duration::from_secs(60)).await;
        panics.store(true, Ordering::SeqCst);
        confirm(&reset, bob.token().expose(), GOOD_PASSWORD).await;
    });
    let all = expected(&[
        ("operations_total operation=confirm result=ok", 1),
        ("operations_total operation=confirm result=unknown_outcome", 1),
    ]);
    assert_eq!(counts, all);
}

struct Broken;

impl Throttle for Broken {
    type Error = BoxError;

    async fn count(&self, _: &ThrottleKey, _: Quota) -> Result<Verdict, BoxError> {
        Err("no counters today".into())
    }
}

#[test]
fn throttled_clients_and_failed_throttles_are_counted() {
    let counts = counted(async {
        let quotas = Quotas::off().validate_per_client(Quota::per_minute(1).unwrap());
        let users = people();
        let reset = with_mail(users).quotas(quotas).throttle(Broken).build().await.unwrap();
        let api = poem_openapi::OpenApiService::new(poem_password_reset::ResetApi::new(reset), "Accounts", "1.0");
        let client = poem::test::TestClient::new(api);
        for _ in 0..3 {
            client.post("/validate_token").body_json(&serde_json::json!({"token": "garbage"})).send().await;
        }
    });
    let all = expected(&[
        ("operations_total operation=validate result=invalid_token", 1),
        ("operations_total operation=validate result=throttled", 2),
        ("refused_tokens_total refusal=malformed", 1),
        ("throttle_failures_total", 1),
    ]);
    assert_eq!(counts, all);
}
