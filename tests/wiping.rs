//! Secrets are wiped: no freed block of memory contains one.
//!
//! A separate test binary, because its global allocator searches every freed block.

#![allow(unsafe_code)] // an allocator is unsafe by its trait; this one forwards

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::slice;

use poem_password_reset::store::MemoryUsers;
use poem_password_reset::{NewPassword, PasswordHash, PasswordReset, ResetToken, SigningKey, StoredUser, TokenCodec};
use time::{Duration, OffsetDateTime};

thread_local! {
    /// The bytes to search for on this thread.
    static SECRET: Cell<&'static [u8]> = const { Cell::new(&[]) };
    /// The number of freed blocks that contained the secret.
    static FOUND: Cell<usize> = const { Cell::new(0) };
}

struct SearchingAllocator;

impl SearchingAllocator {
    fn search(block: &[u8]) {
        let secret = SECRET.get();
        if !secret.is_empty() && block.windows(secret.len()).any(|bytes| bytes == secret) {
            FOUND.set(FOUND.get() + 1);
        }
    }
}

// SAFETY: every call is forwarded to the system allocator. Blocks are zeroed, so every byte may be read. The default
// `realloc` of the trait allocates a new block and frees the old one, so the old one is searched.
unsafe impl GlobalAlloc for SearchingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds the contract of `System`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: `alloc` returned the block with this size, and zeroed it.
        Self::search(unsafe { slice::from_raw_parts(block, layout.size()) });
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: SearchingAllocator = SearchingAllocator;

/// Returns the number of blocks freed during `work` that contain `secret`.
fn freed_with_secret(secret: &str, work: impl FnOnce()) -> usize {
    // Leaked, so that the test itself never frees a block with the secret.
    SECRET.set(secret.to_owned().leak().as_bytes());
    FOUND.set(0);
    work();
    SECRET.set(&[]);
    FOUND.get()
}

const SECRET_TEXT: &str = "purple tractor hums at dawn";

#[test]
fn allocator_finds_text_that_is_not_wiped() {
    assert_eq!(freed_with_secret(SECRET_TEXT, || drop(black_box(SECRET_TEXT.to_owned()))), 1);
}

#[test]
fn secret_types_are_wiped_on_drop() {
    let wiped = freed_with_secret(SECRET_TEXT, || {
        drop(black_box(NewPassword::new(SECRET_TEXT)));
        drop(black_box(PasswordHash::new(SECRET_TEXT)).clone());
        drop(black_box(ResetToken::new(SECRET_TEXT)).clone());
        drop(black_box(StoredUser::new(1, "ann@example.com", Some(SECRET_TEXT.to_owned()))).clone());
    });
    assert_eq!(wiped, 0);
}

#[test]
fn spare_capacity_of_a_secret_is_wiped() {
    let shortened = || {
        let mut text = String::with_capacity(100);
        text.push_str("No more than this is left of it. ");
        let rest = text.len();
        text.push_str(SECRET_TEXT);
        text.truncate(rest);
        text
    };
    assert_eq!(
        freed_with_secret(SECRET_TEXT, || drop(black_box(shortened()))),
        1,
        "the secret is in the spare capacity"
    );
    assert_eq!(freed_with_secret(SECRET_TEXT, || drop(black_box(NewPassword::new(shortened())))), 0);
}

/// Covers buffers that were replaced by larger ones, and the link.
#[tokio::test]
async fn issuing_leaves_no_token_in_freed_memory() {
    let key = || SigningKey::from_bytes(&(0..32).collect::<Vec<u8>>()).unwrap();
    let codec = TokenCodec::new(key());
    let users = [
        StoredUser::new(1, "ann@example.com", Some("$argon2id$old".to_owned())),
        StoredUser::new("\u{e9}".repeat(64), "ann@example.com", Some("$argon2id$old".to_owned())),
    ];
    let reset = PasswordReset::builder(MemoryUsers::new(users.clone()), key())
        .link("https://app.example.com/#{token}/{token}")
        .linked_handlers(false)
        .on_reset_token_created(async |_| {})
        .build()
        .await
        .unwrap();
    for user in users {
        let now = OffsetDateTime::now_utc();
        let token = codec.issue(&user, now, Duration::HOUR).unwrap();
        // The signature is searched for, because a token is useless without it.
        let tag = token.expose().rsplit('.').next().unwrap();
        assert_eq!(freed_with_secret(tag, || drop(black_box(codec.issue(&user, now, Duration::HOUR).unwrap()))), 0);

        let event = reset.issue(&user, Some(Duration::HOUR)).unwrap();
        let tag = event.token().expose().rsplit('.').next().unwrap();
        // A token issued in the same second has the same signature.
        let again = freed_with_secret(tag, || {
            let again = reset.issue(&user, Some(Duration::HOUR)).unwrap();
            let _ = black_box(again.link());
        });
        assert_eq!(again, 0);
    }
}
