//! The checks at start: with a store, throttle or hasher that cannot work the program does not start, and the error names the
//! cure.

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/doubles.rs"]
mod doubles;

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/log.rs"]
mod log;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use doubles::{Call, GOOD_PASSWORD, Watched, builder, no_mail, people};
use log::Log;
use poem_password_reset::store::{IdType, MemoryUsers, SqliteUsers};
use poem_password_reset::throttle::{Quota, Throttle, ThrottleKey, Verdict};
use poem_password_reset::{
    BoxError, BuildError, Client, NewPassword, PasswordHash, PasswordPolicy, Problem, ResetTokenCreated, StoredUser,
    Swap, UserStore,
};
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{Connection as _, SqlitePool};
use tokio::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Works,
    Errs,
    Hangs,
    Panics,
}

impl How {
    async fn check(self) -> Result<(), BoxError> {
        match self {
            Self::Works => Ok(()),
            Self::Errs => Err("connection refused\nby the server".into()),
            Self::Hangs => std::future::pending().await,
            Self::Panics => panic!("an injected panic"),
        }
    }
}

/// A store whose check at start fails, while its other methods work. The throttle below fails its check in the same way.
#[derive(Clone)]
struct Checked {
    users: MemoryUsers,
    how: How,
    is_mended: Arc<AtomicBool>,
    checks: Arc<AtomicUsize>,
}

impl Checked {
    fn new(how: How) -> Self {
        Self { users: people(), how, is_mended: Arc::default(), checks: Arc::default() }
    }
}

impl UserStore for Checked {
    type Error = BoxError;

    async fn find_by_email(&self, email: &str) -> Result<Vec<StoredUser>, BoxError> {
        Ok(self.users.find_by_email(email).await?)
    }

    async fn find_by_id(&self, id: &str) -> Result<Option<StoredUser>, BoxError> {
        Ok(self.users.find_by_id(id).await?)
    }

    async fn replace_password(&self, user: &StoredUser, new_hash: &PasswordHash) -> Result<Swap, BoxError> {
        Ok(self.users.replace_password(user, new_hash).await?)
    }

    async fn check_at_start(&self) -> Result<(), BoxError> {
        self.checks.fetch_add(1, Ordering::SeqCst);
        if self.is_mended.load(Ordering::SeqCst) { Ok(()) } else { self.how.check().await }
    }
}

struct CheckedThrottle(How);

impl Throttle for CheckedThrottle {
    type Error = BoxError;

    async fn count(&self, _: &ThrottleKey, _: Quota) -> Result<Verdict, BoxError> {
        Ok(Verdict::Within)
    }

    async fn check(&self) -> Result<(), BoxError> {
        self.0.check().await
    }
}

fn only(error: &BuildError) -> &Problem {
    assert_eq!(error.problems().len(), 1, "{error}");
    &error.problems()[0]
}

#[tokio::test(start_paused = true)]
async fn build_fails_if_a_check_fails_hangs_or_panics() {
    for (how, expected) in [
        (How::Errs, "connection refused by the server"),
        (How::Hangs, "did not answer in time"),
        (How::Panics, "panicked"),
    ] {
        let started = Instant::now();
        let error = builder(Checked::new(how)).on_reset_token_created(no_mail).build().await.unwrap_err();
        assert!(matches!(only(&error), Problem::StoreFails { reason } if reason.contains(expected)), "{error}");
        assert!(error.to_string().contains(".check_at_start(false)"), "{error}");
        let error =
            builder(people()).throttle(CheckedThrottle(how)).on_reset_token_created(no_mail).build().await.unwrap_err();
        assert!(matches!(only(&error), Problem::ThrottleFails { reason } if reason.contains(expected)), "{error}");
        let limit = if how == How::Hangs { Duration::from_secs(10) } else { Duration::ZERO };
        assert_eq!(started.elapsed().as_secs(), limit.as_secs(), "five seconds for each");
    }
    let works = builder(Checked::new(How::Works)).throttle(CheckedThrottle(How::Works));
    works.on_reset_token_created(no_mail).build().await.unwrap();
}

#[tokio::test]
async fn failed_check_is_reported_with_all_other_problems() {
    let builder = builder(Checked::new(How::Errs)).throttle(CheckedThrottle(How::Errs)).queue(0);
    let error = builder.build().await.unwrap_err();
    assert_eq!(error.problems().len(), 4, "{error}");
    assert_eq!(error.to_string().lines().count(), 5, "one line each: {error}");
}

