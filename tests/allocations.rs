//! Refusing a forged token allocates nothing, accepting a token allocates only for a long user id, and a queued request takes little
//! memory.
//!
//! A separate test binary, because its global allocator counts.

#![allow(unsafe_code)] // an allocator is unsafe by its trait; this one forwards

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use poem_password_reset::store::MemoryUsers;
use poem_password_reset::throttle::Quotas;
use poem_password_reset::{Client, KeyRing, PasswordReset, Refusal, SigningKey, StoredUser, TokenCodec};
use time::{Duration, OffsetDateTime};

thread_local! {
    /// Allocations of this thread, without those of the test harness.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    /// Allocated bytes that are not yet freed.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

impl Counting {
    fn count(allocated: usize) {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        HELD.set(HELD.get().wrapping_add(allocated));
    }

    fn freed(bytes: usize) {
        HELD.set(HELD.get().wrapping_sub(bytes));
    }
}

// SAFETY: every call is forwarded unchanged to the system allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size());
        // SAFETY: the caller upholds the contract of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count(size);
        Self::freed(layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        Self::freed(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Returns the number of allocations of `work` and its result.
fn allocations<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = ALLOCATIONS.get();
    let result = black_box(work());
    (ALLOCATIONS.get() - before, result)
}

fn ann() -> StoredUser {
    StoredUser::new(7, "ann@example.com", Some("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".to_owned()))
}

#[test]
fn forged_token_allocates_nothing() {
    assert_eq!(allocations(|| String::from("counted")).0, 1, "the allocator counts");

    let key = |byte: u8| SigningKey::from_bytes(&[[byte; 16], [!byte; 16]].concat()).unwrap();
    let codec = TokenCodec::new(KeyRing::new(key(1)).previous(key(2)).unwrap());
    let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
    let good = codec.issue(&ann(), now, Duration::HOUR).unwrap();
    let good = good.expose();
    let unknown_key = TokenCodec::new(key(3)).issue(&ann(), now, Duration::HOUR).unwrap();
    let (message, tag) = good.rsplit_once('.').unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    let flipped = |position: usize| {
        let other = if good.as_bytes()[position] == b'A' { "B" } else { "A" };
        format!("{}{other}{}", &good[..position], &good[position + 1..])
    };
    let forged = [
        (String::new(), Refusal::Malformed),
        ("x".repeat(1_024), Refusal::Malformed),
        ("x".repeat(42 << 20), Refusal::TooLong),
        (".".repeat(1_024), Refusal::Header),
        (flipped(0), Refusal::Header),
        (unknown_key.expose().to_owned(), Refusal::Header),
        (format!("eyJhbGciOiJub25lIn0.{claims}."), Refusal::Header),
        (flipped(header.len() + 1), Refusal::Signature),
        (flipped(good.len() - 2), Refusal::Signature),
        (flipped(message.len() + 1), Refusal::Signature),
        (format!("{message}."), Refusal::Signature),
        (format!("{message}.{}", "!".repeat(43)), Refusal::Signature),
        (format!("{message}.{tag}{tag}"), Refusal::Signature),
        (format!("{header}.{}.{tag}", "A".repeat(800)), Refusal::Signature),
        (format!("{header}.{}", ".".repeat(900)), Refusal::Signature),
    ];
    for (token, expected) in forged {
        let (count, verdict) = allocations(|| codec.verify(&token, now));
        assert_eq!(verdict.unwrap_err().refusal(), expected);
        assert_eq!(count, 0, "{expected}: {:.80}", token);
    }

    let (claims, used) = (codec.verify(good, now).unwrap(), ann().bind_also("used"));
    let (count, verdict) = allocations(|| codec.bind(claims, used));
    assert_eq!((count, verdict.unwrap_err().refusal()), (0, Refusal::Stale));
}

#[test]
fn signed_token_allocates_only_for_a_long_user_id() {
    let codec = TokenCodec::new(SigningKey::generate().unwrap());
    let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
    let (long, longest) = ("x".repeat(39), "x".repeat(128));
    for (id, expected) in [("7", 0), ("01890a5d-ac96-774b-bcce-b302099a8057", 0), (&long, 1), (&longest, 1)] {
        let user =
            || StoredUser::new(id, "ann@example.com", ann().password_hash().map(|hash| hash.expose().to_owned()));
        let token = codec.issue(&user(), now, Duration::HOUR).unwrap();
        let (count, refused) = allocations(|| codec.verify(token.expose(), now + Duration::HOUR));
        assert_eq!((count, refused.unwrap_err().refusal()), (expected, Refusal::Expired));
        let (count, claims) = allocations(|| codec.verify(token.expose(), now).unwrap());
        assert_eq!((count, claims.user_id()), (expected, id));
        let user = user();
        let (count, bound) = allocations(|| codec.bind(claims, user));
        assert_eq!((count, bound.unwrap().user().id()), (0, id));
    }
}

/// A burst of requests must not exhaust memory. The worker's buffers are not allocated per queued request.
#[tokio::test]
async fn queued_request_takes_under_300_bytes() {
    // Together with the first request one more than a power of two, so about half of the queue's capacity is unused.
    const REQUESTS: usize = 1_024;
    let reset = PasswordReset::builder(MemoryUsers::new([ann()]), SigningKey::generate().unwrap())
        .link("https://app.example.com/reset#token={token}")
        .quotas(Quotas::off())
        .linked_handlers(false)
        .on_reset_token_created(async |_| {})
        .build()
        .await
        .unwrap();
    let request = async || reset.request("ann@example.com", Client::none()).await.unwrap();
    // The first request allocates the worker task and the initial queue.
    request().await;
    let before = HELD.get();
    for _ in 0..REQUESTS {
        request().await;
    }
    let held = HELD.get() - before;
    assert_eq!(reset.ledger().waiting, 1_025, "the test does not yield to the worker");
    assert!(held / REQUESTS < 300, "{held} bytes for {REQUESTS} requests");
}
