//! What is secret leaves nothing behind: no block of memory is given back with a secret in it.
//!
//! In a binary of its own, because its allocator looks at what it gets back.

#![allow(unsafe_code)] // an allocator is unsafe by its trait; this one forwards

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::slice;

use poem_password_reset::store::MemoryUsers;
use poem_password_reset::{NewPassword, PasswordHash, PasswordReset, ResetToken, SigningKey, StoredUser, TokenCodec};
use time::{Duration, OffsetDateTime};

thread_local! {
    /// What to look for, on this thread.
    static SECRET: Cell<&'static [u8]> = const { Cell::new(&[]) };
    /// Blocks that came back with it.
    static FOUND: Cell<usize> = const { Cell::new(0) };
}

struct Suspicious;

impl Suspicious {
    fn look(block: &[u8]) {
        let secret = SECRET.get();
        if !secret.is_empty() && block.windows(secret.len()).any(|bytes| bytes == secret) {
            FOUND.set(FOUND.get() + 1);
        }
    }
}

// SAFETY: every call is handed on to the system's allocator; blocks are zeroed, so that all of a block can be read. A block
// that is to grow or shrink is allocated anew by the default of the trait, so the old one is looked at.
unsafe impl GlobalAlloc for Suspicious {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that `System` wants.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block is one of ours, of this size, and was zeroed before anybody wrote to it.
        Self::look(unsafe { slice::from_raw_parts(block, layout.size()) });
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Suspicious = Suspicious;

/// How many blocks came back with `secret` in them while that was done.
fn left_behind(secret: &str, work: impl FnOnce()) -> usize {
    // Kept for ever: it must not be found in a block of the test's own.
    SECRET.set(secret.to_owned().leak().as_bytes());
    FOUND.set(0);
    work();
    SECRET.set(&[]);
    FOUND.get()
}

const SECRET_TEXT: &str = "purple tractor hums at dawn";

#[test]
fn allocator_finds_text_that_is_not_wiped() {
    assert_eq!(left_behind(SECRET_TEXT, || drop(black_box(SECRET_TEXT.to_owned()))), 1);
}

#[test]
fn secret_types_are_wiped_on_drop() {
    let wiped = left_behind(SECRET_TEXT, || {
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
    assert_eq!(left_behind(SECRET_TEXT, || drop(black_box(shortened()))), 1, "it stands there");
    assert_eq!(left_behind(SECRET_TEXT, || drop(black_box(NewPassword::new(shortened())))), 0);
}

/// A token on its way from the codec to a handler: no buffer that it outgrew, no link.
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
        // Without its tag a token is worth nothing.
        let tag = token.expose().rsplit('.').next().unwrap();
        assert_eq!(left_behind(tag, || drop(black_box(codec.issue(&user, now, Duration::HOUR).unwrap()))), 0);

        let event = reset.issue(&user, Some(Duration::HOUR)).unwrap();
        let tag = event.token().expose().rsplit('.').next().unwrap();
        // Until the next second the next token is the same.
        let again = left_behind(tag, || {
            let again = reset.issue(&user, Some(Duration::HOUR)).unwrap();
            let _ = black_box(again.link());
        });
        assert_eq!(again, 0);
    }
}
