//! [`Handlers`]: runs the handlers of an event, each in its own task. A handler that fails does not affect the others.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::{Entry, Event, Lists};
use crate::catch_panic::catch_panic;
use crate::error::{BoxError, Permanent};
use crate::event::{PostPasswordReset, PrePasswordReset, ResetTokenCreated, Veto};
use crate::metrics;
use crate::redact::redacted_error;
use crate::timeout::{with_timeout, yield_to_ready};

/// Why a handler did not return.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum HandlerFailure {
    /// The panic's message is not kept, because it may hold a user's data.
    #[error("the handler panicked")]
    Panicked,
    #[error("the handler was not done within {0:?}")]
    TimedOut(Duration),
    #[error("the handler was dropped: the runtime is shutting down")]
    Dropped,
}

/// The result of the handlers of one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Announced {
    /// Handlers that succeeded.
    pub(crate) done: usize,
    /// Handlers that failed, panicked or timed out.
    pub(crate) failed: usize,
    /// The positions of the failed handlers whose error is not [`Permanent`].
    pub(crate) again: Vec<usize>,
    /// The name of the last handler that failed, and the redacted reason that was logged.
    pub(crate) failure: Option<String>,
}

/// The handlers of every event, in order, and their timeout.
#[derive(Clone)]
pub(crate) struct Handlers(Arc<Ready>);

struct Ready {
    lists: Lists,
    timeout: Duration,
}

impl Handlers {
    pub(super) fn new(lists: Lists, timeout: Duration) -> Self {
        Self(Arc::new(Ready { lists, timeout }))
    }

    /// Returns the name and location of each handler of [`ResetTokenCreated`].
    pub(crate) fn of_created(&self) -> Vec<String> {
        names_of::<ResetTokenCreated>(&self.0.lists)
    }

    /// Lists the handlers of each event for the log.
    pub(crate) fn names(&self) -> String {
        fn names<E: Event>(lists: &Lists) -> String {
            let names = names_of::<E>(lists);
            format!("{}: {}", E::NAME, if names.is_empty() { "none".to_owned() } else { names.join(", ") })
        }
        let lists = &self.0.lists;
        [names::<ResetTokenCreated>(lists), names::<PrePasswordReset>(lists), names::<PostPasswordReset>(lists)]
            .join("; ")
    }

    /// Runs every handler of the event in order. One that fails is logged, and the others still run.
    ///
    /// Dropping the future aborts the handler that runs.
    pub(crate) async fn announce<E: Event>(&self, event: Arc<E>) -> Announced {
        self.announce_to(|_| true, event).await
    }

    /// Runs the handlers at the positions that `selects` accepts, like [`announce`](Self::announce).
    pub(crate) async fn announce_to<E: Event>(&self, selects: impl Fn(usize) -> bool, event: Arc<E>) -> Announced {
        let mut announced = Announced::default();
        for (position, entry) in E::of(&self.0.lists).iter().enumerate().filter(|(position, _)| selects(*position)) {
            match self.run(entry, &event).await {
                Ok(()) => announced.done += 1,
                Err(error) => {
                    let reason = log_failure(entry, &*event, &error);
                    // The sources of an error are code of the application, as its destructor is.
                    let is_permanent = catch_panic(|| Permanent::is_in(&error)).unwrap_or(false);
                    let _ = catch_panic(|| drop(error));
                    announced.failed += 1;
                    if !is_permanent {
                        announced.again.push(position);
                    }
                    announced.failure = Some(format!("{}: {reason}", entry.name));
                }
            }
        }
        announced
    }

