//! Handlers of events: the registry, dependency injection, and running them.
//!
//! An attribute submits a [`Handler`] to a list that the linker gathers, one per [`Event`]; the builder adds closures.
//! [`HandlersBuilder::build`] checks that every value a handler wants was given, so [`Handlers`] cannot miss one later.
//!
//! What is `pub` here is for the code the attributes generate, which reaches it through `crate::__private`.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use poem::web::Data;
use thiserror::Error;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::error::{BoxError, Problem};
use crate::event::{PostPasswordReset, PrePasswordReset, ResetTokenCreated, Veto};

/// How long a handler may take unless the builder says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of an error's text is logged, in characters.
const MAX_REASON_CHARS: usize = 500;

/// A call of a handler.
pub type HandlerFuture<'a> = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + 'a>>;

/// An annotated function, as its attribute registers it.
pub struct Handler<E: 'static> {
    name: &'static str,
    location: &'static str,
    priority: i32,
    requires: fn(&mut Requirements),
    call: for<'a> fn(&'a E, &'a Deps) -> HandlerFuture<'a>,
}

impl<E> Handler<E> {
    /// `const`, because the registry is filled before `main`; function pointers, because it is a static.
    pub const fn new(
        name: &'static str,
        location: &'static str,
        priority: i32,
        requires: fn(&mut Requirements),
        call: for<'a> fn(&'a E, &'a Deps) -> HandlerFuture<'a>,
    ) -> Self {
        Self { name, location, priority, requires, call }
    }
}

/// The types a handler cannot be called without.
#[derive(Default)]
pub struct Requirements(Vec<(TypeId, &'static str)>);

/// The values given to the builder, by type.
#[derive(Default)]
pub struct Deps(HashMap<TypeId, Box<dyn Any + Send + Sync>>);

impl Deps {
    fn get<T: 'static>(&self) -> Option<&T> {
        self.0.get(&TypeId::of::<T>())?.downcast_ref()
    }
}

/// A parameter that is injected.
#[diagnostic::on_unimplemented(
    message = "a handler cannot get a `{Self}`",
    label = "write `Data<&T>`, or `Option<Data<&T>>`",
    note = "after the event a handler takes `poem::web::Data<&T>`, or `Option<Data<&T>>` for what may be missing, \
            from the values given to the builder with `.data(value)`"
)]
pub trait FromDeps<'a>: Sized {
    /// Tells what the builder must have been given.
    fn require(requirements: &mut Requirements);

    /// The value.
    ///
    /// # Errors
    ///
    /// When nobody gave it, which the builder rules out.
    fn from_deps(deps: &'a Deps) -> Result<Self, BoxError>;
}

impl<'a, T: Send + Sync + 'static> FromDeps<'a> for Data<&'a T> {
    fn require(requirements: &mut Requirements) {
        requirements.0.push((TypeId::of::<T>(), type_name::<T>()));
    }

    fn from_deps(deps: &'a Deps) -> Result<Self, BoxError> {
        deps.get().map(Data).ok_or_else(|| format!("no value of type {}", type_name::<T>()).into())
    }
}

impl<'a, T: Send + Sync + 'static> FromDeps<'a> for Option<Data<&'a T>> {
    fn require(_: &mut Requirements) {}

    fn from_deps(deps: &'a Deps) -> Result<Self, BoxError> {
        Ok(deps.get().map(Data))
    }
}

/// The type of a first parameter: the event itself.
#[diagnostic::on_unimplemented(
    message = "this attribute is for handlers of `{E}`, and this one takes a `{Self}`",
    label = "write `{E}`, or use the attribute of the event you want"
)]
pub trait IsEvent<E> {
    /// The same.
    fn from_event(event: &E) -> &Self;
}

impl<E> IsEvent<E> for E {
    fn from_event(event: &E) -> &Self {
        event
    }
}

/// What a handler returns.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return a `{Self}`",
    label = "write `Result<(), E>`, or nothing",
    note = "a handler returns nothing, or `Result<(), E>` with any error type `E` that is `Into<BoxError>`"
)]
pub trait HandlerOutput {
    /// The same, with the error in a box.
    ///
    /// # Errors
    ///
    /// The handler's.
    fn into_result(self) -> Result<(), BoxError>;
}

impl HandlerOutput for () {
    fn into_result(self) -> Result<(), BoxError> {
        Ok(self)
    }
}

impl<E: Into<BoxError>> HandlerOutput for Result<(), E> {
    fn into_result(self) -> Result<(), BoxError> {
        self.map_err(Into::into)
    }
}

