//! Timeouts, single polls and cool-downs.

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};

/// Waits for `future`, for at most `limit`.
///
/// Polls the future once before it creates a timer, because most futures here are ready at once. With tokio's `timeout`
/// alone, a validation takes 1.9 % more instructions and `POST /` with its mail 1.7 %. The caller pins the future: a future
/// passed by value counts twice in the size of the caller's.
pub(crate) async fn with_timeout<F: Future + Unpin>(limit: Duration, mut future: F) -> Result<F::Output, Elapsed> {
    match poll_once(&mut future).await {
        Poll::Ready(output) => Ok(output),
        // Boxed: a timer is large and seldom needed.
        Poll::Pending => Box::pin(timeout(limit, future)).await,
    }
}

/// Polls a future once.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context))).await
}

/// Yields to the tasks that are ready.
///
/// Unlike with `tokio::task::yield_now`, another thread can resume the task if one of the others blocks this thread.
pub(crate) async fn yield_to_ready() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A cool-down that ends at an instant.
#[derive(Debug, Default)]
pub(crate) struct CoolDown {
    end: Mutex<Option<Instant>>,
}

impl CoolDown {
    /// Creates a cool-down that is not active.
    pub(crate) fn inactive() -> Self {
        Self::default()
    }

    /// Starts or restarts the cool-down, for `duration` from now.
    pub(crate) fn start(&self, duration: Duration) {
        *self.end() = Some(Instant::now() + duration);
    }

    /// Starts the cool-down unless it is active, and returns whether it did. If several callers race, one gets `true`.
    pub(crate) fn try_start(&self, duration: Duration) -> bool {
        let (mut end, now) = (self.end(), Instant::now());
        let is_active = end.is_some_and(|end| end > now);
        if !is_active {
            *end = Some(now + duration);
        }
        !is_active
    }

    /// Returns the time until the end, or `None` if the cool-down is not active.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        let left = (*self.end())?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    fn end(&self) -> MutexGuard<'_, Option<Instant>> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::pin::pin;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn with_timeout_limits_pending_futures_and_returns_ready_ones() {
        let second = Duration::from_secs(1);
        assert_eq!(with_timeout(Duration::ZERO, pin!(async { 1 })).await.ok(), Some(1), "ready at the first poll");
        assert_eq!(with_timeout(second, pin!(tokio::time::sleep(second / 2))).await.ok(), Some(()));
        let start = Instant::now();
        assert!(with_timeout(second, pending::<()>()).await.is_err());
        assert_eq!(start.elapsed().as_secs(), 1);
    }

    #[tokio::test]
    async fn yield_to_ready_runs_a_ready_task_first() {
        let task = tokio::spawn(async {});
        yield_to_ready().await;
        assert!(task.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn cool_down_ends_after_its_duration() {
        let cool_down = CoolDown::inactive();
        assert_eq!(cool_down.remaining(), None);
        cool_down.start(Duration::from_secs(5));
        assert_eq!(cool_down.remaining(), Some(Duration::from_secs(5)));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(cool_down.remaining(), Some(Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(cool_down.remaining(), None);
        assert!(cool_down.try_start(Duration::from_secs(5)) && !cool_down.try_start(Duration::from_secs(5)));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(cool_down.try_start(Duration::from_secs(5)));
    }
}
