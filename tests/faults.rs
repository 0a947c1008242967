//! Faults of the store, the hasher, the handlers, the throttle and the clock. SECURITY.md lists the faults F1 to F24.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion")]

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/doubles.rs"]
mod doubles;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/random.rs"]
mod random;

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use doubles::{Call, GOOD_PASSWORD, Watched, builder, cheap_hash, no_mail, people, verifies};
use poem_password_reset::store::MemoryUsers;
use poem_password_reset::throttle::{Quota, Quotas, Throttle, ThrottleKey, Verdict};
use poem_password_reset::{
    BoxError, Client, Ledger, NewPassword, PasswordHash, PasswordReset, PasswordResetBuilder, ResetError, StoredUser,
    Swap, Unavailable, UserStore, Veto,
};
use random::Random;
use time::OffsetDateTime;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Errs,
    Panics,
    Hangs,
    /// The clock is a year ahead. Only the clock has this fault.
    Ahead,
    /// The clock returns 1970.
    Behind,
}

/// Counts the calls of store, hasher, handlers, throttle and clock together, and lets one of them fail.
#[derive(Clone)]
struct Counter {
    calls: Arc<AtomicUsize>,
    fails_at: usize,
    how: How,
}

impl Counter {
    fn is_this(&self) -> bool {
        self.calls.fetch_add(1, Ordering::SeqCst) == self.fails_at
    }

    async fn call(self) -> Result<(), BoxError> {
        match self.is_this().then_some(self.how) {
            None | Some(How::Ahead | How::Behind) => Ok(()),
            Some(How::Errs) => Err("an injected fault".into()),
            Some(How::Panics) => panic!("an injected panic"),
            Some(How::Hangs) => pending().await,
        }
    }

    fn hash(&self, password: &str) -> Result<String, BoxError> {
        match self.is_this().then_some(self.how) {
            // A hasher that blocks its thread cannot be timed out, so this one panics instead.
            Some(How::Panics | How::Hangs) => panic!("an injected panic"),
            Some(How::Errs) => Err("an injected fault".into()),
            Some(How::Ahead | How::Behind) | None => Ok(cheap_hash(password)?),
        }
    }

    fn now(&self) -> OffsetDateTime {
        match self.is_this().then_some(self.how) {
            Some(How::Ahead) => OffsetDateTime::now_utc() + Duration::from_secs(365 * 24 * 3600),
            Some(How::Behind) => OffsetDateTime::UNIX_EPOCH,
            _ => OffsetDateTime::now_utc(),
        }
    }

    /// Returns a service whose parts all count their calls.
    async fn reset(&self, users: &MemoryUsers) -> PasswordReset {
        let (store, hasher, mail, pre, post) = (self.clone(), self.clone(), self.clone(), self.clone(), self.clone());
        let clock = self.clone();
        let before = move |_| store.clone().call();
        let reset = builder(Watched { users: users.clone(), calls: Arc::default(), before })
            .hasher(move |password: &str| hasher.hash(password))
            .on_reset_token_created(move |_| mail.clone().call())
            .on_pre_password_reset(move |_| pre.clone().call())
            .on_post_password_reset(move |_| post.clone().call())
            .quotas(Quotas::default())
            .throttle(self.clone())
            .clock(move || clock.now())
            .build()
            .await
            .unwrap();
        self.calls.store(0, Ordering::SeqCst);
        reset
    }
}

impl Throttle for Counter {
    type Error = BoxError;

    async fn count(&self, _: &ThrottleKey, _: Quota) -> Result<Verdict, BoxError> {
        self.clone().call().await.map(|()| Verdict::Within)
    }
}

