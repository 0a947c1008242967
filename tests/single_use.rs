//! If several confirmations race with one token, exactly one succeeds. A change of the row before the write invalidates
//! it. `tests/databases` has the races on databases.

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/doubles.rs"]
mod doubles;

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use doubles::{Call, GOOD_PASSWORD, Watched, builder, cheap_hash, no_mail, people, verifies};
use poem_password_reset::store::{MemoryUsers, SqliteUsers};
use poem_password_reset::{
    BoxError, Client, NewPassword, PasswordPolicy, PasswordReset, Refusal, ResetError, StoredUser, Strength, Swap,
    UserStore,
};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use tokio::task::JoinSet;

const RACERS: usize = 64;

/// A password reset with a cheap policy, so that confirmations reach the write quickly.
async fn racing(users: impl UserStore) -> PasswordReset {
    let policy = PasswordPolicy::default().strength(Strength::Any).allow_similar(true);
    builder(users).policy(policy).on_reset_token_created(no_mail).build().await.unwrap()
}

/// Races `RACERS` confirms with one token, each with a different password. Returns the passwords of the successful
/// ones.
async fn race(reset: &PasswordReset, user: &StoredUser, round: usize) -> Vec<String> {
    let event = reset.issue(user, None).unwrap();
    let token: Arc<str> = event.token().expose().into();
    let mut racers = JoinSet::new();
    for racer in 0..RACERS {
        let (reset, token) = (reset.clone(), Arc::clone(&token));
        racers.spawn(async move {
            let password = format!("round {round}, racer {racer}");
            match reset.confirm(&token, NewPassword::new(password.as_str()), Client::none()).await {
                Ok(_) => Some(password),
                Err(ResetError::InvalidToken(error)) => {
                    assert!(matches!(error.refusal(), Refusal::LostRace | Refusal::Stale), "{error:?}");
                    None
                }
                Err(error) => panic!("a confirm failed with an unexpected error: {error}"),
            }
        });
    }
    racers.join_all().await.into_iter().flatten().collect()
}

/// 500 rounds of 64 confirms on a store that yields between the look-up and the write, so that all racers have checked the token before
/// the first of them writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_confirms_on_yielding_store_have_one_winner() {
    let users = people();
    let reset = racing(Watched {
        users: users.clone(),
        calls: Arc::default(),
        before: async |_| {
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
            Ok::<(), BoxError>(())
        },
    })
    .await;
    for round in 0..500 {
        let winners = race(&reset, &users.get("1").unwrap(), round).await;
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        assert!(verifies(&users.get("1").unwrap(), &winners[0]), "round {round}");
    }
}

/// Points between the check of the token and the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// During hashing of the new password, before the library reads the row again.
    Hashing,
    /// At the beginning of the write.
    Write,
}

/// A password reset during which `change` happens at that moment.
async fn changed_at(
    moment: Moment,
    users: &MemoryUsers,
    change: impl Fn(&MemoryUsers) + Send + Sync + 'static,
) -> PasswordReset {
    let (change, hashed) = (Arc::new(change), AtomicUsize::new(0));
    let (rows, change_while_hashing) = (users.clone(), Arc::clone(&change));
    let hasher = move |password: &str| {
        // `build()` hashes twice.
        if moment == Moment::Hashing && hashed.fetch_add(1, Ordering::SeqCst) >= 2 {
            change_while_hashing(&rows);
        }
        cheap_hash(password)
    };
    let rows = users.clone();
    let before = move |call| {
        if moment == Moment::Write && call == Call::ReplacePassword {
            change(&rows);
        }
        async { Ok::<(), BoxError>(()) }
    };
    let store = Watched { users: users.clone(), calls: Arc::default(), before };
    let policy = PasswordPolicy::default().strength(Strength::Any).allow_similar(true);
    builder(store).hasher(hasher).policy(policy).on_reset_token_created(no_mail).build().await.unwrap()
}

