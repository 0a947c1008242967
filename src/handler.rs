//! Handlers of events: the registry and the injection of values. `handler/run.rs` runs them.
//!
//! Each attribute registers a [`Handler`] in a list that the linker collects, one list per [`Event`]. The builder adds
//! closures. [`HandlersBuilder::build`] checks that every required value was given, so that no call fails for lack of one.
//!
//! The `pub` items are for the code that the attributes generate, which uses them through `crate::__private`.

#[cfg(feature = "poem")]
mod data;
mod run;

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::run::{Announced, Handlers};
use crate::error::{BoxError, Problem};
use crate::event::{PostPasswordReset, PrePasswordReset, ResetTokenCreated};
use crate::user::secrets_of;

/// Default timeout of a handler.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// The future of one handler call.
pub type HandlerFuture<'a> = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + 'a>>;

/// An annotated function, registered by its attribute.
pub struct Handler<E: 'static> {
    name: &'static str,
    location: &'static str,
    priority: i32,
    requires: fn(&mut Requirements),
    call: for<'a> fn(&'a E, &'a Deps) -> HandlerFuture<'a>,
}

impl<E> Handler<E> {
    /// Creates the entry. It is `const` and takes function pointers, because the registry consists of statics.
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

/// The types of the values that a handler requires.
#[derive(Default)]
pub struct Requirements(Vec<(TypeId, &'static str)>);

/// The values given to the builder, keyed by type.
#[derive(Default)]
pub struct Deps(HashMap<TypeId, Box<dyn Any + Send + Sync>>);

impl Deps {
    fn get<T: 'static>(&self) -> Option<&T> {
        self.0.get(&TypeId::of::<T>())?.downcast_ref()
    }
}

/// A type that a handler's parameter may have after the event.
#[diagnostic::on_unimplemented(
    message = "a handler cannot take a parameter of type `{Self}`",
    label = "write `&T` or `Option<&T>`, where `T` is `Send + Sync + 'static`",
    note = "after the event, a handler takes `&T` for a value given to the builder with `.data(value)`, or \
            `Option<&T>` for an optional one; poem's `Data<&T>` and `Option<Data<&T>>` work too"
)]
pub trait FromDeps<'a>: Sized {
    /// Adds the type to the requirements, unless it is optional.
    fn require(requirements: &mut Requirements);

    /// Returns the value of this type.
    ///
    /// # Errors
    ///
    /// Fails if a required value is missing. The builder checks for that, so it does not happen.
    fn from_deps(deps: &'a Deps) -> Result<Self, BoxError>;
}

impl<'a, T: Send + Sync + 'static> FromDeps<'a> for &'a T {
    fn require(requirements: &mut Requirements) {
        requirements.0.push((TypeId::of::<T>(), type_name::<T>()));
    }

    fn from_deps(deps: &'a Deps) -> Result<Self, BoxError> {
        deps.get().ok_or_else(|| format!("no value of type {}", type_name::<T>()).into())
    }
}

impl<'a, T: Send + Sync + 'static> FromDeps<'a> for Option<&'a T> {
    fn require(_: &mut Requirements) {}

    fn from_deps(deps: &'a Deps) -> Result<Self, BoxError> {
        Ok(deps.get())
    }
}

/// The type of the first parameter, which must be the event.
#[diagnostic::on_unimplemented(
    message = "the first parameter of this handler must be `&{E}`, not `&{Self}`",
    label = "write `{E}`, or use the attribute for the event that you want"
)]
pub trait IsEvent<E> {
    /// Returns the event unchanged.
    fn from_event(event: &E) -> &Self;
}

impl<E> IsEvent<E> for E {
    fn from_event(event: &E) -> &Self {
        event
    }
}

/// A type that a handler may return: `()`, or `Result<(), E>` with any error that is `Into<`[`BoxError`]`>`.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "write `Result<(), E>`, or remove the return type",
    note = "a handler returns nothing, or `Result<(), E>` with an error type `E` that implements `Into<BoxError>`"
)]
pub trait HandlerOutput {
    /// Converts the output into a result with a boxed error.
    ///
    /// # Errors
    ///
    /// Returns the handler's error.
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
    /// Name of the event in the log and the metrics.
    const NAME: &'static str;

