//! Requests whose look-up or handler fails are tried again: after an outage every accepted request has its mail.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion")]

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/doubles.rs"]
mod doubles;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use doubles::{Call, GOOD_PASSWORD, Watched, builder, people};
use poem_password_reset::store::MemoryUsers;
use poem_password_reset::throttle::{Quota, Quotas};
use poem_password_reset::{
    BoxError, Client, Ledger, NewPassword, PasswordReset, PasswordResetBuilder, Permanent, Problem, ResetError,
    ResetTokenCreated, StoredUser, Unavailable,
};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A mail server that can be down. It records the address, the token and the time of each mail.
#[derive(Clone, Default)]
struct MailServer {
    is_down: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    mails: Arc<Mutex<Vec<(String, String)>>>,
}

impl MailServer {
    fn send(&self, event: &ResetTokenCreated) -> Result<(), BoxError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.is_down.load(Ordering::SeqCst) {
            return Err("connection refused".into());
        }
        self.mails.lock().unwrap().push((event.user().id().to_owned(), event.token().expose().to_owned()));
        Ok(())
    }

    fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Returns the ids of the users who got mail, sorted.
    fn recipients(&self) -> Vec<String> {
        let mut users: Vec<String> = self.mails.lock().unwrap().iter().map(|(user, _)| user.clone()).collect();
        users.sort();
        users
    }
}

/// A handler that sends through `server`.
fn mails_with(
    server: &MailServer,
) -> impl Fn(Arc<ResetTokenCreated>) -> std::future::Ready<Result<(), BoxError>> + Send + Sync + 'static {
    let server = server.clone();
    move |event| std::future::ready(server.send(&event))
}

/// Sets the defaults of the library, which the builder of the doubles changes.
fn with_retries(builder: PasswordResetBuilder) -> PasswordResetBuilder {
    builder.max_age(HOUR)
}

async fn request(reset: &PasswordReset, email: &str) {
    reset.request(email, Client::none()).await.unwrap();
}

/// Waits for `seconds`, and checks every half second that the ledger adds up and that nothing ends meanwhile.
async fn wait_while_all_wait(reset: &PasswordReset, seconds: u64) {
    for _ in 0..2 * seconds {
        let Ledger { accepted, waiting, .. } = reset.ledger();
        assert_eq!(waiting, accepted, "{:?}", reset.ledger());
        sleep(Duration::from_millis(500)).await;
    }
}

