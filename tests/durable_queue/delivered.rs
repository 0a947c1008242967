//! Requests are mailed by a worker, once, and leave no row.

use std::time::Duration;

use poem_password_reset::delivery::GraphileDelivery;
use poem_password_reset::{KeyRing, SigningKey};

use crate::doubles::key;
use crate::world::{
    Mails, address, builder, builder_with, jobs, new_pool, request, rows, wait_until, wait_until_empty,
};

#[tokio::test]
async fn accepted_request_is_mailed_once_and_leaves_no_row() {
    let Some(pool) = new_pool().await else { return };
    let (queue, mails) = (GraphileDelivery::new(pool.clone()), Mails::default());
    let reset = builder(&queue).on_reset_token_created(mails.handler()).build().await.unwrap();
    tokio::spawn(reset.worker(&queue).run());
    for email in ["user1@example.com", "User2@Example.com", "nobody@example.com"] {
        request(&reset, email).await;
    }
    wait_until_empty(&pool).await;
    assert_eq!(mails.sent(), [address(1), address(2)]);
    let ledger = reset.ledger();
    assert_eq!((ledger.accepted, ledger.delivered, ledger.ineligible, ledger.waiting), (3, 2, 1, 0));
    let rows = rows(&pool).await;
    assert!(rows.iter().all(|row| row.get("payload").is_none()), "{rows:?}");
}

#[tokio::test]
async fn requests_wait_for_a_worker_of_another_program() {
    let Some(pool) = new_pool().await else { return };
    let mails = Mails::default();
    let accepts = GraphileDelivery::new(pool.clone()).workers_elsewhere();
    let web = builder(&accepts).on_reset_token_created(mails.handler()).build().await.unwrap();
    for user in 0..20 {
        request(&web, &address(user)).await;
    }
    assert_eq!((jobs(&pool).await, mails.calls()), (20, 0));
    drop(web);

    let queue = GraphileDelivery::new(pool.clone());
    let worker = builder(&queue).on_reset_token_created(mails.handler()).build().await.unwrap();
    let running = tokio::spawn(worker.worker(&queue).handled_at_once(3).run());
    wait_until_empty(&pool).await;
    assert_eq!(mails.sent().len(), 20);
    worker.shutdown(Duration::from_secs(10)).await;
    running.await.unwrap();
}

#[tokio::test]
async fn two_instances_share_the_work_and_each_mail_is_sent_once() {
    let Some(pool) = new_pool().await else { return };
    let mut instances = Vec::new();
    for _ in 0..2 {
        let (queue, mails) = (GraphileDelivery::new(pool.clone()), Mails::default());
        mails.delay(Duration::from_millis(50));
        let reset = builder(&queue).on_reset_token_created(mails.handler()).build().await.unwrap();
        tokio::spawn(reset.worker(&queue).handled_at_once(2).run());
        instances.push((reset, mails));
    }
    for user in 0..60 {
        request(&instances[0].0, &address(user)).await;
    }
    wait_until_empty(&pool).await;
    let [one, other] = [&instances[0].1, &instances[1].1].map(Mails::sent);
    assert!(one.len() >= 5 && other.len() >= 5, "{} and {}", one.len(), other.len());
    let mut all = [one, other].concat();
    all.sort();
    let mut expected: Vec<_> = (0..60).map(address).collect();
    expected.sort();
    assert_eq!(all, expected);
}

#[tokio::test]
async fn concurrent_requests_share_transactions_and_survive_clients_that_disconnect() {
    let Some(pool) = new_pool().await else { return };
    let queue = GraphileDelivery::new(pool.clone()).workers_elsewhere();
    let reset = builder(&queue).on_reset_token_created(Mails::default().handler()).build().await.unwrap();
    let mut requests = tokio::task::JoinSet::new();
    for user in 0..200 {
        let reset = reset.clone();
        let handle = requests.spawn(async move { request(&reset, &address(user)).await });
        // The client of the first request, which begins to store it, disconnects.
        if user == 0 {
            tokio::task::yield_now().await;
            handle.abort();
        }
    }
    let mut accepted = 0;
    while let Some(ended) = requests.join_next().await {
        accepted += i64::from(ended.is_ok());
    }
    assert_eq!(accepted, 199);
    let stored = async |what: &str| -> i64 {
        let sql = format!("SELECT {what} FROM password_reset_queue._private_jobs");
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&pool).await.unwrap()
    };
    assert!((accepted..=accepted + 1).contains(&stored("count(*)").await));
    let transactions = stored("count(DISTINCT xmin::text)").await;
    assert!(transactions < 50, "{transactions} transactions");
}