#[tokio::test]
async fn confirm_fails_when_the_user_changes_before_the_write() {
    let changes: [fn(&MemoryUsers); 5] = [
        |users| {
            let hash = Some(cheap_hash("set elsewhere").unwrap());
            users.update("1", |ann| StoredUser::new(1, ann.email(), hash));
        },
        |users| {
            users.update("1", |ann| {
                let hash = ann.password_hash().map(|hash| hash.expose().to_owned());
                StoredUser::new(1, "ann.new@example.com", hash)
            });
        },
        |users| {
            users.update("1", |ann| ann.with_active(false));
        },
        |users| {
            users.remove("1");
        },
        |users| {
            users.update("1", |ann| StoredUser::new(1, ann.email(), None));
        },
    ];
    for moment in [Moment::Hashing, Moment::Write] {
        for (number, change) in changes.into_iter().enumerate() {
            let users = people();
            let reset = changed_at(moment, &users, change).await;
            let event = reset.issue(&users.get("1").unwrap(), None).unwrap();
            let error = reset.confirm(event.token().expose(), GOOD_PASSWORD.into(), Client::none()).await.unwrap_err();
            let ResetError::InvalidToken(error) = error else { panic!("change {number} at {moment:?}: {error}") };
            assert_eq!(error.refusal(), Refusal::LostRace, "change {number} at {moment:?}");
            assert!(!users.get("1").is_some_and(|ann| verifies(&ann, GOOD_PASSWORD)), "change {number} at {moment:?}");
        }
    }
}

/// State added with `bind_also` is checked at the write, as the hash is.
#[tokio::test]
async fn confirm_fails_when_bound_state_changes_before_the_write() {
    let users = MemoryUsers::new([people().get("1").unwrap().bind_also("epoch 1").bind_also("stamp")]);
    let changes: [fn(StoredUser, String) -> StoredUser; 4] = [
        |ann, hash| StoredUser::new(1, ann.email(), Some(hash)).bind_also("epoch 2").bind_also("stamp"),
        |ann, hash| StoredUser::new(1, ann.email(), Some(hash)).bind_also("epoch 1"),
        |ann, hash| StoredUser::new(1, ann.email(), Some(hash)).bind_also("epoch 1").bind_also("stamp").bind_also(""),
        |ann, hash| StoredUser::new(1, ann.email(), Some(hash)).bind_also("stamp").bind_also("epoch 1"),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        users.put(people().get("1").unwrap().bind_also("epoch 1").bind_also("stamp"));
        let rows = users.clone();
        let before = move |call| {
            if call == Call::ReplacePassword {
                rows.update("1", |ann| {
                    let hash = ann.password_hash().unwrap().expose().to_owned();
                    change(ann, hash)
                });
            }
            async { Ok::<(), BoxError>(()) }
        };
        let reset = racing(Watched { users: users.clone(), calls: Arc::default(), before }).await;
        let event = reset.issue(&users.get("1").unwrap(), None).unwrap();
        let error = reset.confirm(event.token().expose(), GOOD_PASSWORD.into(), Client::none()).await.unwrap_err();
        let ResetError::InvalidToken(error) = error else { panic!("change {number}: {error}") };
        assert_eq!(error.refusal(), Refusal::LostRace, "change {number}");
        assert!(verifies(&users.get("1").unwrap(), "ann's old password"), "change {number}");
    }
}

