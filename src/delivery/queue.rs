//! [`Queue`]: what waits for its turn, and each [`Task`] that works until nothing does. One lock is over all of it.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::sync::{Notify, oneshot};
use tracing::{Instrument as _, Span};

use super::Job;
use super::ledger::{Ledger, Outcome};
use crate::catch_panic::catch_panic_future;
use crate::timeout::{poll_once, yield_to_ready};

/// What waits, who works, and how much there may be of both.
#[derive(Debug)]
pub(super) struct Queue<W> {
    /// How much there may be in all: waiting, and being done.
    places: usize,
    /// How much is done at once.
    at_once: usize,
    state: Mutex<State<W>>,
    /// Whether there is nothing left to wait for.
    idle: Notify,
}

struct State<W> {
    ledger: Ledger,
    /// Places that somebody holds who has not decided yet.
    reserved: usize,
    waiting: VecDeque<Waiting<W>>,
    /// The tasks that work, by number, each with what stops it.
    tasks: Vec<(u64, oneshot::Sender<()>)>,
    last_task: u64,
    /// Whether a task was started that has not looked for work yet.
    is_starting: bool,
    is_stopped: bool,
}

/// Job, and the span of who gave it.
pub(super) struct Waiting<W> {
    pub(super) work: W,
    pub(super) span: Span,
}

impl<W: Job> Queue<W> {
    /// Up to `waiting` pieces of work wait while up to `at_once` are done.
    pub(super) fn new(waiting: usize, at_once: usize) -> Self {
        let state = State {
            ledger: Ledger::default(),
            reserved: 0,
            waiting: VecDeque::new(),
            tasks: Vec::new(),
            last_task: 0,
            is_starting: false,
            is_stopped: false,
        };
        Self { places: waiting.saturating_add(at_once), at_once, state: Mutex::new(state), idle: Notify::new() }
    }

    pub(super) fn ledger(&self) -> Ledger {
        self.state().ledger
    }

    fn state(&self) -> MutexGuard<'_, State<W>> {
        // Nothing between two counts of one piece of work can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_if_idle(&self, state: &State<W>) {
        if state.taken() == 0 {
            self.idle.notify_waiters();
        }
    }

    /// Reserves a place, until work is accepted for it or it is given back.
    pub(super) fn reserve(&self) -> Result<(), Full> {
        let mut state = self.state();
        if state.taken() >= self.places {
            return Err(Full);
        }
        state.reserved += 1;
        Ok(())
    }

    /// Gives back a place that was reserved.
    pub(super) fn give_back(&self) {
        let mut state = self.state();
        state.reserved -= 1;
        self.tell_if_idle(&state);
    }

    /// Accepts work for a place that was reserved. `Err` if everything was told to stop: then it is lost.
    pub(super) fn accept(self: &Arc<Self>, work: Waiting<W>) -> Result<Option<Task<W>>, Stopped> {
        let mut state = self.state();
        state.reserved -= 1;
        state.ledger.accept();
        if state.is_stopped {
            state.ledger.close(Outcome::Lost);
            return Err(Stopped);
        }
        state.waiting.push_back(work);
        // Before anybody else sees what waits: it is never without a task.
        Ok(self.task_for(&mut state))
    }

    /// A task, if something waits that nobody will take, and there are not too many.
    fn task_for(self: &Arc<Self>, state: &mut State<W>) -> Option<Task<W>> {
        if state.waiting.is_empty() || state.is_starting || state.tasks.len() >= self.at_once {
            return None;
        }
        let (stop, stopped) = oneshot::channel();
        state.is_starting = true;
        state.last_task += 1;
        state.tasks.push((state.last_task, stop));
        Some(Task { queue: Arc::clone(self), number: state.last_task, stopped, is_starting: true, open: None })
    }

    /// What a task leaves behind: that it is no longer starting, and what became of its work.
    fn close(&self, state: &mut State<W>, was_starting: bool, done: Option<Outcome>) {
        if was_starting {
            state.is_starting = false;
        }
        if let Some(outcome) = done {
            state.ledger.close(outcome);
            self.tell_if_idle(state);
        }
    }

    /// Waits until no place is taken.
    pub(super) async fn is_idle(&self) {
        loop {
            // Before the look, so that nothing is missed in between.
            let told = self.idle.notified();
            if self.state().taken() == 0 {
                return;
            }
            told.await;
        }
    }

    /// Tells every task to stop. What waits is lost, and whatever is accepted from now on.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.is_stopped = true;
        let tasks = mem::take(&mut state.tasks);
        self.lose_waiting(state);
        for (_, stop) in tasks {
            // It may be done by now.
            let _ = stop.send(());
        }
    }

    /// Nobody will do what waits.
    fn lose_waiting(&self, mut state: MutexGuard<'_, State<W>>) {
        let waiting = mem::take(&mut state.waiting);
        waiting.iter().for_each(|_| state.ledger.close(Outcome::Lost));
        self.tell_if_idle(&state);
        drop(state);
        waiting.iter().for_each(|_| Outcome::Lost.tell());
    }
}

