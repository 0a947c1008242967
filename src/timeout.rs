//! Waiting: for what has a limit, and cool_down a moment that rarely comes.

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};

/// Waits for a future, but not for longer than that.
///
/// What is ready at once, as most is that is waited for here, costs no timer. Pinned by the caller: a future that is handed
/// on by value has its size twice in that of the caller.
pub(crate) async fn with_timeout<F: Future + Unpin>(limit: Duration, mut future: F) -> Result<F::Output, Elapsed> {
    match poll_once(&mut future).await {
        Poll::Ready(output) => Ok(output),
        // In a box: a timer is large, and seldom needed.
        Poll::Pending => Box::pin(timeout(limit, future)).await,
    }
}

/// Polls a future once.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context))).await
}

/// Lets the tasks that are ready run first. Unlike one that yields to the runtime, a task that waits for its turn here can
/// have it on another thread, should one of the others block this one.
pub(crate) async fn yield_to_ready() {
    let mut has_waited = false;
    poll_fn(|context| {
        if mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A moment that something lasts cool_down. As long as there is none, looking for it writes nothing that other cores read.
#[derive(Debug)]
pub(crate) struct CoolDown {
    created: Instant,
    /// In milliseconds after that; nought for no moment.
    end: AtomicU64,
}

impl CoolDown {
    /// No moment.
    pub(crate) fn inactive() -> Self {
        Self { created: Instant::now(), end: AtomicU64::new(0) }
    }

    /// From now on for so long.
    pub(crate) fn start(&self, duration: Duration) {
        let end = (self.created.elapsed() + duration).as_millis();
        self.end.store(u64::try_from(end).unwrap_or(u64::MAX).max(1), Ordering::SeqCst);
    }

    /// Begins for so long unless it lasts already. If several callers race, it returns `true` to one of them.
    pub(crate) fn try_start(&self, duration: Duration) -> bool {
        let (end, now) = (self.end.load(Ordering::SeqCst), self.created.elapsed());
        if end != 0 && Duration::from_millis(end) > now {
            return false;
        }
        let next = u64::try_from((now + duration).as_millis()).unwrap_or(u64::MAX).max(1);
        self.end.compare_exchange(end, next, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// For how much longer.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        let end = self.end.load(Ordering::SeqCst);
        if end == 0 {
            return None;
        }
        let left = Duration::from_millis(end).saturating_sub(self.created.elapsed());
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::pin::pin;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_limit_holds_for_what_is_not_ready_at_once() {
        let second = Duration::from_secs(1);
        assert_eq!(with_timeout(Duration::ZERO, pin!(async { 1 })).await.ok(), Some(1), "it was ready");
        assert_eq!(with_timeout(second, pin!(tokio::time::sleep(second / 2))).await.ok(), Some(()));
        let begun = Instant::now();
        assert!(with_timeout(second, pending::<()>()).await.is_err());
        assert_eq!(begun.elapsed().as_secs(), 1);
    }

    #[tokio::test]
    async fn a_turn_comes_after_that_of_a_task_which_is_ready() {
        let task = tokio::spawn(async {});
        yield_to_ready().await;
        assert!(task.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn a_cool_down_ends() {
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
        cool_down.start(Duration::MAX / 2);
        assert!(cool_down.remaining() > Some(Duration::from_secs(1 << 40)));
    }
}
