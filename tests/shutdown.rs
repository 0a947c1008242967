//! Shutdown refuses new work, completes accepted work, and reports dropped work.

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/doubles.rs"]
mod doubles;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use doubles::{GOOD_PASSWORD, builder, no_mail, people, verifies};
use poem_password_reset::{Client, ResetError, Unavailable};

fn is_shutting_down<T>(answer: Result<T, ResetError>) -> bool {
    matches!(answer, Err(ResetError::Unavailable { reason: Unavailable::ShuttingDown, .. }))
}

#[tokio::test]
async fn every_operation_after_shutdown_is_refused() {
    let users = people();
    let reset = builder(users.clone()).on_reset_token_created(no_mail).build().await.unwrap();
    let token = reset.issue(&users.get("1").unwrap(), None).unwrap().token().expose().to_owned();
    let report = reset.shutdown(Duration::from_secs(1)).await;
    assert_eq!((report.lost_requests, report.unfinished_confirms), (0, 0));
    assert!(is_shutting_down(reset.request("ann@example.com", Client::none()).await));
    assert!(is_shutting_down(reset.validate(&token).await));
    assert!(is_shutting_down(reset.confirm(&token, GOOD_PASSWORD.into(), Client::none()).await));
    assert!(reset.send(&users.get("1").unwrap(), None).await.is_err());
    assert_eq!(reset.ledger().accepted, 0);
}

#[tokio::test(start_paused = true)]
async fn shutdown_completes_accepted_requests() {
    let handled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&handled);
    let reset = builder(people())
        .on_reset_token_created(move |_| {
            let count = Arc::clone(&count);
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                count.fetch_add(1, Ordering::SeqCst);
            }
        })
        .build()
        .await
        .unwrap();
    for _ in 0..500 {
        reset.request("ann@example.com", Client::none()).await.unwrap();
    }
    let begun = tokio::time::Instant::now();
    assert_eq!(reset.shutdown(Duration::from_secs(30)).await.lost_requests, 0);
    // 500 jobs, 64 at a time, one second each.
    assert_eq!(begun.elapsed().as_secs(), 8);
    assert_eq!(handled.load(Ordering::SeqCst), 500);
    assert_eq!(reset.ledger().delivered, 500);
}

#[tokio::test(start_paused = true)]
async fn shutdown_reports_and_counts_requests_lost_at_the_deadline() {
    let reset = builder(people())
        .on_reset_token_created(|_| tokio::time::sleep(Duration::from_secs(10)))
        .build()
        .await
        .unwrap();
    for _ in 0..500 {
        reset.request("ann@example.com", Client::none()).await.unwrap();
    }
    let before = tokio::time::Instant::now();
    let report = reset.shutdown(Duration::from_secs(25)).await;
    assert!(before.elapsed() < Duration::from_secs(26));
    let ledger = reset.ledger();
    assert_eq!((ledger.delivered, ledger.lost, ledger.waiting), (128, 372, 0), "64 at once, two rounds");
    assert_eq!(report.lost_requests, 372);
}

#[tokio::test(start_paused = true)]
async fn shutdown_reports_confirms_unfinished_at_the_deadline() {
    let users = people();
    let reset = builder(users.clone())
        .on_reset_token_created(no_mail)
        .on_post_password_reset(|_| tokio::time::sleep(Duration::from_secs(20)))
        .build()
        .await
        .unwrap();
    for id in ["1", "2"] {
        let token = reset.issue(&users.get(id).unwrap(), None).unwrap().token().expose().to_owned();
        reset.confirm(&token, GOOD_PASSWORD.into(), Client::none()).await.unwrap();
    }
    let begun = tokio::time::Instant::now();
    assert_eq!(reset.shutdown(Duration::from_secs(5)).await.unfinished_confirms, 2);
    assert_eq!(begun.elapsed().as_secs(), 5);
    assert_eq!(reset.shutdown(Duration::from_secs(60)).await.unfinished_confirms, 0, "the confirms continued");
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_running_confirms() {
    let users = people();
    let posted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&posted);
    let reset = builder(users.clone())
        .on_reset_token_created(no_mail)
        .on_post_password_reset(move |_| {
            let count = Arc::clone(&count);
            async move {
                tokio::time::sleep(Duration::from_secs(5)).await;
                count.fetch_add(1, Ordering::SeqCst);
            }
        })
        .build()
        .await
        .unwrap();
    let token = reset.issue(&users.get("1").unwrap(), None).unwrap().token().expose().to_owned();
    let confirming = reset.clone();
    let confirm = tokio::spawn(async move { confirming.confirm(&token, GOOD_PASSWORD.into(), Client::none()).await });
    tokio::task::yield_now().await;
    let report = reset.shutdown(Duration::from_secs(30)).await;
    assert_eq!(report.unfinished_confirms, 0);
    assert!(verifies(&users.get("1").unwrap(), GOOD_PASSWORD));
    assert_eq!(posted.load(Ordering::SeqCst), 1, "shutdown waits for its handlers too");
    confirm.await.unwrap().unwrap();
}
