//! A `Delivery` of the application: requests wait there, and its workers call `PasswordReset::deliver`.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion")]

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/doubles.rs"]
mod doubles;

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use doubles::{Call, Watched, builder, no_mail, people};
use poem_password_reset::delivery::{AcceptedRequest, Delivered, Delivery, DeliveryError};
use poem_password_reset::throttle::{Quota, Quotas};
use poem_password_reset::{
    BoxError, Client, Ledger, PasswordReset, Permanent, Problem, ResetError, ResetTokenCreated, StoredUser, Unavailable,
};
use time::OffsetDateTime;
use tokio::time::Instant;

/// A job engine that keeps jobs in memory, as JSON.
#[derive(Clone, Default)]
struct Engine {
    jobs: Arc<Mutex<Vec<String>>>,
    fault: Arc<Mutex<Option<Fault>>>,
}

#[derive(Clone, Copy)]
enum Fault {
    Errs,
    Panics,
    Hangs,
}

impl Engine {
    fn set(&self, fault: impl Into<Option<Fault>>) {
        *self.fault.lock().unwrap() = fault.into();
    }

    fn take(&self) -> AcceptedRequest {
        let job = self.jobs.lock().unwrap().pop().expect("a request waits");
        serde_json::from_str(&job).unwrap()
    }

    fn waiting(&self) -> usize {
        self.jobs.lock().unwrap().len()
    }
}

impl Delivery for Engine {
    type Error = BoxError;

    async fn enqueue(&self, request: AcceptedRequest) -> Result<(), BoxError> {
        let fault = *self.fault.lock().unwrap();
        match fault {
            Some(Fault::Errs) => Err(format!("cannot store {}", serde_json::to_string(&request)?).into()),
            Some(Fault::Panics) => panic!("an injected panic"),
            Some(Fault::Hangs) => pending().await,
            None => {
                self.jobs.lock().unwrap().push(serde_json::to_string(&request)?);
                Ok(())
            }
        }
    }

    async fn check_at_start(&self) -> Result<(), BoxError> {
        let fails = self.fault.lock().unwrap().is_some();
        if fails { Err("connection refused".into()) } else { Ok(()) }
    }
}

async fn request(reset: &PasswordReset, email: &str) {
    reset.request(email, Client::none()).await.unwrap();
}

/// The error with which a handler fails, if any.
type Fails = Arc<Mutex<Option<fn() -> BoxError>>>;

/// A handler that fails with the error of `fails` and counts its calls.
fn handler(
    calls: &Arc<AtomicUsize>,
    fails: &Fails,
) -> impl Fn(Arc<ResetTokenCreated>) -> std::future::Ready<Result<(), BoxError>> + Send + Sync + 'static + use<> {
    let (calls, fails) = (Arc::clone(calls), Arc::clone(fails));
    move |_| {
        calls.fetch_add(1, Ordering::SeqCst);
        let error = *fails.lock().unwrap();
        std::future::ready(error.map_or(Ok(()), |error| Err(error())))
    }
}

