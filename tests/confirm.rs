//! The operation **confirm**: the order of its steps, failures at each step, and callers that drop the future.

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/doubles.rs"]
mod doubles;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/log.rs"]
mod log;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use doubles::{Call, Calls, GOOD_PASSWORD, Watched, builder, cheap_hash, no_mail, people, verifies};
use log::Log;
use poem_password_reset::store::MemoryUsers;
use poem_password_reset::{
    BoxError, Client, NewPassword, PasswordPolicy, PasswordRefusal, PasswordReset, PasswordResetBuilder,
    PostPasswordReset, PrePasswordReset, Refusal, ResetError, SigningKey, StoredUser, TokenCodec, Unavailable,
    UserStore, Veto,
};
use time::OffsetDateTime;

/// The steps of the operation, in order.
#[derive(Clone, Default)]
struct Steps(Arc<Mutex<Vec<&'static str>>>);

impl Steps {
    fn note(&self, step: &'static str) {
        self.0.lock().unwrap().push(step);
    }

    fn all(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }
}

/// Returns a builder whose parts record every step.
fn recorded(users: &MemoryUsers, steps: &Steps) -> PasswordResetBuilder {
    let (stored, checked, hashed) = (steps.clone(), steps.clone(), steps.clone());
    let (before, after) = (steps.clone(), steps.clone());
    let built = Arc::new(AtomicUsize::new(0));
    let store = Watched {
        users: users.clone(),
        calls: Arc::default(),
        before: move |call| {
            stored.note(match call {
                Call::FindByEmail => "find by email",
                Call::FindById => "look up",
                Call::ReplacePassword => "swap",
                Call::Check => "check",
            });
            async { Ok::<(), BoxError>(()) }
        },
    };
    let policy = PasswordPolicy::default().rule(move |password, _| {
        checked.note("policy");
        if password.contains("forbidden") { Err("Not this one.".to_owned()) } else { Ok(()) }
    });
    builder(store)
        .policy(policy)
        .hasher(move |password: &str| {
            // `build()` makes the first two calls.
            if built.fetch_add(1, Ordering::SeqCst) >= 2 {
                hashed.note("hash");
            }
            cheap_hash(password)
        })
        .on_reset_token_created(no_mail)
        .on_pre_password_reset(move |event: Arc<PrePasswordReset>| {
            before.note("pre");
            let vetoed = event.client().user_agent() == Some("vetoed");
            async move { if vetoed { Err(Veto::new("Not before noon.")) } else { Ok(()) } }
        })
        .on_post_password_reset(move |event: Arc<PostPasswordReset>| {
            assert!(verifies(event.user(), GOOD_PASSWORD), "the event has the new state of the user");
            after.note("post");
            async {}
        })
}

fn token_of(reset: &PasswordReset, users: &MemoryUsers, id: &str) -> String {
    reset.issue(&users.get(id).unwrap(), None).unwrap().token().expose().to_owned()
}

async fn confirm(reset: &PasswordReset, token: &str, password: &str) -> Result<(), ResetError> {
    reset.confirm(token, NewPassword::new(password), Client::none()).await.map(drop)
}

async fn finished(reset: &PasswordReset) {
    assert_eq!(reset.shutdown(Duration::from_secs(60)).await.unfinished_confirms, 0);
}

#[tokio::test]
async fn confirm_runs_its_steps_in_order() {
    let (users, steps) = (people(), Steps::default());
    let reset = recorded(&users, &steps).build().await.unwrap();
    confirm(&reset, &token_of(&reset, &users, "1"), GOOD_PASSWORD).await.unwrap();
    finished(&reset).await;
    assert_eq!(steps.all(), ["look up", "policy", "pre", "hash", "swap", "post"]);
    assert!(verifies(&users.get("1").unwrap(), GOOD_PASSWORD));
}

#[tokio::test]
async fn confirm_returns_the_user_with_the_new_password_hash() {
    let users = people();
    let reset = builder(users.clone()).on_reset_token_created(no_mail).build().await.unwrap();
    let token = token_of(&reset, &users, "1");
    let confirmed = reset.confirm(&token, GOOD_PASSWORD.into(), Client::none()).await.unwrap();
    assert!(verifies(confirmed.user(), GOOD_PASSWORD));
    let (stored, returned) = (users.get("1").unwrap(), confirmed.into_user());
    let hash = |user: &StoredUser| user.password_hash().map(|hash| hash.expose().to_owned());
    assert_eq!((returned.id(), hash(&returned)), (stored.id(), hash(&stored)));
}

/// Good, garbage, expired and used tokens, and a service that is shutting down.
#[tokio::test]
async fn validate_and_validate_for_return_the_same_results() {
    let users = people();
    let reset = builder(users.clone()).on_reset_token_created(no_mail).build().await.unwrap();
    let same = async |token: &str| {
        let client = Client::new("192.0.2.1".parse().ok(), None);
        let results = [reset.validate(token).await, reset.validate_for(token, &client).await];
        let [one, other] = results.map(|result| {
            let found = result.map(|validated| (validated.user().id().to_owned(), validated.expires_at()));
            found.map_err(|error| match error {
                ResetError::InvalidToken(error) => format!("{:?}", error.refusal()),
                error => error.as_str().to_owned(),
            })
        });
        assert_eq!(one, other);
        one
    };
    let event = reset.issue(&users.get("1").unwrap(), None).unwrap();
    let token = event.token().expose();
    assert_eq!(same(token).await, Ok(("1".to_owned(), event.expires_at())));
    assert_eq!(same("garbage").await, Err(format!("{:?}", Refusal::Malformed)));
    let codec = TokenCodec::new(doubles::key());
    let two_hours_ago = OffsetDateTime::now_utc() - time::Duration::hours(2);
    let expired = codec.issue(&users.get("1").unwrap(), two_hours_ago, time::Duration::HOUR).unwrap();
    assert_eq!(same(expired.expose()).await, Err(format!("{:?}", Refusal::Expired)));
    reset.confirm(token, GOOD_PASSWORD.into(), Client::none()).await.unwrap();
    assert_eq!(same(token).await, Err(format!("{:?}", Refusal::Stale)));
    users.update("2", |user| user.with_active(false));
    let inactive = codec.issue(&users.get("2").unwrap(), OffsetDateTime::now_utc(), time::Duration::HOUR).unwrap();
    assert_eq!(same(inactive.expose()).await, Err(format!("{:?}", Refusal::Ineligible)));
    reset.shutdown(Duration::from_secs(1)).await;
    assert_eq!(same(token).await, Err("shutting_down".to_owned()));
}

/// Each failure ends the operation at its step. No later step runs, and nothing is written.
#[tokio::test]
async fn failed_step_stops_confirm() {
    let agent = |agent: &str| Client::new(None, Some(agent));
    let (users, steps) = (people(), Steps::default());
    let reset = recorded(&users, &steps).build().await.unwrap();
    let good = token_of(&reset, &users, "1");
    let elsewhere = TokenCodec::new(SigningKey::generate().unwrap());
    let forged = elsewhere.issue(&users.get("1").unwrap(), OffsetDateTime::now_utc(), time::Duration::HOUR).unwrap();
    let unknown_user = StoredUser::new(99, "eve@example.com", Some("a hash".to_owned()));
    let unknown = reset.issue(&unknown_user, None).unwrap().token().expose().to_owned();
    let stale = reset.issue(&StoredUser::new(1, "ann@example.com", Some("older".to_owned())), None).unwrap();
    let inactive = {
        let carol = users.get("3").unwrap().with_active(true);
        reset.issue(&carol, None).unwrap().token().expose().to_owned()
    };
    let too_long = "a long password ".repeat(17);

    for (name, token, password, client, expected) in [
        ("too long", good.as_str(), too_long.as_str(), Client::none(), &[][..]),
        ("forged", forged.expose(), GOOD_PASSWORD, Client::none(), &[]),
        ("garbage", "x", GOOD_PASSWORD, Client::none(), &[]),
        ("unknown user", &unknown, GOOD_PASSWORD, Client::none(), &["look up"]),
        ("stale", stale.token().expose(), GOOD_PASSWORD, Client::none(), &["look up"]),
        ("inactive", &inactive, GOOD_PASSWORD, Client::none(), &["look up"]),
        ("against the policy", &good, "a forbidden word in it", Client::none(), &["look up", "policy"]),
        ("vetoed", &good, GOOD_PASSWORD, agent("vetoed"), &["look up", "policy", "pre"]),
    ] {
        steps.0.lock().unwrap().clear();
        assert!(reset.confirm(token, password.into(), client).await.is_err(), "{name}");
        assert_eq!(steps.all(), expected, "{name}");
        assert!(verifies(&users.get("1").unwrap(), "ann's old password"), "{name}");
    }
    confirm(&reset, &good, GOOD_PASSWORD).await.expect("a failed confirm does not use the token up");
}

#[tokio::test]
async fn refusal_reason_is_logged_and_not_returned() {
    let log = Log::default();
    let _guard = log.of_thread();
    let users = people();
    let reset = builder(users.clone()).on_reset_token_created(no_mail).build().await.unwrap();
    let stale = reset.issue(&StoredUser::new(1, "ann@example.com", Some("older".to_owned())), None).unwrap();
    let unknown = reset.issue(&StoredUser::new(9, "eve@example.com", Some("x".to_owned())), None).unwrap();
    let mut texts = Vec::new();
    for (token, refusal) in [
        ("x", Refusal::Malformed),
        ("a.b.c", Refusal::Header),
        (stale.token().expose(), Refusal::Stale),
        (unknown.token().expose(), Refusal::UnknownUser),
    ] {
        for error in [reset.validate(token).await.map(drop), confirm(&reset, token, GOOD_PASSWORD).await] {
            let Err(ResetError::InvalidToken(error)) = error else { panic!("{refusal}") };
            assert_eq!(error.refusal(), refusal);
            texts.push(error.to_string());
        }
        let line = format!("INFO a reset token was refused refusal={refusal}\n");
        assert_eq!(log.text().matches(&line).count(), 2, "one line for each refusal: {line:?} in {}", log.text());
    }
    assert_eq!(log.text().matches("refused").count(), texts.len(), "and no other: {}", log.text());
    texts.dedup();
    assert_eq!(texts.len(), 1, "every refusal has the same text");
}

#[tokio::test]
async fn veto_text_is_returned_and_other_errors_are_not() {
    let users = people();
    let vetoing = builder(users.clone())
        .on_reset_token_created(no_mail)
        .on_pre_password_reset(|_| async { Err(Veto::new("Not before noon.")) })
        .build()
        .await
        .unwrap();
    let token = token_of(&vetoing, &users, "1");
    let Err(ResetError::PasswordRefused(reasons)) = confirm(&vetoing, &token, GOOD_PASSWORD).await else { panic!() };
    assert_eq!(reasons, [PasswordRefusal::Custom("Not before noon.".to_owned())]);

    let failing = builder(users.clone())
        .on_reset_token_created(no_mail)
        .on_pre_password_reset(|_| async { Err::<(), BoxError>("the list of breached passwords is away".into()) })
        .build()
        .await
        .unwrap();
    assert!(matches!(confirm(&failing, &token, GOOD_PASSWORD).await, Err(ResetError::Failed(_))));
    assert!(verifies(&users.get("1").unwrap(), "ann's old password"));
}

/// A caller that drops the future at any await does not change the outcome of a confirmation.
#[tokio::test]
async fn confirm_continues_if_the_caller_drops_it() {
    for awaits in 0..40 {
        let (users, posted) = (people(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&posted);
        let reset = builder(Watched {
            users: users.clone(),
            calls: Arc::default(),
            before: async |_| {
                for _ in 0..4 {
                    tokio::task::yield_now().await;
                }
                Ok::<(), BoxError>(())
            },
        })
        .on_reset_token_created(no_mail)
        .on_post_password_reset(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            async {}
        })
        .build()
        .await
        .unwrap();
        let token = token_of(&reset, &users, "1");
        let waiting = reset.clone();
        let caller = tokio::spawn(async move { confirm(&waiting, &token, GOOD_PASSWORD).await });
        for _ in 0..=awaits {
            tokio::task::yield_now().await;
        }
        caller.abort();
        let _ = caller.await;
        finished(&reset).await;
        assert!(verifies(&users.get("1").unwrap(), GOOD_PASSWORD), "dropped after {awaits} awaits");
        assert_eq!(posted.load(Ordering::SeqCst), 1, "dropped after {awaits} awaits");
    }
}

#[tokio::test]
async fn confirm_succeeds_only_after_the_store_acknowledged() {
    let (users, acknowledged) = (people(), Arc::new(AtomicBool::new(false)));
    let acknowledge = Arc::clone(&acknowledged);
    let reset =
        builder(Slow { users: users.clone(), acknowledge }).on_reset_token_created(no_mail).build().await.unwrap();
    confirm(&reset, &token_of(&reset, &users, "1"), GOOD_PASSWORD).await.unwrap();
    assert!(acknowledged.load(Ordering::SeqCst));
}

/// A store that is slow to acknowledge a write.
struct Slow {
    users: MemoryUsers,
    acknowledge: Arc<AtomicBool>,
}

impl UserStore for Slow {
    type Error = std::convert::Infallible;

    async fn find_by_email(&self, email: &str) -> Result<Vec<StoredUser>, Self::Error> {
        self.users.find_by_email(email).await
    }

    async fn find_by_id(&self, id: &str) -> Result<Option<StoredUser>, Self::Error> {
        self.users.find_by_id(id).await
    }

    async fn replace_password(
        &self,
        user: &StoredUser,
        new_hash: &poem_password_reset::PasswordHash,
    ) -> Result<poem_password_reset::Swap, Self::Error> {
        let swap = self.users.replace_password(user, new_hash).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        self.acknowledge.store(true, Ordering::SeqCst);
        swap
    }
}

/// A hanging handler does not delay the response of a completed confirm.
#[tokio::test(start_paused = true)]
async fn confirm_returns_before_post_handlers_finish() {
    let users = people();
    let reset = builder(users.clone())
        .on_reset_token_created(no_mail)
        .on_post_password_reset(|_| std::future::pending::<()>())
        .build()
        .await
        .unwrap();
    let token = token_of(&reset, &users, "1");
    let before = tokio::time::Instant::now();
    confirm(&reset, &token, GOOD_PASSWORD).await.unwrap();
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
}

/// For every k, the k-th store call of a confirmation fails.
#[tokio::test]
async fn store_failure_at_any_call_leaves_a_working_password() {
    for (call, expected) in
        [(Call::FindById, Unavailable::StoreDown), (Call::ReplacePassword, Unavailable::UnknownOutcome)]
    {
        let users = people();
        let failing = Arc::new(AtomicBool::new(true));
        let fails = Arc::clone(&failing);
        let reset = builder(Watched {
            users: users.clone(),
            calls: Arc::default(),
            before: move |this| {
                let fails = this == call && fails.load(Ordering::SeqCst);
                async move { if fails { Err(BoxError::from("the store is down")) } else { Ok(()) } }
            },
        })
        .on_reset_token_created(no_mail)
        .build()
        .await
        .unwrap();
        let token = token_of(&reset, &users, "1");
        let Err(ResetError::Unavailable { reason, .. }) = confirm(&reset, &token, GOOD_PASSWORD).await else {
            panic!("{call:?}");
        };
        assert_eq!(reason, expected);
        assert!(verifies(&users.get("1").unwrap(), "ann's old password"), "{call:?}");
        failing.store(false, Ordering::SeqCst);
        confirm(&reset, &token, GOOD_PASSWORD).await.expect("a second try is safe");
    }
}

/// A hanging store call is timed out, and a panic in it is caught.
#[tokio::test(start_paused = true)]
async fn store_that_hangs_or_panics_in_the_write_is_an_unknown_outcome() {
    for panics in [false, true] {
        let users = people();
        let reset = builder(Watched {
            users: users.clone(),
            calls: Arc::default(),
            before: move |call| async move {
                match call {
                    Call::ReplacePassword if panics => panic!("an injected panic"),
                    Call::ReplacePassword => std::future::pending::<Result<(), BoxError>>().await,
                    _ => Ok(()),
                }
            },
        })
        .on_reset_token_created(no_mail)
        .build()
        .await
        .unwrap();
        let token = token_of(&reset, &users, "1");
        let before = tokio::time::Instant::now();
        let Err(ResetError::Unavailable { reason, .. }) = confirm(&reset, &token, GOOD_PASSWORD).await else {
            panic!("panics: {panics}");
        };
        assert!(before.elapsed() < Duration::from_secs(11), "a store call is timed out after ten seconds");
        assert_eq!(reason, Unavailable::UnknownOutcome);
    }
}

#[tokio::test]
async fn faulty_hasher_changes_nothing() {
    for fault in ["fails", "panics", "repeats"] {
        let (users, hashed) = (people(), Arc::new(AtomicUsize::new(0)));
        let old = users.get("1").unwrap().password_hash().unwrap().expose().to_owned();
        let reset = builder(users.clone())
            .on_reset_token_created(no_mail)
            .hasher(move |password: &str| -> Result<String, BoxError> {
                match fault {
                    _ if hashed.fetch_add(1, Ordering::SeqCst) < 2 => Ok(cheap_hash(password)?),
                    "fails" => Err("no randomness".into()),
                    "panics" => panic!("an injected panic"),
                    _ => Ok(old.clone()),
                }
            })
            .build()
            .await
            .unwrap();
        let token = token_of(&reset, &users, "1");
        assert!(matches!(confirm(&reset, &token, GOOD_PASSWORD).await, Err(ResetError::Failed(_))), "{fault}");
        assert!(verifies(&users.get("1").unwrap(), "ann's old password"), "{fault}");
        reset.validate(&token).await.expect("the token is still valid");
    }
}

/// Validation never writes, and its result agrees with that of a confirm.
#[tokio::test]
async fn validate_writes_nothing() {
    let (users, calls) = (people(), Arc::new(Calls::default()));
    let before = async |_| Ok::<(), BoxError>(());
    let reset = builder(Watched { users: users.clone(), calls: Arc::clone(&calls), before })
        .on_reset_token_created(no_mail)
        .build()
        .await
        .unwrap();
    let token = token_of(&reset, &users, "1");
    for _ in 0..1000 {
        reset.validate(&token).await.unwrap();
    }
    assert_eq!(calls.find_by_id.load(Ordering::SeqCst), 1000);
    assert_eq!(calls.all(), 1000);
    confirm(&reset, &token, GOOD_PASSWORD).await.unwrap();
}

/// A hash takes a core for 20 ms. On a runtime with one thread it would stop every other request.
#[tokio::test]
async fn hashing_does_not_block_async_threads() {
    let (users, threads) = (people(), Arc::new(Mutex::new(Vec::new())));
    let hashed_on = Arc::clone(&threads);
    let reset = builder(users.clone())
        .on_reset_token_created(no_mail)
        .hasher(move |password: &str| {
            hashed_on.lock().unwrap().push(std::thread::current().id());
            cheap_hash(password)
        })
        .build()
        .await
        .unwrap();
    // `build()` hashes on its own thread, before anything is served.
    threads.lock().unwrap().clear();
    confirm(&reset, &token_of(&reset, &users, "1"), GOOD_PASSWORD).await.unwrap();
    let threads = threads.lock().unwrap().clone();
    assert_eq!(threads.len(), 1);
    assert_ne!(threads[0], std::thread::current().id(), "the runtime's only thread");
}

/// Spaces, NFC, NFD and bytes after the 72nd are hashed as sent.
#[tokio::test]
async fn password_is_hashed_exactly_as_sent() {
    let long = "purple tractor hums at dawn, ".repeat(3);
    for password in [
        "  purple tractor hums  ",
        "purple tr\u{e4}ctor",
        "purple tra\u{308}ctor",
        &format!("{long}1"),
        &format!("{long}2"),
    ] {
        let users = people();
        let reset = builder(users.clone()).on_reset_token_created(no_mail).build().await.unwrap();
        confirm(&reset, &token_of(&reset, &users, "1"), password).await.unwrap();
        assert!(verifies(&users.get("1").unwrap(), password), "{password:?}");
    }
}
