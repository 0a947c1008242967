//! Validation and confirmation refuse a forged token without a store call.

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/doubles.rs"]
mod doubles;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/random.rs"]
mod random;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use doubles::{Calls, GOOD_PASSWORD, Watched, builder, no_mail, people};
use poem_password_reset::{BoxError, Client, ResetError};
use random::Random;

/// The number of forged tokens.
const FORGED: u64 = 100_000;

/// Makes a forged token from two valid tokens in one of six random ways.
fn forge(good: &str, other: &str, random: &mut Random) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ ";
    let at = random.below(good.len());
    let letter = char::from(LETTERS[random.below(LETTERS.len())]);
    let part = |token: &str, number: usize| token.split('.').nth(number).unwrap().to_owned();
    match random.below(6) {
        0 => format!("{}{letter}{}", &good[..at], &good[at + 1..]),
        1 => format!("{}{letter}{}", &good[..at], &good[at..]),
        2 => good[..at].to_owned(),
        3 => format!("{}{}", &good[..at], &other[at.min(other.len())..]),
        4 => {
            let to = random.below(good.len());
            format!("{}{}{}", &good[..at], &good[at.min(to)..at.max(to)], &good[to..])
        }
        _ => {
            let mut from = |number| if random.below(2) == 0 { part(good, number) } else { part(other, number) };
            format!("{}.{}.{}", from(0), from(1), from(2))
        }
    }
}

#[tokio::test]
async fn forged_tokens_cause_no_store_call_and_no_hashing() {
    let (users, calls, hashed) = (people(), Arc::new(Calls::default()), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&hashed);
    let store = Watched { users: users.clone(), calls: Arc::clone(&calls), before: async |_| Ok::<(), BoxError>(()) };
    let reset = builder(store)
        .on_reset_token_created(no_mail)
        .hasher(move |password: &str| {
            count.fetch_add(1, Ordering::SeqCst);
            doubles::cheap_hash(password)
        })
        .build()
        .await
        .unwrap();
    let at_start = hashed.load(Ordering::SeqCst);
    let token = |id: &str| reset.issue(&users.get(id).unwrap(), None).unwrap().token().expose().to_owned();
    let (good, other) = (token("1"), token("2"));
    let mut random = Random::seeded();
    let mut tried = 0;
    while tried < FORGED {
        let forged = forge(&good, &other, &mut random);
        if forged == good || forged == other {
            continue;
        }
        tried += 1;
        let refused = if tried % 2 == 0 {
            reset.validate(&forged).await.map(drop)
        } else {
            reset.confirm(&forged, GOOD_PASSWORD.into(), Client::none()).await.map(drop)
        };
        assert!(matches!(refused, Err(ResetError::InvalidToken(_))), "token {tried}: {forged}");
    }
    assert_eq!(calls.all(), 0);
    assert_eq!(hashed.load(Ordering::SeqCst), at_start);
    reset.validate(&good).await.expect("the valid token is accepted");
    assert_eq!(calls.all(), 1, "calls are counted");
}
