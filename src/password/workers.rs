//! [`Workers`]: the bound on work for the processor.

use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, spawn_blocking};

/// How many confirms may be under way or waiting at once. A hash takes 20 ms a core: on two cores the last in line
/// waits some ten seconds.
const LINE: usize = 1024;

/// Lets as many pieces of work run at once as there are cores, and a bounded number wait.
///
/// Sixty-four Argon2id hashes side by side take 1.3 GB and are done no sooner than sixty-four in turn.
#[derive(Clone, Debug)]
pub(crate) struct Workers {
    line: Arc<Semaphore>,
    permits: Arc<Semaphore>,
}

/// A place in the line. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    permits: Arc<Semaphore>,
    _place: OwnedSemaphorePermit,
}

impl Workers {
    /// As many workers as the machine has cores.
    pub(crate) fn new() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self { line: Arc::new(Semaphore::new(LINE)), permits: Arc::new(Semaphore::new(cores)) }
    }

    /// Takes a place in the line; `None` if it is full.
    pub(crate) fn enter(&self) -> Option<Place> {
        let place = Arc::clone(&self.line).try_acquire_owned().ok()?;
        Some(Place { permits: Arc::clone(&self.permits), _place: place })
    }
}

impl Place {
    /// Runs `work` on a blocking thread when it is its turn.
    ///
    /// # Errors
    ///
    /// If `work` panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
        spawn_blocking(move || {
            // The permit stays with the work: were it the caller's, it would be free again when a caller gives up,
            // while the work runs on.
            let _permit = permit;
            work()
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn no_more_work_at_once_than_cores_and_no_more_waiting_than_the_line() {
        let workers = Workers::new();
        let cores = available_parallelism().unwrap().get();
        let (running, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let places: Vec<Place> = std::iter::from_fn(|| workers.enter()).collect();
        assert_eq!(places.len(), LINE);
        let tasks: Vec<_> = places
            .into_iter()
            .take(cores * 8)
            .map(|place| {
                let (running, peak) = (Arc::clone(&running), Arc::clone(&peak));
                tokio::spawn(async move {
                    let work = move || {
                        peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(5));
                        running.fetch_sub(1, Ordering::SeqCst);
                    };
                    place.run(work).await
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert_eq!(peak.load(Ordering::SeqCst), cores);
        assert!(workers.enter().is_some(), "places come back");
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_keeps_the_permit_with_the_work() {
        let workers = Workers::new();
        let (started, has_started) = std::sync::mpsc::channel();
        let (finish, may_finish) = std::sync::mpsc::channel::<()>();
        let place = workers.enter().unwrap();
        let before = workers.permits.available_permits();
        let caller = tokio::spawn(async move {
            place
                .run(move || {
                    started.send(()).unwrap();
                    may_finish.recv().unwrap();
                })
                .await
        });
        while has_started.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        assert_eq!(workers.permits.available_permits(), before - 1, "the work still runs");
        finish.send(()).unwrap();
        while workers.permits.available_permits() < before {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error_and_frees_its_permit() {
        let workers = Workers::new();
        let before = workers.permits.available_permits();
        assert!(workers.enter().unwrap().run(|| panic!("as planned")).await.unwrap_err().is_panic());
        assert_eq!(workers.permits.available_permits(), before);
    }
}
