//! Contract tests for your own [`UserStore`] (feature `testing`).

use std::fmt::Debug;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::secret::PasswordHash;
use crate::store::{Swap, UserStore};
use crate::user::StoredUser;

/// The number of swaps that race in a round of [`check_user_store`].
const RACING: usize = 64;

/// The number of rounds.
const ROUNDS: usize = 8;

/// Checks that a store fulfills the contract of [`UserStore`]: case folding, the comparisons of a swap, and that exactly one
/// of 64 racing swaps succeeds.
///
/// `store` must have at least two active users with a password. `ann` and `bob` are their email addresses as stored, in
/// ASCII and with at least one letter. `edit` changes Ann's row without the store, as another part of the application
/// would. The check deletes Ann's row, so use a test database.
///
/// Use a runtime with several threads: on one thread the swaps hardly race.
///
/// ```
/// use poem_password_reset::StoredUser;
/// use poem_password_reset::store::MemoryUsers;
/// use poem_password_reset::testing::{Edit, check_user_store};
///
/// # let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
/// # runtime.block_on(async {
/// let users = MemoryUsers::new([
///     StoredUser::new(1, "ann@example.com", Some("a".to_owned())),
///     StoredUser::new(2, "bob@example.com", Some("b".to_owned())),
/// ]);
/// let rows = users.clone();
/// check_user_store(users, "ann@example.com", "bob@example.com", async |edit| {
///     // In a database: UPDATE users SET .. WHERE id = 1, or DELETE.
///     let ann = rows.get("1").unwrap_or_else(|| StoredUser::new(1, "ann@example.com", None));
///     let hash = ann.password_hash().map(|hash| hash.expose().to_owned());
///     match edit {
///         Edit::Email(email) => rows.put(StoredUser::new(1, email, hash)),
///         Edit::Active(active) => rows.put(ann.with_active(active)),
///         Edit::PasswordHash(hash) => rows.put(StoredUser::new(1, ann.email(), hash)),
///         _ => drop(rows.remove("1")),
///     }
/// })
/// .await;
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Panics
///
/// Panics with the difference between the store's behavior and the contract.
pub async fn check_user_store<S>(store: S, ann: &str, bob: &str, mut edit: impl AsyncFnMut(Edit))
where
    S: UserStore<Error: Debug>,
{
    let store = Arc::new(store);
    finds_by_email_without_regard_to_case(&*store, ann, bob).await;
    finds_by_id(&*store, ann, bob).await;
    swaps_once(&*store, ann, bob).await;
    compares_what_must_not_have_changed(&*store, ann, &mut edit).await;
    for round in 0..ROUNDS {
        one_of_concurrent_swaps_succeeds(&store, ann, round).await;
    }
    edit(Edit::Delete).await;
    let gone = find(&*store, ann).await;
    assert!(gone.is_empty(), "find_by_email finds a user who was deleted");
}

/// A change of Ann's row that [`check_user_store`] asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Edit {
    /// Another email address.
    Email(String),
    /// Whether Ann may sign in.
    Active(bool),
    /// Another password hash, or none.
    PasswordHash(Option<String>),
    /// The row is deleted.
    Delete,
}

async fn finds_by_email_without_regard_to_case<S: UserStore<Error: Debug>>(store: &S, ann: &str, bob: &str) {
    for email in [ann.to_owned(), ann.to_uppercase(), ann.to_lowercase()] {
        let found = find(store, &email).await;
        assert_eq!(found.len(), 1, "find_by_email({email:?}) must find the one user {ann:?}, in whatever case");
        assert_eq!(found[0].email(), ann, "find_by_email must return the address as it is stored");
    }
    for unknown in
        ["nobody@example.invalid", "", "%", "_", "' OR ''='", &format!("x{bob}"), &bob[1..], &format!(" {bob}")]
    {
        assert!(find(store, unknown).await.is_empty(), "find_by_email({unknown:?}) must find no user");
    }
}

