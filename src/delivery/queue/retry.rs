//! [`Pause`]: a job that waits for its next run.

use std::sync::Arc;
use std::time::Duration;

use super::Job;
use super::workers::{QueuedJob, Workers};

/// A job that waits for its next run, and still counts as waiting. If it is dropped earlier, because its runtime shuts down,
/// the job is lost.
pub(super) struct Pause<J: Job> {
    queue: Arc<Workers<J>>,
    job: Option<QueuedJob<J>>,
}

impl<J: Job> Pause<J> {
    pub(super) fn new(queue: Arc<Workers<J>>, job: QueuedJob<J>) -> Self {
        Self { queue, job: Some(job) }
    }

    /// Adds the job to the queue again after `pause`, or as soon as the queue starts the last runs.
    pub(super) fn spawn(mut self, pause: Duration) {
        tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.queue.last_runs() => {}
            }
            if let Some(job) = self.job.take() {
                self.queue.enqueue_again(job);
            }
        });
    }
}

impl<J: Job> Drop for Pause<J> {
    fn drop(&mut self) {
        if self.job.take().is_some() {
            self.queue.lose_pausing();
        }
    }
}
