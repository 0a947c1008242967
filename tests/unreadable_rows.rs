//! An unreadable row or an unrepresentable address affects only its own request: other clients never get a 503.

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/doubles.rs"]
mod doubles;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/log.rs"]
mod log;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use doubles::{GOOD_PASSWORD, builder, cheap_hash, no_mail, people};
use log::Log;
use poem::http::StatusCode;
use poem::test::TestClient;
use poem::{Endpoint, EndpointExt as _, Route};
use poem_openapi::OpenApiService;
use poem_password_reset::store::{IdType, MemoryUsers, SqliteUsers};
use poem_password_reset::{
    BoxError, Client, HttpContract, PasswordHash, PasswordReset, ResetApi, ResetError, ResetTokenCreated, StoredUser,
    Swap, Unavailable, UserStore,
};
use serde_json::json;
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{AssertSqlSafe, SqlitePool};

const SHARED: &str = "both@example.com";

/// Another client: requests a reset, validates and confirms, and counts its 503 responses.
struct Bystander<E> {
    http: TestClient<E>,
    good_token: String,
    unavailable: usize,
    answers: usize,
}

impl<E: Endpoint> Bystander<E> {
    async fn looks(&mut self) {
        for (path, body, expected) in [
            ("/", json!({"email": "bob@example.com"}), StatusCode::OK),
            ("/validate_token", json!({"token": self.good_token}), StatusCode::OK),
            ("/validate_token", json!({"token": "garbage"}), StatusCode::NOT_FOUND),
            ("/confirm", json!({"token": "garbage", "password": GOOD_PASSWORD}), StatusCode::NOT_FOUND),
        ] {
            let status = self.http.post(path).body_json(&body).send().await.0.status();
            self.answers += 1;
            match status {
                StatusCode::SERVICE_UNAVAILABLE => self.unavailable += 1,
                status => assert_eq!(status, expected, "{path}"),
            }
        }
    }
}

fn bystander(reset: &PasswordReset, user: &StoredUser) -> Bystander<impl Endpoint + use<>> {
    let api = OpenApiService::new(ResetApi::new(reset.clone()), "Accounts", "1.0");
    let http = TestClient::new(Route::new().nest("/", api.with(HttpContract)));
    let good_token = reset.issue(user, None).unwrap().token().expose().to_owned();
    Bystander { http, good_token, unavailable: 0, answers: 0 }
}

/// Collects the ids of the users who get mail.
fn collect(mails: &Arc<Mutex<Vec<String>>>) -> impl Fn(Arc<ResetTokenCreated>) -> std::future::Ready<()> + use<> {
    let mails = Arc::clone(mails);
    move |event| {
        mails.lock().unwrap().push(event.user().id().to_owned());
        std::future::ready(())
    }
}