/// The same in SQLite, for bound columns with every type of value.
#[tokio::test]
async fn changed_bound_column_invalidates_token_and_pending_write() {
    let directory = Directory::new("bound");
    let pool = database(&directory).await;
    for sql in ["ALTER TABLE users ADD COLUMN epoch", "ALTER TABLE users ADD COLUMN \"last login\" TEXT"] {
        sqlx::query(sql).execute(&pool).await.unwrap();
    }
    let users = SqliteUsers::new(pool.clone()).bind_column("epoch").bind_column("last login");
    let reset = racing(users.clone()).await;
    let set = async |column: &str, value: &str| {
        let sql = format!("UPDATE users SET {column} = {value} WHERE id = 'ann'");
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&pool).await.unwrap();
    };
    for (before, after) in [("NULL", "''"), ("''", "NULL"), ("1", "2"), ("NULL", "0"), ("x'00'", "x''"), ("'a'", "'A'")]
    {
        for column in ["epoch", "\"last login\""] {
            set(column, before).await;
            let ann = users.find_by_id("ann").await.unwrap().unwrap();
            let event = reset.issue(&ann, None).unwrap();
            reset.validate(event.token().expose()).await.unwrap();
            set(column, after).await;
            let validated = reset.validate(event.token().expose()).await;
            assert!(validated.is_err(), "{column}: {before} became {after}");
            let swap = users.replace_password(&ann, &"new".into()).await.unwrap();
            assert_eq!(swap, Swap::Stale, "{column}: {before} became {after}");
            set(column, before).await;
            assert_eq!(users.replace_password(&ann, &cheap_hash("new").unwrap().into()).await.unwrap(), Swap::Done);
        }
    }
    let ann = users.find_by_id("ann").await.unwrap().unwrap();
    let event = reset.issue(&ann, None).unwrap();
    reset.confirm(event.token().expose(), GOOD_PASSWORD.into(), Client::none()).await.unwrap();
    let elsewhere = StoredUser::new("ann", "ann@example.com", Some("new".to_owned()));
    assert_eq!(
        users.replace_password(&elsewhere, &"newer".into()).await.unwrap(),
        Swap::Stale,
        "the user was not read through this store"
    );
}

/// One of three tokens is used. Validation and confirmation then refuse all three.
#[tokio::test]
async fn successful_confirm_invalidates_every_token_of_the_user() {
    let users = people();
    let reset = racing(users.clone()).await;
    let ann = users.get("1").unwrap();
    let minutes = |minutes| Some(time::Duration::minutes(minutes));
    let events = [10, 20, 30].map(|lifetime| reset.issue(&ann, minutes(lifetime)).unwrap());
    let bobs = reset.issue(&users.get("2").unwrap(), None).unwrap();
    for event in &events {
        reset.validate(event.token().expose()).await.unwrap();
    }
    reset.confirm(events[1].token().expose(), GOOD_PASSWORD.into(), Client::none()).await.unwrap();
    for event in &events {
        assert!(matches!(reset.validate(event.token().expose()).await, Err(ResetError::InvalidToken(_))));
        let again = reset.confirm(event.token().expose(), "another good one".into(), Client::none()).await;
        assert!(matches!(again, Err(ResetError::InvalidToken(_))));
    }
    assert!(verifies(&users.get("1").unwrap(), GOOD_PASSWORD));
    reset.validate(bobs.token().expose()).await.expect("the token of another user stays valid");
}

/// A temporary directory, removed on drop.
struct Directory(std::path::PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("poem-password-reset-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn database(directory: &Directory) -> SqlitePool {
    let url = format!("sqlite://{}?mode=rwc", directory.0.join("users.db").display());
    let options = SqliteConnectOptions::from_str(&url).unwrap().journal_mode(SqliteJournalMode::Wal);
    let pool = SqlitePoolOptions::new().max_connections(8).connect_with(options).await.unwrap();
    sqlx::query(
        "CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT NOT NULL, username TEXT, \
         active BOOLEAN NOT NULL DEFAULT 1, password_hash TEXT)",
    )
    .execute(&pool)
    .await
    .unwrap();
    for name in ["ann", "bob"] {
        sqlx::query("INSERT INTO users (id, email, password_hash) VALUES (?, ?, ?)")
            .bind(name)
            .bind(format!("{name}@example.com"))
            .bind(cheap_hash(&format!("{name}'s old password")).unwrap())
            .execute(&pool)
            .await
            .unwrap();
    }
    pool
}
