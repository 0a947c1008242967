//! The store in memory fulfills the contract of `UserStore`, and the contract test detects faulty stores. `tests/databases` has
//! the stores over SQL.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use poem_password_reset::store::{MemoryUsers, SqliteUsers};
use poem_password_reset::testing::{Edit, check_user_store};
use poem_password_reset::{PasswordHash, StoredUser, Swap, UserStore};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

const ANN: &str = "Ann@Example.com";
const BOB: &str = "bob@example.com";

/// A database in memory that several connections share.
async fn database(schema: &'static str) -> SqlitePool {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("file:stores-{}?mode=memory&cache=shared", NEXT.fetch_add(1, Ordering::Relaxed));
    let options = SqliteConnectOptions::new().filename(name).shared_cache(true).in_memory(true);
    let pool = SqlitePoolOptions::new().max_connections(1).min_connections(1).connect_with(options).await.unwrap();
    sqlx::raw_sql(schema).execute(&pool).await.unwrap();
    pool
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_without_active_column() {
    let pool = database(
        "CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT, password_hash TEXT);
         INSERT INTO users VALUES ('ann', 'ann@example.com', 'a');",
    )
    .await;
    let users = SqliteUsers::new(pool).username_column(None).active_column(None);
    let ann = users.find_by_email("ANN@example.com").await.unwrap().remove(0);
    assert!(ann.is_active());
    assert_eq!(users.replace_password(&ann, &"new".into()).await.unwrap(), Swap::Done);
}

#[tokio::test]
async fn missing_table_is_an_error() {
    let users = SqliteUsers::new(database("CREATE TABLE other (id TEXT)").await);
    assert!(users.find_by_email(ANN).await.is_err());
    assert!(users.find_by_id("ann").await.is_err());
}

fn two_users() -> MemoryUsers {
    MemoryUsers::new([StoredUser::new(1, ANN, Some("a".to_owned())), StoredUser::new(2, BOB, Some("b".to_owned()))])
}

/// Changes Ann's row of a store in memory.
fn change(users: &MemoryUsers, edit: Edit) {
    let ann = users.get("1").unwrap();
    let hash = ann.password_hash().map(|hash| hash.expose().to_owned());
    match edit {
        Edit::Email(email) => users.put(StoredUser::new(1, email, hash)),
        Edit::Active(active) => users.put(ann.with_active(active)),
        Edit::PasswordHash(hash) => users.put(StoredUser::new(1, ann.email(), hash)),
        _ => drop(users.remove("1")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    let users = two_users();
    let rows = users.clone();
    check_user_store(Arc::new(users), ANN, BOB, async |edit| change(&rows, edit)).await;
}

/// A store with one named fault.
struct Faulty {
    users: MemoryUsers,
    fault: &'static str,
}

impl UserStore for Faulty {
    type Error = std::convert::Infallible;

    async fn find_by_email(&self, email: &str) -> Result<Vec<StoredUser>, Self::Error> {
        let mut found = match self.fault {
            "compares case-sensitively"
                if !["1", "2"].iter().any(|id| self.users.get(id).is_some_and(|user| user.email() == email)) =>
            {
                Vec::new()
            }
            "treats an address as a pattern" if email == "%" => vec![self.users.get("2").unwrap()],
            _ => self.users.find_by_email(email).await?,
        };
        if self.fault == "returns the requested address" {
            found = found.into_iter().map(|user| StoredUser::new(user.id(), email, Some("a".to_owned()))).collect();
        }
        Ok(found)
    }

    async fn find_by_id(&self, id: &str) -> Result<Option<StoredUser>, Self::Error> {
        let id = if self.fault == "trims ids" { id.trim() } else { id };
        self.users.find_by_id(id).await
    }

    async fn replace_password(&self, user: &StoredUser, new_hash: &PasswordHash) -> Result<Swap, Self::Error> {
        let Some(row) = self.users.get(user.id()) else { return Ok(Swap::Stale) };
        let hash = |user: &StoredUser| user.password_hash().map(|hash| hash.expose().to_owned());
        let compares = |what: &str| self.fault != what;
        let same = (!compares("does not compare the hash") || hash(&row) == hash(user))
            && (!compares("does not compare the address") || row.email() == user.email())
            && (!compares("does not compare whether active") || row.is_active())
            && (compares("treats NULL as unequal to NULL") || hash(user).is_some());
        if !same {
            return Ok(Swap::Stale);
        }
        if self.fault == "compares, then writes" {
            tokio::task::yield_now().await;
        }
        if self.fault != "reports a write it did not make" {
            self.users.put(StoredUser::new(row.id(), row.email(), Some(new_hash.expose().to_owned())));
        }
        Ok(Swap::Done)
    }
}

#[test]
fn contract_test_detects_each_fault() {
    for (fault, complaint) in [
        ("compares case-sensitively", "in whatever case"),
        ("treats an address as a pattern", "must find no user"),
        ("returns the requested address", "as it is stored"),
        ("trims ids", "must find no user"),
        ("does not compare the hash", "must compare the password hash"),
        ("does not compare the address", "must compare the email address"),
        ("does not compare whether active", "must compare that the user is active"),
        ("treats NULL as unequal to NULL", "use IS"),
        ("compares, then writes", "exactly one of 64 concurrent swaps must succeed"),
        ("reports a write it did not make", "must have the new hash"),
    ] {
        let users = two_users();
        let rows = users.clone();
        let check = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
            runtime.block_on(check_user_store(Faulty { users, fault }, ANN, BOB, async |edit| change(&rows, edit)));
        });
        let Err(panic) = check.join() else { panic!("a store that {fault} passed") };
        let message = panic.downcast::<String>().map_or_else(|_| String::new(), |text| *text);
        assert!(message.contains(complaint), "a store that {fault}: {message}");
    }
}
