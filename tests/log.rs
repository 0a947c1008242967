//! The log: each event is logged once, at its level, with the fields that an operator needs.

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/doubles.rs"]
mod doubles;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/log.rs"]
mod log;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doubles::{Finds, GOOD_PASSWORD, Watched, builder, people};
use log::Log;
use poem::test::TestClient;
use poem_openapi::OpenApiService;
use poem_password_reset::throttle::{Quota, Quotas};
use poem_password_reset::{
    BoxError, Client, NewPassword, PrePasswordReset, ResetApi, ResetTokenCreated, StoredUser, Veto,
};
use tracing::{Instrument as _, info_span};

#[tokio::test(start_paused = true)]
async fn each_event_is_logged_once() {
    let log = Log::default();
    let _guard = log.of_thread();
    let (users, hangs) = (people(), Arc::new(AtomicBool::new(false)));
    let store_hangs = Arc::clone(&hangs);
    let before = move |_| {
        let hangs = store_hangs.load(Ordering::SeqCst);
        async move { if hangs { std::future::pending().await } else { Ok::<_, BoxError>(()) } }
    };
    let reset = builder(Watched { users: users.clone(), calls: Arc::default(), before })
        .quotas(
            Quotas::off()
                .mails_per_address(Quota::per_hour(1).unwrap())
                .validate_per_client(Quota::per_minute(1).unwrap()),
        )
        .on_reset_token_created(|event: Arc<ResetTokenCreated>| async move {
            if event.user().id() == "2" { Err(BoxError::from("no mail for Bob")) } else { Ok(()) }
        })
        .on_pre_password_reset(|event: Arc<PrePasswordReset>| async move {
            if event.user().id() == "2" { Err(Veto::new("Not Bob.")) } else { Ok(()) }
        })
        .build()
        .await
        .unwrap();
    let request = async |email: &str| reset.request(email, Client::none()).await.unwrap();
    let confirm = async |id: &str, passwords: &[&str]| {
        let token = reset.issue(&users.get(id).unwrap(), None).unwrap().token().expose().to_owned();
        for password in passwords {
            let _ = reset.confirm(&token, NewPassword::new(*password), Client::none()).await;
        }
    };

    for email in ["ann@example.com", "ann@example.com", "bob@example.com", "nobody@example.com"] {
        request(email).await;
    }
    while reset.ledger().waiting > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let http = TestClient::new(OpenApiService::new(ResetApi::new(reset.clone()), "Accounts", "1.0"));
    for _ in 0..2 {
        http.post("/validate_token").body_json(&serde_json::json!({"token": "garbage"})).send().await;
    }
    confirm("2", &[GOOD_PASSWORD]).await;
    confirm("1", &["short", GOOD_PASSWORD, GOOD_PASSWORD]).await;
    hangs.store(true, Ordering::SeqCst);
    request("ann@example.com").await;
    reset.shutdown(Duration::from_secs(1)).await;
    let _ = reset.request("ann@example.com", Client::none()).await;

    let text = log.text();
    let expected = [
        ("INFO password reset is ready", 1),
        ("INFO a reset was requested", 5),
        ("INFO no mail for a reset request reason=\"over_quota\" user=\"1\"", 1),
        ("INFO no mail for a reset request reason=\"failed\" user=\"2\"", 1),
        ("INFO no mail for a reset request reason=\"unknown\"", 1),
        ("ERROR a handler failed event=\"ResetTokenCreated\" handler=\"log::each_event_is_logged_once", 1),
        ("INFO a client is over its quota operation=\"validate\"", 1),
        ("INFO a reset token was refused refusal=malformed", 1),
        ("INFO a reset token was refused refusal=stale", 1),
        ("INFO a handler vetoed event=\"PrePasswordReset\" handler=\"log::each_event_is_logged_once", 1),
        ("INFO a new password was refused operation=\"confirm\"", 2),
        ("INFO a password was reset user=\"1\"", 1),
        ("WARN HttpContract is not mounted around this service", 1),
        ("WARN no mail for a reset request reason=\"lost\"", 1),
        ("INFO password reset has shut down lost_requests=1 unfinished_confirms=0", 1),
        ("WARN not available now operation=\"request\" reason=", 1),
    ];
    for (line, times) in expected {
        assert_eq!(text.matches(line).count(), times, "{line}\n{text}");
    }
    assert_eq!(text.lines().count(), expected.iter().map(|(_, times)| times).sum::<usize>(), "{text}");
}

#[tokio::test(start_paused = true)]
async fn users_with_another_address_are_logged_with_their_number() {
    let user = |id: u8, email: &str| StoredUser::new(id, email, Some("a hash".to_owned()));
    let ann = || user(1, "ann@example.com");
    let others = || [user(2, "bob@example.com"), user(3, "ann@example.org")];
    for (found, expected) in [
        (vec![], None),
        (vec![ann(), ann()], None),
        (others().to_vec(), Some("users=2")),
        ([vec![ann()], others().to_vec()].concat(), Some("users=2")),
        (vec![ann(), user(2, "bob@example.com")], Some("users=1")),
    ] {
        let log = Log::default();
        let _guard = log.of_thread();
        let reset = builder(Finds(found)).on_reset_token_created(doubles::no_mail).build().await.unwrap();
        reset.request("ann@example.com", Client::none()).await.unwrap();
        reset.shutdown(Duration::from_secs(60)).await;
        let text = log.text();
        let line = "WARN the user store found users whose address is another; they get no mail";
        assert_eq!(text.matches(line).count(), usize::from(expected.is_some()), "{text}");
        assert!(text.contains(&format!("{line} {}", expected.unwrap_or_default())) || expected.is_none(), "{text}");
    }
}

