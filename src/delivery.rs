//! The bounded queue behind `request`, its drain at shutdown, and the [`Ledger`].
//!
//! Knows nothing of users and mails: it takes work, runs so much of it at once, and keeps account of what became of it.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;
use tracing::Instrument as _;

use crate::contain::contained_future;
use crate::counters;

/// What became of all requests so far. True at any moment:
/// accepted = delivered + failed + ineligible + suppressed + lost + waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ledger {
    /// Requests that were answered with "OK".
    pub accepted: u64,
    /// Every handler has run without an error, for each user with the address.
    pub delivered: u64,
    /// A handler failed, panicked or took too long.
    pub failed: u64,
    /// Nobody has the address, or nobody who may reset a password.
    pub ineligible: u64,
    /// The address was over its quota: no mail.
    pub suppressed: u64,
    /// The store did not answer, again and again, or the service shut down before it was their turn.
    pub lost: u64,
    /// Waiting for their turn, or being handled.
    pub waiting: u64,
}

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    Failed,
    Ineligible,
    Suppressed,
    Lost,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Ineligible => "ineligible",
            Self::Suppressed => "suppressed",
            Self::Lost => "lost",
        }
    }

    /// Tells operators. Never while the state is locked: what they listen with may ask for the ledger.
    fn tell(self) {
        counters::finished_request(self.name());
        if self == Self::Lost {
            tracing::warn!("a request was lost: nobody gets mail for it");
        }
    }
}

/// The queue. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Delivery(Arc<Queue>);

#[derive(Debug)]
struct Queue {
    /// How much there may be in all: waiting, and being done.
    places: usize,
    /// How much is done at once.
    at_once: usize,
    state: Mutex<State>,
    /// Whether there is nothing left to wait for.
    idle: Notify,
}

#[derive(Default)]
struct State {
    ledger: Ledger,
    /// Places that somebody holds who has not decided yet.
    reserved: usize,
    waiting: VecDeque<Work>,
    /// The tasks that work, by number, each with what stops it.
    tasks: Vec<(u64, oneshot::Sender<()>)>,
    last_task: u64,
    /// Whether a task was started that has not looked for work yet.
    is_starting: bool,
    is_stopped: bool,
}

type Work = Pin<Box<dyn Future<Output = Outcome> + Send>>;

impl Delivery {
    /// Up to `waiting` pieces of work wait while up to `at_once` are done.
    pub(crate) fn new(waiting: usize, at_once: usize) -> Self {
        Self(Arc::new(Queue {
            places: waiting.saturating_add(at_once),
            at_once,
            state: Mutex::default(),
            idle: Notify::new(),
        }))
    }

    /// Reserves a place in the queue; `None` if it is full. Nothing is accepted yet, and dropping the place is no loss.
    pub(crate) fn reserve(&self) -> Option<Place> {
        let mut state = self.0.state();
        if state.taken() >= self.0.places {
            return None;
        }
        state.reserved += 1;
        Some(Place { queue: Arc::clone(&self.0), is_reserved: true })
    }

    pub(crate) fn ledger(&self) -> Ledger {
        self.0.state().ledger
    }

    /// Waits until all that was accepted is done, at most for `deadline`; what is not done by then is lost, and counted
    /// as lost when this returns. Reports how much that was.
    pub(crate) async fn drain(&self, deadline: Duration) -> u64 {
        if timeout(deadline, self.0.is_idle()).await.is_ok() {
            return 0;
        }
        let before = self.ledger().lost;
        self.0.stop();
        // A task that is told to stop does so at its next await. One that never awaits cannot be waited for.
        let _ = timeout(Duration::from_millis(100), self.0.is_idle()).await;
        let ledger = self.ledger();
        ledger.lost - before + ledger.waiting
    }
}

/// A place in the queue.
#[derive(Debug)]
pub(crate) struct Place {
    queue: Arc<Queue>,
    is_reserved: bool,
}