#[tokio::test(start_paused = true)]
async fn build_without_checks_starts_and_logs_failures() {
    let log = Log::default();
    let _guard = log.of_thread();
    let store = Checked::new(How::Errs);
    let builder = builder(store.clone()).throttle(CheckedThrottle(How::Errs)).check_at_start(false);
    let reset = builder.on_reset_token_created(no_mail).build().await.unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(store.checks.load(Ordering::SeqCst), 5, "at once, and after 1, 3, 7 and 15 seconds");
    let text = log.text();
    let fails = "ERROR the user store fails its check at start";
    assert_eq!(text.matches(fails).count(), 1, "not at each try: {text}");
    assert_eq!(text.matches("ERROR the throttle fails its check at start").count(), 1, "{text}");
    assert!(text.contains(r#"reason="connection refused by the server""#), "{text}");

    store.is_mended.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let checks = store.checks.load(Ordering::SeqCst);
    drop(reset);
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(store.checks.load(Ordering::SeqCst) <= checks + 1, "a dropped service runs no checks");
}

#[tokio::test(start_paused = true)]
async fn background_check_ends_when_it_succeeds() {
    let log = Log::default();
    let _guard = log.of_thread();
    let store = Checked::new(How::Errs);
    let builder = builder(store.clone()).check_at_start(false);
    let _reset = builder.on_reset_token_created(no_mail).build().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    store.is_mended.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(store.checks.load(Ordering::SeqCst), 2);
    assert!(
        log.text().contains("INFO the user store, the throttle and the delivery pass their checks now"),
        "{}",
        log.text()
    );
}

#[tokio::test]
async fn build_with_bcrypt_needs_a_policy_of_72_bytes() {
    // Salted, as bcrypt is.
    static SALT: AtomicUsize = AtomicUsize::new(0);
    let bcrypt = |_: &str| Ok::<_, Infallible>(format!("$2b$12${}", SALT.fetch_add(1, Ordering::SeqCst)));
    let build = |policy| builder(people()).hasher(bcrypt).policy(policy).on_reset_token_created(no_mail).build();
    let policy = PasswordPolicy::default;
    for refused in [policy(), policy().max_bytes(73), policy().max_chars(19)] {
        let error = build(refused).await.unwrap_err();
        assert_eq!(*only(&error), Problem::HasherTruncates);
        assert!(error.to_string().contains(".policy(PasswordPolicy::default().max_bytes(72))"), "{error}");
    }
    for accepted in [policy().max_bytes(72), policy().max_bytes(64), policy().max_chars(18)] {
        build(accepted).await.unwrap();
    }
}

async fn database(sql: &str) -> SqlitePool {
    let options = SqlitePoolOptions::new().max_connections(1);
    let pool = options.connect("sqlite::memory:").await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&pool).await.unwrap();
    pool
}

const ANN: &str = "ann@example.com";

/// The whole flow: a request leads to a mail, and its token to a new password, once.
async fn works(users: SqliteUsers) -> String {
    let (sender, mut mails) = tokio::sync::mpsc::unbounded_channel();
    let mail = move |event: Arc<ResetTokenCreated>| {
        let sent = sender.send((event.user().id().to_owned(), event.token().expose().to_owned()));
        async move { sent.map_err(|_| "the receiver is closed") }
    };
    let reset = builder(users).on_reset_token_created(mail).build().await.unwrap();
    reset.request(ANN, Client::none()).await.unwrap();
    let mail = tokio::time::timeout(Duration::from_secs(10), mails.recv()).await;
    let (id, token) = mail.expect("a mail within ten seconds").unwrap();
    reset.confirm(&token, NewPassword::new(GOOD_PASSWORD), Client::none()).await.unwrap();
    assert!(reset.confirm(&token, NewPassword::new(GOOD_PASSWORD), Client::none()).await.is_err());
    id
}

/// The text of the only problem.
async fn refused(users: SqliteUsers) -> String {
    let error = builder(users).on_reset_token_created(no_mail).build().await.unwrap_err();
    match only(&error) {
        Problem::StoreFails { reason } => reason.clone(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn id_type_is_detected_from_the_rows() {
    let columns = "email TEXT, username TEXT, active BOOLEAN NOT NULL DEFAULT 1, password_hash TEXT";
    for (declared, value, id) in [
        ("INTEGER PRIMARY KEY", "41", "41"),
        ("TEXT PRIMARY KEY", "'ann'", "ann"),
        ("TEXT PRIMARY KEY", "41", "41"),
        ("UUID", "'01234567-89AB-cdef-0123-456789abcdef'", "01234567-89AB-cdef-0123-456789abcdef"),
        ("BLOB PRIMARY KEY", "x'0123456789abcdef0123456789abcdef'", "01234567-89ab-cdef-0123-456789abcdef"),
        ("BLOB PRIMARY KEY", "'ann'", "ann"),
        ("", "41", "41"),
    ] {
        let row = format!("INSERT INTO users (id, email, password_hash) VALUES ({value}, '{ANN}', 'a')");
        let pool = database(&format!("CREATE TABLE users (id {declared}, {columns}); {row}")).await;
        assert_eq!(works(SqliteUsers::new(pool)).await, id, "{declared} {value}");
        // An empty table has no row that shows the type. Its first user arrives after the start.
        let pool = database(&format!("CREATE TABLE users (id {declared}, {columns})")).await;
        let users = SqliteUsers::new(pool.clone());
        builder(users.clone()).on_reset_token_created(no_mail).build().await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(row)).execute(&pool).await.unwrap();
        assert_eq!(works(users).await, id, "{declared} {value}, empty at start");
    }
    // A single id of another type does not hide the other users.
    let mixed = format!(
        "CREATE TABLE users (id, {columns});
         INSERT INTO users (id, email, password_hash)
             VALUES ('odd', 'odd@example.com', 'a'), (41, '{ANN}', 'a'), (42, 'bob@example.com', 'b')"
    );
    let pool = database(&mixed).await;
    let users = SqliteUsers::new(pool.clone());
    assert_eq!(works(users.clone()).await, "41");
    assert!(users.find_by_email("odd@example.com").await.unwrap().is_empty());
    let names = pool.clone();
    sqlx::raw_sql("UPDATE users SET id = CASE id WHEN 'odd' THEN 7 WHEN 41 THEN 'ann' ELSE 'bob' END")
        .execute(&names)
        .await
        .unwrap();
    assert_eq!(works(SqliteUsers::new(names)).await, "ann", "the most frequent type, whichever it is");
    sqlx::raw_sql("UPDATE users SET id = CASE id WHEN 7 THEN 'odd' WHEN 'ann' THEN 41 ELSE 42 END")
        .execute(&pool)
        .await
        .unwrap();
    let users = SqliteUsers::new(pool).id_type(IdType::Text);
    assert_eq!(users.find_by_email("odd@example.com").await.unwrap()[0].id(), "odd");
    assert!(users.find_by_email(ANN).await.unwrap().is_empty());
}

#[tokio::test]
async fn integer_primary_key_needs_no_setting() {
    let pool = database(&format!(
        "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT NOT NULL, username TEXT,
             active BOOLEAN NOT NULL DEFAULT 1, password_hash TEXT);
         INSERT INTO users (email, password_hash) VALUES ('{ANN}', 'a')"
    ))
    .await;
    assert_eq!(works(SqliteUsers::new(pool)).await, "1");
}

#[tokio::test]
async fn missing_optional_column_is_reported_with_its_setter() {
    let pool = database(&format!(
        "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT NOT NULL, password_hash TEXT);
         INSERT INTO users (email, password_hash) VALUES ('{ANN}', 'a')"
    ))
    .await;
    let reason = refused(SqliteUsers::new(pool.clone())).await;
    for expected in [
        "the table `users` has no column `username`",
        "`.username_column(None)`",
        "no column `active`",
        "`.active_column(None)`",
        "its columns are `id`, `email`, `password_hash`",
    ] {
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
    assert_eq!(refused(SqliteUsers::new(pool.clone())).await, reason, "no statement that failed is kept");
    works(SqliteUsers::new(pool).username_column(None).active_column(None)).await;
}

#[tokio::test]
async fn similar_column_names_are_suggested_with_their_setters() {
    let pool = database(&format!(
        "CREATE TABLE users (user_id INTEGER PRIMARY KEY, mail TEXT NOT NULL, login TEXT,
             is_active BOOLEAN NOT NULL DEFAULT 1, password TEXT);
         INSERT INTO users (mail, password) VALUES ('{ANN}', 'a')"
    ))
    .await;
    let reason = refused(SqliteUsers::new(pool.clone()).bind_column("epoch")).await;
    for expected in [
        "no column `id` (name it with `.id_column(\"user_id\")`)",
        "no column `email` (name it with `.email_column(\"mail\")`)",
        "no column `password_hash` (name it with `.password_hash_column(\"password\")`)",
        "no column `active` (name it with `.active_column(\"is_active\")`",
        "no column `username` (name it with `.username_column(\"login\")`",
        "no column `epoch` (it is given to `.bind_column(..)`)",
        "its columns are `user_id`, `mail`, `login`, `is_active`, `password`",
    ] {
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
    let users = SqliteUsers::new(pool).id_column("user_id").email_column("mail").username_column("login");
    works(users.active_column("is_active").password_hash_column("password")).await;
}

#[tokio::test]
async fn missing_table_is_reported_with_other_tables_and_the_setter() {
    let pool = database(&format!(
        "CREATE TABLE accounts (id INTEGER PRIMARY KEY, email TEXT NOT NULL, username TEXT,
             active BOOLEAN NOT NULL DEFAULT 1, password_hash TEXT);
         INSERT INTO accounts (email, password_hash) VALUES ('{ANN}', 'a')"
    ))
    .await;
    let reason = refused(SqliteUsers::new(pool.clone())).await;
    let expected = "there is no table `users` (name it with `.table(\"accounts\")`); the tables are `accounts`";
    assert_eq!(reason, expected);
    works(SqliteUsers::new(pool.clone()).table("accounts")).await;
    works(SqliteUsers::new(pool).table("main.accounts")).await;

    let reason = refused(SqliteUsers::new(database("SELECT 1").await)).await;
    assert!(reason.contains("there is no table `users`, and no other"), "{reason}");
}

/// SQLite reads `"username"` as a text if there is no such column. Without qualified names, each user would have the name
/// "username", and each token would be bound to the text "password_hash".
#[tokio::test]
async fn missing_column_is_an_error_at_run_time() {
    let columns =
        ["id INTEGER PRIMARY KEY", "email TEXT", "username TEXT", "active BOOLEAN", "password_hash TEXT", "epoch"];
    for missing in 0..columns.len() {
        let mut table = columns.to_vec();
        let name = table.remove(missing).split(' ').next().unwrap_or_default();
        let table = table.join(", ");
        let pool =
            database(&format!("CREATE TABLE users ({table}, other TEXT); INSERT INTO users DEFAULT VALUES")).await;
        let users = SqliteUsers::new(pool).bind_column("epoch").id_type(IdType::Integer);
        assert!(users.find_by_email(ANN).await.is_err(), "{name}");
        assert!(users.find_by_id("1").await.is_err(), "{name}");
        let ann = StoredUser::new(1, ANN, None).bind_also([0]);
        // The write does not read the username.
        assert!(name == "username" || users.replace_password(&ann, &"new".into()).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn check_writes_nothing_and_finds_a_broken_trigger() {
    let pool = database(&format!(
        "CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT NOT NULL, username TEXT,
             active BOOLEAN NOT NULL DEFAULT 1, password_hash TEXT);
         CREATE TABLE changes (id INTEGER);
         CREATE TRIGGER record AFTER UPDATE ON users BEGIN INSERT INTO changes VALUES (NEW.id); END;
         INSERT INTO users (email, password_hash) VALUES ('{ANN}', 'a')"
    ))
    .await;
    let users = SqliteUsers::new(pool.clone());
    users.check_at_start().await.unwrap();
    let (changes, hash): (i64, String) =
        sqlx::query_as("SELECT (SELECT count(*) FROM changes), password_hash FROM users")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!((changes, hash.as_str()), (0, "a"));
    sqlx::raw_sql("DROP TABLE changes").execute(&pool).await.unwrap();
    pool.acquire().await.unwrap().clear_cached_statements().await.unwrap();
    let reason = refused(users).await;
    assert!(reason.contains("no such table: main.changes"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn log_of_a_lost_request_says_what_to_check() {
    let log = Log::default();
    let _guard = log.of_thread();
    let before = async |call| match call {
        Call::FindByEmail => Err(BoxError::from("no such table: users")),
        _ => Ok(()),
    };
    let store = Watched { users: people(), calls: Arc::default(), before };
    let reset = builder(store).on_reset_token_created(no_mail).build().await.unwrap();
    reset.request(ANN, Client::none()).await.unwrap();
    reset.shutdown(Duration::from_secs(60)).await;
    assert_eq!(reset.ledger().lost, 1);
    let text = log.text();
    let line = text.lines().find(|line| line.contains("ERROR the user store failed to look up an address")).unwrap();
    for expected in ["check that the database answers", "no such table: users"] {
        assert!(line.contains(expected), "{expected}: {line}");
    }
}
