//! Neither the log, at TRACE and of any crate, nor the tables of the queue contain an address, a token or a message that
//! quotes one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use poem_password_reset::delivery::GraphileDelivery;
use poem_password_reset::{BoxError, ResetTokenCreated};

use crate::log::Log;
use crate::world::{builder, new_pool, request, rows, wait_until};

#[tokio::test]
async fn neither_the_log_nor_the_tables_contain_an_address_or_a_token() {
    let Some(pool) = new_pool().await else { return };
    let log = Log::default();
    let _guard = log.of_thread_at_trace();
    let queue = GraphileDelivery::new(pool.clone());
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&tokens);
    let reset = builder(&queue)
        .on_reset_token_created(move |event: Arc<ResetTokenCreated>| {
            keep.lock().unwrap().push(event.token().expose().to_owned());
            let panics = event.user().id() == "2";
            let text = format!("550 <{}> does not want {}", event.user().email(), event.link());
            async move {
                assert!(!panics, "{text}");
                Err::<(), BoxError>(text.into())
            }
        })
        .build()
        .await
        .unwrap();
    let worker = tokio::spawn(reset.worker(&queue).run());
    for email in ["user1@example.com", "user2@example.com", "nobody.canary@example.com"] {
        request(&reset, email).await;
    }
    wait_until("both handlers failed twice", async || tokens.lock().unwrap().len() >= 4).await;
    let rows = rows(&pool).await;
    assert_eq!(rows.iter().filter(|row| row["payload"]["sealed"].is_string()).count(), 2, "{rows:?}");
    reset.shutdown(Duration::from_secs(10)).await;
    worker.await.unwrap();
    let tables = format!("{rows:?}");
    for (place, text) in [("the log", log.text()), ("the tables", tables)] {
        assert!(text.contains("password_reset"), "{place}: {text}");
        let mut secrets: Vec<String> =
            ["user1@", "user2@", "user1%40", "example.com>", "nobody.canary"].map(str::to_owned).to_vec();
        for token in tokens.lock().unwrap().iter() {
            secrets.extend(token.split('.').skip(1).map(str::to_owned));
        }
        for secret in secrets {
            assert!(!text.contains(&secret), "{place} contains {secret:?}");
        }
    }
    assert!(log.text().contains("Job added to queue"), "the engine logs jobs");
}