async fn settled(reset: &PasswordReset) {
    while reset.ledger().waiting > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn run(pool: &SqlitePool, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap();
}

/// In SQLite, a column without a type holds values of every type, and so does a typed column of a table that is not STRICT.
async fn table() -> SqlitePool {
    let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
    run(&pool, "CREATE TABLE users (id, email, username, active, password_hash, epoch)".to_owned()).await;
    let hash = cheap_hash("an old password").unwrap();
    for (id, email) in [("'bad'", SHARED), ("'good'", SHARED), ("'bob'", "bob@example.com")] {
        run(&pool, format!("INSERT INTO users VALUES ({id}, '{email}', 'a name', 1, '{hash}', 7)")).await;
    }
    pool
}

/// Values that a column should not hold, and the id of the row as it appears in the log.
const BAD_VALUES: [(&str, &[&str], &str); 5] = [
    ("id", &["NULL", "7", "1.5", "x'626164'", "x'ff'", "CAST(x'ff' AS TEXT)"], "unreadable"),
    ("email", &["CAST('both@example.com' AS BLOB)"], "bad"),
    ("username", &["7", "1.5", "x'616e6e'", "x'ff'", "CAST(x'ff' AS TEXT)"], "bad"),
    ("active", &["NULL", "'yes'", "'1'", "''", "1.5", "x'01'", "CAST(x'ff' AS TEXT)"], "bad"),
    ("password_hash", &["7", "1.5", "x'2432'", "x'ff'", "CAST(x'ff' AS TEXT)"], "bad"),
];

#[tokio::test]
async fn unreadable_row_is_logged_and_does_not_affect_other_users() {
    for (column, values, id) in BAD_VALUES {
        for value in values {
            let log = Log::default();
            let _guard = log.of_thread();
            let pool = table().await;
            let users = SqliteUsers::new(pool.clone()).bind_column("epoch");
            let mails = Arc::default();
            let reset = builder(users.clone()).on_reset_token_created(collect(&mails)).build().await.unwrap();
            let bob = users.find_by_id("bob").await.unwrap().unwrap();
            let bad = users.find_by_id("bad").await.unwrap().unwrap();
            let token_of_bad = reset.issue(&bad, None).unwrap();
            let mut bystander = bystander(&reset, &bob);

            run(&pool, format!("UPDATE users SET {column} = {value} WHERE id = 'bad'")).await;
            for _ in 0..10 {
                reset.request(SHARED, Client::none()).await.unwrap();
                bystander.looks().await;
                let validated = reset.validate(token_of_bad.token().expose()).await;
                assert!(matches!(validated, Err(ResetError::InvalidToken(_))), "{column} = {value}: {validated:?}");
                let confirmed =
                    reset.confirm(token_of_bad.token().expose(), GOOD_PASSWORD.into(), Client::none()).await;
                assert!(matches!(confirmed, Err(ResetError::InvalidToken(_))), "{column} = {value}: {confirmed:?}");
                bystander.looks().await;
            }
            settled(&reset).await;
            bystander.looks().await;

            assert_eq!((bystander.unavailable, bystander.answers), (0, 84), "{column} = {value}");
            let of_good = mails.lock().unwrap().iter().filter(|id| *id == "good").count();
            assert_eq!(of_good, 10, "{column} = {value}");
            assert!(!mails.lock().unwrap().contains(&"bad".to_owned()), "{column} = {value}");
            let line = format!("a row of the users table cannot be read and is skipped user=\"{id}\" reason=");
            assert!(log.text().contains(&format!("ERROR {line}")), "{column} = {value}: {}", log.text());
            assert!(!log.text().contains("store is down"), "{column} = {value}");
            assert!(!log.text().contains(SHARED), "{column} = {value}");
        }
    }
}

/// Ids of other types: bytes that are not a UUID, and text in a column of numbers.
#[tokio::test]
async fn row_with_unreadable_id_is_skipped() {
    for (id_type, good, bad) in [
        (IdType::Uuid, "x'0123456789abcdef0123456789abcdef'", ["x'01'", "'text'", "NULL"]),
        (IdType::Integer, "41", ["'text'", "x'01'", "1.5"]),
    ] {
        for bad in bad {
            let pool = table().await;
            run(&pool, format!("DELETE FROM users; INSERT INTO users VALUES ({bad}, '{SHARED}', NULL, 1, 'a', 1)"))
                .await;
            run(&pool, format!("INSERT INTO users VALUES ({good}, '{SHARED}', NULL, 1, 'a', 1)")).await;
            let users = SqliteUsers::new(pool).id_column("id").id_type(id_type);
            let found = users.find_by_email(SHARED).await.unwrap();
            assert_eq!(found.len(), 1, "{id_type:?} {bad}");
            assert!(users.find_by_id(found[0].id()).await.unwrap().is_some());
        }
    }
}

/// A database with a character set: it cannot compare an address that has a letter beyond it.
struct Charset {
    users: MemoryUsers,
    has: fn(char) -> bool,
}

impl UserStore for Charset {
    type Error = BoxError;

    async fn find_by_email(&self, email: &str) -> Result<Vec<StoredUser>, BoxError> {
        if !email.chars().all(self.has) {
            return Err("character with no equivalent in the encoding of the column".into());
        }
        Ok(self.users.find_by_email(email).await?)
    }

    async fn find_by_id(&self, id: &str) -> Result<Option<StoredUser>, BoxError> {
        Ok(self.users.find_by_id(id).await?)
    }

    async fn replace_password(&self, user: &StoredUser, new_hash: &PasswordHash) -> Result<Swap, BoxError> {
        Ok(self.users.replace_password(user, new_hash).await?)
    }
}

/// One letter, digit or mark of each Unicode class that an address can contain, by script and plane.
const LETTERS: &[char] = &[
    'é', 'ß', 'ÿ', 'ł', 'İ', 'ǆ', 'Ω', 'я', 'ж', 'ա', 'א', 'ع', '٣', 'अ', 'ก', 'ა', '한', 'あ', '例', 'ﬁ', 'ａ', 'K',
    '\u{301}', '\u{93f}', 'ª', 'ⅷ', '𝐚', '𐐀', '𠀀', '𞤀', '𑄀', '²',
];

#[tokio::test(start_paused = true)]
async fn unrepresentable_address_causes_no_outage() {
    type Has = fn(char) -> bool;
    let charsets: [(&str, Has); 3] = [
        ("ASCII", |letter| letter.is_ascii()),
        ("latin1", |letter| u32::from(letter) < 0x100),
        ("utf8mb3", |letter| u32::from(letter) < 0x10000),
    ];
    for (charset, has) in charsets {
        let users = people();
        let reset = builder(Charset { users: users.clone(), has })
            .international_addresses(true)
            .on_reset_token_created(no_mail)
            .build()
            .await
            .unwrap();
        let mut bystander = bystander(&reset, &users.get("2").unwrap());
        let mut accepted = 0;
        for letter in LETTERS {
            for email in [format!("x{letter}@example.com"), format!("x@a{letter}b.example")] {
                if reset.request(&email, Client::none()).await.is_ok() {
                    accepted += 1;
                }
                bystander.looks().await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        assert!(accepted > LETTERS.len(), "{charset}: {accepted} addresses were accepted");
        // Waits longer than the look-ups take with all their retries.
        for _ in 0..100 {
            bystander.looks().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(reset.ledger().lost > 5, "{charset}: {:?}", reset.ledger());
        assert_eq!(bystander.unavailable, 0, "{charset}: of {} answers", bystander.answers);
    }
}

/// A domain has two spellings, and the database represents one of them. Its user gets the mail.
#[tokio::test(start_paused = true)]
async fn unrepresentable_spelling_does_not_block_mail_to_the_other() {
    let users = MemoryUsers::new([StoredUser::new("ann", "ann@xn--r8jz45g.example", Some("a hash".to_owned()))]);
    let mails = Arc::default();
    let reset = builder(Charset { users, has: |letter| letter.is_ascii() })
        .on_reset_token_created(collect(&mails))
        .build()
        .await
        .unwrap();
    reset.request("ann@xn--r8jz45g.example", Client::none()).await.unwrap();
    reset.request("nobody@xn--r8jz45g.example", Client::none()).await.unwrap();
    settled(&reset).await;
    assert_eq!(*mails.lock().unwrap(), ["ann"]);
    // The failed look-up may have missed a user, so the request counts as lost.
    assert_eq!((reset.ledger().delivered, reset.ledger().lost), (1, 1));
}

/// A store that fails, panics or hangs for a single user.
struct FailsFor {
    users: MemoryUsers,
    how: &'static str,
    checks: Arc<AtomicUsize>,
}

impl FailsFor {
    async fn fail(&self) -> Result<(), BoxError> {
        match self.how {
            "errs" => Err("cannot decode the row".into()),
            "panics" => panic!("an injected panic"),
            _ => std::future::pending().await,
        }
    }
}

impl UserStore for FailsFor {
    type Error = BoxError;

    async fn find_by_email(&self, email: &str) -> Result<Vec<StoredUser>, BoxError> {
        if email == "ann@example.com" {
            self.fail().await?;
        }
        Ok(self.users.find_by_email(email).await?)
    }

    async fn find_by_id(&self, id: &str) -> Result<Option<StoredUser>, BoxError> {
        if id == "1" {
            self.fail().await?;
        }
        Ok(self.users.find_by_id(id).await?)
    }

    async fn replace_password(&self, user: &StoredUser, new_hash: &PasswordHash) -> Result<Swap, BoxError> {
        Ok(self.users.replace_password(user, new_hash).await?)
    }

    async fn check(&self) -> Result<(), BoxError> {
        self.checks.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn failed_call_affects_only_its_own_request() {
    for how in ["errs", "panics", "hangs"] {
        let (users, checks) = (people(), Arc::default());
        let store = FailsFor { users: users.clone(), how, checks: Arc::clone(&checks) };
        let reset = builder(store).on_reset_token_created(no_mail).build().await.unwrap();
        let ann = reset.issue(&users.get("1").unwrap(), None).unwrap();
        let mut bystander = bystander(&reset, &users.get("2").unwrap());
        for _ in 0..20 {
            reset.request("ann@example.com", Client::none()).await.unwrap();
            let own = tokio::spawn({
                let (reset, token) = (reset.clone(), ann.token().expose().to_owned());
                async move { reset.validate(&token).await }
            });
            for _ in 0..30 {
                bystander.looks().await;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            let own = own.await.unwrap();
            let is_down = matches!(own, Err(ResetError::Unavailable { reason: Unavailable::StoreDown, .. }));
            assert!(is_down, "{how}: its own request gets the error: {own:?}");
        }
        assert_eq!(bystander.unavailable, 0, "{how}: of {} answers", bystander.answers);
        assert!(checks.load(Ordering::SeqCst) > 0, "{how}: the store was probed");
    }
}

/// A store in which every call fails during an outage.
struct Down {
    users: MemoryUsers,
    is_down: Arc<AtomicBool>,
    hangs: bool,
    checks: Arc<AtomicUsize>,
}

impl Down {
    async fn answers(&self) -> Result<(), BoxError> {
        match (self.is_down.load(Ordering::SeqCst), self.hangs) {
            (false, _) => Ok(()),
            (true, false) => Err("connection refused".into()),
            (true, true) => std::future::pending().await,
        }
    }
}

impl UserStore for Down {
    type Error = BoxError;

    async fn find_by_email(&self, email: &str) -> Result<Vec<StoredUser>, BoxError> {
        self.answers().await?;
        Ok(self.users.find_by_email(email).await?)
    }

    async fn find_by_id(&self, id: &str) -> Result<Option<StoredUser>, BoxError> {
        self.answers().await?;
        Ok(self.users.find_by_id(id).await?)
    }

    async fn replace_password(&self, user: &StoredUser, new_hash: &PasswordHash) -> Result<Swap, BoxError> {
        self.answers().await?;
        Ok(self.users.replace_password(user, new_hash).await?)
    }

    async fn check(&self) -> Result<(), BoxError> {
        self.checks.fetch_add(1, Ordering::SeqCst);
        self.answers().await
    }

    /// The store fails after the start.
    async fn check_at_start(&self) -> Result<(), BoxError> {
        Ok(())
    }
}

/// The first failed call detects an outage. Every client gets 503 until a second after the recovery.
#[tokio::test(start_paused = true)]
async fn outage_ends_when_the_store_answers() {
    for hangs in [false, true] {
        let log = Log::default();
        let _guard = log.of_thread();
        let (users, is_down, checks) = (people(), Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let store = Down { users: users.clone(), is_down: Arc::clone(&is_down), hangs, checks: Arc::clone(&checks) };
        let reset = builder(store).on_reset_token_created(no_mail).build().await.unwrap();
        let token = reset.issue(&users.get("1").unwrap(), None).unwrap();
        assert!(reset.validate(token.token().expose()).await.is_err(), "the first failed call");
        // A probe is timed out after five seconds.
        tokio::time::sleep(Duration::from_millis(if hangs { 5_001 } else { 1 })).await;
        let unavailable = async || {
            let answer = reset.request("nobody@example.com", Client::none()).await;
            matches!(answer, Err(ResetError::Unavailable { reason: Unavailable::StoreDown, .. }))
        };
        for _ in 0..100 {
            assert!(unavailable().await, "hangs: {hangs}");
            tokio::time::sleep(Duration::from_millis(600)).await;
        }
        assert_eq!(log.text().matches("ERROR the user store is down").count(), 1, "{}", log.text());
        let probes = checks.load(Ordering::SeqCst);
        assert!((if hangs { 9..13 } else { 58..63 }).contains(&probes), "hangs: {hangs}, {probes} probes in a minute");

        is_down.store(false, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(if hangs { 6_001 } else { 1_001 })).await;
        assert!(!unavailable().await, "hangs: {hangs}");
        reset.validate(token.token().expose()).await.unwrap();
        assert_eq!(log.text().matches("INFO the user store answers again").count(), 1, "{}", log.text());
        let probes = checks.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(checks.load(Ordering::SeqCst), probes, "a store that works is not probed");
    }
}

/// The task that probes ends with the service.
#[tokio::test(start_paused = true)]
async fn dropped_service_stops_its_checks() {
    let checks = Arc::new(AtomicUsize::new(0));
    let is_down = Arc::new(AtomicBool::new(true));
    let store = Down { users: people(), is_down, hangs: false, checks: Arc::clone(&checks) };
    let reset = builder(store).on_reset_token_created(no_mail).build().await.unwrap();
    let token = reset.issue(&people().get("1").unwrap(), None).unwrap();
    let _ = reset.validate(token.token().expose()).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(checks.load(Ordering::SeqCst) > 5);
    drop(reset);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let probes = checks.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(checks.load(Ordering::SeqCst), probes);
}
