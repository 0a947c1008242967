//! [`Workers`]: limits the CPU-bound work that runs and waits at once.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::spawn_blocking;

use crate::catch_panic::{Panicked, catch_panic};

/// The most jobs that may run or wait at once. A hash takes 20 ms of a core: on two cores the last of them waits about ten
/// seconds.
const MAX_QUEUED: usize = 1024;

/// Runs as many jobs at once as there are cores, while a bounded number wait.
///
/// Running 64 Argon2id hashes at once would take 1.3 GB and end no sooner than running them one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Workers {
    slots: Arc<Semaphore>,
    queue: Arc<Queue>,
}

/// A slot among the jobs that run or wait. Dropping it frees the slot.
#[derive(Debug)]
pub(crate) struct Permit {
    queue: Arc<Queue>,
    _permit: OwnedSemaphorePermit,
}

impl Workers {
    /// Creates a limit of one running job for each core.
    pub(crate) fn new() -> Self {
        let max_threads = available_parallelism().map_or(1, usize::from);
        Self {
            slots: Arc::new(Semaphore::new(MAX_QUEUED)),
            queue: Arc::new(Queue { max_threads, state: Mutex::default() }),
        }
    }

    /// Reserves a slot. Returns `None` if every slot is taken.
    pub(crate) fn try_acquire(&self) -> Option<Permit> {
        let permit = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        Some(Permit { queue: Arc::clone(&self.queue), _permit: permit })
    }
}

impl Permit {
    /// Runs `job` on a blocking thread, after the jobs that were added before it.
    ///
    /// The job of a cancelled caller is not started. A job that runs occupies its thread until it ends, even if the caller is
    /// cancelled.
    ///
    /// # Errors
    ///
    /// If `job` panicked.
    pub(crate) async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Panicked> {
        let (sender, receiver) = oneshot::channel();
        self.queue.push(Box::new(move || {
            if !sender.is_closed() {
                let _ = sender.send(job());
            }
        }));
        receiver.await.map_err(|_| Panicked)
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// The waiting jobs, in order, and the number of threads that run them.
///
/// Each thread takes the next job itself. If an async task handed out the jobs, a core would idle for about a millisecond
/// between two hashes, the time to wake that task's thread and then the blocking thread.
#[derive(Debug)]
struct Queue {
    /// The most threads.
    max_threads: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    threads: usize,
}

impl Queue {
    fn push(self: &Arc<Self>, job: Job) {
        let mut state = self.state();
        state.waiting.push_back(job);
        if state.threads < self.max_threads {
            state.threads += 1;
            drop(state);
            let thread = Thread { queue: Arc::clone(self), is_counted: true };
            spawn_blocking(move || thread.run());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("waiting", &self.waiting.len()).field("threads", &self.threads).finish()
    }
}

/// A blocking thread that runs jobs until none waits.
struct Thread {
    queue: Arc<Queue>,
    /// Whether the queue counts this thread.
    is_counted: bool,
}

impl Thread {
    fn run(mut self) {
        while let Some(job) = self.next() {
            // A panic drops the sender, which the caller sees as an error.
            let _ = catch_panic(job);
        }
    }

    fn next(&mut self) -> Option<Job> {
        let mut state = self.queue.state();
        let job = state.waiting.pop_front();
        if job.is_none() {
            // Under the same lock as the check, so that the next push starts a thread.
            state.threads -= 1;
            self.is_counted = false;
        }
        job
    }
}

impl Drop for Thread {
    /// Stops counting a thread that never ran because the runtime was shut down.
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

    async fn wait_until_idle(workers: &Workers) {
        while workers.threads() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn running_jobs_are_limited_to_cores_and_queued_jobs_to_the_queue() {
        let workers = Workers::new();
        let cores = available_parallelism().unwrap().get();
        let (running, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let permits: Vec<Permit> = std::iter::from_fn(|| workers.try_acquire()).collect();
        assert_eq!(permits.len(), MAX_QUEUED);
        let tasks: Vec<_> = permits
            .into_iter()
            .take(cores * 8)
            .map(|permit| {
                let (running, peak) = (Arc::clone(&running), Arc::clone(&peak));
                tokio::spawn(async move {
                    let job = move || {
                        peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(5));
                        running.fetch_sub(1, Ordering::SeqCst);
                    };
                    permit.run(job).await
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert_eq!(peak.load(Ordering::SeqCst), cores);
        assert!(workers.try_acquire().is_some(), "slots are freed");
        wait_until_idle(&workers).await;
    }

    #[tokio::test]
    async fn cancelled_caller_frees_no_thread_while_its_job_runs() {
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
        assert_eq!(workers.threads(), 1, "the job still runs");
        finish.send(()).unwrap();
        wait_until_idle(&workers).await;
    }

    #[tokio::test]
    async fn job_of_cancelled_caller_is_not_started() {
        let workers = Workers::new();
        let (finish, may_finish) = mpsc::channel::<()>();
        let may_finish = Arc::new(Mutex::new(may_finish));
        let busy = (0..workers.queue.max_threads).map(|_| {
            let (permit, may_finish) = (workers.try_acquire().unwrap(), Arc::clone(&may_finish));
            tokio::spawn(async move { permit.run(move || may_finish.lock().unwrap().recv()).await })
        });
        let busy: Vec<_> = busy.collect();
        while workers.threads() < workers.queue.max_threads {
            tokio::task::yield_now().await;
        }
        let started = Arc::new(AtomicUsize::new(0));
        let (permit, count) = (workers.try_acquire().unwrap(), Arc::clone(&started));
        let cancelled = permit.run(move || count.fetch_add(1, Ordering::SeqCst));
        assert!(tokio::time::timeout(Duration::from_millis(10), cancelled).await.is_err());
        for task in busy {
            finish.send(()).unwrap();
            task.await.unwrap().unwrap().unwrap();
        }
        wait_until_idle(&workers).await;
        assert_eq!(started.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn panicking_job_is_an_error_and_frees_its_thread() {
        let workers = Workers::new();
        for _ in 0..2 * workers.queue.max_threads {
            let permit = workers.try_acquire().unwrap();
            assert_eq!(permit.run(|| panic!("an injected panic")).await, Err::<(), _>(Panicked));
            assert_eq!(permit.run(|| 1).await, Ok(1));
        }
        wait_until_idle(&workers).await;
    }

    /// A runtime that was shut down drops the thread. The next runtime starts another.
    #[test]
    fn threads_that_never_ran_are_not_counted() {
        let workers = Workers::new();
        for _ in 0..2 * workers.queue.max_threads {
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
