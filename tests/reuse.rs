//! The policy refuses the user's current password, earlier passwords and breached passwords.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion")]

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/doubles.rs"]
mod doubles;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/log.rs"]
mod log;

use std::convert::Infallible;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use doubles::{GOOD_PASSWORD, builder, cheap_hash, no_mail, verifies};
use log::Log;
use poem_password_reset::breached::{BreachedPasswords, IfUnavailable};
use poem_password_reset::store::MemoryUsers;
use poem_password_reset::{
    BoxError, Client, NewPassword, PasswordHash, PasswordHistory, PasswordPolicy, PasswordRefusal, PasswordReset,
    ResetError, StoredUser,
};

const CURRENT: &str = "yellow tractor hums at dawn";

/// Compares with a [`cheap_hash`]. Another hash is an error that quotes it.
fn verify(password: &str, hash: &str) -> Result<bool, BoxError> {
    match hash.splitn(3, '$').collect::<Vec<_>>()[..] {
        ["cheap", _, hashed] => Ok(hashed == password),
        _ => Err(format!("not a cheap hash: {hash} of {password}").into()),
    }
}

fn ann(password: &str) -> StoredUser {
    StoredUser::new(1, "ann@example.com", Some(cheap_hash(password).unwrap()))
}

fn token(reset: &PasswordReset, user: &StoredUser) -> String {
    reset.issue(user, None).unwrap().token().expose().to_owned()
}

async fn confirm(reset: &PasswordReset, token: &str, password: &str) -> Result<(), ResetError> {
    reset.confirm(token, NewPassword::new(password), Client::none()).await.map(drop)
}

fn refusals(result: Result<(), ResetError>) -> Vec<PasswordRefusal> {
    match result {
        Ok(()) => Vec::new(),
        Err(ResetError::PasswordRefused(refusals)) => refusals,
        Err(other) => panic!("{other:?}"),
    }
}

async fn reset_with(policy: PasswordPolicy, user: StoredUser) -> (PasswordReset, MemoryUsers) {
    let users = MemoryUsers::new([user]);
    let reset = builder(users.clone()).policy(policy).on_reset_token_created(no_mail).build().await.unwrap();
    (reset, users)
}

#[tokio::test]
async fn current_password_is_refused_and_the_token_stays_valid() {
    let user = ann(CURRENT);
    let (reset, users) = reset_with(PasswordPolicy::default().refuse_current(verify), user.clone()).await;
    let token = token(&reset, &user);
    assert_eq!(refusals(confirm(&reset, &token, CURRENT).await), [PasswordRefusal::Current]);
    confirm(&reset, &token, GOOD_PASSWORD).await.unwrap();
    assert!(verifies(&users.get("1").unwrap(), GOOD_PASSWORD));
}

#[tokio::test]
async fn current_password_is_accepted_by_default() {
    let user = ann(CURRENT);
    let (reset, _) = reset_with(PasswordPolicy::default(), user.clone()).await;
    confirm(&reset, &token(&reset, &user), CURRENT).await.unwrap();
}

#[tokio::test]
async fn check_of_a_registration_form_refuses_the_current_password_too() {
    let policy = PasswordPolicy::default().refuse_current(verify);
    let refused = policy.check(&NewPassword::new(CURRENT), &ann(CURRENT)).await;
    assert_eq!(refusals(refused), [PasswordRefusal::Current]);
    assert!(policy.check(&NewPassword::new(GOOD_PASSWORD), &ann(CURRENT)).await.is_ok());
}

#[tokio::test]
async fn password_that_breaks_another_rule_is_not_compared() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let policy = PasswordPolicy::default().refuse_current(move |password: &str, hash: &str| {
        count.fetch_add(1, Ordering::SeqCst);
        verify(password, hash)
    });
    let user = ann(CURRENT);
    let (reset, _) = reset_with(policy, user.clone()).await;
    let token = token(&reset, &user);
    assert!(matches!(refusals(confirm(&reset, &token, "short").await)[0], PasswordRefusal::TooShort { .. }));
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    confirm(&reset, &token, GOOD_PASSWORD).await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn unusable_hashes_are_not_compared() {
    for hash in ["", "!", "!locked", "*"] {
        let policy = PasswordPolicy::default().refuse_current(|_: &str, _: &str| Ok::<_, Infallible>(true));
        let user = StoredUser::new(1, "ann@example.com", Some(hash.to_owned()));
        assert!(policy.check(&NewPassword::new(GOOD_PASSWORD), &user).await.is_ok(), "{hash:?}");
    }
}

