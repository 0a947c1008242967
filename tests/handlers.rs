//! Handlers run in order with the values they take. A handler that fails, panics or hangs does not affect the others.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion")]

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/doubles.rs"]
mod doubles;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/log.rs"]
mod log;

use std::fmt;
use std::io;
use std::panic::panic_any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doubles::{GOOD_PASSWORD, builder, people, verifies};
use log::Log;
use poem::web::Data;
use poem_password_reset::store::MemoryUsers;
use poem_password_reset::{
    BoxError, Client, NewPassword, PasswordRefusal, PasswordReset, PasswordResetBuilder, PostPasswordReset,
    PrePasswordReset, Problem, ResetError, ResetTokenCreated, Veto, on_post_password_reset, on_pre_password_reset,
    on_reset_token_created,
};
use tokio::time::Instant;

/// The names of the handlers that ran, in order.
#[derive(Clone, Default)]
struct Ran(Arc<Mutex<Vec<&'static str>>>);

impl Ran {
    fn add(&self, name: &'static str) {
        self.0.lock().unwrap().push(name);
    }

    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// Returns a handler that records this name.
    fn handler<E>(&self, name: &'static str) -> impl Fn(Arc<E>) -> std::future::Ready<()> + Send + Sync + 'static {
        let ran = self.clone();
        move |_| {
            ran.add(name);
            std::future::ready(())
        }
    }
}

mod last {
    use super::*;

    /// Like [`Ran::handler`]. Its module sorts it after the handlers of [`failing`].
    pub(crate) fn handler(ran: &Ran) -> impl Fn(Arc<ResetTokenCreated>) -> std::future::Ready<()> + use<> {
        let ran = ran.clone();
        move |_| {
            ran.add("the last");
            std::future::ready(())
        }
    }
}

/// Returns the event, handler and reason of each failed handler in the log.
fn failures(log: &Log) -> Vec<String> {
    let text = log.text();
    let failures = text.lines().filter_map(|line| line.split_once("ERROR a handler failed "));
    failures.map(|(_, fields)| fields.to_owned()).collect()
}

/// Sends Ann a reset token. Returns whether all handlers succeeded.
async fn send(reset: &PasswordReset) -> bool {
    reset.send(&people().get("1").unwrap(), None).await.is_ok()
}

mod failing {
    use super::*;

    pub(crate) async fn fails(_: Arc<ResetTokenCreated>) -> Result<(), io::Error> {
        Err(io::Error::other("the mail server is down"))
    }

    pub(crate) async fn panics(event: Arc<ResetTokenCreated>) {
        panic!("cannot write to {} of {}", event.user().email(), event.link());
    }

    /// Panics before it returns a future.
    pub(crate) fn panics_at_once(_: Arc<ResetTokenCreated>) -> std::future::Ready<()> {
        panic!("at once");
    }

    pub(crate) async fn panics_with_a_lock(_: Arc<ResetTokenCreated>) {
        static LOCK: Mutex<()> = Mutex::new(());
        let _guard = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        panic!("with a lock");
    }

    pub(crate) struct PanicsInDrop;

    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("in drop");
            }
        }
    }

    pub(crate) async fn panics_in_drop(_: Arc<ResetTokenCreated>) {
        let _value = PanicsInDrop;
    }

    struct PanicsTwice;

    impl Drop for PanicsTwice {
        fn drop(&mut self) {
            panic_any(PanicsInDrop);
        }
    }

    /// Panics with a payload that panics when it is dropped, as does the payload of that panic.
    pub(crate) async fn panics_with_a_panic(_: Arc<ResetTokenCreated>) {
        panic_any(PanicsTwice);
    }

    pub(crate) async fn hangs(_: Arc<ResetTokenCreated>) {
        std::future::pending().await
    }

    pub(crate) async fn hangs_and_panics_in_drop(_: Arc<ResetTokenCreated>) {
        let _value = PanicsInDrop;
        std::future::pending().await
    }

    pub(crate) struct PanicsInDisplay;

    impl fmt::Debug for PanicsInDisplay {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("in display")
        }
    }

    impl fmt::Display for PanicsInDisplay {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("in display")
        }
    }

    impl std::error::Error for PanicsInDisplay {}

    pub(crate) async fn fails_with_a_panic(_: Arc<ResetTokenCreated>) -> Result<(), PanicsInDisplay> {
        Err(PanicsInDisplay)
    }
}