/// Runs every operation once. Returns the result of the confirmation, or `None` if there was no token to confirm.
async fn whole_flow(reset: &PasswordReset, users: &MemoryUsers) -> Option<Result<(), ResetError>> {
    let ann = users.get("1").unwrap();
    let known = reset.request("ann@example.com", Client::none()).await;
    let unknown = reset.request("nobody@example.com", Client::none()).await;
    assert_eq!(known.is_ok(), unknown.is_ok());
    sleep(Duration::from_secs(100)).await;
    let _ = reset.send(&ann, None).await;
    let token = reset.issue(&ann, None).unwrap().token().expose().to_owned();
    let (asked, copy) = (reset.clone(), token.clone());
    // Over HTTP, a panic here leads to status 500.
    let validated = tokio::spawn(async move { asked.validate(&copy).await.map(drop) }).await;
    let fine = |error: &ResetError| {
        matches!(error, ResetError::Unavailable { reason: Unavailable::StoreDown, .. } | ResetError::InvalidToken(_))
    };
    assert!(!matches!(validated, Ok(Err(ref error)) if !fine(error)), "{validated:?}");
    let confirmed = reset.confirm(&token, GOOD_PASSWORD.into(), Client::none()).await.map(drop);
    sleep(Duration::from_secs(100)).await;
    Some(confirmed)
}

/// F1, F2, F4, F5 and similar faults: for every k, the k-th call of any part returns an error, panics or hangs. Afterwards the
/// ledger adds up, the password is the one that the response implies, and every operation works.
#[tokio::test(start_paused = true)]
async fn fault_at_any_call_leaves_a_consistent_state() {
    for how in [How::Errs, How::Panics, How::Hangs, How::Ahead, How::Behind] {
        let mut answers = BTreeSet::new();
        for fails_at in 0.. {
            let users = people();
            let old = users.get("1").unwrap().password_hash().unwrap().expose().to_owned();
            // Only after `build()`, which calls the hasher.
            let counter = Counter { calls: Arc::new(AtomicUsize::new(usize::MAX / 2)), fails_at, how };
            let reset = counter.reset(&users).await;
            let confirmed = whole_flow(&reset, &users).await.unwrap();
            let failed = counter.calls.load(Ordering::SeqCst) > fails_at;

            let ann = users.get("1").unwrap();
            match &confirmed {
                Ok(()) => assert!(verifies(&ann, GOOD_PASSWORD), "{how:?} at {fails_at}"),
                Err(ResetError::Unavailable { reason: Unavailable::UnknownOutcome, .. }) => {
                    assert!(verifies(&ann, GOOD_PASSWORD) || ann.password_hash().unwrap().expose() == old);
                }
                Err(_) => {
                    assert_eq!(ann.password_hash().unwrap().expose(), old, "{how:?} at {fails_at}: {confirmed:?}")
                }
            }
            answers.insert(confirmed.as_ref().map_or_else(|error| error.as_str(), |()| "ok"));
            settled(&reset).await;

            if !failed {
                assert!(confirmed.is_ok() && fails_at >= 15, "{fails_at} calls in all");
                break;
            }
            // The user can still reset the password.
            let again = reset.issue(&ann, None).unwrap();
            reset.confirm(again.token().expose(), "another otter paints".into(), Client::none()).await.unwrap();
            reset.request("ann@example.com", Client::none()).await.unwrap();
            assert_eq!(reset.shutdown(Duration::from_secs(100)).await.lost_requests, 0);
        }
        let expected = match how {
            How::Ahead | How::Behind => &["invalid_token", "ok"][..],
            _ => &["failed", "ok", "store_down", "unknown_outcome"],
        };
        assert!(answers.iter().all(|answer| expected.contains(answer)), "{how:?}: {answers:?}");
        assert!(answers.len() + 1 >= expected.len(), "{how:?}: {answers:?}");
    }
}

async fn settled(reset: &PasswordReset) -> Ledger {
    while reset.ledger().waiting > 0 {
        sleep(Duration::from_millis(10)).await;
    }
    let Ledger { accepted, delivered, failed, ineligible, suppressed, lost, .. } = reset.ledger();
    assert_eq!(accepted, delivered + failed + ineligible + suppressed + lost);
    reset.ledger()
}

/// How a slow store call waits.
#[derive(Clone, Copy, Debug)]
enum Wait {
    /// In async code, like an async driver.
    Async,
    /// On a thread of the blocking pool, as a synchronous driver does.
    BlockingThread,
}

