//! Converts panics in the application's code into errors.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

/// The error of a call that panicked. The panic's message is not kept: it may hold a user's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Runs `f` and converts a panic into `Err(Panicked)`.
pub(crate) fn catch_panic<T>(f: impl FnOnce() -> T) -> Result<T, Panicked> {
    // Leaks the payload, because dropping it could panic again.
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        std::mem::forget(payload);
        Panicked
    })
}

/// Awaits `future` and converts a panic into `Err(Panicked)`. A future that panicked is not polled again.
///
/// `catch_unwind` of `futures-util` returns the payload, whose drop can panic again, and would be one more dependency.
///
/// The caller pins the future: a future passed by value counts twice in the size of the caller's.
pub(crate) async fn catch_panic_future<F: Future + Unpin>(mut future: F) -> Result<F::Output, Panicked> {
    poll_fn(|context| match catch_panic(|| Pin::new(&mut future).poll(context)) {
        Ok(poll) => poll.map(Ok),
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    /// A panic payload that panics when it is dropped.
    struct PanicOnDrop;

    impl Drop for PanicOnDrop {
        fn drop(&mut self) {
            panic!("again");
        }
    }

    #[test]
    fn catch_panic_returns_an_error_even_if_dropping_the_payload_panics() {
        assert_eq!(catch_panic(|| 1), Ok(1));
        assert_eq!(catch_panic(|| panic!("an injected panic")), Err::<(), _>(Panicked));
        assert_eq!(catch_panic(|| std::panic::panic_any(PanicOnDrop)), Err::<(), _>(Panicked));
    }

    #[tokio::test]
    async fn catch_panic_future_returns_an_error_at_any_poll() {
        assert_eq!(catch_panic_future(pin!(async { 1 })).await, Ok(1));
        for polls in 0..3 {
            let future = async move {
                for _ in 0..polls {
                    tokio::task::yield_now().await;
                }
                std::panic::panic_any(PanicOnDrop);
            };
            assert_eq!(catch_panic_future(pin!(future)).await, Err::<(), _>(Panicked));
        }
    }
}