async fn finds_by_id<S: UserStore<Error: Debug>>(store: &S, ann: &str, bob: &str) {
    for email in [ann, bob] {
        let user = one(store, email).await;
        let found = store.find_by_id(user.id()).await.expect("find_by_id must answer");
        let found = found.unwrap_or_else(|| panic!("find_by_id must find the user that find_by_email found"));
        assert_eq!((found.id(), found.email()), (user.id(), user.email()), "both look-ups must return the same user");
        assert_eq!(hash_of(&found), hash_of(&user), "both look-ups must return the same password hash");
    }
    let id = one(store, ann).await.id().to_owned();
    for unknown in ["", "no such id", "-1", "9223372036854775808", "' OR ''='", &format!("{id} "), &format!("0{id}")] {
        let found = store.find_by_id(unknown).await;
        let found =
            found.unwrap_or_else(|error| panic!("find_by_id({unknown:?}) must find no user and not fail: {error:?}"));
        assert!(found.is_none(), "find_by_id({unknown:?}) must find no user");
    }
}

async fn swaps_once<S: UserStore<Error: Debug>>(store: &S, ann: &str, bob: &str) {
    let (before, bystander) = (one(store, ann).await, one(store, bob).await);
    assert_eq!(swap(store, &before, "first").await, Swap::Done, "a swap must succeed while the row is as expected");
    let after = one(store, ann).await;
    assert_eq!(hash_of(&after).as_deref(), Some("first"), "after Swap::Done the row must have the new hash");
    assert_eq!(hash_of(&one(store, bob).await), hash_of(&bystander), "a swap must change the row of one user only");
    assert_eq!(swap(store, &before, "second").await, Swap::Stale, "a swap must compare the password hash");
    assert_eq!(hash_of(&one(store, ann).await).as_deref(), Some("first"), "after Swap::Stale nothing may be changed");
}

async fn compares_what_must_not_have_changed<S>(store: &S, ann: &str, edit: &mut impl AsyncFnMut(Edit))
where
    S: UserStore<Error: Debug>,
{
    let other = format!("other.{ann}");
    for (change, back, what) in [
        (Edit::Email(other.clone()), Edit::Email(ann.to_owned()), "the email address"),
        (Edit::Active(false), Edit::Active(true), "that the user is active"),
        (Edit::PasswordHash(None), Edit::PasswordHash(Some("first".to_owned())), "that there is a password hash"),
    ] {
        let before = one(store, ann).await;
        edit(change).await;
        assert_eq!(swap(store, &before, "lost").await, Swap::Stale, "a swap must compare {what}");
        edit(back).await;
        assert_eq!(hash_of(&one(store, ann).await), hash_of(&before), "after Swap::Stale nothing may be changed");
    }

    edit(Edit::PasswordHash(None)).await;
    let without = one(store, ann).await;
    assert_eq!(hash_of(&without), None, "a user without a password must have no password hash");
    let done = swap(store, &without, "first of all").await;
    assert_eq!(
        done,
        Swap::Done,
        "a swap must also succeed for a user without a password (in SQL, NULL equals nothing: use IS)"
    );
    assert_eq!(swap(store, &without, "again").await, Swap::Stale, "a swap must compare that there is no password hash");
}

async fn one_of_concurrent_swaps_succeeds<S: UserStore<Error: Debug>>(store: &Arc<S>, ann: &str, round: usize) {
    let before = one(&**store, ann).await;
    let mut racers = JoinSet::new();
    for racer in 0..RACING {
        let (store, before) = (Arc::clone(store), before.clone());
        racers.spawn(async move {
            let hash = format!("round {round}, racer {racer}");
            (swap(&*store, &before, &hash).await == Swap::Done).then_some(hash)
        });
    }
    let succeeded: Vec<String> = racers.join_all().await.into_iter().flatten().collect();
    assert_eq!(
        succeeded.len(),
        1,
        "exactly one of {RACING} concurrent swaps must succeed: compare and write in one statement"
    );
    let stored = hash_of(&one(&**store, ann).await);
    assert_eq!(stored.as_ref(), succeeded.first(), "the row must have the hash of the swap that succeeded");
}

async fn find<S: UserStore<Error: Debug>>(store: &S, email: &str) -> Vec<StoredUser> {
    store.find_by_email(email).await.expect("find_by_email must answer")
}

async fn one<S: UserStore<Error: Debug>>(store: &S, email: &str) -> StoredUser {
    let mut found = find(store, email).await;
    assert_eq!(found.len(), 1, "find_by_email({email:?}) must find one user");
    found.remove(0)
}

async fn swap<S: UserStore<Error: Debug>>(store: &S, user: &StoredUser, hash: &str) -> Swap {
    store.replace_password(user, &PasswordHash::new(hash)).await.expect("replace_password must answer")
}

fn hash_of(user: &StoredUser) -> Option<String> {
    user.password_hash().map(|hash| hash.expose().to_owned())
}
