//! [`Batches`]: stores the jobs that arrive while PostgreSQL is busy in one statement.
//!
//! Each statement of the engine ends with a `NOTIFY`, and PostgreSQL commits transactions with one after the other. Stored one by
//! one, the jobs of concurrent requests would wait for each other's commits: with 64 clients that gives 0.09 of the requests of a
//! bare `INSERT`, in batches 0.92 (`cargo bench --bench parts -- queue`).

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use graphile_worker::{RawJobSpec, WorkerUtils};
use tokio::sync::oneshot;

/// The most jobs in one statement.
const MOST: usize = 128;

/// The jobs that wait to be stored.
#[derive(Clone, Default)]
pub(super) struct Batches(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    waiting: Vec<Waiting>,
    /// Whether a task stores jobs now, and will look for further ones.
    is_storing: bool,
}

struct Waiting {
    job: RawJobSpec,
    stored: oneshot::Sender<Result<(), String>>,
}

impl Batches {
    /// Stores a job. Returns once it is committed.
    ///
    /// # Errors
    ///
    /// The text of the engine's error.
    pub(super) async fn store(&self, utils: &WorkerUtils, job: RawJobSpec) -> Result<(), String> {
        let (sender, receiver) = oneshot::channel();
        let was_storing = {
            let mut state = self.state();
            state.waiting.push(Waiting { job, stored: sender });
            std::mem::replace(&mut state.is_storing, true)
        };
        if !was_storing {
            // In a task: a client that disconnects must not cancel the jobs of others.
            tokio::spawn(Storing { batches: self.clone(), has_ended: false }.run(utils.clone()));
        }
        receiver.await.unwrap_or_else(|_| Err("the runtime stopped before the job was stored".to_owned()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that stores jobs until none waits.
struct Storing {
    batches: Batches,
    has_ended: bool,
}

impl Storing {
    async fn run(mut self, utils: WorkerUtils) {
        while let Some(batch) = self.next() {
            let (jobs, senders): (Vec<_>, Vec<_>) = batch.into_iter().map(|one| (one.job, one.stored)).unzip();
            let stored = utils.add_raw_jobs(&jobs).await.map(drop).map_err(|error| error.to_string());
            for sender in senders {
                // The caller may have stopped waiting.
                let _ = sender.send(stored.clone());
            }
        }
    }

    fn next(&mut self) -> Option<Vec<Waiting>> {
        let mut state = self.batches.state();
        if state.waiting.is_empty() {
            state.is_storing = false;
            self.has_ended = true;
            return None;
        }
        let count = state.waiting.len().min(MOST);
        Some(state.waiting.drain(..count).collect())
    }
}

impl Drop for Storing {
    /// If the task is dropped by a runtime that stops, the callers get an error, and the next job starts another task.
    fn drop(&mut self) {
        if !self.has_ended {
            let mut state = self.batches.state();
            state.is_storing = false;
            state.waiting.clear();
        }
    }
}

impl fmt::Debug for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batches").field("waiting", &self.state().waiting.len()).finish_non_exhaustive()
    }
}