#[tokio::test]
async fn hash_that_the_verifier_cannot_read_is_accepted() {
    type Verifier = fn(&str, &str) -> Result<bool, BoxError>;
    let panics: Verifier = |_, _| panic!("an injected panic");
    for verifier in [verify as Verifier, panics] {
        let old = "pbkdf2_sha256$870000$salt$b2xkIGhhc2g=";
        let user = StoredUser::new(1, "ann@example.com", Some(old.to_owned()));
        let (reset, users) = reset_with(PasswordPolicy::default().refuse_current(verifier), user.clone()).await;
        confirm(&reset, &token(&reset, &user), GOOD_PASSWORD).await.unwrap();
        assert!(verifies(&users.get("1").unwrap(), GOOD_PASSWORD));
    }
}

/// A history in memory, with the latest password first.
#[derive(Clone, Default)]
struct History(Arc<Mutex<Vec<String>>>);

impl PasswordHistory for History {
    type Error = Infallible;

    async fn earlier_hashes(&self, user: &StoredUser) -> Result<Vec<PasswordHash>, Infallible> {
        assert_eq!(user.id(), "1");
        Ok(self.0.lock().unwrap().iter().map(|hash| PasswordHash::new(hash.clone())).collect())
    }
}

#[tokio::test]
async fn earlier_passwords_are_refused() {
    let history = History::default();
    let earlier = |number: usize| format!("{number} red tractors hum at dawn");
    *history.0.lock().unwrap() = (0..30).map(|number| cheap_hash(&earlier(number)).unwrap()).collect();
    let policy = PasswordPolicy::default().refuse_earlier(verify, history);
    let user = ann(CURRENT);
    let (reset, _) = reset_with(policy, user.clone()).await;
    let token = token(&reset, &user);
    for number in [0, 23] {
        assert_eq!(refusals(confirm(&reset, &token, &earlier(number)).await), [PasswordRefusal::Earlier], "{number}");
    }
    assert_eq!(refusals(confirm(&reset, &token, CURRENT).await), [PasswordRefusal::Current]);
    confirm(&reset, &token, &earlier(24)).await.expect("24 earlier passwords are compared");
}

struct Faulty(fn() -> Result<(), BoxError>);

impl PasswordHistory for Faulty {
    type Error = BoxError;