/// Background work and handlers log in the span of the request that caused them.
#[tokio::test(start_paused = true)]
async fn work_of_a_request_is_logged_in_its_span() {
    let log = Log::default();
    let _guard = log.of_thread();
    let users = people();
    let reset = builder(users.clone())
        .quotas(Quotas::off().mails_per_address(Quota::per_hour(1).unwrap()))
        .on_reset_token_created(async |_| tracing::info!("a mail"))
        .on_post_password_reset(async |_| tracing::info!("all was done"))
        .build()
        .await
        .unwrap();
    let token = reset.issue(&users.get("2").unwrap(), None).unwrap().token().expose().to_owned();
    for (number, email) in ["ann@example.com", "bob@example.com", "ann@example.com"].into_iter().enumerate() {
        reset.request(email, Client::none()).instrument(info_span!("http", number)).await.unwrap();
    }
    let confirm = reset.confirm(&token, NewPassword::new(GOOD_PASSWORD), Client::none());
    confirm.instrument(info_span!("http", number = 3)).await.unwrap();
    reset.shutdown(Duration::from_secs(60)).await;
    let text = log.text();
    for line in [
        "INFO http{number=0}: a mail",
        "INFO http{number=1}: a mail",
        "INFO http{number=2}: no mail for a reset request reason=\"over_quota\" user=\"1\"",
        "INFO http{number=3}: a password was reset",
        "INFO http{number=3}: all was done",
    ] {
        assert_eq!(text.matches(line).count(), 1, "{line}\n{text}");
    }
}

/// An accepted request without mail is logged with its reason and the user's id, but not the address.
#[tokio::test(start_paused = true)]
async fn request_without_mail_is_logged_with_reason_and_user() {
    type Change = fn(StoredUser) -> StoredUser;
    let cases: [(&str, Change, &str); 8] = [
        ("nobody@example.com", |user| user, "INFO no mail for a reset request reason=\"unknown\"\n"),
        ("carol@example.com", |user| user, "reason=\"inactive\" user=\"3\""),
        ("dave@example.com", |user| user, "reason=\"no_password\" user=\"4\""),
        (
            "ann@example.com",
            |_| StoredUser::new(1, "ann@example.com", Some("!".to_owned())),
            "reason=\"no_password\" user=\"1\"",
        ),
        ("ann@example.com", |user| user.with_active(false), "reason=\"inactive\" user=\"1\""),
        ("bob@example.com", |user| user, "reason=\"failed\" user=\"2\""),
        ("ann@example.com", |user| user, "INFO a mail\n"),
        ("over.quota@example.com", |user| user, "reason=\"over_quota\" user=\"5\""),
    ];
    for (email, change, expected) in cases {
        let log = Log::default();
        let users = people();
        users.put(StoredUser::new(5, "over.quota@example.com", Some("a hash".to_owned())));
        users.update("1", change);
        let reset = builder(users)
            .quotas(Quotas::off().mails_per_address(Quota::per_hour(1).unwrap()))
            .on_reset_token_created(|event: Arc<ResetTokenCreated>| async move {
                let fails = event.user().id() == "2";
                if fails {
                    return Err(BoxError::from("no mail for Bob"));
                }
                tracing::info!("a mail");
                Ok(())
            })
            .build()
            .await
            .unwrap();
        reset.request("over.quota@example.com", Client::none()).await.unwrap();
        while reset.ledger().waiting > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let guard = log.of_thread();
        reset.request(email, Client::none()).await.unwrap();
        while reset.ledger().waiting > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(guard);
        let text = log.text();
        assert_eq!(text.matches(expected).count(), 1, "{email}, {expected}: {text}");
        let reasons = usize::from(expected != "INFO a mail\n");
        assert_eq!(text.matches("no mail for a reset request").count(), reasons, "{email}: {text}");
        assert!(!text.contains('@'), "{email}: {text}");
    }

    // A store that ignores white space finds two users: one log line for each.
    let log = Log::default();
    let guard = log.of_thread();
    let users = [(1, " ann@example.com"), (2, "ann@example.com ")]
        .map(|(id, email)| StoredUser::new(id, email, Some("a hash".to_owned())));
    let reset = builder(Finds(users.to_vec())).on_reset_token_created(doubles::no_mail).build().await.unwrap();
    reset.request("ann@example.com", Client::none()).await.unwrap();
    reset.shutdown(Duration::from_secs(60)).await;
    drop(guard);
    for id in 1..3 {
        let line = format!("INFO no mail for a reset request reason=\"another_address\" user=\"{id}\"");
        assert_eq!(log.text().matches(&line).count(), 1, "{}", log.text());
    }
}