async fn until_none_waits(reset: &PasswordReset) {
    for _ in 0..600 {
        let ledger = reset.ledger();
        let ended = ledger.delivered + ledger.failed + ledger.ineligible + ledger.suppressed + ledger.lost;
        assert_eq!(ledger.accepted, ended + ledger.waiting, "{ledger:?}");
        if ledger.waiting == 0 {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("requests still wait: {:?}", reset.ledger());
}

fn people_without(
    call: Call,
    is_down: &Arc<AtomicBool>,
) -> Watched<impl Fn(Call) -> std::future::Ready<Result<(), BoxError>> + use<>> {
    let is_down = Arc::clone(is_down);
    let before = move |this: Call| {
        let fails = is_down.load(Ordering::SeqCst) && (this == call || this == Call::Check);
        std::future::ready(if fails { Err("connection refused".into()) } else { Ok(()) })
    };
    Watched { users: people(), calls: Arc::default(), before }
}

#[tokio::test(start_paused = true)]
async fn requests_survive_thirty_seconds_without_the_database() {
    let is_down = Arc::new(AtomicBool::new(false));
    let server = MailServer::default();
    let reset = with_retries(builder(people_without(Call::FindByEmail, &is_down)))
        .on_reset_token_created(mails_with(&server))
        .build()
        .await
        .unwrap();
    is_down.store(true, Ordering::SeqCst);
    for email in ["ann@example.com", "bob@example.com", "nobody@example.com"] {
        request(&reset, email).await;
    }
    wait_while_all_wait(&reset, 30).await;
    let refused = reset.request("ann@example.com", Client::none()).await.unwrap_err();
    assert!(matches!(refused, ResetError::Unavailable { .. }), "the store is known to be down: {refused}");
    is_down.store(false, Ordering::SeqCst);
    until_none_waits(&reset).await;
    assert_eq!(server.recipients(), ["1", "2"]);
    assert_eq!(reset.ledger(), ledger(3, |ledger| (ledger.delivered, ledger.ineligible) = (2, 1)));
}

#[tokio::test(start_paused = true)]
async fn requests_survive_thirty_seconds_without_the_mail_server() {
    let server = MailServer::default();
    let reset = with_retries(builder(people())).on_reset_token_created(mails_with(&server)).build().await.unwrap();
    server.set_down(true);
    for _ in 0..12 {
        request(&reset, "ann@example.com").await;
        request(&reset, "bob@example.com").await;
    }
    wait_while_all_wait(&reset, 30).await;
    assert!(server.recipients().is_empty());
    server.set_down(false);
    until_none_waits(&reset).await;
    assert_eq!(server.recipients().len(), 24);
    assert_eq!(reset.ledger(), ledger(24, |ledger| ledger.delivered = 24));
}

/// Returns a ledger with this number of accepted requests.
fn ledger(accepted: u64, set: impl FnOnce(&mut Ledger)) -> Ledger {
    let mut ledger = Ledger::default();
    ledger.accepted = accepted;
    set(&mut ledger);
    ledger
}

#[tokio::test(start_paused = true)]
async fn retries_follow_doubling_pauses_of_at_most_a_minute() {
    let (server, calls) = (MailServer::default(), Arc::new(Mutex::new(Vec::new())));
    server.set_down(true);
    let (start, times, handler) = (Instant::now(), Arc::clone(&calls), mails_with(&server));
    let reset = with_retries(builder(people()))
        .on_reset_token_created(move |event| {
            times.lock().unwrap().push(start.elapsed().as_secs());
            handler(event)
        })
        .build()
        .await
        .unwrap();
    request(&reset, "ann@example.com").await;
    sleep(Duration::from_secs(250)).await;
    assert_eq!(*calls.lock().unwrap(), [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
}

#[tokio::test(start_paused = true)]
async fn retry_calls_only_the_handlers_that_failed() {
    let (audit, server, last) = (MailServer::default(), MailServer::default(), MailServer::default());
    server.set_down(true);
    let reset = with_retries(builder(people()))
        .on_reset_token_created(mails_with(&audit))
        .on_reset_token_created(mails_with(&server))
        .on_reset_token_created(mails_with(&last))
        .build()
        .await
        .unwrap();
    request(&reset, "ann@example.com").await;
    wait_while_all_wait(&reset, 2).await;
    server.set_down(false);
    until_none_waits(&reset).await;
    assert_eq!((audit.calls(), server.calls(), last.calls()), (1, 3, 1));
    assert_eq!(reset.ledger(), ledger(1, |ledger| ledger.delivered = 1));
}

#[tokio::test(start_paused = true)]
async fn retry_mails_only_the_user_whose_mail_failed() {
    let users = MemoryUsers::new([
        StoredUser::new(1, "both@example.com", Some("a hash".to_owned())),
        StoredUser::new(2, "both@example.com", Some("another hash".to_owned())),
    ]);
    let server = MailServer::default();
    let (handler, failures) = (mails_with(&server), AtomicUsize::new(0));
    let reset = with_retries(builder(users))
        .on_reset_token_created(move |event: Arc<ResetTokenCreated>| {
            let fails = event.user().id() == "2" && failures.fetch_add(1, Ordering::SeqCst) < 3;
            if fails { std::future::ready(Err("busy".into())) } else { handler(event) }
        })
        .build()
        .await
        .unwrap();
    request(&reset, "both@example.com").await;
    until_none_waits(&reset).await;
    assert_eq!(server.recipients(), ["1", "2"]);
    assert_eq!(reset.ledger(), ledger(1, |ledger| ledger.delivered = 1));
}

#[tokio::test(start_paused = true)]
async fn each_try_issues_a_valid_token_of_its_own() {
    let (server, tokens) = (MailServer::default(), Arc::new(Mutex::new(Vec::new())));
    server.set_down(true);
    let (seen, handler) = (Arc::clone(&tokens), mails_with(&server));
    let start = Instant::now();
    let reset = with_retries(builder(people()))
        .clock(move || OffsetDateTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + start.elapsed())
        .on_reset_token_created(move |event: Arc<ResetTokenCreated>| {
            seen.lock().unwrap().push((event.token().expose().to_owned(), event.expires_at()));
            handler(event)
        })
        .build()
        .await
        .unwrap();
    request(&reset, "ann@example.com").await;
    wait_while_all_wait(&reset, 2).await;
    server.set_down(false);
    until_none_waits(&reset).await;
    let tokens = tokens.lock().unwrap().clone();
    let [first, .., last] = &*tokens else { panic!("{} tries", tokens.len()) };
    assert!(last.1 > first.1, "the last token is valid for longer than the first");
    assert!(reset.validate(&last.0).await.is_ok());
    reset.confirm(&last.0, NewPassword::new(GOOD_PASSWORD), Client::none()).await.unwrap();
    for (token, _) in tokens {
        assert!(reset.validate(&token).await.is_err(), "a new password invalidates the token of every try");
    }
}

#[tokio::test(start_paused = true)]
async fn permanent_error_ends_the_retries_of_its_handler_alone() {
    let (refuses, server) = (Arc::new(AtomicUsize::new(0)), MailServer::default());
    server.set_down(true);
    let calls = Arc::clone(&refuses);
    let reset = with_retries(builder(people()))
        .on_reset_token_created(move |_| {
            calls.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Err::<(), _>(Permanent::new("550 no such user")))
        })
        .on_reset_token_created(mails_with(&server))
        .build()
        .await
        .unwrap();
    request(&reset, "ann@example.com").await;
    wait_while_all_wait(&reset, 5).await;
    server.set_down(false);
    until_none_waits(&reset).await;
    assert_eq!((refuses.load(Ordering::SeqCst), server.recipients().len()), (1, 1));
    assert_eq!(reset.ledger(), ledger(1, |ledger| ledger.failed = 1));
}

#[tokio::test(start_paused = true)]
async fn permanent_error_of_every_handler_ends_the_request_and_gives_its_quota_back() {
    let once = Quotas::off().mails_per_address(Quota::per_hour(1).unwrap());
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let reset = with_retries(builder(people()))
        .quotas(once)
        .on_reset_token_created(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Err::<(), BoxError>(Permanent::new("550 no such user").into()))
        })
        .build()
        .await
        .unwrap();
    for expected in 1..=3 {
        request(&reset, "ann@example.com").await;
        until_none_waits(&reset).await;
        assert_eq!(calls.load(Ordering::SeqCst), expected);
    }
    assert_eq!(reset.ledger(), ledger(3, |ledger| ledger.failed = 3));
}

#[tokio::test(start_paused = true)]
async fn retries_end_when_the_request_is_older_than_max_age() {
    let server = MailServer::default();
    server.set_down(true);
    let once = Quotas::off().mails_per_address(Quota::per(1, 24 * HOUR).unwrap());
    let reset =
        with_retries(builder(people())).quotas(once).on_reset_token_created(mails_with(&server)).build().await.unwrap();
    request(&reset, "ann@example.com").await;
    wait_while_all_wait(&reset, 59 * 60).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(reset.ledger(), ledger(1, |ledger| ledger.failed = 1));
    // Tries at 0, 1, 3, 7, 15, 31 and 63 seconds, and then every minute until 3,543 seconds.
    assert_eq!(server.calls(), 7 + 58);
    server.set_down(false);
    request(&reset, "ann@example.com").await;
    until_none_waits(&reset).await;
    assert_eq!(server.recipients(), ["1"], "the failed request gave its quota back");
}

#[tokio::test(start_paused = true)]
async fn request_that_never_reached_the_store_is_lost_at_max_age() {
    let is_down = Arc::new(AtomicBool::new(true));
    let reset = with_retries(builder(people_without(Call::FindByEmail, &is_down)))
        .max_age(Duration::from_secs(10))
        .on_reset_token_created(doubles::no_mail)
        .build()
        .await
        .unwrap();
    request(&reset, "ann@example.com").await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(reset.ledger(), ledger(1, |ledger| ledger.lost = 1));
}

#[tokio::test(start_paused = true)]
async fn requests_that_wait_for_a_retry_fill_the_queue() {
    let server = MailServer::default();
    server.set_down(true);
    let reset = with_retries(builder(people()))
        .queue(3)
        .handled_at_once(1)
        .on_reset_token_created(mails_with(&server))
        .build()
        .await
        .unwrap();
    for _ in 0..4 {
        request(&reset, "ann@example.com").await;
        sleep(Duration::from_millis(10)).await;
    }
    for email in ["ann@example.com", "nobody@example.com"] {
        let full = reset.request(email, Client::none()).await.unwrap_err();
        assert!(matches!(full, ResetError::Unavailable { reason: Unavailable::QueueFull, .. }), "{full}");
    }
    server.set_down(false);
    until_none_waits(&reset).await;
    request(&reset, "ann@example.com").await;
    until_none_waits(&reset).await;
    assert_eq!(reset.ledger(), ledger(5, |ledger| ledger.delivered = 5));
}

#[tokio::test(start_paused = true)]
async fn shutdown_tries_waiting_requests_once_more_at_once() {
    let server = MailServer::default();
    server.set_down(true);
    let reset = with_retries(builder(people())).on_reset_token_created(mails_with(&server)).build().await.unwrap();
    for email in ["ann@example.com", "bob@example.com"] {
        request(&reset, email).await;
    }
    sleep(Duration::from_secs(40)).await;
    server.set_down(false);
    let start = Instant::now();
    assert_eq!(reset.shutdown(Duration::from_secs(30)).await.lost_requests, 0);
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(server.recipients(), ["1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn shutdown_during_an_outage_reports_waiting_requests_as_lost() {
    let server = MailServer::default();
    server.set_down(true);
    let reset = with_retries(builder(people())).on_reset_token_created(mails_with(&server)).build().await.unwrap();
    for email in ["ann@example.com", "bob@example.com", "nobody@example.com"] {
        request(&reset, email).await;
    }
    sleep(Duration::from_secs(10)).await;
    let calls = server.calls();
    assert_eq!(reset.shutdown(Duration::from_secs(30)).await.lost_requests, 2);
    assert_eq!(server.calls(), calls + 2, "each request was tried once more");
    assert_eq!(reset.ledger(), ledger(3, |ledger| (ledger.ineligible, ledger.lost) = (1, 2)));
}

#[tokio::test(start_paused = true)]
async fn password_changed_between_two_tries_is_bound_to_the_new_token() {
    let server = MailServer::default();
    server.set_down(true);
    let users = people();
    let reset = with_retries(builder(users.clone())).on_reset_token_created(mails_with(&server)).build().await.unwrap();
    request(&reset, "ann@example.com").await;
    wait_while_all_wait(&reset, 2).await;
    users.put(StoredUser::new(1, "ann@example.com", Some("another hash".to_owned())));
    server.set_down(false);
    until_none_waits(&reset).await;
    let token = server.mails.lock().unwrap()[0].1.clone();
    assert!(reset.validate(&token).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn user_deactivated_between_two_tries_gets_no_mail() {
    let server = MailServer::default();
    server.set_down(true);
    let users = people();
    let reset = with_retries(builder(users.clone())).on_reset_token_created(mails_with(&server)).build().await.unwrap();
    request(&reset, "ann@example.com").await;
    wait_while_all_wait(&reset, 2).await;
    users.put(StoredUser::new(1, "ann@example.com", Some("a hash".to_owned())).with_active(false));
    server.set_down(false);
    until_none_waits(&reset).await;
    assert!(server.recipients().is_empty());
}

#[tokio::test(start_paused = true)]
async fn failure_is_shown_by_diagnose_while_the_request_waits_for_a_retry() {
    let server = MailServer::default();
    server.set_down(true);
    let reset = with_retries(builder(people())).on_reset_token_created(mails_with(&server)).build().await.unwrap();
    request(&reset, "ann@example.com").await;
    wait_while_all_wait(&reset, 2).await;
    let failure = reset.diagnose("ann@example.com").await.last_failure().cloned().unwrap();
    assert!(failure.reason.contains("connection refused"), "{}", failure.reason);
    server.set_down(false);
    until_none_waits(&reset).await;
    assert_eq!(reset.diagnose("ann@example.com").await.last_failure(), None);
}

#[tokio::test]
async fn build_with_max_age_under_a_second_fails() {
    let max_age = Duration::from_millis(999);
    let error = builder(people()).on_reset_token_created(doubles::no_mail).max_age(max_age).build().await.unwrap_err();
    assert_eq!(error.problems(), [Problem::MaxAge { max_age }]);
}
