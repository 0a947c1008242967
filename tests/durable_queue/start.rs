//! Mistakes that the start or the first request reports: no worker, a pool that is too small, missing rights, a missing database.

use poem_password_reset::delivery::GraphileDelivery;
use poem_password_reset::{BuildError, Client, Problem, ResetError, Unavailable};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgPoolOptions;

use crate::log::Log;
use crate::postgres::postgres;
use crate::world::{Mails, address, builder, jobs, new_pool, request, wait_until_empty};

#[tokio::test]
async fn forgotten_worker_is_an_error_that_says_what_to_call() {
    let Some(pool) = new_pool().await else { return };
    let log = Log::default();
    let _guard = log.of_thread();
    let (queue, mails) = (GraphileDelivery::new(pool.clone()), Mails::default());
    let reset = builder(&queue).on_reset_token_created(mails.handler()).build().await.unwrap();
    let is_refused = async || {
        matches!(
            reset.request(&address(1), Client::none()).await,
            Err(ResetError::Unavailable { reason: Unavailable::DeliveryDown, .. })
        )
    };
    assert!(is_refused().await);
    assert!(log.text().contains("reset.worker(&queue).run()"), "{}", log.text());
    assert_eq!(jobs(&pool).await, 0);
    let worker = tokio::spawn(reset.worker(&queue).run());
    request(&reset, &address(1)).await;
    wait_until_empty(&pool).await;
    // A worker whose task has ended is not counted any more.
    worker.abort();
    assert!(worker.await.unwrap_err().is_cancelled());
    assert!(is_refused().await);
}

#[tokio::test]
async fn pool_that_is_too_small_for_a_worker_is_an_error_at_start() {
    let Some(server) = postgres().await else { return };
    let url = server.new_database("").await;
    let pool = PgPoolOptions::new().max_connections(1).connect(&url).await.unwrap();
    let start = async |queue: GraphileDelivery| {
        builder(&queue).on_reset_token_created(Mails::default().handler()).build().await
    };
    let error = start(GraphileDelivery::new(pool.clone())).await.unwrap_err();
    assert!(
        matches!(error.problems(), [Problem::DeliveryFails { reason }] if reason.contains("at least 2")),
        "{error}"
    );
    start(GraphileDelivery::new(pool).workers_elsewhere()).await.unwrap();
}

#[tokio::test]
async fn database_that_is_away_is_an_error_at_start() {
    if crate::postgres::postgres().await.is_none() {
        return;
    }
    let url = format!("postgres://postgres:hunter2@127.0.0.1:{}/app", crate::server::free_port());
    let pool = PgPoolOptions::new().acquire_timeout(std::time::Duration::from_millis(300)).connect_lazy(&url).unwrap();
    let queue = GraphileDelivery::new(pool);
    let error = builder(&queue).on_reset_token_created(Mails::default().handler()).build().await.unwrap_err();
    assert!(matches!(error.problems(), [Problem::DeliveryFails { .. }]), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_start_at_once_on_an_empty_database_all_work() {
    let Some(server) = postgres().await else { return };
    for _ in 0..5 {
        let url = server.new_database("").await;
        let mails = Mails::default();
        let mut starts = tokio::task::JoinSet::new();
        for _ in 0..8 {
            // Connected before the start, so that the starts meet.
            let pool = PgPoolOptions::new().max_connections(3).connect(&url).await.unwrap();
            let (queue, mails) = (GraphileDelivery::new(pool), mails.clone());
            starts.spawn(async move {
                let reset = builder(&queue).on_reset_token_created(mails.handler()).build().await.unwrap();
                tokio::spawn(reset.worker(&queue).run());
                reset
            });
        }
        let instances = starts.join_all().await;
        for (user, reset) in instances.iter().enumerate() {
            request(reset, &address(user)).await;
        }
        wait_until_empty(&crate::postgres::pool(&url).await).await;
        assert_eq!(mails.sent().len(), 8);
        for reset in instances {
            reset.shutdown(std::time::Duration::from_secs(10)).await;
        }
    }
}

/// The application's role may not create schemas. Another role creates the tables before the start.
#[tokio::test]
async fn role_that_may_not_create_a_schema_works_as_a_member_of_the_owner() {
    let Some(server) = postgres().await else { return };
    let url = server.new_database("").await;
    let admin = crate::postgres::pool(&url).await;
    let name = url.rsplit_once('/').unwrap().1;
    let run = async |sql: String| {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&admin).await.unwrap();
    };
    run(format!("CREATE ROLE app_{name} LOGIN; CREATE ROLE owner_{name} LOGIN")).await;
    run(format!("GRANT CREATE ON DATABASE {name} TO owner_{name}")).await;
    let pool = async |role: &str| crate::postgres::pool(&url.replace("postgres@", &format!("{role}_{name}@"))).await;
    let mails = Mails::default();
    // With a pool of its own each time: a connection remembers the policies of the tables.
    let start = async || {
        let queue = GraphileDelivery::new(pool("app").await);
        let reset = builder(&queue).on_reset_token_created(mails.handler()).build().await?;
        tokio::spawn(reset.worker(&queue).run());
        Ok::<_, BuildError>(reset)
    };

    let error = start().await.unwrap_err();
    assert!(error.to_string().contains("permission denied"), "{error}");

    GraphileDelivery::new(pool("owner").await).migrate().await.unwrap();
    run(format!("REVOKE CREATE ON DATABASE {name} FROM owner_{name}")).await;
    let schema = "password_reset_queue";
    for what in ["TABLES", "SEQUENCES", "FUNCTIONS"] {
        run(format!("GRANT ALL ON ALL {what} IN SCHEMA {schema} TO app_{name}")).await;
    }
    run(format!("GRANT USAGE ON SCHEMA {schema} TO app_{name}")).await;
    let error = start().await.unwrap_err();
    assert!(error.to_string().contains("row-level security"), "{error}");

    run(format!("GRANT owner_{name} TO app_{name}")).await;
    let reset = start().await.unwrap();
    request(&reset, &address(1)).await;
    wait_until_empty(&admin).await;
    assert_eq!(mails.sent(), [address(1)]);
}