    async fn earlier_hashes(&self, _: &StoredUser) -> Result<Vec<PasswordHash>, BoxError> {
        match (self.0)() {
            Ok(()) => pending().await,
            Err(error) => Err(error),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn history_that_fails_panics_or_hangs_fails_the_confirmation_and_the_token_stays_valid() {
    let faults: [fn() -> Result<(), BoxError>; 3] =
        [|| Err("no table for ann@example.com".into()), || panic!("an injected panic"), || Ok(())];
    for fault in faults {
        let log = Log::default();
        let _guard = log.of_thread();
        let user = ann(CURRENT);
        let policy = PasswordPolicy::default().refuse_earlier(verify, Faulty(fault));
        let (reset, users) = reset_with(policy, user.clone()).await;
        let token = token(&reset, &user);
        let error = confirm(&reset, &token, GOOD_PASSWORD).await.unwrap_err();
        assert!(matches!(error, ResetError::Failed(_)), "{error:?}");
        assert!(verifies(&users.get("1").unwrap(), CURRENT) && reset.validate(&token).await.is_ok());
        let text = log.text();
        assert!(text.contains("ERROR the password history failed") && !text.contains('@'), "{text}");
    }
}

/// A list of breached passwords with one entry: the SHA-1 of `password` in the function of the test.
#[derive(Clone)]
struct List {
    answer: Result<&'static str, &'static str>,
    prefixes: Arc<Mutex<Vec<String>>>,
}

impl List {
    fn new(answer: Result<&'static str, &'static str>) -> Self {
        Self { answer, prefixes: Arc::default() }
    }
}

impl BreachedPasswords for List {
    type Error = BoxError;

    async fn range(&self, prefix: &str) -> Result<String, BoxError> {
        self.prefixes.lock().unwrap().push(prefix.to_owned());
        Ok(self.answer.map(str::to_owned)?)
    }
}

/// The SHA-1 of [`GOOD_PASSWORD`], by `sha1sum`.
const SHA1: (&str, &str) = ("E4BDC", "D96D1FCC8DC34F46A4E05A0023D888E3A14");

#[tokio::test]
async fn breached_password_is_refused_and_the_list_sees_five_digits() {
    let list = List::new(Ok(concat!(
        "0018A45C4D1DEF81644B54AB7F969B88D65:7\r\n",
        "D96D1FCC8DC34F46A4E05A0023D888E3A14",
        ":3861493\r\n"
    )));
    let policy = PasswordPolicy::default().breached_passwords(list.clone(), IfUnavailable::Fail);
    let user = ann(CURRENT);
    let (reset, _) = reset_with(policy, user.clone()).await;
    let token = token(&reset, &user);
    assert_eq!(refusals(confirm(&reset, &token, GOOD_PASSWORD).await), [PasswordRefusal::Breached]);
    assert_eq!(*list.prefixes.lock().unwrap(), [SHA1.0]);
    confirm(&reset, &token, "seven green tractors hum at dusk").await.unwrap();
}

#[tokio::test]
async fn list_that_is_unavailable_accepts_or_fails_as_configured() {
    for answer in [Err("connection refused"), Ok("<html>502 Bad Gateway</html>")] {
        for if_unavailable in [IfUnavailable::Accept, IfUnavailable::Fail] {
            let log = Log::default();
            let _guard = log.of_thread();
            let policy = PasswordPolicy::default().breached_passwords(List::new(answer), if_unavailable);
            let result = policy.check(&NewPassword::new(GOOD_PASSWORD), &ann(CURRENT)).await;
            match if_unavailable {
                IfUnavailable::Accept => assert!(result.is_ok(), "{result:?}"),
                IfUnavailable::Fail => assert!(matches!(result, Err(ResetError::Failed(_))), "{result:?}"),
            }
            let text = log.text();
            assert!(text.contains("ERROR a rule of the password policy failed rule=tests/reuse.rs"), "{text}");
            assert!(!text.contains(SHA1.1) && !text.contains(GOOD_PASSWORD), "{text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn list_that_hangs_accepts_if_configured() {
    struct Hangs;
    impl BreachedPasswords for Hangs {
        type Error = Infallible;

        async fn range(&self, _: &str) -> Result<String, Infallible> {
            pending().await
        }
    }
    let policy = PasswordPolicy::default().breached_passwords(Hangs, IfUnavailable::Accept);
    assert!(policy.check(&NewPassword::new(GOOD_PASSWORD), &ann(CURRENT)).await.is_ok());
}

#[tokio::test]
async fn async_rule_can_return_a_refusal() {
    let policy =
        PasswordPolicy::default().async_rule(async |_: NewPassword, _: StoredUser| Err(PasswordRefusal::Earlier));
    let refused = policy.check(&NewPassword::new(GOOD_PASSWORD), &ann(CURRENT)).await;
    assert_eq!(refusals(refused), [PasswordRefusal::Earlier]);
}

/// Hashes of other systems are text to the library: it never verifies one.
#[tokio::test]
async fn hashes_of_other_systems_are_replaced_without_being_read() {
    for hash in [
        "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
        "pbkdf2_sha256$870000$nhuQyFYzqfmDnoHYyWGjbp$T2oHZhDyGLyG/WBYS+yHk6z1kdTuxQJlVgZWPVHVXdQ=",
        "$scrypt$ln=17,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
        "bcrypt_sha256$$2b$12$6pXe2oYtGOjC9zZCJGbzOO8vd8uyIh4zbKPE2GdtUYwVzC1CjcDnq",
        "md5$seasalt$f5531bef9f3687d0ccf0f617f0e25573",
        "{SSHA}MTIzNDU2Nzg5MDEyMzQ1Njc4OTBzYWx0",
    ] {
        let user = StoredUser::new(1, "ann@example.com", Some(hash.to_owned()));
        let (reset, users) = reset_with(PasswordPolicy::default(), user.clone()).await;
        let token = token(&reset, &user);
        assert!(reset.validate(&token).await.is_ok(), "{hash}");
        confirm(&reset, &token, GOOD_PASSWORD).await.unwrap();
        assert!(verifies(&users.get("1").unwrap(), GOOD_PASSWORD), "{hash}");
        assert!(reset.validate(&token).await.is_err(), "{hash}");
    }
}
