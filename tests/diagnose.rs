//! The operation **diagnose**: it reports every reason for missing mail and changes nothing.

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/doubles.rs"]
mod doubles;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use doubles::{Call, Finds, Watched, builder, no_mail, people};
use poem_password_reset::store::MemoryUsers;
use poem_password_reset::throttle::{MemoryThrottle, Quota, Quotas, Throttle, ThrottleKey, Verdict};
use poem_password_reset::{
    BoxError, Client, Diagnosis, MailQuota, Obstacle, PasswordReset, ResetTokenCreated, StoredUser,
};

fn obstacles(diagnosis: &Diagnosis) -> Vec<(&str, Option<Obstacle>)> {
    diagnosis.users().iter().map(|user| (user.id(), user.obstacle())).collect()
}

async fn settled(reset: &PasswordReset) {
    while reset.ledger().waiting > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn diagnosis_names_the_obstacle_of_each_user() {
    let hash = || Some("a hash".to_owned());
    let users = vec![
        StoredUser::new(1, "ann@example.com", hash()),
        StoredUser::new(2, "ann@example.com", hash()).with_active(false),
        StoredUser::new(3, "ann@example.com", None),
        StoredUser::new(4, "ann@example.com", Some("!django".to_owned())),
        StoredUser::new(5, " ann@example.com", hash()),
        StoredUser::new("", "ann@example.com", hash()),
        StoredUser::new(7, "ANN@example.com", hash()),
        StoredUser::new(8, "ann@example.com", hash()),
    ];
    let reset = builder(Finds(users)).users_per_address(2).on_reset_token_created(no_mail).build().await.unwrap();
    let diagnosis = reset.diagnose("Ann@example.com").await;
    let expected = [
        ("1", None),
        ("2", Some(Obstacle::Inactive)),
        ("3", Some(Obstacle::NoPassword)),
        ("4", Some(Obstacle::NoPassword)),
        ("5", Some(Obstacle::AnotherAddress)),
        ("", Some(Obstacle::NotMailable)),
        ("7", None),
        ("8", Some(Obstacle::TooManyUsers)),
    ];
    assert_eq!(obstacles(&diagnosis), expected);
    assert!(diagnosis.would_send() && diagnosis.is_address());
    let shown = format!("{diagnosis} {diagnosis:?}");
    assert!(!shown.contains('@') && !shown.contains("a hash"), "{shown}");
}

/// A diagnosis agrees with what a request for the same address does.
#[tokio::test]
async fn diagnosis_agrees_with_a_request() {
    for email in [
        "ann@example.com",
        "nobody@example.com",
        "carol@example.com",
        "dave@example.com",
        "no address",
        " ANN@example.com\u{a0}",
    ] {
        let reset = builder(people()).on_reset_token_created(no_mail).build().await.unwrap();
        let diagnosis = reset.diagnose(email).await;
        let accepted = reset.request(email, Client::none()).await.is_ok();
        settled(&reset).await;
        assert_eq!(diagnosis.is_address(), accepted, "{email}");
        assert_eq!(diagnosis.would_send(), reset.ledger().delivered == 1, "{email}: {diagnosis}");
        assert!(diagnosis.handlers()[0].contains("no_mail ("), "{:?}", diagnosis.handlers());
    }
}

#[tokio::test(start_paused = true)]
async fn diagnosis_uses_no_quota_and_returns_retry_after() {
    let mails = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&mails);
    let reset = builder(people())
        .quotas(Quotas::off().mails_per_address(Quota::per_hour(2).unwrap()))
        .on_reset_token_created(move |_: Arc<ResetTokenCreated>| {
            count.fetch_add(1, Ordering::SeqCst);
            std::future::ready(())
        })
        .build()
        .await
        .unwrap();
    let ledger = reset.ledger();
    for _ in 0..100 {
        assert_eq!(reset.diagnose("ann@example.com").await.quota(), MailQuota::Open);
    }
    assert_eq!((reset.ledger(), mails.load(Ordering::SeqCst)), (ledger, 0), "nothing was sent");
    for _ in 0..5 {
        reset.request("ann@example.com", Client::none()).await.unwrap();
        settled(&reset).await;
    }
    assert_eq!(mails.load(Ordering::SeqCst), 2, "a diagnosis used nothing up");
    let diagnosis = reset.diagnose("ANN@example.com").await;
    let MailQuota::UsedUp { retry_after } = diagnosis.quota() else { panic!("{diagnosis}") };
    assert!(!diagnosis.would_send());
    assert!(retry_after > Duration::from_secs(3500) && retry_after <= Duration::from_secs(3600), "{retry_after:?}");
    assert_eq!(reset.diagnose("bob@example.com").await.quota(), MailQuota::Open);
    tokio::time::advance(retry_after).await;
    assert!(reset.diagnose("ann@example.com").await.would_send());

    let off = builder(people()).on_reset_token_created(no_mail).build().await.unwrap();
    assert_eq!(off.diagnose("ann@example.com").await.quota(), MailQuota::Off);
}

