//! Jobs that fail are tried again until they are too old. Jobs that cannot be read end.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use poem_password_reset::delivery::GraphileDelivery;
use poem_password_reset::{BoxError, Permanent, SigningKey};
use sqlx::PgPool;
use time::OffsetDateTime;

use crate::log::Log;
use crate::world::{Mails, address, builder, builder_with, jobs, new_pool, request, wait_until, wait_until_empty};

fn mail_server_is_away() -> BoxError {
    "451 try again later".into()
}

/// Returns the number of tries that the engine counts, the pause until the next one in seconds, and the last error.
async fn state_of_job(pool: &PgPool) -> (i16, f64, Option<String>) {
    sqlx::query_as(
        "SELECT attempts, extract(epoch from run_at - now())::float8, last_error
         FROM password_reset_queue._private_jobs",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

/// Makes the job ready to run, with this number of failed tries.
async fn run_now(pool: &PgPool, tries: i16) {
    let sql = "UPDATE password_reset_queue._private_jobs SET attempts = $1, run_at = now()";
    sqlx::query(sql).bind(tries).execute(pool).await.unwrap();
}

#[tokio::test]
async fn failing_handler_is_tried_again_with_growing_pauses_up_to_a_minute() {
    let Some(pool) = new_pool().await else { return };
    let (queue, mails) = (GraphileDelivery::new(pool.clone()), Mails::default());
    mails.fail_with(mail_server_is_away as fn() -> BoxError);
    let reset = builder(&queue).on_reset_token_created(mails.handler()).build().await.unwrap();
    tokio::spawn(reset.worker(&queue).run());
    request(&reset, &address(1)).await;
    wait_until("the first retry ran by itself", async || mails.calls() == 2).await;
    let mut pauses = Vec::new();
    for tries in [0, 1, 2, 3, 3, 3] {
        let before = mails.calls();
        run_now(&pool, tries).await;
        wait_until("the job ran", async || mails.calls() == before + 1 && state_of_job(&pool).await.1 > 0.5).await;
        pauses.push(state_of_job(&pool).await.1);
    }
    for (pause, most) in pauses.iter().zip([2.8, 7.4, 20.1, 54.6, 54.6, 54.6]) {
        assert!((most * 0.6..=most + 0.1).contains(pause), "{pauses:?}");
    }
    // The hook that keeps the pause short runs after the pause was stored.
    wait_until("the number of tries stays", async || state_of_job(&pool).await.0 == 3).await;
    let (_, pause, error) = state_of_job(&pool).await;
    assert!(pause > 30.0, "{pause}");
    assert!(error.as_ref().unwrap().contains("451 try again later"), "{error:?}");
    assert_eq!(reset.ledger().accepted, 0, "a request that failed is not counted");

    mails.fail_with(None);
    run_now(&pool, 3).await;
    wait_until_empty(&pool).await;
    assert_eq!(mails.sent(), [address(1)]);
}

#[tokio::test]
async fn handler_that_fails_for_good_ends_the_job() {
    let Some(pool) = new_pool().await else { return };
    let (queue, mails) = (GraphileDelivery::new(pool.clone()), Mails::default());
    mails.fail_with((|| Permanent::new("no such mailbox").into()) as fn() -> BoxError);
    let reset = builder(&queue).on_reset_token_created(mails.handler()).build().await.unwrap();
    tokio::spawn(reset.worker(&queue).run());
    request(&reset, &address(1)).await;
    wait_until_empty(&pool).await;
    assert_eq!((mails.calls(), reset.ledger().failed), (1, 1));
}

#[tokio::test]
async fn request_older_than_max_age_is_dropped() {
    let Some(pool) = new_pool().await else { return };
    let (queue, mails) = (GraphileDelivery::new(pool.clone()), Mails::default());
    mails.fail_with(mail_server_is_away as fn() -> BoxError);
    let passed = Arc::new(AtomicI64::new(0));
    let clock = Arc::clone(&passed);
    let reset = builder(&queue)
        .clock(move || OffsetDateTime::now_utc() + time::Duration::seconds(clock.load(Ordering::SeqCst)))
        .on_reset_token_created(mails.handler())
        .build()
        .await
        .unwrap();
    tokio::spawn(reset.worker(&queue).run());
    request(&reset, &address(1)).await;
    wait_until("the job failed", async || mails.calls() == 1).await;
    passed.store(3_500, Ordering::SeqCst);
    run_now(&pool, 0).await;
    wait_until("the job failed again", async || mails.calls() == 2).await;
    passed.store(3_700, Ordering::SeqCst);
    run_now(&pool, 0).await;
    wait_until_empty(&pool).await;
    assert_eq!((mails.calls(), reset.ledger().lost), (2, 1));
}

#[tokio::test]
async fn request_that_no_worker_can_read_is_dropped_after_max_age() {
    let Some(pool) = new_pool().await else { return };
    let mails = Mails::default();
    let accepts = GraphileDelivery::new(pool.clone()).workers_elsewhere();
    let web = builder(&accepts).on_reset_token_created(mails.handler()).build().await.unwrap();
    request(&web, &address(1)).await;
    let other = SigningKey::from_bytes(b"the key of a worker of another service").unwrap();
    let queue = GraphileDelivery::new(pool.clone());
    let worker = builder_with(&queue, other)
        .max_age(Duration::from_secs(5))
        .on_reset_token_created(mails.handler())
        .build()
        .await
        .unwrap();
    tokio::spawn(worker.worker(&queue).run());
    wait_until("the job was tried", async || state_of_job(&pool).await.2.is_some()).await;
    assert_eq!(worker.ledger().lost, 0);
    wait_until_empty(&pool).await;
    assert_eq!((mails.calls(), worker.ledger().lost), (0, 1));
}

#[tokio::test]
async fn job_that_was_changed_ends_with_an_error_in_the_log() {
    let Some(pool) = new_pool().await else { return };
    Log::listen();
    let log = Log::default();
    let _guard = log.of_thread();
    let mails = Mails::default();
    let accepts = GraphileDelivery::new(pool.clone()).workers_elsewhere();
    let web = builder(&accepts).on_reset_token_created(mails.handler()).build().await.unwrap();
    for user in 0..3 {
        request(&web, &address(user)).await;
    }
    let table = "password_reset_queue._private_jobs";
    for change in [
        format!(
            "UPDATE {table} SET payload = jsonb_set(payload::jsonb, '{{accepted_at}}', '1') WHERE id = (SELECT min(id) FROM {table})"
        ),
        format!("UPDATE {table} SET payload = '[1, 2]' WHERE id = (SELECT max(id) FROM {table})"),
    ] {
        let changed = sqlx::raw_sql(sqlx::AssertSqlSafe(change)).execute(&pool).await.unwrap();
        assert_eq!(changed.rows_affected(), 1);
    }
    let queue = GraphileDelivery::new(pool.clone());
    let reset = builder(&queue).on_reset_token_created(mails.handler()).build().await.unwrap();
    tokio::spawn(reset.worker(&queue).run());
    wait_until_empty(&pool).await;
    assert_eq!(mails.sent(), [address(1)]);
    assert_eq!((reset.ledger().lost, reset.ledger().delivered), (2, 1));
    assert_eq!(log.text().matches("was changed, so its user gets no mail").count(), 2, "{}", log.text());
    assert_eq!(jobs(&pool).await, 0);
}