    /// Returns the annotated handlers that are linked into the program.
    fn linked() -> impl Iterator<Item = &'static Handler<Self>>;

    /// Returns the handlers of this event.
    fn of(lists: &Lists) -> &Vec<Entry<Self>>;

    /// Returns the handlers of this event, mutably.
    fn of_mut(lists: &mut Lists) -> &mut Vec<Entry<Self>>;

    /// Returns the id of the event's user, for the log.
    fn user_id(&self) -> &str;

    /// Returns the strings that are removed from a handler's error before it is logged: address, password hash and token.
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

            fn user_id(&self) -> &str {
                self.user().id()
            }

            fn secrets(&$self) -> Vec<&str> {
                $secrets
            }
        }
    };
}

event!(ResetTokenCreated, created, |self| secrets_of(self.user()).chain([self.token().expose()]).collect());
event!(PrePasswordReset, pre, |self| secrets_of(self.user()).collect());
event!(PostPasswordReset, post, |self| secrets_of(self.user()).collect());

/// A handler with the values that it takes, ready to be called.
pub(crate) struct Entry<E> {
    name: &'static str,
    location: String,
    priority: i32,
    call: Call<E>,
}

/// Calls a handler. Owns everything that the call uses, because it runs in a task of its own.
type Call<E> = Arc<dyn Fn(Arc<E>) -> HandlerFuture<'static> + Send + Sync>;

/// Handlers and values collected by the [`PasswordResetBuilder`](crate::PasswordResetBuilder).
#[derive(Default)]
pub(crate) struct HandlersBuilder {
    deps: Deps,
    lists: Lists,
    not_linked: bool,
    timeout: Option<Duration>,
}

impl HandlersBuilder {
    /// Adds a value for handlers to take as `&T`. It replaces an earlier value of the same type.
    pub(crate) fn data<T: Send + Sync + 'static>(&mut self, value: T) {
        self.deps.0.insert(TypeId::of::<T>(), Box::new(value));
    }

    /// Adds a handler that is not annotated.
    pub(crate) fn add<E, F, Fut, O>(&mut self, handler: F, location: &'static Location<'static>)
    where
        E: Event,
        F: Fn(Arc<E>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = O> + Send + 'static,
        O: HandlerOutput,
    {
        self.add_named(type_name::<F>(), handler, location);
    }

    /// Adds a handler with a name for the log.
    pub(crate) fn add_named<E, F, Fut, O>(
        &mut self,
        name: &'static str,
        handler: F,
        location: &'static Location<'static>,
    ) where
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
            name,
            location: format!("{}:{}", location.file(), location.line()),
            priority: 0,
            call: Arc::new(call),
        });
    }

    /// Sets whether the annotated handlers are called. Default: `true`.
    pub(crate) fn linked(&mut self, linked: bool) {
        self.not_linked = !linked;
    }

    /// Sets the timeout of each handler. Default: [`DEFAULT_TIMEOUT`].
    pub(crate) fn timeout(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
    }

    /// Sorts the handlers, and adds a problem for each missing value and if no handler sends the token.
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
        Handlers::new(self.lists, timeout)
    }
}

fn add_linked<E: Event>(list: &mut Vec<Entry<E>>, deps: &Arc<Deps>, problems: &mut Vec<Problem>) {
    for handler in E::linked() {
        let mut required = Requirements::default();
        (handler.requires)(&mut required);
        for (id, wanted) in required.0 {
            let problem = || Problem::MissingData {
                wanted,
                handler: handler.name.to_owned(),
                location: handler.location.to_owned(),
            };
            // A handler may take two parameters of one type.
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

/// Sorts by priority, then name. The sort is stable: closures with the same name stay in the order they were added in.
fn sort<E>(list: &mut [Entry<E>]) {
    list.sort_by_key(|entry| (entry.priority, entry.name));
}