impl Place {
    /// Accepts `work` and returns at once; it is done when it is its turn, whatever becomes of the caller.
    pub(crate) fn accept(mut self, work: impl Future<Output = Outcome> + Send + 'static) {
        self.is_reserved = false;
        // In a box: what is handed from task to task is copied each time.
        let accepted = self.queue.accept(Box::pin(work.in_current_span()));
        counters::accepted_request();
        match accepted {
            Ok(task) => start(task),
            Err(Stopped) => Outcome::Lost.tell(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_reserved {
            let mut state = self.queue.state();
            state.reserved -= 1;
            self.queue.tell_if_idle(&state);
        }
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing between two counts of one piece of work can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_if_idle(&self, state: &State) {
        if state.taken() == 0 {
            self.idle.notify_waiters();
        }
    }

    /// Accepts work for a place that was reserved. `Err` if everything was told to stop: then it is lost.
    fn accept(self: &Arc<Self>, work: Work) -> Result<Option<Task>, Stopped> {
        let mut state = self.state();
        state.reserved -= 1;
        state.ledger.accepted += 1;
        state.ledger.waiting += 1;
        if state.is_stopped {
            state.close(Outcome::Lost);
            return Err(Stopped);
        }
        state.waiting.push_back(work);
        // Before anybody else sees what waits: it is never without a task.
        Ok(self.task_for(&mut state))
    }

    /// A task, if something waits that nobody will take, and there are not too many.
    fn task_for(self: &Arc<Self>, state: &mut State) -> Option<Task> {
        if state.waiting.is_empty() || state.is_starting || state.tasks.len() >= self.at_once {
            return None;
        }
        let (stop, stopped) = oneshot::channel();
        state.is_starting = true;
        state.last_task += 1;
        state.tasks.push((state.last_task, stop));
        Some(Task { queue: Arc::clone(self), number: state.last_task, stopped, is_starting: true, is_open: false })
    }

    async fn is_idle(&self) {
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
    fn stop(&self) {
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
    fn lose_waiting(&self, mut state: MutexGuard<'_, State>) {
        let waiting = mem::take(&mut state.waiting);
        waiting.iter().for_each(|_| state.close(Outcome::Lost));
        self.tell_if_idle(&state);
        drop(state);
        waiting.iter().for_each(|_| Outcome::Lost.tell());
    }
}

impl State {
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

    /// Counts what became of one piece of work.
    fn close(&mut self, outcome: Outcome) {
        let ledger = &mut self.ledger;
        ledger.waiting -= 1;
        match outcome {
            Outcome::Delivered => ledger.delivered += 1,
            Outcome::Failed => ledger.failed += 1,
            Outcome::Ineligible => ledger.ineligible += 1,
            Outcome::Suppressed => ledger.suppressed += 1,
            Outcome::Lost => ledger.lost += 1,
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("ledger", &self.ledger).field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}

/// Everything was told to stop.
struct Stopped;

/// A task that works until nothing waits. Whatever becomes of it, each piece of work is counted exactly once.
struct Task {
    queue: Arc<Queue>,
    number: u64,
    stopped: oneshot::Receiver<()>,
    /// Whether it has not looked for work yet: until it has, no other needs to be started.
    is_starting: bool,
    /// Whether it has work that is not counted.
    is_open: bool,
}

/// Never while the state is locked: a runtime that shuts down drops the task here and now.
fn start(task: Option<Task>) {
    if let Some(task) = task {
        tokio::spawn(task.run());
    }
}

impl Task {
    async fn run(mut self) {
        // Behind the requests that have arrived meanwhile: their work is done in one go.
        tokio::task::yield_now().await;
        while let Some(mut work) = self.next() {
            let mut work = pin!(contained_future(work.as_mut()));
            let begun = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
            let outcome = match begun {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => {
                    // This takes a while. What waits must not wait for it.
                    let other = self.queue.task_for(&mut self.queue.state());
                    start(other);
                    tokio::select! {
                        biased;
                        _ = &mut self.stopped => return,
                        outcome = work => outcome,
                    }
                }
            };
            self.close(outcome.unwrap_or(Outcome::Lost));
            // Work that never waits must not keep this thread from the connections.
            tokio::task::consume_budget().await;
        }
    }

    /// Takes the next work; if there is none, this task is none of the queue's any more.
    fn next(&mut self) -> Option<Work> {
        let mut state = self.queue.state();
        if mem::take(&mut self.is_starting) {
            state.is_starting = false;
        }
        let next = state.waiting.pop_front();
        match next {
            Some(_) => self.is_open = true,
            None => state.end_task(self.number),
        }
        next
    }

    /// Counts what became of its work.
    fn close(&mut self, outcome: Outcome) {
        self.is_open = false;
        let mut state = self.queue.state();
        state.close(outcome);
        self.queue.tell_if_idle(&state);
        drop(state);
        outcome.tell();
    }
}

impl Drop for Task {
    /// At its end, or when it was stopped, or the runtime was.
    fn drop(&mut self) {
        if self.is_open {
            self.close(Outcome::Lost);
        }
        let mut state = self.queue.state();
        if self.is_starting {
            state.is_starting = false;
        }
        state.end_task(self.number);
        if state.tasks.is_empty() && !state.waiting.is_empty() {
            // The runtime is shutting down. What waits holds the service, and the service what waits: so it would for ever.
            self.queue.lose_waiting(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn adds_up(ledger: Ledger) -> bool {
        let Ledger { accepted, delivered, failed, ineligible, suppressed, lost, waiting } = ledger;
        accepted == delivered + failed + ineligible + suppressed + lost + waiting
    }

    #[tokio::test(start_paused = true)]
    async fn each_outcome_is_counted_and_the_ledger_adds_up_at_any_moment() {
        let delivery = Delivery::new(100, 2);
        let outcomes = [Outcome::Delivered, Outcome::Failed, Outcome::Ineligible, Outcome::Suppressed, Outcome::Lost];
        for (at, outcome) in outcomes.into_iter().cycle().take(50).enumerate() {
            delivery.reserve().unwrap().accept(async move {
                tokio::time::sleep(Duration::from_millis(at as u64)).await;
                outcome
            });
        }
        assert_eq!(delivery.ledger().waiting, 50);
        let watched = delivery.clone();
        let watch = tokio::spawn(async move {
            while watched.ledger().waiting > 0 {
                assert!(adds_up(watched.ledger()), "{:?}", watched.ledger());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        assert_eq!(delivery.drain(Duration::from_secs(60)).await, 0);
        watch.await.unwrap();
        let expected =
            Ledger { accepted: 50, delivered: 10, failed: 10, ineligible: 10, suppressed: 10, lost: 10, waiting: 0 };
        assert_eq!(delivery.ledger(), expected);
    }

    #[tokio::test]
    async fn a_full_queue_takes_no_more() {
        let delivery = Delivery::new(3, 2);
        for _ in 0..2 {
            delivery.reserve().unwrap().accept(pending());
        }
        for _ in 0..3 {
            delivery.reserve().expect("three may wait").accept(pending());
        }
        assert!(delivery.reserve().is_none());
        assert_eq!(delivery.ledger().accepted, 5);
    }

    #[tokio::test]
    async fn a_place_that_is_given_back_is_no_loss() {
        let delivery = Delivery::new(1, 1);
        for _ in 0..10 {
            drop(delivery.reserve().expect("all places are free"));
        }
        assert_eq!(delivery.drain(Duration::MAX).await, 0, "nobody holds a place");
        assert_eq!(delivery.ledger(), Ledger::default());
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_waits_for_whoever_has_not_decided_yet() {
        let delivery = Delivery::new(1, 1);
        let place = delivery.reserve().unwrap();
        let drain = tokio::spawn({
            let delivery = delivery.clone();
            async move { delivery.drain(Duration::from_secs(60)).await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!drain.is_finished());
        drop(place);
        assert_eq!(drain.await.unwrap(), 0);
    }

    #[tokio::test]
    async fn one_task_does_what_need_not_wait_and_another_begins_only_if_something_waits() {
        let delivery = Delivery::new(100, 3);
        let tasks = || delivery.0.state().tasks.len();
        for _ in 0..50 {
            delivery.reserve().unwrap().accept(async { Outcome::Delivered });
            assert_eq!(tasks(), 1);
        }
        delivery.0.is_idle().await;
        tokio::task::yield_now().await;
        assert_eq!(tasks(), 0);
        for expected in [1, 2, 3, 3] {
            delivery.reserve().unwrap().accept(pending());
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert_eq!(tasks(), expected);
        }
        assert_eq!(delivery.ledger(), Ledger { accepted: 54, delivered: 50, waiting: 4, ..Ledger::default() });
    }

    #[tokio::test]
    async fn work_that_panics_is_lost_and_frees_its_place() {
        let delivery = Delivery::new(1, 1);
        for round in 1..=3 {
            loop {
                if let Some(place) = delivery.reserve() {
                    place.accept(async { panic!("as planned") });
                    break;
                }
                tokio::task::yield_now().await;
            }
            while delivery.ledger().waiting > 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(delivery.ledger().lost, round);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_drain_reports_what_it_dropped_and_what_cannot_be_stopped_and_nothing_from_before() {
        let delivery = Delivery::new(10, 2);
        for _ in 0..3 {
            delivery.reserve().unwrap().accept(async { Outcome::Lost });
        }
        while delivery.ledger().waiting > 0 {
            tokio::task::yield_now().await;
        }
        let ((hold, held), (begin, begun)) = (std::sync::mpsc::channel::<()>(), oneshot::channel());
        delivery.reserve().unwrap().accept(async move {
            begin.send(()).unwrap();
            // Nothing that a task may do: it blocks its thread.
            let _ = held.recv();
            Outcome::Delivered
        });
        begun.await.unwrap();
        for _ in 0..2 {
            delivery.reserve().unwrap().accept(pending());
        }
        assert_eq!(delivery.drain(Duration::ZERO).await, 3);
        assert_eq!(delivery.ledger(), Ledger { accepted: 6, lost: 5, waiting: 1, ..Ledger::default() });
        drop(hold);
        delivery.0.is_idle().await;
        assert_eq!(delivery.ledger(), Ledger { accepted: 6, delivered: 1, lost: 5, ..Ledger::default() });
    }

    #[test]
    fn what_waits_when_the_runtime_ends_is_lost_and_freed() {
        let delivery = Delivery::new(10, 2);
        let held = Arc::new(());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let accept = |polls: usize| {
            for _ in 0..5 {
                let held = Arc::clone(&held);
                delivery.reserve().unwrap().accept(async move {
                    pending::<()>().await;
                    drop(held);
                    Outcome::Delivered
                });
            }
            polls
        };
        runtime.block_on(async {
            for _ in 0..accept(10) {
                tokio::task::yield_now().await;
            }
            accept(0);
        });
        assert_eq!((delivery.ledger().waiting, Arc::strong_count(&held)), (10, 11));
        drop(runtime);
        assert_eq!(delivery.ledger(), Ledger { accepted: 10, lost: 10, ..Ledger::default() });
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn what_waits_for_the_tasks_of_another_runtime_is_not_lost() {
        let delivery = Delivery::new(10, 2);
        let runtimes = [(), ()].map(|()| tokio::runtime::Builder::new_current_thread().build().unwrap());
        for (runtime, accepted) in runtimes.iter().zip([1, 2]) {
            runtime.block_on(async {
                (0..accepted).for_each(|_| delivery.reserve().unwrap().accept(pending()));
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
            });
        }
        let [first, second] = runtimes;
        drop(first);
        assert_eq!(delivery.ledger(), Ledger { accepted: 3, lost: 1, waiting: 2, ..Ledger::default() });
        drop(second);
        assert_eq!(delivery.ledger(), Ledger { accepted: 3, lost: 3, ..Ledger::default() });
    }

    #[tokio::test]
    async fn what_is_accepted_after_the_end_of_a_drain_is_lost() {
        let delivery = Delivery::new(10, 2);
        let place = delivery.reserve().unwrap();
        assert_eq!(delivery.drain(Duration::ZERO).await, 0, "a place is not accepted yet");
        place.accept(async { Outcome::Delivered });
        assert_eq!(delivery.ledger(), Ledger { accepted: 1, lost: 1, ..Ledger::default() });
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_returns_by_its_deadline_and_reports_what_it_dropped() {
        let delivery = Delivery::new(100, 2);
        for _ in 0..10 {
            delivery.reserve().unwrap().accept(async {
                tokio::time::sleep(Duration::from_secs(10)).await;
                Outcome::Delivered
            });
        }
        assert_eq!(delivery.drain(Duration::from_secs(25)).await, 6);
        let expected = Ledger { accepted: 10, delivered: 4, lost: 6, ..Ledger::default() };
        assert_eq!(delivery.ledger(), expected);
    }
}