impl<W> State<W> {
    /// How many places are taken.
    fn taken(&self) -> usize {
        self.reserved.saturating_add(usize::try_from(self.ledger.waiting).unwrap_or(usize::MAX))
    }

    fn end_task(&mut self, number: u64) {
        // Not there if it was told to stop.
        if let Some(place) = self.tasks.iter().position(|(task, _)| *task == number) {
            self.tasks.swap_remove(place);
        }
    }
}

impl<W> fmt::Debug for State<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("ledger", &self.ledger).field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}

/// Every place is taken.
pub(super) struct Full;

/// Everything was told to stop.
pub(super) struct Stopped;

/// A task that works until nothing waits. Whatever becomes of it, each piece of work is counted exactly once.
pub(super) struct Task<W: Job> {
    queue: Arc<Queue<W>>,
    number: u64,
    stopped: oneshot::Receiver<()>,
    /// Whether it has not looked for work yet: until it has, no other needs to be started.
    is_starting: bool,
    /// What its work counts as, if it has any that is not counted, should it come to an end now.
    open: Option<Outcome>,
}

/// Starts a task for work that was accepted just now: behind the requests that have arrived meanwhile, so that their work
/// is done in one go.
///
/// Never while the state is locked: a runtime that shuts down drops the task here and now.
pub(super) fn start<W: Job>(task: Option<Task<W>>) {
    if let Some(task) = task {
        tokio::spawn(async {
            tokio::task::yield_now().await;
            // In a box: a runtime copies a future several times before it is polled.
            Box::pin(task.run()).await;
        });
    }
}

/// The same for work that has waited long enough.
fn start_now<W: Job>(task: Option<Task<W>>) {
    if let Some(task) = task {
        tokio::spawn(Box::pin(task.run()));
    }
}

impl<W: Job> Task<W> {
    async fn run(mut self) {
        while let Some(Waiting { work, span }) = self.next() {
            let work = pin!(async { work.run().await }.instrument(span));
            let mut work = pin!(catch_panic_future(work));
            let mut begun = poll_once(&mut work).await;
            if begun.is_pending() {
                // A handler that need not wait has run by then.
                yield_to_ready().await;
                begun = poll_once(&mut work).await;
            }
            let outcome = match begun {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => {
                    // This takes a while. What waits must not wait for it.
                    let other = self.queue.task_for(&mut self.queue.state());
                    start_now(other);
                    tokio::select! {
                        biased;
                        _ = &mut self.stopped => return,
                        outcome = work => outcome,
                    }
                }
            };
            self.open = Some(outcome.unwrap_or(Outcome::Lost));
            // Job that never waits must not keep this thread from the connections.
            tokio::task::consume_budget().await;
        }
    }

    /// Counts what became of its work, and takes the next; if there is none, this task is none of the queue's any more.
    fn next(&mut self) -> Option<Waiting<W>> {
        let (is_starting, done) = (mem::take(&mut self.is_starting), self.open.take());
        let mut state = self.queue.state();
        self.queue.close(&mut state, is_starting, done);
        let next = state.waiting.pop_front();
        match next {
            Some(_) => self.open = Some(Outcome::Lost),
            None => state.end_task(self.number),
        }
        drop(state);
        done.inspect(|outcome| outcome.tell());
        next
    }
}

impl<W: Job> Drop for Task<W> {
    /// At its end, or when it was stopped, or the runtime was.
    fn drop(&mut self) {
        let mut state = self.queue.state();
        self.queue.close(&mut state, self.is_starting, self.open);
        state.end_task(self.number);
        if state.tasks.is_empty() && !state.waiting.is_empty() {
            // The runtime is shutting down. What waits holds the service, and the service what waits: so it would for ever.
            self.queue.lose_waiting(state);
        } else {
            drop(state);
        }
        self.open.inspect(|outcome| outcome.tell());
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::delivery::Delivery;

    #[tokio::test]
    async fn one_task_does_what_need_not_wait_and_another_begins_only_if_something_waits() {
        let delivery = Delivery::new(100, 3);
        let tasks = || delivery.0.state().tasks.len();
        for _ in 0..50 {
            delivery.reserve().unwrap().accept_fn(|| async { Outcome::Delivered });
            assert_eq!(tasks(), 1);
        }
        delivery.0.is_idle().await;
        tokio::task::yield_now().await;
        assert_eq!((tasks(), delivery.0.state().last_task), (0, 1));
        // What is done when its turn comes again is as good as done: a handler that need not wait.
        for _ in 0..50 {
            delivery
                .reserve()
                .unwrap()
                .accept_fn(|| async { tokio::spawn(async {}).await.map_or(Outcome::Failed, |()| Outcome::Delivered) });
        }
        delivery.0.is_idle().await;
        tokio::task::yield_now().await;
        assert_eq!((tasks(), delivery.0.state().last_task), (0, 2));
        for expected in [1, 2, 3, 3] {
            delivery.reserve().unwrap().accept_fn(pending);
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert_eq!(tasks(), expected);
        }
        assert_eq!(delivery.ledger(), Ledger { accepted: 104, delivered: 100, waiting: 4, ..Ledger::default() });
    }
}