/// A store in which calls about Ann wait until the test opens the gate. Calls about other users return at once.
#[derive(Clone)]
struct SlowForAnn {
    users: MemoryUsers,
    wait: Wait,
    gate: watch::Receiver<bool>,
    /// Calls about Ann that have reached the store.
    reached: Arc<AtomicUsize>,
    /// Calls about Ann that the store has answered.
    answered: Arc<AtomicUsize>,
}

impl SlowForAnn {
    async fn slow_if(&self, is_ann: bool) {
        if !is_ann {
            return;
        }
        self.reached.fetch_add(1, Ordering::SeqCst);
        let mut gate = self.gate.clone();
        // An error means that the test has failed and dropped the gate: then the call ends too.
        match self.wait {
            Wait::Async => drop(gate.wait_for(|is_open| *is_open).await),
            Wait::BlockingThread => {
                let runtime = Handle::current();
                spawn_blocking(move || drop(runtime.block_on(gate.wait_for(|is_open| *is_open)))).await.unwrap();
            }
        }
        self.answered.fetch_add(1, Ordering::SeqCst);
    }
}

impl UserStore for SlowForAnn {
    type Error = BoxError;

    async fn find_by_email(&self, email: &str) -> Result<Vec<StoredUser>, BoxError> {
        self.slow_if(email == "ann@example.com").await;
        Ok(self.users.find_by_email(email).await?)
    }

    async fn find_by_id(&self, id: &str) -> Result<Option<StoredUser>, BoxError> {
        self.slow_if(id == "1").await;
        Ok(self.users.find_by_id(id).await?)
    }

    async fn replace_password(&self, user: &StoredUser, new_hash: &PasswordHash) -> Result<Swap, BoxError> {
        self.slow_if(user.id() == "1").await;
        Ok(self.users.replace_password(user, new_hash).await?)
    }
}

/// F3: while 180 calls wait in the store, requests, refusals and complete resets of another user succeed. The test depends on the
/// order of events, not on time: the gate opens only after all other calls have returned.
#[tokio::test]
async fn slow_store_calls_do_not_delay_other_users() {
    const CONFIRMS: usize = 100;
    const VALIDATIONS: usize = 30;
    // Fewer than the requests that are handled at once, so that a worker is free for Bob's request.
    const REQUESTS: usize = 50;
    for wait in [Wait::Async, Wait::BlockingThread] {
        let (users, mails) = (people(), Arc::new(Mutex::new(Vec::new())));
        let (open, gate) = watch::channel(false);
        let store = SlowForAnn { users: users.clone(), wait, gate, reached: Arc::default(), answered: Arc::default() };
        let (reached, answered) = (Arc::clone(&store.reached), Arc::clone(&store.answered));
        let outbox = Arc::clone(&mails);
        let reset = builder(store)
            .on_reset_token_created(move |event: Arc<poem_password_reset::ResetTokenCreated>| {
                outbox.lock().unwrap().push(event.user().email().to_owned());
                async {}
            })
            .build()
            .await
            .unwrap();
        let [anns, bobs] =
            ["1", "2"].map(|id| reset.issue(&users.get(id).unwrap(), None).unwrap().token().expose().to_owned());

        let (mut confirms, mut validations) = (JoinSet::new(), JoinSet::new());
        for _ in 0..CONFIRMS {
            let (reset, token) = (reset.clone(), anns.clone());
            confirms.spawn(async move { reset.confirm(&token, GOOD_PASSWORD.into(), Client::none()).await });
        }
        for _ in 0..VALIDATIONS {
            let (reset, token) = (reset.clone(), anns.clone());
            validations.spawn(async move { reset.validate(&token).await.map(drop) });
        }
        for _ in 0..REQUESTS {
            timeout(STEP_TIMEOUT, reset.request("ann@example.com", Client::none())).await.expect("an answer").unwrap();
        }
        let slow = CONFIRMS + VALIDATIONS + REQUESTS;
        until(|| reached.load(Ordering::SeqCst) == slow).await;

        // Others, while all of these calls are pending.
        let others = async {
            for _ in 0..100 {
                reset.request("nobody@example.com", Client::none()).await.unwrap();
                let refused = reset.validate("garbage").await;
                assert!(matches!(refused, Err(ResetError::InvalidToken(_))), "{refused:?}");
                let refused = reset.confirm("garbage", GOOD_PASSWORD.into(), Client::none()).await;
                assert!(matches!(refused, Err(ResetError::InvalidToken(_))), "{refused:?}");
                reset.validate(&bobs).await.unwrap();
            }
            reset.request("bob@example.com", Client::none()).await.unwrap();
            until(|| mails.lock().unwrap().as_slice() == ["bob@example.com"]).await;
            reset.confirm(&bobs, GOOD_PASSWORD.into(), Client::none()).await.unwrap();
        };
        timeout(STEP_TIMEOUT, others).await.expect("others do not wait for the slow calls");
        assert!(verifies(&users.get("2").unwrap(), GOOD_PASSWORD));
        assert_eq!(answered.load(Ordering::SeqCst), 0, "{wait:?}: every slow call is still pending");
        assert!(confirms.try_join_next().is_none() && validations.try_join_next().is_none(), "{wait:?}");
        assert_eq!(reset.ledger().waiting, REQUESTS as u64, "{wait:?}: only Ann's requests wait");

        // The slow calls complete too.
        open.send(true).unwrap();
        let answers = confirms.join_all().await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{wait:?}: one wins");
        assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(ResetError::InvalidToken(_)))));
        assert!(verifies(&users.get("1").unwrap(), GOOD_PASSWORD));
        assert_eq!(validations.join_all().await.len(), VALIDATIONS);
        assert_eq!(settled(&reset).await.delivered, REQUESTS as u64 + 1, "{wait:?}");
    }
}

