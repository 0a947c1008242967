//! The whole flow, the stop by a signal, and the errors of the flag.

use std::thread;
use std::time::Duration;

use crate::helpers::{KEY, NEW_PASSWORD, mails, outbox_flags, token_for};
use crate::postgres;
use crate::process::{Demo, Directory, wait_for};

#[tokio::test]
async fn requests_of_a_stopped_demo_are_mailed_by_the_next_one() {
    let Some(server) = postgres::postgres().await else { return };
    let url = server.new_database("").await;
    let printed = url.replace("postgres@", "postgres:hunter2@");
    let outbox = Directory::new();
    let flags = outbox_flags(&outbox);
    let flags = [&flags[0], &flags[1], "--queue", &printed, "--key", KEY, "--no-throttle"];
    let demo = Demo::start(flags);
    let token = token_for(&demo, outbox.path(), "ann@example.com");
    assert_eq!(demo.confirm(&token, NEW_PASSWORD).status, 200);
    drop(demo);

    // A demo that is stopped while mails take long gives them back to the queue.
    let before = mails(outbox.path()).len();
    let demo = Demo::start(flags.iter().chain(&["--mail-delay-ms", "3600000"]));
    for _ in 0..3 {
        demo.request("bob@example.com");
    }
    let pool = postgres::pool(&url).await;
    let running = async || -> i64 {
        let sql = "SELECT count(*) FROM password_reset_queue._private_jobs WHERE locked_at IS NOT NULL";
        sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap()
    };
    while running().await < 3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    demo.terminate();
    let (status, output) = demo.ended();
    assert!(status.success(), "{output}");
    assert!(output.contains("password reset has shut down") && !output.contains("hunter2"), "{output}");
    assert!(output.contains("queue            postgres://127.0.0.1"), "{output}");
    assert_eq!((running().await, mails(outbox.path()).len()), (0, before));

    let demo = Demo::start(flags);
    wait_for("three mails", || (mails(outbox.path()).len() == before + 3).then_some(()));
    thread::sleep(Duration::from_millis(500));
    assert_eq!(mails(outbox.path()).len(), before + 3);
    drop(demo);
}

#[tokio::test]
async fn queue_that_cannot_be_used_is_an_error_that_names_the_flag() {
    let Some(server) = postgres::postgres().await else { return };
    let missing = server.new_database("").await + "_missing";
    for (url, reason) in [
        (format!("postgres://app:hunter2@127.0.0.1:{}/app", crate::server::free_port()), "onnection refused"),
        (missing.replace("postgres@", "postgres:hunter2@"), "does not exist"),
        ("redis://:hunter2@127.0.0.1".to_owned(), "expected memory: or postgres://"),
        ("postgres://app:hunter2@[".to_owned(), "expected memory: or postgres://"),
    ] {
        let output = Demo::command().args(["--listen", "127.0.0.1:0", "--queue", &url]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("--queue: ") && text.contains(reason) && !text.contains("hunter2"), "{text}");
    }
}
