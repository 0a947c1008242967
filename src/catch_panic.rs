//! Panics in code of the application that end where they happened.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

/// What was contained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Runs it; a panic goes no further.
pub(crate) fn catch_panic<T>(run: impl FnOnce() -> T) -> Result<T, Panicked> {
    // The payload is leaked: dropping it could panic again.
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        std::mem::forget(payload);
        Panicked
    })
}

/// The same for a future, which is not polled again once it has panicked. Pinned by the caller: a future that is handed on
/// by value has its size twice in that of the caller.
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

    /// Panics once more when it is dropped.
    struct Spiteful;

    impl Drop for Spiteful {
        fn drop(&mut self) {
            panic!("again");
        }
    }

    #[test]
    fn a_panic_ends_here_whatever_its_payload_does() {
        assert_eq!(catch_panic(|| 1), Ok(1));
        assert_eq!(catch_panic(|| panic!("as planned")), Err::<(), _>(Panicked));
        assert_eq!(catch_panic(|| std::panic::panic_any(Spiteful)), Err::<(), _>(Panicked));
    }

    #[tokio::test]
    async fn so_does_that_of_a_future_at_any_of_its_polls() {
        assert_eq!(catch_panic_future(pin!(async { 1 })).await, Ok(1));
        for polls in 0..3 {
            let future = async move {
                for _ in 0..polls {
                    tokio::task::yield_now().await;
                }
                std::panic::panic_any(Spiteful);
            };
            assert_eq!(catch_panic_future(pin!(future)).await, Err::<(), _>(Panicked));
        }
    }
}