/// One of the three events.
pub(crate) trait Event: Sized + Send + Sync + 'static {
    /// What the log calls it.
    const NAME: &'static str;

    /// The annotated handlers that were linked in.
    fn linked() -> impl Iterator<Item = &'static Handler<Self>>;

    /// Its handlers.
    fn of(lists: &Lists) -> &Vec<Entry<Self>>;

    /// Its handlers, to add one.
    fn of_mut(lists: &mut Lists) -> &mut Vec<Entry<Self>>;

    /// The texts in it that must not get into the log, not even as part of a handler's error.
    fn secrets(&self) -> Vec<&str>;
}

/// The handlers of each event.
#[derive(Default)]
pub(crate) struct Lists {
    created: Vec<Entry<ResetTokenCreated>>,
    pre: Vec<Entry<PrePasswordReset>>,
    post: Vec<Entry<PostPasswordReset>>,
}

macro_rules! event {
    ($event:ident, $list:ident, |$self:ident| $secrets:expr) => {
        inventory::collect!(Handler<$event>);

        impl Event for $event {
            const NAME: &'static str = stringify!($event);

            fn linked() -> impl Iterator<Item = &'static Handler<Self>> {
                inventory::iter::<Handler<Self>>.into_iter()
            }

            fn of(lists: &Lists) -> &Vec<Entry<Self>> {
                &lists.$list
            }

            fn of_mut(lists: &mut Lists) -> &mut Vec<Entry<Self>> {
                &mut lists.$list
            }

            fn secrets(&$self) -> Vec<&str> {
                $secrets
            }
        }
    };
}

event!(ResetTokenCreated, created, |self| vec![self.user().email(), self.token().expose()]);
event!(PrePasswordReset, pre, |self| vec![self.user().email()]);
event!(PostPasswordReset, post, |self| vec![self.user().email()]);

/// A handler that is ready to be called.
pub(crate) struct Entry<E> {
    name: &'static str,
    location: String,
    priority: i32,
    call: Call<E>,
}

/// Owns all it needs, so that it can run in a task of its own.
type Call<E> = Arc<dyn Fn(Arc<E>) -> HandlerFuture<'static> + Send + Sync>;

/// What the builder of a [`PasswordReset`](crate::PasswordReset) learns about handlers.
#[derive(Default)]
pub(crate) struct HandlersBuilder {
    deps: Deps,
    lists: Lists,
    not_linked: bool,
    timeout: Option<Duration>,
}

impl HandlersBuilder {
    /// A value for handlers to get as `Data<&T>`. There is one of a type: the last one given.
    pub(crate) fn data<T: Send + Sync + 'static>(&mut self, value: T) {
        self.deps.0.insert(TypeId::of::<T>(), Box::new(value));
    }

    /// A handler beside the annotated ones.
    pub(crate) fn add<E, F, Fut, O>(&mut self, handler: F, location: &'static Location<'static>)
    where
        E: Event,
        F: Fn(Arc<E>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = O> + Send + 'static,
        O: HandlerOutput,
    {
        let call = move |event| -> HandlerFuture<'static> {
            let future = handler(event);
            Box::pin(async move { future.await.into_result() })
        };
        E::of_mut(&mut self.lists).push(Entry {
            name: type_name::<F>(),
            location: format!("{}:{}", location.file(), location.line()),
            priority: 0,
            call: Arc::new(call),
        });
    }

    /// Whether the annotated handlers are called. They are by default.
    pub(crate) fn linked(&mut self, linked: bool) {
        self.not_linked = !linked;
    }

    /// How long a handler may take: 30 seconds by default.
    pub(crate) fn timeout(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
    }

    /// Puts the handlers in order, and tells what keeps them from being called.
    pub(crate) fn build(mut self, problems: &mut Vec<Problem>) -> Handlers {
        let deps = Arc::new(self.deps);
        if !self.not_linked {
            add_linked(&mut self.lists.created, &deps, problems);
            add_linked(&mut self.lists.pre, &deps, problems);
            add_linked(&mut self.lists.post, &deps, problems);
        }
        sort(&mut self.lists.created);
        sort(&mut self.lists.pre);
        sort(&mut self.lists.post);
        if self.lists.created.is_empty() {
            problems.push(Problem::NoHandler);
        }
        let timeout = self.timeout.unwrap_or(DEFAULT_TIMEOUT);
        Handlers(Arc::new(Ready { lists: self.lists, timeout }))
    }
}