#[tokio::test(start_paused = true)]
async fn failed_handlers_are_logged_by_name_and_others_still_run() {
    let log = Log::default();
    let _guard = log.of_thread();
    let ran = Ran::default();
    let reset = builder(people())
        .on_reset_token_created(failing::fails)
        .on_reset_token_created(failing::panics)
        .on_reset_token_created(failing::panics_at_once)
        .on_reset_token_created(failing::panics_with_a_lock)
        .on_reset_token_created(failing::panics_in_drop)
        .on_reset_token_created(failing::panics_with_a_panic)
        .on_reset_token_created(failing::hangs)
        .on_reset_token_created(failing::hangs_and_panics_in_drop)
        .on_reset_token_created(failing::fails_with_a_panic)
        .on_reset_token_created(last::handler(&ran))
        .on_reset_token_created(ran.handler("the first"))
        .build()
        .await
        .unwrap();

    for round in 1..=3 {
        let started = Instant::now();
        assert!(!send(&reset).await, "handlers failed");
        assert_eq!(ran.take(), ["the first", "the last"], "round {round}");
        assert_eq!(started.elapsed().as_secs(), 60, "two handlers hang for 30 seconds each");
        let ledger = reset.ledger();
        assert_eq!((ledger.accepted, ledger.failed, ledger.waiting), (round, round, 0));
    }
    let failures = failures(&log);
    let expected = [
        ("fails", "the mail server is down"),
        ("fails_with_a_panic", "an error that panics when it is shown"),
        ("hangs", "the handler was not done within 30s"),
        ("hangs_and_panics_in_drop", "the handler was not done within 30s"),
        ("panics", "the handler panicked"),
        ("panics_at_once", "the handler panicked"),
        ("panics_in_drop", "the handler panicked"),
        ("panics_with_a_lock", "the handler panicked"),
        ("panics_with_a_panic", "the handler panicked"),
    ];
    let expected = expected.map(|(name, reason)| {
        format!("event=\"ResetTokenCreated\" handler=\"handlers::failing::{name}\" user=\"1\" reason=\"{reason}\"")
    });
    assert_eq!(failures.len(), 27);
    for round in failures.chunks(9) {
        assert_eq!(round, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn hanging_handler_is_dropped_after_the_timeout() {
    struct Dropped(Arc<AtomicUsize>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    let dropped = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&dropped);
    let reset = builder(people())
        .handler_timeout(Duration::from_secs(5))
        .on_reset_token_created(move |_| {
            let guard = Dropped(Arc::clone(&count));
            async move {
                std::future::pending::<()>().await;
                drop(guard);
            }
        })
        .build()
        .await
        .unwrap();
    let started = Instant::now();
    assert!(!send(&reset).await);
    assert_eq!(started.elapsed().as_secs(), 5);
    tokio::task::yield_now().await;
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

/// A blocked thread cannot be interrupted, but the caller stops waiting for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handler_that_blocks_its_thread_times_out() {
    let reset = builder(people())
        .handler_timeout(Duration::from_millis(50))
        .on_reset_token_created(async |_| std::thread::sleep(Duration::from_secs(2)))
        .build()
        .await
        .unwrap();
    let started = Instant::now();
    assert!(!send(&reset).await);
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test]
async fn handler_error_is_logged_on_one_line_without_secrets() {
    #[derive(Debug)]
    struct Smtp(io::Error);
    impl fmt::Display for Smtp {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the mail server\r\nrefused")
        }
    }
    impl std::error::Error for Smtp {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    let log = Log::default();
    let _guard = log.of_thread();
    let reset = builder(people())
        .on_reset_token_created(|event: Arc<ResetTokenCreated>| async move {
            let address = event.user().email();
            let quoted = format!("550 <{address}>\n/send?to={}: {}", address.replace('@', "%40"), event.link());
            Err::<(), _>(Smtp(io::Error::other(quoted + &"!".repeat(1000))))
        })
        .build()
        .await
        .unwrap();
    assert!(!send(&reset).await);
    let [failure] = failures(&log).try_into().unwrap();
    let reason = failure.split_once("reason=").unwrap().1;
    let begin =
        "the mail server  refused: 550 <[..]> /send?to=[..]: https://app.example.com/reset-password#token=[..]!!";
    assert!(reason.starts_with(&format!("\"{begin}")), "{reason}");
    assert_eq!(reason.len(), 502, "{reason}");
    assert!(!log.text().contains("ann@"), "{}", log.text());
}

/// The annotated handlers of this test program.
mod annotated {
    use super::*;

    pub(crate) struct Region(pub(crate) &'static str);
    pub(crate) struct Campaign(pub(crate) &'static str);
    /// Is not `Clone`: values are injected by reference.
    pub(crate) struct Rules(pub(crate) &'static str);

    #[on_reset_token_created(priority = 1)]
    async fn a_late(_: &ResetTokenCreated, ran: &Ran) {
        ran.add("a_late");
    }

    #[on_reset_token_created]
    async fn b_optional(_: &ResetTokenCreated, ran: &Ran, campaign: Option<&Campaign>) {
        ran.add(campaign.map_or("b_optional: none", |campaign| campaign.0));
    }

    #[on_reset_token_created]
    async fn c_optional_data(_: &ResetTokenCreated, ran: Data<&Ran>, campaign: Option<Data<&Campaign>>) {
        ran.add(campaign.map_or("c_optional_data: none", |campaign| campaign.0.0));
    }

    #[on_reset_token_created]
    async fn a_required(event: &ResetTokenCreated, ran: &Ran, region: &Region, Data(same): Data<&Region>, _: &Region) {
        assert_eq!(event.user().email(), "ann@example.com");
        assert!(std::ptr::eq(region, same), "both styles borrow one value");
        ran.add(region.0);
    }

    #[on_reset_token_created(priority = i32::MIN)]
    async fn z_first(_: &ResetTokenCreated, ran: &Ran) -> Result<(), BoxError> {
        ran.add("z_first");
        Ok(())
    }

    #[on_pre_password_reset]
    async fn check_rules(_: &PrePasswordReset, Data(rules): Data<&Rules>, ran: &Ran) -> Result<(), Veto> {
        ran.add("check_rules");
        if rules.0.is_empty() { Ok(()) } else { Err(Veto::new(rules.0)) }
    }

    #[on_post_password_reset]
    async fn notify(_: &PostPasswordReset, ran: &Ran) {
        ran.add("notify");
    }
}
use annotated::{Campaign, Region, Rules};

#[tokio::test]
async fn handlers_run_by_priority_then_name_with_their_values() {
    let ran = Ran::default();
    let linked = |users: MemoryUsers| {
        builder(users)
            .linked_handlers(true)
            .data(Region("replaced by the second value of this type"))
            .data(ran.clone())
            .data(Rules(""))
            .data(Region("a_required"))
            .on_reset_token_created(ran.handler("a closure, named handlers::Ran::handler"))
    };
    let all = |[borrowed, data]: [&'static str; 2]| {
        ["z_first", "a closure, named handlers::Ran::handler", "a_required", borrowed, data, "a_late"]
    };
    assert!(send(&linked(people()).build().await.unwrap()).await);
    assert_eq!(ran.take(), all(["b_optional: none", "c_optional_data: none"]));
    assert!(send(&linked(people()).data(Campaign("spring")).build().await.unwrap()).await);
    assert_eq!(ran.take(), all(["spring", "spring"]));
    // Another service in the same process does not call the annotated handlers.
    assert!(send(&linked(people()).linked_handlers(false).build().await.unwrap()).await);
    assert_eq!(ran.take(), ["a closure, named handlers::Ran::handler"]);
}

#[tokio::test]
async fn build_with_missing_values_lists_type_handler_and_location() {
    let error = builder(people()).linked_handlers(true).data(Ran::default()).build().await.unwrap_err();
    let mut missing = error.problems().to_vec();
    missing.sort_by_key(ToString::to_string);
    let [region, rules] = missing.try_into().unwrap();
    let line_of = |text: &str| {
        let lines = include_str!("handlers.rs").lines();
        lines.zip(1..).skip_while(|(line, _)| !line.starts_with("mod annotated")).find(|(line, _)| line.contains(text))
    };
    let problem = |wanted, handler: &str, function| {
        // The location is that of the attribute, one line above.
        let line = line_of(function).unwrap().1 - 1;
        Problem::MissingData { wanted, handler: handler.to_owned(), location: format!("tests/handlers.rs:{line}") }
    };
    assert_eq!(region, problem("handlers::annotated::Region", "handlers::annotated::a_required", "fn a_required"));
    assert_eq!(rules, problem("handlers::annotated::Rules", "handlers::annotated::check_rules", "fn check_rules"));
    let text = error.to_string();
    assert!(text.contains("no value of type handlers::annotated::Region, needed by handlers::annotated::a_required ("));

    // A missing value is listed once for each handler that takes it.
    let error = builder(people()).linked_handlers(true).data(Rules("")).data(Region("")).build().await.unwrap_err();
    assert_eq!(error.problems().len(), 7, "{error}");
}

#[tokio::test]
async fn build_logs_the_handlers_by_name_in_order() {
    let log = Log::default();
    let guard = log.of_thread();
    let with = |builder: PasswordResetBuilder| builder.data(Ran::default()).data(Rules("")).data(Region("")).build();
    with(builder(people()).linked_handlers(true).on_post_password_reset(async |_| {})).await.unwrap();
    drop(guard);
    let text = log.text();
    let names = ["z_first", "a_required", "b_optional", "c_optional_data", "a_late", "check_rules", "notify"];
    let places: Vec<_> = names.iter().map(|name| text.find(&format!("handlers::annotated::{name} ("))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");
    assert!(
        text.contains("build_logs_the_handlers_by_name_in_order::{{closure}}::{{closure}} (tests/handlers.rs:"),
        "{text}"
    );
}

/// Confirms a new password for Ann.
async fn confirm(reset: &PasswordReset, users: &MemoryUsers) -> Result<(), ResetError> {
    let event = reset.issue(&users.get("1").unwrap(), None).unwrap();
    reset.confirm(event.token().expose(), NewPassword::new(GOOD_PASSWORD), Client::none()).await.map(drop)
}

fn has_new_password(users: &MemoryUsers) -> bool {
    verifies(&users.get("1").unwrap(), GOOD_PASSWORD)
}

#[tokio::test]
async fn first_veto_ends_the_reset() {
    let users = people();
    let ran = Ran::default();
    let linked =
        |rules| builder(users.clone()).linked_handlers(true).data(ran.clone()).data(Region("")).data(Rules(rules));
    let vetoing = linked("Not before noon.").on_pre_password_reset(last_before_reset(&ran)).build().await.unwrap();
    match confirm(&vetoing, &users).await.unwrap_err() {
        ResetError::PasswordRefused(reasons) => {
            assert_eq!(reasons, [PasswordRefusal::Custom("Not before noon.".to_owned())])
        }
        error => panic!("{error:?}"),
    }
    vetoing.shutdown(Duration::from_secs(10)).await;
    assert_eq!(ran.take(), ["check_rules"], "later handlers and those of the next event do not run");
    assert!(!has_new_password(&users));

    let allowing = linked("").on_pre_password_reset(last_before_reset(&ran)).build().await.unwrap();
    confirm(&allowing, &users).await.unwrap();
    allowing.shutdown(Duration::from_secs(10)).await;
    assert_eq!(ran.take(), ["check_rules", "last_before_reset", "notify"]);
    assert!(has_new_password(&users));
}

fn last_before_reset(ran: &Ran) -> impl Fn(Arc<PrePasswordReset>) -> std::future::Ready<()> + use<> {
    let ran = ran.clone();
    move |_| {
        ran.add("last_before_reset");
        std::future::ready(())
    }
}

#[tokio::test(start_paused = true)]
async fn pre_handler_that_panics_or_hangs_fails_the_reset() {
    let log = Log::default();
    let _guard = log.of_thread();
    let users = people();
    let reset = builder(users.clone())
        .on_reset_token_created(doubles::no_mail)
        .on_pre_password_reset(|event: Arc<PrePasswordReset>| async move { panic!("{}", event.user().email()) as () })
        .build()
        .await
        .unwrap();
    let error = confirm(&reset, &users).await.unwrap_err();
    assert!(
        matches!(&error, ResetError::Failed(error) if error.expose().to_string() == "the handler panicked"),
        "{error:?}"
    );

    let reset = builder(users.clone())
        .on_reset_token_created(doubles::no_mail)
        .on_pre_password_reset(|_| std::future::pending::<()>())
        .build()
        .await
        .unwrap();
    let error = confirm(&reset, &users).await.unwrap_err();
    assert!(matches!(&error, ResetError::Failed(error) if error.expose().to_string().contains("not done within 30s")));
    assert!(!has_new_password(&users));
    assert_eq!(failures(&log).len(), 2, "{}", log.text());
    assert!(
        failures(&log)
            .iter()
            .all(|failure| failure.starts_with("event=\"PrePasswordReset\" handler=\"handlers::pre_handler_"))
    );
    assert!(!log.text().contains("ann@"), "{}", log.text());
}

#[tokio::test]
async fn pre_and_post_handler_errors_are_logged_without_the_address() {
    let log = Log::default();
    let _guard = log.of_thread();
    let users = people();
    let builder = || builder(users.clone()).on_reset_token_created(doubles::no_mail);
    let reset = builder()
        .on_pre_password_reset(async |event: Arc<PrePasswordReset>| {
            Err::<(), _>(format!("before {:?}", event.user().email()))
        })
        .build()
        .await
        .unwrap();
    assert!(matches!(confirm(&reset, &users).await, Err(ResetError::Failed(_))));
    let reset = builder()
        .on_post_password_reset(async |event: Arc<PostPasswordReset>| {
            Err::<(), _>(format!("after {}", event.user().email()))
        })
        .build()
        .await
        .unwrap();
    confirm(&reset, &users).await.unwrap();
    reset.shutdown(Duration::from_secs(10)).await;
    let failures = failures(&log);
    assert_eq!(failures.len(), 2, "{failures:?}");
    assert!(failures[0].ends_with(r#"reason="before \"[..]\"""#), "{failures:?}");
    assert!(failures[1].ends_with(r#"reason="after [..]""#), "{failures:?}");
}

#[tokio::test]
async fn reset_stands_if_post_handlers_fail() {
    let users = people();
    let ran = Ran::default();
    let reset = builder(users.clone())
        .on_reset_token_created(doubles::no_mail)
        .on_post_password_reset(|_| async { Err::<(), _>("no notice") })
        .on_post_password_reset(|_| async { panic!("no notice") as () })
        .on_post_password_reset(ran.handler("last"))
        .build()
        .await
        .unwrap();
    confirm(&reset, &users).await.unwrap();
    reset.shutdown(Duration::from_secs(10)).await;
    assert_eq!(ran.take(), ["last"]);
    assert!(has_new_password(&users));
}