/// Timeout of a step: long enough for a busy machine, shorter than the ten seconds after which a store call is timed out.
const STEP_TIMEOUT: Duration = Duration::from_secs(8);

/// Waits until the condition holds.
async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(STEP_TIMEOUT, wait).await.expect("the condition becomes true");
}

/// F5: a thousand hanging handlers are timed out, and their permits are released.
#[tokio::test(start_paused = true)]
async fn hanging_handlers_are_timed_out_and_free_their_permits() {
    let hangs = Arc::new(AtomicBool::new(true));
    let hung = Arc::clone(&hangs);
    let reset = builder(people())
        .on_reset_token_created(move |_| {
            let hangs = hung.load(Ordering::SeqCst);
            async move {
                if hangs {
                    pending().await
                }
            }
        })
        .build()
        .await
        .unwrap();
    for _ in 0..1_000 {
        reset.request("ann@example.com", Client::none()).await.unwrap();
    }
    // Sixty-four at a time, thirty seconds each.
    assert!(timeout(Duration::from_secs(16 * 30 + 1), settled(&reset)).await.is_ok());
    assert_eq!(reset.ledger().failed, 1_000);
    hangs.store(false, Ordering::SeqCst);
    reset.request("ann@example.com", Client::none()).await.unwrap();
    assert_eq!(settled(&reset).await.delivered, 1);
}

