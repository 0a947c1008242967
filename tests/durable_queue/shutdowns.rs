//! `shutdown` waits for jobs, and gives those back that do not end in time.

use std::time::{Duration, Instant};

use poem_password_reset::PasswordReset;
use poem_password_reset::delivery::GraphileDelivery;
use sqlx::PgPool;
use tokio::task::JoinHandle;

use crate::world::{Mails, address, builder, jobs, new_pool, request, wait_until, wait_until_empty};

/// Starts a service whose handler takes `delay`, and waits until four of its jobs run and four wait.
async fn busy(pool: &PgPool, mails: &Mails, delay: Duration) -> (PasswordReset, JoinHandle<()>) {
    mails.delay(delay);
    let queue = GraphileDelivery::new(pool.clone());
    let reset = builder(&queue)
        .handler_timeout(Duration::from_secs(3600))
        .on_reset_token_created(mails.handler())
        .build()
        .await
        .unwrap();
    let worker = tokio::spawn(reset.worker(&queue).handled_at_once(4).run());
    for user in 0..8 {
        request(&reset, &address(user)).await;
    }
    wait_until("four jobs run", async || mails.calls() == 4).await;
    (reset, worker)
}

#[tokio::test]
async fn shutdown_waits_for_running_jobs_and_leaves_the_others_in_the_queue() {
    let Some(pool) = new_pool().await else { return };
    let mails = Mails::default();
    let (reset, worker) = busy(&pool, &mails, Duration::from_secs(2)).await;
    let report = reset.shutdown(Duration::from_secs(60)).await;
    assert_eq!((report.lost_requests, mails.sent().len(), mails.calls()), (0, 4, 4));
    worker.await.unwrap();
    assert_eq!(jobs(&pool).await, 4);
    let ledger = reset.ledger();
    assert_eq!((ledger.accepted, ledger.delivered, ledger.waiting), (4, 4, 0));
}

#[tokio::test]
async fn job_that_does_not_end_in_time_is_run_by_another_worker_within_seconds() {
    let Some(pool) = new_pool().await else { return };
    let mails = Mails::default();
    let (reset, worker) = busy(&pool, &mails, Duration::from_secs(3600)).await;
    let begun = Instant::now();
    let report = reset.shutdown(Duration::from_secs(4)).await;
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    worker.await.unwrap();
    assert_eq!((report.lost_requests, mails.sent().len()), (0, 0));
    let locked: i64 =
        sqlx::query_scalar("SELECT count(*) FROM password_reset_queue._private_jobs WHERE locked_at IS NOT NULL")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!((jobs(&pool).await, locked), (8, 0));
    assert_eq!((reset.ledger().accepted, reset.ledger().lost), (0, 0));

    mails.delay(Duration::ZERO);
    let queue = GraphileDelivery::new(pool.clone());
    let other = builder(&queue).on_reset_token_created(mails.handler()).build().await.unwrap();
    tokio::spawn(other.worker(&queue).run());
    let begun = Instant::now();
    wait_until_empty(&pool).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(mails.sent().len(), 8);
}
