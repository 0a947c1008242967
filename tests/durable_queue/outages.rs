//! PostgreSQL is down: every address gets the same 503. Afterwards the worker goes on by itself.

use std::time::{Duration, Instant};

use poem::test::TestClient;
use poem_openapi::OpenApiService;
use poem_password_reset::delivery::GraphileDelivery;
use poem_password_reset::{HttpContract, PasswordReset, ResetApi};
use sqlx::postgres::PgPoolOptions;

use crate::log::Log;
use crate::own_postgres::OwnServer;
use crate::world::{Mails, address, builder, jobs, request, wait_until, wait_until_empty};

/// Returns status, headers and body of the answer to a request for a reset.
async fn answer(reset: &PasswordReset, email: &str) -> (u16, Vec<(String, String)>, String) {
    use poem::EndpointExt as _;
    let api = OpenApiService::new(ResetApi::new(reset.clone()), "Accounts", "1.0");
    let client = TestClient::new(poem::Route::new().nest("/reset", api.with(HttpContract)));
    let body = serde_json::json!({ "email": email }).to_string();
    let answer = client.post("/reset/").content_type("application/json").body(body).send().await.0;
    let header = |(name, value): (&poem::http::HeaderName, &poem::http::HeaderValue)| {
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    let headers = answer.headers().iter().map(header).collect();
    (answer.status().as_u16(), headers, answer.into_body().into_string().await.unwrap())
}

#[tokio::test]
async fn outage_of_the_database_is_503_for_every_address_and_loses_nothing() {
    let Some(mut server) = OwnServer::start().await else { return };
    Log::listen();
    let log = Log::default();
    let _guard = log.of_thread();
    let mails = Mails::default();
    mails.delay(Duration::from_millis(300));
    let queue = GraphileDelivery::new(server.pool().await);
    let reset = builder(&queue).on_reset_token_created(mails.handler()).build().await.unwrap();
    tokio::spawn(reset.worker(&queue).handled_at_once(2).run());
    for user in 0..10 {
        request(&reset, &address(user)).await;
    }
    wait_until("a mail was sent", async || !mails.sent().is_empty()).await;
    server.stop("QUIT").await;

    let known = answer(&reset, &address(20)).await;
    let unknown = answer(&reset, "nobody@example.com").await;
    assert_eq!((known.0, &known), (503, &unknown));
    assert!(known.1.iter().any(|(name, _)| name == "retry-after"), "{known:?}");

    tokio::time::sleep(Duration::from_secs(3)).await;
    server.start_again().await;
    let pool = server.pool().await;
    wait_until_empty(&pool).await;
    let sent = mails.sent();
    assert!((0..10).all(|user| sent.contains(&address(user))), "{sent:?}");
    // At most the two mails whose job could not be ended are sent again.
    assert!(sent.len() <= 12, "{sent:?}");
    wait_until("requests are accepted again", async || answer(&reset, &address(30)).await.0 == 200).await;
    wait_until_empty(&pool).await;
    assert!(mails.sent().contains(&address(30)));
    let failed = log.text().matches("the worker of the durable queue failed").count();
    assert!(failed <= 1, "an outage is logged once: {}", log.text());
}

#[tokio::test]
async fn worker_that_starts_before_its_database_waits_for_it_and_logs_the_outage_once() {
    let Some(mut server) = OwnServer::start().await else { return };
    let log = Log::default();
    let _guard = log.of_thread();
    // A pool waits for a connection before it reports a failure, 30 seconds by default.
    let options = PgPoolOptions::new().acquire_timeout(Duration::from_secs(1));
    let pool = options.connect(&crate::postgres::url(server.port, "postgres")).await.unwrap();
    server.stop("INT").await;
    let (queue, mails) = (GraphileDelivery::new(pool), Mails::default());
    let reset = builder(&queue).check_at_start(false).on_reset_token_created(mails.handler()).build().await.unwrap();
    tokio::spawn(reset.worker(&queue).run());
    let count = |line: &str| log.text().matches(line).count();
    wait_until("the worker failed", async || count("the worker of the durable queue failed") == 1).await;
    // Time for another failure.
    tokio::time::sleep(Duration::from_secs(4)).await;
    server.start_again().await;
    wait_until("the worker works", async || count("the worker of the durable queue works again") == 1).await;
    wait_until("requests are accepted", async || answer(&reset, &address(1)).await.0 == 200).await;
    wait_until_empty(&server.pool().await).await;
    assert_eq!(mails.sent(), [address(1)]);
    assert_eq!(count("the worker of the durable queue failed"), 1, "{}", log.text());
}

/// Runs a worker on a runtime of its own, until its first job runs, and drops the runtime with all its tasks, as the end of a
/// process does.
fn run_and_die(url: &str, mails: &Mails) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let queue = GraphileDelivery::new(crate::postgres::pool(url).await);
        let reset = builder(&queue)
            .handler_timeout(Duration::from_secs(3600))
            .on_reset_token_created(mails.handler())
            .build()
            .await
            .unwrap();
        tokio::spawn(reset.worker(&queue).run());
        request(&reset, &address(1)).await;
        wait_until("the job runs", async || mails.calls() == 1).await;
    });
    runtime.shutdown_background();
}

#[tokio::test]
async fn job_of_a_worker_that_died_is_run_by_another_within_a_minute() {
    let Some(server) = crate::postgres::postgres().await else { return };
    let url = server.new_database("").await;
    let pool = crate::postgres::pool(&url).await;
    let mails = Mails::default();
    mails.delay(Duration::from_secs(3600));
    let (of_dead, its_url) = (mails.clone(), url.clone());
    tokio::task::spawn_blocking(move || run_and_die(&its_url, &of_dead)).await.unwrap();
    assert_eq!(jobs(&pool).await, 1);

    mails.delay(Duration::ZERO);
    let queue = GraphileDelivery::new(pool.clone());
    let reset = builder(&queue).on_reset_token_created(mails.handler()).build().await.unwrap();
    tokio::spawn(reset.worker(&queue).run());
    let begun = Instant::now();
    wait_until_empty(&pool).await;
    let taken_over = begun.elapsed();
    println!("taken over after {taken_over:?}");
    assert!((Duration::from_secs(20)..Duration::from_secs(60)).contains(&taken_over), "{taken_over:?}");
    assert_eq!(mails.sent(), [address(1)]);
}