/// F6: a burst of ten thousand requests while mail takes ten seconds. The queue fills up, and all other requests get 503.
#[tokio::test(start_paused = true)]
async fn burst_of_requests_is_limited_by_the_queue() {
    let running = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let counted = Arc::clone(&running);
    let reset = builder(people())
        .on_reset_token_created(move |_| {
            let counted = Arc::clone(&counted);
            async move {
                counted.1.fetch_max(counted.0.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                sleep(Duration::from_secs(10)).await;
                counted.0.fetch_sub(1, Ordering::SeqCst);
            }
        })
        .build()
        .await
        .unwrap();
    let mut counts = [0, 0];
    for number in 0..10_000 {
        let email = ["ann@example.com", "nobody@example.com"][number % 2];
        match reset.request(email, Client::none()).await {
            Ok(_) => counts[0] += 1,
            Err(ResetError::Unavailable { reason: Unavailable::QueueFull, .. }) => counts[1] += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    // The number of waiting requests while 64 are handled.
    assert_eq!(counts, [4_096 + 64, 10_000 - 4_096 - 64]);
    let ledger = settled(&reset).await;
    assert_eq!((ledger.delivered, ledger.ineligible), (2_080, 2_080));
    assert!(running.1.load(Ordering::SeqCst) <= 64, "{} handlers at once", running.1.load(Ordering::SeqCst));
}

/// F11: ten thousand confirmations with valid tokens at once, of which half are dropped by their callers. At most as many hashes as
/// cores run at a time, the queue is bounded, every reported success is true, and every permit is released.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_concurrent_confirms_are_limited_and_free_their_permits() {
    const USERS: usize = 10_000;
    let users = MemoryUsers::new(
        (0..USERS).map(|id| StoredUser::new(id, format!("u{id}@example.com"), Some(format!("cheap${id}$x")))),
    );
    let hashing = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    // A confirm holds a permit between the look-up and the end of the hash.
    let under_way = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let (counted, done_with) = (Arc::clone(&hashing), Arc::clone(&under_way));
    let hash = move |password: &str| {
        counted.1.fetch_max(counted.0.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(1));
        counted.0.fetch_sub(1, Ordering::SeqCst);
        // `build()` hashes twice before any confirmation.
        let _ = done_with.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1));
        cheap_hash(password)
    };
    let counted = Arc::clone(&under_way);
    let before = move |call| {
        if call == Call::FindById {
            counted.1.fetch_max(counted.0.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        }
        async { Ok::<(), BoxError>(()) }
    };
    let store = Watched { users: users.clone(), calls: Arc::default(), before };
    let reset = schedule(store).hasher(hash).build().await.unwrap();
    let mut confirms = JoinSet::new();
    for id in 0..USERS {
        let token = reset.issue(&users.get(&id.to_string()).unwrap(), None).unwrap();
        let reset = reset.clone();
        confirms.spawn(async move {
            let password = NewPassword::new(format!("the new password of {id}"));
            let confirm = reset.confirm(token.token().expose(), password, Client::none());
            // Every second caller drops its future.
            match id % 2 {
                0 => (id, Some(confirm.await)),
                _ => (id, timeout(Duration::from_micros(id as u64), confirm).await.ok()),
            }
        });
    }
    let (mut done, mut refused) = (0, 0);
    for (id, answer) in confirms.join_all().await {
        match answer {
            Some(Ok(_)) => {
                assert!(verifies(&users.get(&id.to_string()).unwrap(), &format!("the new password of {id}")));
                done += 1;
            }
            Some(Err(ResetError::Unavailable { reason: Unavailable::HashersBusy, .. })) => refused += 1,
            Some(Err(other)) => panic!("{other:?}"),
            None => {}
        }
    }
    assert!(done >= 512 && refused > 0, "{done} done, {refused} refused");
    assert!(
        under_way.1.load(Ordering::SeqCst) <= 1_024,
        "{} confirms under way at once",
        under_way.1.load(Ordering::SeqCst)
    );
    // Every permit is released, also those of dropped calls.
    until(|| under_way.0.load(Ordering::SeqCst) == 0).await;
    let mut again = JoinSet::new();
    for id in 0..1_000 {
        let token = reset.issue(&users.get(&id.to_string()).unwrap(), None).unwrap();
        let reset = reset.clone();
        again.spawn(async move { reset.confirm(token.token().expose(), GOOD_PASSWORD.into(), Client::none()).await });
    }
    let refused = again.join_all().await.into_iter().filter(Result::is_err).count();
    assert_eq!(refused, 0, "1,000 confirmations after the flood");
    let cores = std::thread::available_parallelism().unwrap().get();
    assert!(hashing.1.load(Ordering::SeqCst) <= cores, "{} hashes at once", hashing.1.load(Ordering::SeqCst));
    assert_eq!(reset.shutdown(Duration::from_secs(60)).await.unfinished_confirms, 0, "dropped confirms continue");
}

/// A store that returns wrong results at random.
#[derive(Clone)]
struct Liar {
    users: MemoryUsers,
    random: Arc<Mutex<Random>>,
}

impl Liar {
    fn pick(&self, choices: usize) -> usize {
        self.random.lock().unwrap().below(choices)
    }

    /// Another user, or the right user with odd data. Some have Ann's hash, so that only id and address tell them apart.
    fn any_user(&self) -> StoredUser {
        let anns = self.users.get("1").and_then(|ann| ann.password_hash().map(|hash| hash.expose().to_owned()));
        let hashes =
            ["", "$", "not a hash", "$argon2id$", "\u{fffd}\u{202e}", "ä".repeat(10_000).leak(), "\0", "$2b$12$\u{e9}"];
        let emails = [
            "ann@example.com",
            "ANN@example.com",
            "",
            "no address",
            "bob@example.com",
            "a@b\r\nBcc: c@d",
            "\"<script>\"@x",
            "ann@example.com\0",
        ];
        let ids = ["1", "2", "", "\n", "9".repeat(500).leak(), "\u{85}"];
        let hash = match self.pick(5) {
            0 => None,
            1 | 2 => anns,
            _ => Some(hashes[self.pick(hashes.len())].to_owned()),
        };
        StoredUser::new(ids[self.pick(ids.len())], emails[self.pick(emails.len())], hash).with_active(self.pick(4) > 0)
    }
}

impl UserStore for Liar {
    type Error = BoxError;

    async fn find_by_email(&self, email: &str) -> Result<Vec<StoredUser>, BoxError> {
        match self.pick(3) {
            0 => Ok(self.users.find_by_email(email).await?),
            _ => Ok((0..self.pick(4)).map(|_| self.any_user()).collect()),
        }
    }

    async fn find_by_id(&self, id: &str) -> Result<Option<StoredUser>, BoxError> {
        match self.pick(3) {
            0 => Ok(self.users.find_by_id(id).await?),
            _ => Ok(Some(self.any_user())),
        }
    }

    async fn replace_password(&self, _: &StoredUser, _: &PasswordHash) -> Result<Swap, BoxError> {
        Ok(if self.pick(2) == 0 { Swap::Done } else { Swap::Stale })
    }
}

/// F19: wrong results of a store cause no panic, no mail to another address than the requested one, and no token that is
/// valid for another user.
#[tokio::test(start_paused = true)]
async fn store_with_wrong_results_causes_no_panic_and_no_wrong_mail() {
    let mails = Arc::new(Mutex::new(Vec::new()));
    let outbox = Arc::clone(&mails);
    let store = Liar { users: people(), random: Arc::new(Mutex::new(Random::seeded())) };
    let reset = builder(store.clone())
        .on_reset_token_created(move |event: Arc<poem_password_reset::ResetTokenCreated>| {
            outbox.lock().unwrap().push(event.user().email().to_owned());
            async {}
        })
        .build()
        .await
        .unwrap();
    let ann = store.users.get("1").unwrap();
    let token = reset.issue(&ann, None).unwrap();
    for _ in 0..2_000 {
        reset.request("ann@example.com", Client::none()).await.unwrap();
        match reset.validate(token.token().expose()).await {
            Ok(valid) => assert_eq!((valid.user().id(), valid.user().email()), ("1", "ann@example.com")),
            Err(error) => assert_eq!(error.as_str(), "invalid_token"),
        }
        let answer = reset.confirm(token.token().expose(), GOOD_PASSWORD.into(), Client::none()).await;
        assert!(matches!(answer, Ok(_) | Err(ResetError::InvalidToken(_))), "{answer:?}");
        let odd = store.any_user();
        if let Ok(event) = reset.issue(&odd, None) {
            let email = event.user().email();
            assert!(["ann@example.com", "bob@example.com"].contains(&&*email.to_ascii_lowercase()), "{email:?}");
        }
    }
    assert_eq!(settled(&reset).await.lost, 0);
    let mails = mails.lock().unwrap();
    assert!(mails.len() > 100 && mails.iter().all(|mail| mail.eq_ignore_ascii_case("ann@example.com")));
}

/// C1: ten thousand schedules of racing confirmations, with random pauses in every store call.
#[tokio::test(start_paused = true)]
async fn one_confirm_wins_in_ten_thousand_schedules() {
    let random = Arc::new(Mutex::new(Random::seeded()));
    let before = move |_: Call| {
        let yields = random.lock().unwrap().below(5);
        async move {
            for _ in 0..yields {
                tokio::task::yield_now().await;
            }
            Ok::<(), BoxError>(())
        }
    };
    let users = people();
    let reset = schedule(Watched { users: users.clone(), calls: Arc::default(), before }).build().await.unwrap();
    for round in 0..10_000 {
        let token = reset.issue(&users.get("1").unwrap(), None).unwrap().token().expose().to_owned();
        let confirms = (0..3).map(|number| {
            let (reset, token) = (reset.clone(), token.clone());
            async move {
                let password = format!("the password number {number} of {round}");
                let answer = reset.confirm(&token, NewPassword::new(password.as_str()), Client::none()).await;
                (password, answer)
            }
        });
        let winners: Vec<String> = JoinSet::from_iter(confirms)
            .join_all()
            .await
            .into_iter()
            .filter_map(|(password, answer)| answer.is_ok().then_some(password))
            .collect();
        assert_eq!(winners.len(), 1, "round {round}");
        assert!(verifies(&users.get("1").unwrap(), &winners[0]), "round {round}");
    }
}

/// Returns a builder with a cheap policy.
fn schedule(store: impl UserStore) -> PasswordResetBuilder {
    let policy = poem_password_reset::PasswordPolicy::default().strength(poem_password_reset::Strength::Any);
    builder(store).policy(policy).on_reset_token_created(no_mail)
}

/// C7: in every state of the user, validate and confirm agree about the token. A handler vetoes, so that nothing changes.
#[tokio::test]
async fn validate_and_confirm_agree_in_ten_thousand_states() {
    let mut random = Random::seeded();
    let users = people();
    let reset =
        schedule(users.clone()).on_pre_password_reset(async |_| Err(Veto::new("Not now."))).build().await.unwrap();
    let mut good = 0;
    for _ in 0..10_000 {
        let hash = (random.below(4) > 0).then(|| "the hash".to_owned());
        let ann = || StoredUser::new("1", "ann@example.com", hash.clone()).bind_also("an epoch");
        users.put(ann());
        let Ok(event) = reset.issue(&users.get("1").unwrap(), None) else { continue };
        match random.below(8) {
            0 => users.put(ann().with_active(false)),
            1 => users.put(StoredUser::new("1", "ann@example.com", Some("another".to_owned())).bind_also("an epoch")),
            2 => users.put(StoredUser::new("1", "ann@example.org", hash.clone()).bind_also("an epoch")),
            3 => users.put(StoredUser::new("1", "ann@example.com", hash.clone()).bind_also("another epoch")),
            4 => drop(users.remove("1")),
            5 => users.put(ann().with_username("annie".to_owned())),
            _ => {}
        }
        let mut token = event.token().expose().to_owned();
        if random.once_in(8) {
            token.pop();
        }
        let valid = reset.validate(&token).await.is_ok();
        let confirmed = reset.confirm(&token, GOOD_PASSWORD.into(), Client::none()).await;
        assert_eq!(valid, matches!(confirmed, Err(ResetError::PasswordRefused(_))), "{confirmed:?}");
        assert!(valid || matches!(confirmed, Err(ResetError::InvalidToken(_))), "{confirmed:?}");
        good += usize::from(valid);
    }
    assert!((1_000..9_000).contains(&good), "{good} tokens were good");
}
