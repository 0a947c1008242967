//! Every class of address gets the same bytes, also during faults and for the next request on the connection.

use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use poem_password_reset::throttle::{Quota, Quotas};
use poem_password_reset::{BoxError, PasswordResetBuilder, ResetError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::{Encoding, HttpRequest, Operation, STEP_TIMEOUT, Store, World, defaults, until};

/// The classes of addresses: known, over the mail quota, unknown, deactivated, without a password.
const CLASSES: [&str; 5] =
    ["ann@example.com", "bob@example.com", "nobody@example.com", "carol@example.com", "dave@example.com"];

fn requests(email: &str) -> [Vec<u8>; 2] {
    [
        HttpRequest::post(Operation::Request).fields(Encoding::Json, &[("email", email)]).to_bytes(),
        HttpRequest::post(Operation::Validate).fields(Encoding::Json, &[("token", "garbage")]).to_bytes(),
    ]
}

/// Reads one response and masks the values that depend on the clock.
async fn answer(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let complete = |read: &[u8]| {
        let text = std::str::from_utf8(read).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let (_, length) = head.split_once("content-length: ").expect("a length");
        let length: usize = length.split("\r\n").next()?.parse().expect("a length");
        (body.len() >= length).then(|| text.to_owned())
    };
    let text = loop {
        if let Some(text) = complete(&read) {
            break text;
        }
        let more = timeout(STEP_TIMEOUT, stream.read_buf(&mut read)).await.expect("an answer").unwrap();
        assert!(more > 0, "hung up after {:?}", String::from_utf8_lossy(&read));
    };
    let masked = text.split("\r\n").map(|line| match line.split_once(": ") {
        // The rest of a window or a cool-down depends on the clock, equally for all classes.
        Some((name @ ("date" | "retry-after"), _)) => format!("{name}: .."),
        _ => line.to_owned(),
    });
    masked.collect::<Vec<_>>().join("\r\n")
}

/// Returns the responses to a reset request and to the next request on the same connection.
async fn seen(address: SocketAddr, email: &str) -> [String; 2] {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut answers = Vec::new();
    for request in requests(email) {
        stream.write_all(&request).await.unwrap();
        answers.push(answer(&mut stream).await);
    }
    let still_open = timeout(Duration::from_millis(1), stream.read_u8()).await.is_err();
    assert!(still_open, "the connection stays open for every address");
    answers.try_into().unwrap()
}

async fn all_see_the_same(world: &World, status: u16, rounds: usize) {
    let passwords = || {
        ["1", "2", "3", "4"].map(|id| {
            format!("{:?}", world.users.get(id).unwrap().password_hash().map(|hash| hash.expose().to_owned()))
        })
    };
    let before = passwords();
    let expected = seen(world.address(), CLASSES[0]).await;
    assert!(expected[0].starts_with(&format!("HTTP/1.1 {status} ")), "{}", expected[0]);
    for _ in 0..rounds {
        for email in CLASSES {
            assert_eq!(seen(world.address(), email).await, expected, "{email}");
        }
    }
    assert_eq!(passwords(), before, "a request changes no password");
}

/// Returns a world in which Bob's quota of mails is used up.
async fn world(settings: impl Fn(PasswordResetBuilder) -> PasswordResetBuilder) -> World {
    let quotas = Quotas::off().mails_per_address(Quota::per_hour(1).unwrap());
    let world =
        World::over_a_socket(|builder| settings(builder.quotas(quotas).handler_timeout(Duration::from_secs(1)))).await;
    seen(world.address(), "bob@example.com").await;
    until(|| world.reset.ledger().accepted == 1).await;
    world
}

#[tokio::test]
async fn known_and_unknown_users_get_equal_bytes() {
    let world = world(defaults).await;
    all_see_the_same(&world, 200, 100).await;
    until(|| world.reset.ledger().waiting == 0).await;
    let ledger = world.reset.ledger();
    assert!(ledger.delivered == 2 && ledger.suppressed > 100 && ledger.ineligible == 300, "{ledger:?}");
}

#[tokio::test]
async fn faulty_handler_keeps_bytes_equal() {
    struct PanicsWhenDropped;
    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panic!("an injected panic");
        }
    }
    type Outcome = Result<(), BoxError>;
    async fn bad(kind: usize) -> Outcome {
        match kind {
            0 => pending::<Outcome>().await,
            1 => Err("no mail today".into()),
            2 => panic!("an injected panic"),
            3 => {
                let _guard = PanicsWhenDropped;
                Ok(())
            }
            _ => std::panic::panic_any(PanicsWhenDropped),
        }
    }
    for kind in 0..5 {
        let unlimited = |builder: PasswordResetBuilder| builder.on_reset_token_created(move |_| bad(kind));
        let world = world(|builder| unlimited(builder).quotas(Quotas::off())).await;
        all_see_the_same(&world, 200, 10).await;
        until(|| world.reset.ledger().waiting == 0).await;
        assert!(world.reset.ledger().failed >= 20, "fault {kind}: {:?}", world.reset.ledger());
    }
}

#[tokio::test]
async fn faulty_store_keeps_bytes_equal() {
    for store in [Store::Hangs, Store::Panics] {
        let world = world(defaults).await;
        world.store(store);
        all_see_the_same(&world, 200, 10).await;
    }
}

/// The request whose look-up fails first gets the usual response, in every class. Then a probe finds that the store is down,
/// and every request gets 503.
#[tokio::test]
async fn store_outage_keeps_bytes_equal() {
    let mut first = Vec::new();
    for email in CLASSES {
        let world = world(defaults).await;
        world.store(Store::Errs);
        let [answer, _] = seen(world.address(), email).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{email}: {answer}");
        first.push(answer);
        let is_down = async || matches!(world.reset.validate("x").await, Err(ResetError::Unavailable { .. }));
        let probed = async {
            while !is_down().await {
                tokio::task::yield_now().await;
            }
        };
        timeout(STEP_TIMEOUT, probed).await.expect("a probe finds it");
        all_see_the_same(&world, 503, 10).await;
    }
    assert!(first.iter().all(|answer| *answer == first[0]), "{first:?}");
}

#[tokio::test]
async fn full_queue_keeps_bytes_equal() {
    let world = world(|builder| builder.queue(1).handled_at_once(1)).await;
    until(|| world.reset.ledger().waiting == 0).await;
    world.store(Store::Hangs);
    for accepted in 2..4 {
        seen(world.address(), "ann@example.com").await;
        until(|| world.reset.ledger().accepted == accepted).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    all_see_the_same(&world, 503, 10).await;
}

#[tokio::test]
async fn client_over_quota_keeps_bytes_equal() {
    let quota = || Quotas::off().request_per_client(Quota::per_hour(3).unwrap());
    let world = world(|builder| builder.quotas(quota())).await;
    for _ in 0..2 {
        seen(world.address(), "ann@example.com").await;
    }
    all_see_the_same(&world, 429, 10).await;
}

#[tokio::test]
async fn shutdown_keeps_bytes_equal() {
    let world = world(defaults).await;
    world.reset.shutdown(Duration::from_secs(10)).await;
    all_see_the_same(&world, 503, 10).await;
}