#[tokio::test]
async fn request_is_stored_with_the_delivery_and_mailed_when_it_is_delivered() {
    let (engine, calls) = (Engine::default(), Arc::default());
    let reset = builder(people())
        .on_reset_token_created(handler(&calls, &Arc::default()))
        .delivery(engine.clone())
        .build()
        .await
        .unwrap();
    for (email, expected) in [
        ("Ann@Example.com", Delivered::Mailed),
        ("nobody@example.com", Delivered::Ineligible),
        ("carol@example.com", Delivered::Ineligible),
        ("dave@example.com", Delivered::Ineligible),
    ] {
        request(&reset, email).await;
        assert_eq!(reset.deliver(engine.take()).await, Ok(expected), "{email}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let mut expected = Ledger::default();
    (expected.accepted, expected.delivered, expected.ineligible) = (4, 1, 3);
    assert_eq!(reset.ledger(), expected);
}

#[tokio::test]
async fn stored_request_is_delivered_by_another_instance() {
    let (engine, calls) = (Engine::default(), Arc::default());
    let instance = async || {
        let handler = handler(&calls, &Arc::default());
        builder(people()).on_reset_token_created(handler).delivery(engine.clone()).build().await.unwrap()
    };
    let (one, other) = (instance().await, instance().await);
    request(&one, "ann@example.com").await;
    assert_eq!(one.ledger(), Ledger::default());
    assert_eq!(other.deliver(engine.take()).await, Ok(Delivered::Mailed));
    assert_eq!((one.ledger(), other.ledger().delivered), (Ledger::default(), 1));
}

#[tokio::test]
async fn stored_form_contains_no_token() {
    let engine = Engine::default();
    let reset = builder(people()).on_reset_token_created(no_mail).delivery(engine.clone()).build().await.unwrap();
    let client = Client::new(Some([192, 0, 2, 7].into()), Some("a browser"));
    reset.request(" Ann@Example.com ", client).await.unwrap();
    let job: serde_json::Value = serde_json::from_str(&engine.jobs.lock().unwrap()[0]).unwrap();
    let accepted_at = job["accepted_at"].as_i64().unwrap();
    assert!((OffsetDateTime::now_utc().unix_timestamp() - accepted_at).abs() < 600, "{accepted_at}");
    let expected = serde_json::json!({
        "version": 1, "email": "Ann@Example.com", "client_address": "192.0.2.7", "user_agent": "a browser",
        "accepted_at": accepted_at, "over_quota": false, "counted_in": null,
    });
    assert_eq!(job, expected);
}

#[tokio::test]
async fn request_over_the_address_quota_is_stored_too_and_suppressed_when_it_is_delivered() {
    let engine = Engine::default();
    let reset = builder(people())
        .quotas(Quotas::off().mails_per_address(Quota::per_hour(1).unwrap()))
        .on_reset_token_created(no_mail)
        .delivery(engine.clone())
        .build()
        .await
        .unwrap();
    for expected in [Delivered::Mailed, Delivered::Suppressed] {
        request(&reset, "ann@example.com").await;
        assert_eq!(reset.deliver(engine.take()).await, Ok(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn faulty_delivery_is_answered_503_for_every_address_and_counts_no_use() {
    let engine = Engine::default();
    let once = Quota::per_hour(1).unwrap();
    let reset = builder(people())
        .quotas(Quotas::off().mails_per_address(once).request_per_client(once))
        .on_reset_token_created(no_mail)
        .delivery(engine.clone())
        .build()
        .await
        .unwrap();
    let client = Client::new(Some([192, 0, 2, 7].into()), None);
    for fault in [Fault::Errs, Fault::Panics, Fault::Hangs] {
        engine.set(fault);
        for email in ["ann@example.com", "nobody@example.com"] {
            let start = Instant::now();
            let error = reset.request(email, client.clone()).await.unwrap_err();
            let expected = Unavailable::DeliveryDown;
            assert!(matches!(error, ResetError::Unavailable { reason, .. } if reason == expected), "{error}");
            assert!(start.elapsed() <= Duration::from_secs(5), "{:?}", start.elapsed());
        }
    }
    engine.set(None);
    reset.request("ann@example.com", client.clone()).await.unwrap();
    assert_eq!(reset.deliver(engine.take()).await, Ok(Delivered::Mailed), "no use of the address was counted");
    let throttled = reset.request("ann@example.com", client).await.unwrap_err();
    assert!(matches!(throttled, ResetError::Throttled { .. }), "the quota works: {throttled}");
}

#[tokio::test]
async fn failed_handler_is_an_error_without_address_and_token_and_every_try_calls_it_again() {
    let (engine, calls) = (Engine::default(), Arc::default());
    let fails = Fails::default();
    let reset = builder(people())
        .on_reset_token_created(handler(&calls, &fails))
        .delivery(engine.clone())
        .build()
        .await
        .unwrap();
    request(&reset, "ann@example.com").await;
    let job = engine.take();
    *fails.lock().unwrap() = Some(|| "no route to ann@example.com".into());
    for _ in 0..2 {
        let error = reset.deliver(job.clone()).await.unwrap_err();
        assert!(matches!(error, DeliveryError::Handler { .. }), "{error}");
        assert!(error.to_string().contains("no route to") && !error.to_string().contains("ann@"), "{error}");
        assert_eq!(reset.ledger(), Ledger::default(), "the job engine still has the request");
    }
    *fails.lock().unwrap() = None;
    assert_eq!(reset.deliver(job).await, Ok(Delivered::Mailed));
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn permanent_error_of_a_handler_ends_the_request_and_gives_its_quota_back() {
    let engine = Engine::default();
    let fails = Fails::default();
    *fails.lock().unwrap() = Some(|| Permanent::new("550 no such user").into());
    let reset = builder(people())
        .quotas(Quotas::off().mails_per_address(Quota::per_hour(1).unwrap()))
        .on_reset_token_created(handler(&Arc::default(), &fails))
        .delivery(engine.clone())
        .build()
        .await
        .unwrap();
    for _ in 0..3 {
        request(&reset, "ann@example.com").await;
        assert_eq!(reset.deliver(engine.take()).await, Ok(Delivered::Failed));
    }
    assert_eq!(reset.ledger().failed, 3);
}

#[tokio::test]
async fn failed_store_is_an_error_and_the_request_can_be_delivered_later() {
    let (engine, is_down) = (Engine::default(), Arc::new(AtomicBool::new(false)));
    let fails = Arc::clone(&is_down);
    let before = move |call| {
        let fails = call == Call::FindByEmail && fails.load(Ordering::SeqCst);
        std::future::ready(if fails { Err(BoxError::from("no row ann@example.com")) } else { Ok(()) })
    };
    let reset = builder(Watched { users: people(), calls: Arc::default(), before })
        .on_reset_token_created(no_mail)
        .delivery(engine.clone())
        .build()
        .await
        .unwrap();
    request(&reset, "ann@example.com").await;
    let job = engine.take();
    is_down.store(true, Ordering::SeqCst);
    let error = reset.deliver(job.clone()).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Store { .. }) && !error.to_string().contains("ann@"), "{error}");
    is_down.store(false, Ordering::SeqCst);
    assert_eq!(reset.deliver(job).await, Ok(Delivered::Mailed));
}

#[tokio::test]
async fn request_older_than_max_age_is_dropped() {
    let (engine, calls) = (Engine::default(), Arc::default());
    let seconds = Arc::new(AtomicUsize::new(0));
    let clock = Arc::clone(&seconds);
    let reset = builder(people())
        .max_age(Duration::from_secs(3600))
        .clock(move || {
            let seconds = 1_800_000_000 + clock.load(Ordering::SeqCst);
            OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).unwrap()).unwrap()
        })
        .on_reset_token_created(handler(&calls, &Arc::default()))
        .delivery(engine.clone())
        .build()
        .await
        .unwrap();
    request(&reset, "ann@example.com").await;
    let job = engine.take();
    seconds.store(3599, Ordering::SeqCst);
    assert_eq!(reset.deliver(job.clone()).await, Ok(Delivered::Mailed));
    seconds.store(3600, Ordering::SeqCst);
    assert_eq!(reset.deliver(job).await, Ok(Delivered::TooOld));
    assert_eq!((calls.load(Ordering::SeqCst), reset.ledger().lost), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_running_deliveries_and_refuses_new_ones() {
    let engine = Engine::default();
    let reset = builder(people())
        .on_reset_token_created(|_| tokio::time::sleep(Duration::from_secs(10)))
        .delivery(engine.clone())
        .build()
        .await
        .unwrap();
    for _ in 0..2 {
        request(&reset, "ann@example.com").await;
    }
    let (running, job) = (engine.take(), engine.take());
    let running = tokio::spawn({
        let reset = reset.clone();
        async move { reset.deliver(running).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    assert_eq!(reset.shutdown(Duration::from_secs(30)).await.lost_requests, 0);
    assert_eq!(start.elapsed(), Duration::from_secs(9));
    assert_eq!(running.await.unwrap(), Ok(Delivered::Mailed));
    assert_eq!(reset.deliver(job).await, Err(DeliveryError::ShuttingDown));
    let refused = reset.request("ann@example.com", Client::none()).await.unwrap_err();
    assert!(matches!(refused, ResetError::Unavailable { reason: Unavailable::ShuttingDown, .. }), "{refused}");
    assert_eq!(engine.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn dropped_delivery_aborts_the_handler_and_is_not_counted() {
    let engine = Engine::default();
    let reset =
        builder(people()).on_reset_token_created(|_| pending::<()>()).delivery(engine.clone()).build().await.unwrap();
    request(&reset, "ann@example.com").await;
    let deliver = reset.deliver(engine.take());
    assert!(tokio::time::timeout(Duration::from_secs(1), deliver).await.is_err());
    assert_eq!(reset.ledger(), Ledger::default());
    assert_eq!(reset.shutdown(Duration::ZERO).await.lost_requests, 0);
}

#[tokio::test]
async fn build_with_an_unreachable_delivery_fails() {
    let engine = Engine::default();
    engine.set(Fault::Errs);
    let error = builder(people()).on_reset_token_created(no_mail).delivery(engine.clone()).build().await.unwrap_err();
    assert_eq!(error.problems(), [Problem::DeliveryFails { reason: "connection refused".to_owned() }]);
    let unchecked = builder(people()).on_reset_token_created(no_mail).delivery(engine).check_at_start(false);
    assert!(unchecked.build().await.is_ok());
}

#[tokio::test]
async fn send_from_code_does_not_use_the_delivery() {
    let (engine, calls) = (Engine::default(), Arc::default());
    let reset = builder(people())
        .on_reset_token_created(handler(&calls, &Arc::default()))
        .delivery(engine.clone())
        .build()
        .await
        .unwrap();
    reset.send(&StoredUser::new(1, "ann@example.com", Some("a hash".to_owned())), None).await.unwrap();
    assert_eq!((calls.load(Ordering::SeqCst), engine.waiting()), (1, 0));
}