/// A runtime that stops while jobs are stored leaves the queue usable from another runtime.
#[test]
fn queue_works_on_another_runtime_after_the_first_has_stopped() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let setup = runtime();
    let Some(url) = setup.block_on(async { Some(crate::postgres::postgres().await?.new_database("").await) }) else {
        return;
    };
    let connect = || sqlx::postgres::PgPoolOptions::new().max_connections(2).connect_lazy(&url).unwrap();
    let queue = setup.block_on(async { GraphileDelivery::new(connect()).workers_elsewhere() });
    let start = async || builder(&queue).on_reset_token_created(Mails::default().handler()).build().await.unwrap();
    let reset = setup.block_on(start());
    let first = runtime();
    // Another connection holds the table, so that the job cannot be stored.
    let blocks = setup.block_on(async {
        let mut transaction = connect().begin().await.unwrap();
        let lock = "LOCK TABLE password_reset_queue._private_jobs IN ACCESS EXCLUSIVE MODE";
        sqlx::raw_sql(lock).execute(&mut *transaction).await.unwrap();
        transaction
    });
    let waiting = reset.clone();
    let hangs = first.spawn(async move { waiting.request(&address(1), poem_password_reset::Client::none()).await });
    std::thread::sleep(Duration::from_millis(300));
    first.shutdown_background();
    setup.block_on(async {
        assert!(hangs.await.is_err());
        blocks.rollback().await.unwrap();
        request(&reset, &address(2)).await;
    });
}

#[tokio::test]
async fn jobs_run_at_once_up_to_the_limit() {
    let Some(pool) = new_pool().await else { return };
    let (queue, mails) = (GraphileDelivery::new(pool.clone()), Mails::default());
    mails.delay(Duration::from_secs(3600));
    let reset = builder(&queue).handler_timeout(Duration::from_secs(3600)).on_reset_token_created(mails.handler());
    let reset = reset.build().await.unwrap();
    tokio::spawn(reset.worker(&queue).handled_at_once(3).run());
    for user in 0..8 {
        request(&reset, &address(user)).await;
    }
    wait_until("three jobs run", async || mails.calls() == 3).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(mails.calls(), 3);
    assert_eq!(reset.ledger().waiting, 3);
}

#[tokio::test]
async fn requests_sealed_with_the_previous_key_are_mailed_after_a_rotation() {
    let Some(pool) = new_pool().await else { return };
    let mails = Mails::default();
    let accepts = GraphileDelivery::new(pool.clone()).workers_elsewhere();
    let old = builder(&accepts).on_reset_token_created(mails.handler()).build().await.unwrap();
    request(&old, &address(1)).await;

    let new_key = || SigningKey::from_bytes(b"the next signing key of the tests").unwrap();
    // A worker that has only the new key leaves the request in the queue.
    let queue = GraphileDelivery::new(pool.clone());
    let without = builder_with(&queue, new_key()).on_reset_token_created(mails.handler()).build().await.unwrap();
    let running = tokio::spawn(without.worker(&queue).run());
    let is_tried = async || {
        let errors: Vec<Option<String>> =
            sqlx::query_scalar("SELECT last_error FROM password_reset_queue._private_jobs")
                .fetch_all(&pool)
                .await
                .unwrap();
        errors.len() == 1 && errors[0].as_ref().is_some_and(|error| error.contains("cannot read the request"))
    };
    wait_until("the request was tried", is_tried).await;
    without.shutdown(Duration::from_secs(10)).await;
    running.await.unwrap();
    assert_eq!((mails.calls(), without.ledger().accepted), (0, 0));

    let ring = KeyRing::new(new_key()).previous(key()).unwrap();
    let queue = GraphileDelivery::new(pool.clone());
    let with = builder_with(&queue, ring).on_reset_token_created(mails.handler()).build().await.unwrap();
    tokio::spawn(with.worker(&queue).run());
    wait_until_empty(&pool).await;
    assert_eq!(mails.sent(), [address(1)]);
}

#[tokio::test]
async fn two_services_in_schemas_of_their_own_do_not_mix() {
    let Some(pool) = new_pool().await else { return };
    let queues = ["staff queue", "customers"].map(|schema| GraphileDelivery::new(pool.clone()).schema(schema));
    let mails = [Mails::default(), Mails::default()];
    for (position, queue) in queues.iter().enumerate() {
        let reset = builder(queue).on_reset_token_created(mails[position].handler()).build().await.unwrap();
        tokio::spawn(reset.worker(queue).run());
        request(&reset, &address(position)).await;
    }
    wait_until("both mails were sent", async || mails.iter().all(|mails| mails.sent().len() == 1)).await;
    assert_eq!((mails[0].sent(), mails[1].sent()), (vec![address(0)], vec![address(1)]));
}
