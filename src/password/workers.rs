//! [`Workers`]: the bound on work for the processor.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::spawn_blocking;

use crate::catch_panic::{Panicked, catch_panic};

/// How many confirms may be under way or waiting at once. A hash takes 20 ms a core: on two cores the last in line
/// waits some ten seconds.
const MAX_QUEUED: usize = 1024;

/// Lets as many pieces of work run at once as there are cores, and a bounded number wait.
///
/// Sixty-four Argon2id hashes side by side take 1.3 GB and are done no sooner than sixty-four in turn.
#[derive(Clone, Debug)]
pub(crate) struct Workers {
    line: Arc<Semaphore>,
    queue: Arc<Queue>,
}

/// A place in the line. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    queue: Arc<Queue>,
    _permit: OwnedSemaphorePermit,
}

impl Workers {
    /// As many workers as the machine has cores.
    pub(crate) fn new() -> Self {
        let most = available_parallelism().map_or(1, usize::from);
        Self { line: Arc::new(Semaphore::new(MAX_QUEUED)), queue: Arc::new(Queue { most, state: Mutex::default() }) }
    }

    /// Takes a place in the line; `None` if it is full.
    pub(crate) fn try_acquire(&self) -> Option<Permit> {
        let permit = Arc::clone(&self.line).try_acquire_owned().ok()?;
        Some(Permit { queue: Arc::clone(&self.queue), _permit: permit })
    }
}

impl Permit {
    /// Runs `work` on a blocking thread when it is its turn.
    ///
    /// Job that nobody waits for any more when its turn comes is not begun. Once it runs it counts among those that run
    /// until it is done, whoever waits: the thread is busy all the same.
    ///
    /// # Errors
    ///
    /// If `work` panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        let (tell, told) = oneshot::channel();
        self.queue.push(Box::new(move || {
            if !tell.is_closed() {
                let _ = tell.send(work());
            }
        }));
        told.await.map_err(|_| Panicked)
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// Job in the order in which it came.
///
/// Threads take the next piece themselves. Were each piece handed to a thread by an async task, a core would idle for as
/// long as it takes to wake two threads one after the other: among threads that hash, a millisecond.
#[derive(Debug)]
struct Queue {
    /// How many threads there may be.
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    threads: usize,
}

impl Queue {
    fn push(self: &Arc<Self>, work: Job) {
        let mut state = self.state();
        state.waiting.push_back(work);
        if state.threads < self.most {
            state.threads += 1;
            drop(state);
            let thread = Thread { queue: Arc::clone(self), is_counted: true };
            spawn_blocking(move || thread.work());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is behind it is whole at any moment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("waiting", &self.waiting.len()).field("threads", &self.threads).finish()
    }
}

/// A thread that works until nothing waits.
struct Thread {
    queue: Arc<Queue>,
    is_counted: bool,
}

impl Thread {
    fn work(mut self) {
        while let Some(work) = self.next() {
            // Whoever waits hears of a panic by not hearing anything.
            let _ = catch_panic(work);
        }
    }

    fn next(&mut self) -> Option<Job> {
        let mut state = self.queue.state();
        let work = state.waiting.pop_front();
        if work.is_none() {
            // Under the same lock: whoever pushes next starts another thread.
            state.threads -= 1;
            self.is_counted = false;
        }
        work
    }
}

impl Drop for Thread {
    /// When the runtime is shut down before the thread began.
    fn drop(&mut self) {
        if self.is_counted {
            self.queue.state().threads -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::task::{Context, Waker};
    use std::time::Duration;

    use super::*;

    impl Workers {
        fn threads(&self) -> usize {
            self.queue.state().threads
        }
    }

    async fn quiet(workers: &Workers) {
        while workers.threads() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn no_more_work_at_once_than_cores_and_no_more_waiting_than_the_line() {
        let workers = Workers::new();
        let cores = available_parallelism().unwrap().get();
        let (running, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let places: Vec<Permit> = std::iter::from_fn(|| workers.try_acquire()).collect();
        assert_eq!(places.len(), MAX_QUEUED);
        let tasks: Vec<_> = places
            .into_iter()
            .take(cores * 8)
            .map(|permit| {
                let (running, peak) = (Arc::clone(&running), Arc::clone(&peak));
                tokio::spawn(async move {
                    let work = move || {
                        peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(5));
                        running.fetch_sub(1, Ordering::SeqCst);
                    };
                    permit.run(work).await
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert_eq!(peak.load(Ordering::SeqCst), cores);
        assert!(workers.try_acquire().is_some(), "places come back");
        quiet(&workers).await;
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_frees_no_thread_while_the_work_runs() {
        let workers = Workers::new();
        let (started, has_started) = mpsc::channel();
        let (finish, may_finish) = mpsc::channel::<()>();
        let permit = workers.try_acquire().unwrap();
        let caller = tokio::spawn(async move {
            permit
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
        assert_eq!(workers.threads(), 1, "the work still runs");
        finish.send(()).unwrap();
        quiet(&workers).await;
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_is_not_begun() {
        let workers = Workers::new();
        let (finish, may_finish) = mpsc::channel::<()>();
        let may_finish = Arc::new(Mutex::new(may_finish));
        let busy = (0..workers.queue.most).map(|_| {
            let (permit, may_finish) = (workers.try_acquire().unwrap(), Arc::clone(&may_finish));
            tokio::spawn(async move { permit.run(move || may_finish.lock().unwrap().recv()).await })
        });
        let busy: Vec<_> = busy.collect();
        while workers.threads() < workers.queue.most {
            tokio::task::yield_now().await;
        }
        let begun = Arc::new(AtomicUsize::new(0));
        let (permit, count) = (workers.try_acquire().unwrap(), Arc::clone(&begun));
        let gives_up = permit.run(move || count.fetch_add(1, Ordering::SeqCst));
        assert!(tokio::time::timeout(Duration::from_millis(10), gives_up).await.is_err());
        for task in busy {
            finish.send(()).unwrap();
            task.await.unwrap().unwrap().unwrap();
        }
        quiet(&workers).await;
        assert_eq!(begun.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error_and_keeps_no_thread() {
        let workers = Workers::new();
        for _ in 0..2 * workers.queue.most {
            let permit = workers.try_acquire().unwrap();
            assert_eq!(permit.run(|| panic!("as planned")).await, Err::<(), _>(Panicked));
            assert_eq!(permit.run(|| 1).await, Ok(1));
        }
        quiet(&workers).await;
    }

    /// A runtime that has been shut down drops what was to run on a thread of its own; the next one starts others.
    #[test]
    fn threads_that_never_began_do_not_count() {
        let workers = Workers::new();
        for _ in 0..2 * workers.queue.most {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let handle = runtime.handle().clone();
            runtime.shutdown_background();
            let _context = handle.enter();
            let permit = workers.try_acquire().unwrap();
            let run = pin!(permit.run(|| ()));
            assert!(run.poll(&mut Context::from_waker(Waker::noop())).is_pending());
            assert_eq!(workers.threads(), 0);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let permit = workers.try_acquire().unwrap();
        assert_eq!(runtime.block_on(permit.run(|| 1)), Ok(1));
        runtime.block_on(async {
            while workers.threads() > 0 {
                tokio::task::yield_now().await
            }
        });
    }
}
