//! Responses to failures: 503 and 500, the same for every address and token; and vetoes of handlers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use poem_password_reset::{
    BoxError, Client, NewPassword, PasswordPolicy, PasswordResetBuilder, PostPasswordReset, PrePasswordReset,
    ResetError, ResetTokenCreated, Unavailable, Veto,
};
use tokio::task::JoinSet;

use crate::http::Operation::{Confirm, Request, Validate};
use crate::http::doubles::{GOOD_PASSWORD, cheap_hash};
use crate::http::{Encoding, HttpRequest, Reply, Store, World, defaults, over_both_transports, until};

/// An active user, an unknown address, a deactivated user and a user without a password.
const EMAILS: [&str; 4] = ["ann@example.com", "nobody@example.com", "carol@example.com", "dave@example.com"];

fn confirm(token: &str, password: &str) -> HttpRequest {
    HttpRequest::post(Confirm).fields(Encoding::Json, &[("token", token), ("password", password)])
}

fn request(email: &str) -> HttpRequest {
    HttpRequest::post(Request).fields(Encoding::Json, &[("email", email)])
}

#[tokio::test]
async fn request_with_full_queue_returns_503() {
    over_both_transports(
        |builder| builder.queue(1).handled_at_once(1),
        async |world| {
            world.store(Store::Hangs);
            world.send(&request("ann@example.com")).await.is_ok();
            until(|| world.calls.all() == 1).await;
            world.send(&request("ann@example.com")).await.is_ok();
            for email in EMAILS {
                world.post(Request, &[("email", email)]).await.is_unavailable();
            }
            world.post(Request, &[("email", "no address")]).await.is_faulty(&["email"]);
            assert_eq!(world.reset.ledger().accepted, 2);
        },
    )
    .await;
}

