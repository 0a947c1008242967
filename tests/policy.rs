//! The password policy: rules of the application that fail, hang or panic, and passwords that are easy to guess.

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/doubles.rs"]
mod doubles;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/log.rs"]
mod log;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/random.rs"]
mod random;

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use doubles::{GOOD_PASSWORD, builder, no_mail, verifies};
use log::Log;
use poem_password_reset::store::MemoryUsers;
use poem_password_reset::{
    BoxError, Client, NewPassword, PasswordPolicy, PasswordRefusal, PasswordReset, Problem, ResetError, StoredUser,
    Strength, Veto,
};
use random::Random;
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// Time after which a test that hangs fails.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Rule timeout that no test reaches.
const NEVER: Duration = Duration::from_secs(1_000_000);

/// Blocks synchronous calls until it is opened. The calls return after a time limit too, so that a failed test ends.
#[derive(Default)]
struct Gate {
    calls: AtomicUsize,
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let is_open = self.is_open.lock().unwrap();
        drop(self.opened.wait_timeout_while(is_open, TEST_TIMEOUT * 2, |is_open| !*is_open).unwrap());
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    async fn has_calls(&self, calls: usize) {
        while self.calls.load(Ordering::SeqCst) < calls {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Returns the users of every test, after setting the subscriber of the process. Without a subscriber, tracing can disable a
/// log call at its first use, and tests that read the log of their thread would miss it.
fn people() -> MemoryUsers {
    Log::listen();
    doubles::people()
}

async fn service(users: &MemoryUsers, policy: PasswordPolicy) -> PasswordReset {
    builder(users.clone()).policy(policy).on_reset_token_created(no_mail).build().await.unwrap()
}

fn token_of(reset: &PasswordReset, users: &MemoryUsers, id: &str) -> String {
    reset.issue(&users.get(id).unwrap(), None).unwrap().token().expose().to_owned()
}

async fn confirm(reset: &PasswordReset, token: &str, password: &str) -> Result<(), ResetError> {
    reset.confirm(token, NewPassword::new(password), Client::none()).await.map(drop)
}

/// The number of hanging calls exceeds both the hashing threads and the threads of the runtime.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirmations_of_others_succeed_while_sync_rules_hang() {
    let (users, gate) = (people(), Arc::new(Gate::default()));
    let hangs = || {
        let gate = Arc::clone(&gate);
        move |_: &str, user: &StoredUser| {
            if user.id() == "1" {
                gate.pass();
            }
            Ok(())
        }
    };
    let reset = service(&users, PasswordPolicy::default().rule(hangs()).rule(hangs()).rule_timeout(NEVER)).await;
    let confirms = std::thread::available_parallelism().unwrap().get().clamp(2, 16) + 1;
    let mut hanging = JoinSet::new();
    for _ in 0..confirms {
        let (reset, token) = (reset.clone(), token_of(&reset, &users, "1"));
        hanging.spawn(async move { confirm(&reset, &token, GOOD_PASSWORD).await });
    }
    timeout(TEST_TIMEOUT, gate.has_calls(2 * confirms)).await.expect("each call runs on its own thread");
    let token = token_of(&reset, &users, "2");
    timeout(TEST_TIMEOUT, confirm(&reset, &token, GOOD_PASSWORD))
        .await
        .expect("Bob's confirmation does not wait for Ann's rules")
        .unwrap();
    assert!(verifies(&users.get("2").unwrap(), GOOD_PASSWORD));
    assert!(hanging.try_join_next().is_none());

    gate.open();
    let results = timeout(TEST_TIMEOUT, hanging.join_all()).await.unwrap();
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirmations_of_others_succeed_while_async_rules_hang() {
    let (users, calls, resume) = (people(), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let hangs = || {
        let (calls, resume) = (Arc::clone(&calls), Arc::clone(&resume));
        move |_: NewPassword, user: StoredUser| {
            let (calls, resume) = (Arc::clone(&calls), Arc::clone(&resume));
            async move {
                if user.id() == "1" {
                    let notified = resume.notified();
                    calls.fetch_add(1, Ordering::SeqCst);
                    notified.await;
                }
                Ok::<(), BoxError>(())
            }
        }
    };
    let reset =
        service(&users, PasswordPolicy::default().async_rule(hangs()).async_rule(hangs()).rule_timeout(NEVER)).await;
    let (hanging, token) = (reset.clone(), token_of(&reset, &users, "1"));
    let hanging = tokio::spawn(async move { confirm(&hanging, &token, GOOD_PASSWORD).await });
    let both_run = async {
        while calls.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(TEST_TIMEOUT, both_run).await.expect("rules run at the same time");
    let token = token_of(&reset, &users, "2");
    timeout(TEST_TIMEOUT, confirm(&reset, &token, GOOD_PASSWORD)).await.unwrap().unwrap();
    assert!(!hanging.is_finished());
    resume.notify_waiters();
    timeout(TEST_TIMEOUT, hanging).await.unwrap().unwrap().unwrap();
}

/// Asserts that a confirmation fails, changes nothing and logs no secret, and that the token remains valid. Returns the log and
/// the time that the confirmation took.
async fn assert_confirmation_fails(policy: PasswordPolicy) -> (String, Duration) {
    let log = Log::default();
    let _guard = log.of_thread();
    let users = people();
    let reset = service(&users, policy).await;
    let token = token_of(&reset, &users, "1");
    let started = Instant::now();
    let failed = timeout(TEST_TIMEOUT, confirm(&reset, &token, "purple tractor fails at dawn")).await.unwrap();
    let elapsed = started.elapsed();
    assert!(matches!(failed, Err(ResetError::Failed(_))), "{failed:?}");
    assert!(verifies(&users.get("1").unwrap(), "ann's old password"));
    reset.validate(&token).await.unwrap();
    confirm(&reset, &token, GOOD_PASSWORD).await.expect("the token is still valid");
    let text = log.text();
    for secret in ["purple tractor", "ann@example.com", "annie", "old password", token.as_str()] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    assert!(text.contains("tests/policy.rs:"), "the log identifies the rule: {text}");
    (text, elapsed)
}

/// Asserts that a confirmation fails after exactly `limit`. Returns the log.
async fn assert_confirmation_fails_after(policy: PasswordPolicy, limit: Duration) -> String {
    let (text, elapsed) = assert_confirmation_fails(policy).await;
    // The precision of tokio's timers is a millisecond.
    assert!(elapsed >= limit && elapsed <= limit + Duration::from_millis(2), "{elapsed:?}");
    text
}

/// Hangs on passwords that contain "fails".
fn hangs_on_marked_password(password: &NewPassword) -> impl Future<Output = Result<(), BoxError>> + Send + use<> {
    let fails = password.expose().contains("fails");
    async move { if fails { pending().await } else { Ok(()) } }
}

#[tokio::test(start_paused = true)]
async fn async_rule_that_hangs_fails_after_the_timeout() {
    let five_seconds = Duration::from_secs(5);
    let hangs = |password: NewPassword, _: StoredUser| hangs_on_marked_password(&password);
    let policy = PasswordPolicy::default().async_rule(hangs).async_rule(hangs);
    let text = assert_confirmation_fails_after(policy, five_seconds).await;
    assert_eq!(text.matches("reason=\"the rule did not return within 5s\"").count(), 2, "{text}");

    let second = Duration::from_secs(1);
    let policy = PasswordPolicy::default().async_rule(hangs).rule_timeout(second);
    let text = assert_confirmation_fails_after(policy.clone(), second).await;
    assert!(text.contains("reason=\"the rule did not return within 1s\""), "{text}");
    // The timeout does not limit a rule that returns in time.
    let takes_half = |_, _| async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok::<(), BoxError>(())
    };
    policy.async_rule(takes_half).check(&GOOD_PASSWORD.into(), &people().get("1").unwrap()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn async_rule_is_dropped_after_the_timeout() {
    struct CountsDrop(Arc<AtomicUsize>);
    impl Drop for CountsDrop {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&dropped);
    let policy = PasswordPolicy::default().async_rule(move |_, _| {
        let guard = CountsDrop(Arc::clone(&count));
        async move {
            pending::<()>().await;
            drop(guard);
            Ok::<(), BoxError>(())
        }
    });
    let ann = people().get("1").unwrap();
    policy.check(&GOOD_PASSWORD.into(), &ann).await.unwrap_err();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn sync_rule_that_hangs_fails_after_the_timeout() {
    let gate = Arc::new(Gate::default());
    let hangs = Arc::clone(&gate);
    let ann = people().get("1").unwrap();
    let policy = PasswordPolicy::default().rule(move |_, _| {
        hangs.pass();
        Ok(())
    });
    let started = Instant::now();
    // tokio does not see the thread of the rule, so it advances the paused clock as soon as the runtime is idle.
    let failed = policy.check(&GOOD_PASSWORD.into(), &ann).await;
    assert!(matches!(failed, Err(ResetError::Failed(_))), "{failed:?}");
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(5) && took <= Duration::from_millis(5002), "{took:?}");
    gate.open();
}

#[tokio::test]
async fn rule_that_panics_or_fails_only_fails_its_own_confirmation() {
    let panics = |password: &str, _: &StoredUser| match password.contains("fails") {
        true => panic!("{password} as planned"),
        false => Ok(()),
    };
    let (text, _) = assert_confirmation_fails(PasswordPolicy::default().rule(panics).rule_timeout(NEVER)).await;
    assert!(text.contains("reason=\"the rule panicked\""), "{text}");

    let panics = |password: NewPassword, _: StoredUser| async move {
        assert!(!password.expose().contains("fails"), "{} as planned", password.expose());
        Ok::<(), BoxError>(())
    };
    let (text, _) = assert_confirmation_fails(PasswordPolicy::default().async_rule(panics).rule_timeout(NEVER)).await;
    assert!(text.contains("reason=\"the rule panicked\""), "{text}");

    let panics_before_its_future = |password: NewPassword, _: StoredUser| {
        assert!(!password.expose().contains("fails"));
        async { Ok::<(), BoxError>(()) }
    };
    assert_confirmation_fails(PasswordPolicy::default().async_rule(panics_before_its_future).rule_timeout(NEVER)).await;

    let errs = |password: NewPassword, user: StoredUser| async move {
        match password.expose().contains("fails") {
            true => Err(format!("no answer for {} of {}", password.expose(), user.email())),
            false => Ok(()),
        }
    };
    let (text, _) = assert_confirmation_fails(PasswordPolicy::default().async_rule(errs).rule_timeout(NEVER)).await;
    assert!(text.contains("reason=\"no answer for [..] of [..]\""), "{text}");
}

#[tokio::test]
async fn rule_error_that_panics_in_display_fails_the_confirmation() {
    #[derive(Debug)]
    struct PanicsInDisplay;
    impl std::fmt::Display for PanicsInDisplay {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("an injected panic")
        }
    }
    impl std::error::Error for PanicsInDisplay {}
    let policy = PasswordPolicy::default().async_rule(|_, _| async { Err(PanicsInDisplay) });
    let users = people();
    let reset = service(&users, policy).await;
    let failed = confirm(&reset, &token_of(&reset, &users, "1"), GOOD_PASSWORD).await;
    assert!(matches!(failed, Err(ResetError::Failed(_))));
}

#[tokio::test]
async fn veto_of_any_rule_refuses_with_its_text() {
    let refuses = |_: NewPassword, _: StoredUser| async { Err(Veto::new("Not two.")) };
    let boxed = |_: NewPassword, _: StoredUser| async { Err::<(), BoxError>(Veto::new("Not three.").into()) };
    let fails = |_: NewPassword, _: StoredUser| async { Err("no answer") };
    let policy =
        PasswordPolicy::default().rule(|_, _| Err("Not one.".to_owned())).async_rule(refuses).async_rule(boxed);
    let ann = people().get("1").unwrap();
    for policy in [policy.clone(), policy.async_rule(fails)] {
        match policy.check(&GOOD_PASSWORD.into(), &ann).await {
            Err(ResetError::PasswordRefused(reasons)) => {
                let texts = ["Not one.", "Not two.", "Not three."];
                assert_eq!(reasons, texts.map(|text| PasswordRefusal::Custom(text.to_owned())));
            }
            other => panic!("{other:?}"),
        }
    }
    let failing = PasswordPolicy::default().async_rule(fails);
    assert!(matches!(failing.check(&GOOD_PASSWORD.into(), &ann).await, Err(ResetError::Failed(_))));
    assert!(matches!(failing.check(&"12345".into(), &ann).await, Err(ResetError::PasswordRefused(_))));
}

/// All clones of a policy share 64 threads. The next call fails at once, and threads that return are used again.
#[tokio::test]
async fn sync_rules_use_at_most_64_threads() {
    let (gate, ann) = (Arc::new(Gate::default()), people().get("1").unwrap());
    let hangs = Arc::clone(&gate);
    let policy = PasswordPolicy::default().rule_timeout(NEVER).rule(move |_, _| {
        hangs.pass();
        Ok(())
    });
    let mut checks = JoinSet::new();
    for _ in 0..64 {
        let (policy, ann) = (policy.clone(), ann.clone());
        checks.spawn(async move { policy.check(&GOOD_PASSWORD.into(), &ann).await });
    }
    timeout(TEST_TIMEOUT, gate.has_calls(64)).await.unwrap();
    match timeout(TEST_TIMEOUT, policy.check(&GOOD_PASSWORD.into(), &ann)).await.unwrap() {
        Err(ResetError::Failed(error)) => assert!(error.expose().to_string().starts_with("64 calls"), "{error}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(gate.calls.load(Ordering::SeqCst), 64);
    gate.open();
    for result in timeout(TEST_TIMEOUT, checks.join_all()).await.unwrap() {
        result.unwrap();
    }
    policy.check(&GOOD_PASSWORD.into(), &ann).await.unwrap();
}

#[test]
fn rule_that_hangs_does_not_delay_the_shutdown_of_the_runtime() {
    let gate = Arc::new(Gate::default());
    let hangs = Arc::clone(&gate);
    let policy = PasswordPolicy::default().rule_timeout(NEVER).rule(move |_, _| {
        hangs.pass();
        Ok(())
    });
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.spawn(async move { policy.check(&GOOD_PASSWORD.into(), &people().get("1").unwrap()).await });
    runtime.block_on(gate.has_calls(1));
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        drop(runtime);
        sender.send(()).unwrap();
    });
    receiver.recv_timeout(TEST_TIMEOUT).expect("the runtime does not wait for the rule");
    gate.open();
}

#[tokio::test]
async fn build_refuses_zero_rule_timeout_and_policy_that_accepts_no_password() {
    let problems = async |policy| {
        let error = builder(people()).on_reset_token_created(no_mail).policy(policy).build().await.unwrap_err();
        error.problems().to_vec()
    };
    let zero = [Problem::Zero { setting: "rule_timeout" }];
    assert_eq!(problems(PasswordPolicy::default().rule_timeout(Duration::ZERO)).await, zero);
    let lengths = |min, max| [Problem::PolicyLength { min, max }];
    assert_eq!(problems(PasswordPolicy::default().max_bytes(0)).await, lengths(8, 0));
    assert_eq!(problems(PasswordPolicy::default().min_chars(0).max_bytes(0)).await, lengths(0, 0));
    assert_eq!(problems(PasswordPolicy::default().max_bytes(7)).await, lengths(8, 7));
    builder(people())
        .on_reset_token_created(no_mail)
        .policy(PasswordPolicy::default().max_bytes(8).rule_timeout(Duration::MAX))
        .build()
        .await
        .unwrap();
}

#[tokio::test]
async fn password_over_max_bytes_is_refused_before_the_token_is_read() {
    let users = people();
    let reset = service(&users, PasswordPolicy::default().max_bytes(72)).await;
    let long = "é".repeat(37);
    assert!(matches!(confirm(&reset, "no token", &long).await, Err(ResetError::PasswordRefused(_))));
}

fn petra() -> StoredUser {
    StoredUser::new(1, "petra.muster@firma.example", None).with_username("pmuster84".to_owned())
}

#[test]
fn passwords_made_of_known_words_are_refused() {
    let policy = PasswordPolicy::default().context_words(["Acme", "Rocket Skates"]);
    for password in [
        "muster.petra",
        "PetraMuster2026",
        "petramuster2026!",
        "Muster-Petra-1984",
        "MUSTER_PETRA#1",
        "P3traMust3r2026",
        "2026petra!muster",
        "p.muster.2026",
        "firma2026",
        "Firma2026!",
        "FirmaPetra99",
        "firma-muster-26",
        "acme2026!",
        "ACME_petra_2026",
        "Skates.Rocket.7",
        "AcmePasswort1",
        "petra-qwertz-2026",
    ] {
        assert!(policy.check_built_in(password, &petra()).is_err(), "{password}");
    }
    for password in ["petra's purple tractor", "acme hums at dawn again", "x7Kq9ZpLmuster", "Firma2026!vG8#tqLw0z"] {
        assert_eq!(policy.check_built_in(password, &petra()), Ok(()), "{password}");
    }
    let any = PasswordPolicy::default().strength(Strength::Any);
    assert_eq!(
        any.check_built_in("PetraMuster2026", &petra()),
        Ok(()),
        "known words are not checked without a strength"
    );
}

#[test]
fn common_passwords_of_other_languages_and_layouts_are_refused() {
    let stems = "пароль парола лозинка contraseña contrasena passwort kennwort motdepasse palavrapasse wachtwoord \
        lösenord salasana parola lozinka slaptažodis matkhau йцукен фывапролдж ячсмить qwertz azerty qsdfgh パスワード \
        비밀번호 암호 密码 密碼 senha hasło haslo heslo şifre sifre jelszó κωδικός סיסמה كلمةالسر gfhjkm ichliebedich";
    let mut refused = 0;
    for stem in stems.split_whitespace() {
        for password in [
            format!("{stem}123"),
            format!("{stem}12345678"),
            format!("{stem}2026!"),
            format!("{}!2026", stem.to_uppercase()),
            format!("1999-{stem}-{stem}"),
        ] {
            assert!(PasswordPolicy::default().check_built_in(&password, &petra()).is_err(), "{password}");
            refused += 1;
        }
    }
    assert_eq!(refused, 195);
    assert!(PasswordPolicy::default().check_built_in("contraseña", &petra()).is_err());
}

const PHRASE_WORDS: &str = "anchor apple arrow autumn badge bamboo basket battery beacon blanket border bottle branch \
    bridge bronze bucket butter cabin camera candle canyon carpet castle cellar chalk cherry circle cliff clock cloud \
    coffee copper cotton cradle crystal curtain dagger desert diamond dinner dolphin donkey dragon eagle engine fabric \
    falcon feather fence finger forest fossil garden garlic ginger glacier glove goblet grape gravel guitar hammer harbor \
    helmet hornet island jacket jungle kettle ladder lantern lemon letter liberty lizard lobster magnet maple marble meadow \
    mirror monkey mortar muffin needle nickel nutmeg orange oyster paddle parrot pebble pencil pepper pigeon pillow planet \
    plaster pocket pottery property pumpkin puzzle rabbit ribbon river rocket saddle salmon sandal saucer shadow shovel \
    silver spider spoon stable summer sunset tablet tavern temple thunder timber tomato tractor trumpet tunnel turtle \
    umbrella valley velvet violin wagon walnut whistle window winter yellow zipper";

#[test]
fn random_passphrases_and_random_letters_are_not_refused() {
    let words: Vec<&str> = PHRASE_WORDS.split_whitespace().collect();
    let mut random = Random::new(12);
    let users = [
        petra(),
        StoredUser::new(2, "ann.lee@mail.example.com", None).with_username("art77".to_owned()),
        StoredUser::new(3, "jo.li@x.example", None),
        StoredUser::new(4, "i.garden@harbor-winter.example", None).with_username("river".to_owned()),
    ];
    let policy = PasswordPolicy::default().context_words(["Acme", "Rocket"]);
    let mut checked = 0;
    for round in 0..4000 {
        let user = &users[round % users.len()];
        let count = 3 + random.below(2);
        let separator = random.pick(&[" ", "-", ".", ""]);
        let mut chosen: Vec<&str> = (0..count).map(|_| random.pick(&words)).collect();
        chosen.sort_unstable();
        chosen.dedup();
        // A repeated word or a known word makes the phrase weaker, so these phrases are skipped.
        let own = ["garden", "harbor", "winter", "river", "rocket"];
        if chosen.len() < count || chosen.iter().any(|word| own.contains(word)) {
            continue;
        }
        checked += 1;
        let phrase = chosen.join(separator);
        assert_eq!(policy.check_built_in(&phrase, user), Ok(()), "{phrase}");
    }
    assert!(checked > 3000, "{checked}");
    let letters: Vec<char> = ('a'..='z').chain('A'..='Z').chain('0'..='9').collect();
    let mut refused = Vec::new();
    for round in 0..4000 {
        let length = 10 + random.below(6);
        let password: String = (0..length).map(|_| letters[random.below(letters.len())]).collect();
        if policy.check_built_in(&password, &users[round % users.len()]).is_err() {
            refused.push(password);
        }
    }
    assert!(refused.len() <= 2, "{refused:?}");
}