/// An application's throttle reports the quota if it implements `peek`. A missing or failed `peek` gives `Unknown`.
#[tokio::test(start_paused = true)]
async fn diagnosis_reads_the_applications_throttle() {
    struct Own(MemoryThrottle, &'static str);

    impl Throttle for Own {
        type Error = BoxError;

        async fn count(&self, key: &ThrottleKey, quota: Quota) -> Result<Verdict, BoxError> {
            Ok(self.0.count_now(key, quota))
        }

        async fn peek(&self, key: &ThrottleKey, quota: Quota) -> Result<Option<Verdict>, BoxError> {
            match self.1 {
                "answers" => Ok(Some(self.0.peek_now(key, quota))),
                "does not" => Ok(None),
                "errs" => Err("READONLY".into()),
                "panics" => panic!("an injected panic"),
                _ => std::future::pending().await,
            }
        }
    }

    for how in ["answers", "does not", "errs", "panics", "hangs"] {
        let reset = builder(people())
            .quotas(Quotas::off().mails_per_address(Quota::per_hour(1).unwrap()))
            .throttle(Own(MemoryThrottle::new(), how))
            .on_reset_token_created(no_mail)
            .build()
            .await
            .unwrap();
        reset.request("ann@example.com", Client::none()).await.unwrap();
        let quota = reset.diagnose("ann@example.com").await.quota();
        match how {
            "answers" => assert!(matches!(quota, MailQuota::UsedUp { .. }), "{quota:?}"),
            _ => assert_eq!(quota, MailQuota::Unknown, "{how}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn diagnosis_has_the_last_failure_until_a_request_succeeds() {
    let (fails, store_fails) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let (mail_fails, look_up_fails) = (Arc::clone(&fails), Arc::clone(&store_fails));
    let store = Watched {
        users: people(),
        calls: Arc::default(),
        before: move |call| {
            let fails = call == Call::FindByEmail && look_up_fails.load(Ordering::SeqCst);
            async move { if fails { Err(BoxError::from("deadlock at ann@example.com")) } else { Ok(()) } }
        },
    };
    let reset = builder(store)
        .on_reset_token_created(move |event: Arc<ResetTokenCreated>| {
            let failed = format!("550 <{}> {}", event.user().email(), event.link());
            let fails = mail_fails.load(Ordering::SeqCst);
            async move { if fails { Err(BoxError::from(failed)) } else { Ok(()) } }
        })
        .build()
        .await
        .unwrap();
    let diagnose_again = async || {
        reset.request("ann@example.com", Client::none()).await.unwrap();
        settled(&reset).await;
        reset.diagnose("Ann@example.com").await
    };
    assert_eq!(reset.diagnose("ann@example.com").await.last_failure(), None);

    let diagnosis = diagnose_again().await;
    let reason = &diagnosis.last_failure().unwrap().reason;
    assert!(reason.starts_with("diagnose::diagnosis_has_the_last_failure"), "the handler is named: {reason}");
    assert!(reason.contains(": 550 <[..]> https://app.example.com/reset-password#token=[..]"), "{reason}");
    assert!(!format!("{diagnosis} {diagnosis:?}").contains("ann@"), "{diagnosis}");
    assert_eq!(reset.diagnose("bob@example.com").await.last_failure(), None, "another address has its own");

    store_fails.store(true, Ordering::SeqCst);
    let diagnosis = diagnose_again().await;
    assert_eq!(diagnosis.store_failure(), Some("deadlock at [..]"));
    assert_eq!(diagnosis.last_failure().unwrap().reason, "the user store failed: deadlock at [..]");
    assert!(!diagnosis.would_send());

    store_fails.store(false, Ordering::SeqCst);
    fails.store(false, Ordering::SeqCst);
    assert_eq!(diagnose_again().await.last_failure(), None, "a success clears it");
}

#[tokio::test]
async fn diagnosis_asks_for_each_spelling_of_a_domain() {
    let hash = || Some("a hash".to_owned());
    let users = MemoryUsers::new([
        StoredUser::new(1, "ann@bücher.example", hash()),
        StoredUser::new(2, "ann@xn--bcher-kva.example", hash()),
    ]);
    let reset = builder(users).on_reset_token_created(no_mail).build().await.unwrap();
    for email in ["ann@bücher.example", "ann@xn--bcher-kva.example"] {
        let diagnosis = reset.diagnose(email).await;
        let mut ids: Vec<_> = diagnosis.users().iter().map(|user| user.id()).collect();
        ids.sort_unstable();
        assert_eq!(ids, ["1", "2"], "{email}");
        assert!(diagnosis.users().iter().all(|user| user.obstacle().is_none()), "{diagnosis}");
    }
}