    /// Runs the handlers of [`PrePasswordReset`] in order until one fails.
    ///
    /// # Errors
    ///
    /// The handler's error, which may be a [`Veto`], or a [`HandlerFailure`]. It is already logged.
    pub(crate) async fn ask(&self, event: Arc<PrePasswordReset>) -> Result<(), BoxError> {
        for entry in Event::of(&self.0.lists) {
            if let Err(error) = self.run(entry, &event).await {
                match Veto::of(&error) {
                    // The text of a veto is not logged: it is for the user and may hold personal data.
                    Some(_) => tracing::info!(event = PrePasswordReset::NAME, handler = entry.name, "a handler vetoed"),
                    None => drop(log_failure(entry, &*event, &error)),
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Runs one handler in its own task, which confines a panic.
    async fn run<E: Event>(&self, entry: &Entry<E>, event: &Arc<E>) -> Result<(), BoxError> {
        let (call, event) = (Arc::clone(&entry.call), Arc::clone(event));
        let task = tokio::spawn(async move { call(event).await }.in_current_span());
        let mut task = AbortOnDropHandle::new(task);
        // Runs a handler that never waits before a timer is created.
        yield_to_ready().await;
        match with_timeout(self.0.timeout, &mut task).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => {
                let failure = if error.is_panic() { HandlerFailure::Panicked } else { HandlerFailure::Dropped };
                let _ = catch_panic(|| drop(error));
                Err(failure.into())
            }
            Err(_) => Err(HandlerFailure::TimedOut(self.0.timeout).into()),
        }
    }
}

/// Returns the name and location of each handler of an event, in order.
fn names_of<E: Event>(lists: &Lists) -> Vec<String> {
    E::of(lists).iter().map(|entry| format!("{} ({})", entry.name, entry.location)).collect()
}

/// Logs a failure, and returns the reason without the secrets of the event.
fn log_failure<E: Event>(entry: &Entry<E>, event: &E, error: &BoxError) -> String {
    let reason = catch_panic(|| redacted_error(error, event.secrets()))
        .unwrap_or_else(|_| "an error that panics when it is shown".to_owned());
    tracing::error!(
        event = E::NAME,
        handler = entry.name,
        user = event.user_id(),
        reason = &*reason,
        "a handler failed"
    );
    metrics::failed_handler(E::NAME, entry.name);
    reason
}

#[cfg(test)]
mod tests {
    use std::panic::Location;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::client::Client;
    use crate::error::Problem;
    use crate::handler::HandlersBuilder;
    use crate::on_post_password_reset;
    use crate::user::StoredUser;

    fn ready(builder: HandlersBuilder) -> Handlers {
        let mut problems = Vec::new();
        let handlers = builder.build(&mut problems);
        assert_eq!(problems, [Problem::NoHandler], "no handler for `ResetTokenCreated` is registered");
        handlers
    }

    fn event() -> Arc<PostPasswordReset> {
        Arc::new(PostPasswordReset::new(StoredUser::new(1, "ann@example.com", None), Client::none()))
    }

    #[on_post_password_reset(priority = -1)]
    async fn annotated(_: &PostPasswordReset, called: Option<&Arc<AtomicBool>>) {
        if let Some(called) = called {
            called.store(true, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn linked_handlers_are_called_unless_switched_off() {
        for linked in [true, false] {
            let called = Arc::new(AtomicBool::new(false));
            let mut builder = HandlersBuilder::default();
            builder.data(Arc::clone(&called));
            if !linked {
                builder.linked(false);
            }
            assert_eq!(ready(builder).announce(event()).await.failed, 0);
            assert_eq!(called.load(Ordering::SeqCst), linked);
        }
    }

    #[test]
    fn names_list_each_event_even_without_handlers() {
        let mut builder = HandlersBuilder::default();
        builder.add::<PrePasswordReset, _, _, _>(async |_| (), Location::caller());
        let names = ready(builder).names();
        let (pre, post) = names.split_once("; PostPasswordReset: ").unwrap();
        assert!(
            pre.starts_with("ResetTokenCreated: none; PrePasswordReset: poem_password_reset::handler::"),
            "{names}"
        );
        assert!(
            post.starts_with("poem_password_reset::handler::run::tests::annotated (src/handler/run.rs:"),
            "{names}"
        );
    }

    #[tokio::test]
    async fn handler_runs_in_the_span_of_its_event() {
        let log = tracing_subscriber::registry();
        let _guard = tracing::subscriber::set_default(log);
        let span = tracing::error_span!("of the event");
        let id = span.id();
        assert!(id.is_some());
        let (sender, receiver) = std::sync::mpsc::channel();
        let mut builder = HandlersBuilder::default();
        let handler = move |_: Arc<PostPasswordReset>| {
            let sender = sender.clone();
            async move { sender.send(tracing::Span::current().id()).unwrap() }
        };
        builder.add(handler, Location::caller());
        ready(builder).announce(event()).instrument(span).await;
        assert_eq!(receiver.recv().unwrap(), id);
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_announce_aborts_the_handler() {
        struct SetOnDrop(Arc<AtomicBool>);
        impl Drop for SetOnDrop {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let dropped = Arc::new(AtomicBool::new(false));
        let mut builder = HandlersBuilder::default();
        let flag = Arc::clone(&dropped);
        let handler = move |_: Arc<PostPasswordReset>| {
            let guard = SetOnDrop(Arc::clone(&flag));
            async move {
                std::future::pending::<()>().await;
                drop(guard);
            }
        };
        builder.add(handler, Location::caller());
        let handlers = ready(builder);
        let announced = tokio::time::timeout(Duration::from_secs(1), handlers.announce(event())).await;
        assert!(announced.is_err());
        tokio::task::yield_now().await;
        assert!(dropped.load(Ordering::SeqCst));
    }
}
