//! Users without a usable password hash: they get no mail and cannot use a token, unless first passwords are allowed.

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/doubles.rs"]
mod doubles;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use doubles::{GOOD_PASSWORD, builder, cheap_hash, key, verifies};
use poem_password_reset::store::{MemoryUsers, SqliteUsers};
use poem_password_reset::token::TokenCodec;
use poem_password_reset::{
    Client, IssueError, KeyRing, PasswordReset, PasswordResetBuilder, Refusal, ResetError, StoredUser, UserStore,
};
use sqlx::sqlite::SqlitePoolOptions;
use time::OffsetDateTime;

/// Hashes that no password matches: empty, or with the marks of Django and shadow(5).
const UNUSABLE: [&str; 6] = ["", "!", "!xyz", "!$2b$12$abcdefghijklmnopqrstuv", "*", "*0"];

fn ann(hash: Option<&str>) -> StoredUser {
    StoredUser::new("ann", "ann@example.com", hash.map(str::to_owned))
}

/// Returns a table whose only user is Ann.
async fn sqlite(hash: Option<&str>) -> SqliteUsers {
    let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
    sqlx::query("CREATE TABLE users (id TEXT, email TEXT, username TEXT, active BOOLEAN, password_hash TEXT)")
        .execute(&pool)
        .await
        .unwrap();
    sqlx::query("INSERT INTO users VALUES ('ann', 'ann@example.com', NULL, 1, ?)")
        .bind(hash)
        .execute(&pool)
        .await
        .unwrap();
    SqliteUsers::new(pool)
}

/// Requests a reset and returns the number of mails sent.
async fn mails(settings: PasswordResetBuilder) -> (PasswordReset, usize) {
    let mails = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&mails);
    let count = move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::ready(())
    };
    let reset = settings.on_reset_token_created(count).build().await.unwrap();
    reset.request("ann@example.com", Client::none()).await.unwrap();
    while reset.ledger().waiting > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (reset, mails.load(Ordering::SeqCst))
}

/// Returns a token that was issued outside the service, which would refuse to issue it.
fn token_for(user: &StoredUser) -> String {
    let codec = TokenCodec::new(KeyRing::from(key()));
    codec.issue(user, OffsetDateTime::now_utc(), time::Duration::hours(1)).unwrap().expose().to_owned()
}

fn is_ineligible<T>(answer: &Result<T, ResetError>) -> bool {
    matches!(answer, Err(ResetError::InvalidToken(error)) if error.refusal() == Refusal::Ineligible)
}

/// Asserts that Ann gets no mail, that no token of hers is accepted, and that nothing is written.
async fn assert_gets_no_password(store: impl UserStore + Clone, hash: Option<&str>) {
    let (reset, mails) = mails(builder(store.clone())).await;
    assert_eq!(mails, 0, "{hash:?}");
    assert_eq!(reset.ledger().ineligible, 1, "{hash:?}");
    assert_eq!(reset.issue(&ann(hash), None).map(drop), Err(IssueError::Ineligible), "{hash:?}");
    let token = token_for(&ann(hash));
    assert!(is_ineligible(&reset.validate(&token).await), "{hash:?}");
    assert!(is_ineligible(&reset.confirm(&token, GOOD_PASSWORD.into(), Client::none()).await), "{hash:?}");
    let Ok(Some(row)) = store.find_by_id("ann").await else { panic!("the row is missing") };
    assert_eq!(row.password_hash().map(|hash| hash.expose()), hash, "nothing was written");
}

/// Asserts that Ann can set a first password if the setting allows it, with a token that is bound to the stored mark.
async fn assert_gets_first_password(store: impl UserStore + Clone, hash: Option<&str>) {
    let (reset, mails) = mails(builder(store.clone()).allow_first_password(true)).await;
    assert_eq!(mails, 1, "{hash:?}");
    let token = token_for(&ann(hash));
    let stale = token_for(&ann(Some("another mark")));
    assert!(reset.validate(&stale).await.is_err(), "{hash:?}: the token is bound to the stored mark");
    reset.validate(&token).await.unwrap();
    reset.confirm(&token, GOOD_PASSWORD.into(), Client::none()).await.unwrap();
    let Ok(Some(row)) = store.find_by_id("ann").await else { panic!("the row is missing") };
    assert!(verifies(&row, GOOD_PASSWORD), "{hash:?}");
    assert!(reset.validate(&token).await.is_err(), "{hash:?}");
}

#[tokio::test]
async fn user_without_usable_hash_gets_no_mail_and_no_password() {
    for hash in UNUSABLE.map(Some).into_iter().chain([None]) {
        assert_gets_no_password(MemoryUsers::new([ann(hash)]), hash).await;
        assert_gets_no_password(sqlite(hash).await, hash).await;
    }
}

#[tokio::test]
async fn first_password_replaces_the_mark_if_allowed() {
    for hash in UNUSABLE.map(Some).into_iter().chain([None]) {
        assert_gets_first_password(MemoryUsers::new([ann(hash)]), hash).await;
        assert_gets_first_password(sqlite(hash).await, hash).await;
    }
}

#[tokio::test]
async fn usable_hash_replaces_the_default_rule() {
    let cheap = cheap_hash("an old password").unwrap();
    for (hash, by_default, replaced) in
        [("", 0, 0), ("!", 0, 1), ("disabled", 1, 0), ("$2b$12$x", 1, 1), (cheap.as_str(), 1, 1)]
    {
        let users = MemoryUsers::new([ann(Some(hash))]);
        assert_eq!(mails(builder(users.clone())).await.1, by_default, "{hash:?}");
        let rule = |hash: &str| !hash.is_empty() && hash != "disabled";
        let (reset, mails) = mails(builder(users).usable_hash(rule)).await;
        assert_eq!(mails, replaced, "{hash:?}");
        assert_eq!(reset.validate(&token_for(&ann(Some(hash)))).await.is_ok(), replaced == 1, "{hash:?}");
    }
}