/// The first request is accepted, because the outage is not known yet. After its look-ups have failed, every request gets 503.
#[tokio::test]
async fn operations_with_store_down_return_503() {
    over_both_transports(defaults, async |world| {
        let token = world.token("1");
        world.store(Store::Errs);
        world.send(&request("nobody@example.com")).await.is_ok();
        // With the clock paused, the delays between retries pass at once.
        tokio::time::pause();
        while world.reset.ledger().waiting > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::resume();
        assert_eq!(world.reset.ledger().lost, 1);

        let mut replies = Vec::new();
        for email in EMAILS {
            replies.push(world.post(Request, &[("email", email)]).await);
        }
        for token in [token.as_str(), "bad"] {
            replies.push(world.post(Validate, &[("token", token)]).await);
            replies.push(world.post(Confirm, &[("token", token), ("password", GOOD_PASSWORD)]).await);
        }
        all_unavailable_alike(&replies);
        world.post(Request, &[("email", "no address")]).await.is_faulty(&["email"]);
        world.post(Confirm, &[("token", &token), ("password", "")]).await.is_faulty(&["password"]);

        // The store works again. The next probe notices it.
        world.store(Store::Works);
        tokio::time::pause();
        tokio::time::sleep(Duration::from_secs(2)).await;
        tokio::time::resume();
        world.post(Validate, &[("token", &token)]).await.is_ok();
        world.send(&request("ann@example.com")).await.is_ok();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn store_that_hangs_returns_503_after_ten_seconds() {
    let world = World::in_process(defaults).await;
    let token = world.token("1");
    world.store(Store::Hangs);
    world.send(&request("ann@example.com")).await.is_ok();
    for request in
        [HttpRequest::post(Validate).json(format!(r#"{{"token":"{token}"}}"#)), confirm(&token, GOOD_PASSWORD)]
    {
        let start = tokio::time::Instant::now();
        world.send(&request).await.is_unavailable();
        assert_eq!(start.elapsed(), Duration::from_secs(10));
    }
}

/// The connection to the store broke after the write was sent.
#[tokio::test]
async fn confirm_with_unknown_outcome_returns_503_and_retry_is_safe() {
    over_both_transports(defaults, async |world| {
        let token = world.token("1");
        world.store(Store::LosesTheAnswerToAWrite);
        world.post(Validate, &[("token", &token)]).await.is_ok();
        world.post(Confirm, &[("token", &token), ("password", GOOD_PASSWORD)]).await.is_unavailable();
        world.store(Store::Works);
        world.send(&confirm(&token, GOOD_PASSWORD)).await.is_ok();
    })
    .await;
}

/// Further confirmations are rejected at once, without waiting.
#[tokio::test]
async fn confirm_with_full_hashing_queue_returns_503() {
    const MAX_QUEUED: usize = 1024;
    over_both_transports(defaults, async |world| {
        let token = world.token("1");
        world.store(Store::Hangs);
        let mut confirms = JoinSet::new();
        for _ in 0..MAX_QUEUED + 10 {
            let (reset, token) = (world.reset.clone(), token.clone());
            confirms.spawn(async move { reset.confirm(&token, GOOD_PASSWORD.into(), Client::none()).await });
        }
        for _ in 0..10 {
            let rejected = confirms.join_next().await.unwrap().unwrap();
            assert!(matches!(rejected, Err(ResetError::Unavailable { reason: Unavailable::HashersBusy, .. })));
        }
        until(|| world.calls.all() == MAX_QUEUED).await;
        world.post(Confirm, &[("token", &token), ("password", GOOD_PASSWORD)]).await.is_unavailable();
        world.post(Confirm, &[("token", &token), ("password", "")]).await.is_faulty(&["password"]);
    })
    .await;
}

#[tokio::test]
async fn operations_during_shutdown_return_503() {
    over_both_transports(defaults, async |world| {
        let token = world.token("1");
        world.reset.shutdown(Duration::ZERO).await;
        let mut replies = Vec::new();
        for email in EMAILS {
            replies.push(world.post(Request, &[("email", email)]).await);
        }
        for token in [token.as_str(), "bad"] {
            replies.push(world.post(Validate, &[("token", token)]).await);
            replies.push(world.post(Confirm, &[("token", token), ("password", GOOD_PASSWORD)]).await);
        }
        all_unavailable_alike(&replies);
        assert_eq!(world.calls.all(), 0);
    })
    .await;
}

/// Asserts that all responses are the same 503.
#[track_caller]
fn all_unavailable_alike(replies: &[Reply]) {
    for reply in replies {
        reply.is_unavailable();
        assert_eq!(reply, &replies[0]);
    }
}

const FAILED: &str = r#"{"detail":"An internal error occurred. Nothing was changed."}"#;

/// Hashers and rules that fail, or panic, or give the hash that is stored already.
#[tokio::test]
async fn failure_of_application_code_returns_500_and_changes_nothing() {
    let settings = |builder: PasswordResetBuilder| {
        let rule = |password: &str, _: &_| match password.contains("tractor panics") {
            true => panic!("planned"),
            false => Ok(()),
        };
        let look_up = |password: NewPassword, _| async move {
            match password.expose() {
                text if text.contains("tractor look-up fails") => Err("connection lost".into()),
                text if text.contains("tractor is listed") => Err(Veto::new("Listed.").into()),
                _ => Ok::<(), BoxError>(()),
            }
        };
        builder.policy(PasswordPolicy::default().rule(rule).async_rule(look_up)).hasher(|password: &str| match password
        {
            _ if password.contains("not hashable") => Err("no randomness".to_owned()),
            _ if password.contains("panics the hasher") => panic!("planned"),
            _ if password.contains("without salt") => Ok("always the same".to_owned()),
            _ => Ok(cheap_hash(password).unwrap()),
        })
    };
    over_both_transports(settings, async |world| {
        let token = world.token("1");
        for password in [
            "purple tractor panics",
            "purple tractor look-up fails",
            "purple tractor panics the hasher",
            "purple but not hashable",
        ] {
            world.post(Confirm, &[("token", &token), ("password", password)]).await.is(500, FAILED);
        }
        let reply = world.post(Confirm, &[("token", &token), ("password", "purple tractor is listed")]).await;
        reply.is(400, r#"{"password":["Listed."]}"#);
        world.post(Validate, &[("token", &token)]).await.is_ok();
        assert!(world.has_password("1", "ann's old password"));

        world.send(&confirm(&token, "purple without salt")).await.is_ok();
        world.send(&confirm(&world.token("1"), "purple without salt")).await.is(500, FAILED);
        world.send(&confirm(&world.token("1"), GOOD_PASSWORD)).await.is_ok();
    })
    .await;
}

/// The panic does not close the connection. The outcome of a confirmation is unknown then.
#[tokio::test]
async fn store_that_panics_returns_503() {
    over_both_transports(
        |builder| builder.reveal_unknown_users(true),
        async |world| {
            let token = world.token("1");
            world.store(Store::Panics);
            world.post(Request, &[("email", "ann@example.com")]).await.is_unavailable();
            world.post(Validate, &[("token", &token)]).await.is_unavailable();
            world.post(Confirm, &[("token", &token), ("password", GOOD_PASSWORD)]).await.is_unavailable();
            world.post(Validate, &[("token", "bad")]).await.is_bad_token();
            world.store(Store::Works);
            world.send(&confirm(&token, GOOD_PASSWORD)).await.is_ok();
        },
    )
    .await;
}

#[tokio::test]
async fn pre_handler_veto_returns_400_and_failure_returns_500() {
    const REASON: &str = "Passwords cannot be changed before noon today.";
    let settings = |builder: PasswordResetBuilder| {
        builder.on_pre_password_reset(|event: Arc<PrePasswordReset>| async move {
            match event.user().id() {
                "1" => Err::<(), _>(Veto::new(REASON).into()),
                "2" => Err("the directory is unavailable".into()),
                _ => Ok::<(), poem_password_reset::BoxError>(()),
            }
        })
    };
    over_both_transports(settings, async |world| {
        let [ann, bob] = ["1", "2"].map(|id| world.token(id));
        let reply = world.post(Confirm, &[("token", &ann), ("password", GOOD_PASSWORD)]).await;
        reply.is(400, &format!(r#"{{"password":["{REASON}"]}}"#));
        world.post(Confirm, &[("token", &bob), ("password", GOOD_PASSWORD)]).await.is(500, FAILED);
        // The handler runs after all other checks.
        world.post(Confirm, &[("token", &ann), ("password", "12345678")]).await.is_faulty(&["password"]);
        for token in [&ann, &bob] {
            world.post(Validate, &[("token", token)]).await.is_ok();
        }
        assert!(world.has_password("1", "ann's old password") && world.has_password("2", "bob's old password"));
    })
    .await;
}

/// These handlers run after the response is determined.
#[tokio::test]
async fn failing_created_and_post_handlers_do_not_change_the_response() {
    let called = Arc::new(AtomicBool::new(false));
    let was_called = Arc::clone(&called);
    let settings = move |builder: PasswordResetBuilder| {
        let called = Arc::clone(&called);
        builder
            .on_reset_token_created(move |_: Arc<ResetTokenCreated>| {
                called.store(true, Ordering::SeqCst);
                async { Err::<(), _>("the mail server is down") }
            })
            .on_post_password_reset(|_: Arc<PostPasswordReset>| async {
                Err::<(), _>("the sessions could not be ended")
            })
    };
    over_both_transports(settings, async |world| {
        for email in EMAILS {
            world.post(Request, &[("email", email)]).await.is_ok();
        }
        until(|| world.reset.ledger().waiting == 0).await;
        assert!(was_called.swap(false, Ordering::SeqCst), "the handler was called");
        assert_eq!((world.reset.ledger().failed, world.reset.ledger().ineligible), (6, 18));
        for reply in
            world.post_each(Confirm, || [("token", world.token("1")), ("password", GOOD_PASSWORD.into())].into()).await
        {
            reply.is_ok();
        }
    })
    .await;
}