fn add_linked<E: Event>(list: &mut Vec<Entry<E>>, deps: &Arc<Deps>, problems: &mut Vec<Problem>) {
    for handler in E::linked() {
        let mut wanted = Requirements::default();
        (handler.requires)(&mut wanted);
        for (id, wanted) in wanted.0 {
            let problem = || Problem::MissingData {
                wanted,
                handler: handler.name.to_owned(),
                location: handler.location.to_owned(),
            };
            // A handler may ask twice for one type.
            if !deps.0.contains_key(&id) && !problems.contains(&problem()) {
                problems.push(problem());
            }
        }
        let deps = Arc::clone(deps);
        let call = move |event: Arc<E>| -> HandlerFuture<'static> {
            let deps = Arc::clone(&deps);
            Box::pin(async move { (handler.call)(&event, &deps).await })
        };
        list.push(Entry {
            name: handler.name,
            location: handler.location.to_owned(),
            priority: handler.priority,
            call: Arc::new(call),
        });
    }
}

/// By priority, then name. Closures of one function share a name and stay in the order they were given in.
fn sort<E>(list: &mut [Entry<E>]) {
    list.sort_by_key(|entry| (entry.priority, entry.name));
}

/// Why a handler came to no end of its own.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum HandlerFailure {
    /// What it panicked with is not kept: it may hold a user's data.
    #[error("the handler panicked")]
    Panicked,
    #[error("the handler was not done within {0:?}")]
    TimedOut(Duration),
    #[error("the handler was dropped: the runtime is shutting down")]
    Dropped,
}

/// The handlers of every event, in order, with all they need.
#[derive(Clone)]
pub(crate) struct Handlers(Arc<Ready>);

struct Ready {
    lists: Lists,
    timeout: Duration,
}

impl Handlers {
    /// The handlers found for each event, for the log.
    pub(crate) fn names(&self) -> String {
        fn names<E: Event>(lists: &Lists) -> String {
            let names = E::of(lists).iter().map(|entry| format!("{} ({})", entry.name, entry.location));
            let names = names.reduce(|names, name| names + ", " + &name);
            format!("{}: {}", E::NAME, names.as_deref().unwrap_or("none"))
        }
        let lists = &self.0.lists;
        [names::<ResetTokenCreated>(lists), names::<PrePasswordReset>(lists), names::<PostPasswordReset>(lists)]
            .join("; ")
    }

    /// Runs every handler of the event in order. One that fails is logged, and the others still run. Returns how many
    /// failed.
    ///
    /// Dropping the future aborts the handler that runs.
    pub(crate) async fn announce<E: Event>(&self, event: Arc<E>) -> usize {
        let mut failed = 0;
        for entry in E::of(&self.0.lists) {
            if let Err(error) = self.run(entry, &event).await {
                log_failure(entry, &*event, &error);
                contained(|| drop(error));
                failed += 1;
            }
        }
        failed
    }

    /// Runs the handlers of [`PrePasswordReset`] in order until one refuses.
    ///
    /// # Errors
    ///
    /// That handler's error, which may be a [`Veto`], or a [`HandlerFailure`]; logged already, unless it is a veto.
    pub(crate) async fn ask(&self, event: Arc<PrePasswordReset>) -> Result<(), BoxError> {
        for entry in Event::of(&self.0.lists) {
            if let Err(error) = self.run(entry, &event).await {
                // Whoever asked tells of a veto, and whose reset it was.
                if Veto::of(&error).is_none() {
                    log_failure(entry, &*event, &error);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Runs one handler in a task of its own, so that whatever becomes of it ends there.
    async fn run<E: Event>(&self, entry: &Entry<E>, event: &Arc<E>) -> Result<(), BoxError> {
        let (call, event) = (Arc::clone(&entry.call), Arc::clone(event));
        let task = tokio::spawn(async move { call(event).await }.in_current_span());
        match tokio::time::timeout(self.0.timeout, AbortOnDropHandle::new(task)).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => {
                let failure = if error.is_panic() { HandlerFailure::Panicked } else { HandlerFailure::Dropped };
                contained(|| drop(error));
                Err(failure.into())
            }
            Err(_) => Err(HandlerFailure::TimedOut(self.0.timeout).into()),
        }
    }
}

fn log_failure<E: Event>(entry: &Entry<E>, event: &E, error: &BoxError) {
    let reason =
        contained(|| reason(event, error)).unwrap_or_else(|| "an error that panics when it is shown".to_owned());
    tracing::error!(event = E::NAME, handler = entry.name, reason, "a handler failed");
}

/// An error and its sources in one line, without the secrets of the event: a mail server likes to quote the address.
fn reason<E: Event>(event: &E, error: &BoxError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    for secret in event.secrets().into_iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "[..]");
    }
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(MAX_REASON_CHARS).collect()
}

/// Keeps a panic in the code of an error or of a panic's payload from going further.
fn contained<T>(run: impl FnOnce() -> T) -> Option<T> {
    // The payload is leaked: dropping it could panic again.
    catch_unwind(AssertUnwindSafe(run)).map_err(std::mem::forget).ok()
}
