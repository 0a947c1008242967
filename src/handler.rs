//! Handlers of events: the registry and dependency injection. Running them is in `handler/run.rs`.
//!
//! An attribute submits a [`Handler`] to a list that the linker gathers, one per [`Event`]; the builder adds closures.
//! [`HandlersBuilder::build`] checks that every value a handler wants was given, so [`Handlers`] cannot miss one later.
//!
//! What is `pub` here is for the code the attributes generate, which reaches it through `crate::__private`.

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

/// How long a handler may take unless the builder says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

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

/// A type that a handler's parameter may have after the event.
#[diagnostic::on_unimplemented(
    message = "a handler cannot take a parameter of type `{Self}`",
    label = "write `&T` or `Option<&T>`",
    note = "after the event, a handler takes `&T`, or `Option<&T>` for an optional value, of the values given to the \
            builder with `.data(value)`; poem's `Data<&T>` and `Option<Data<&T>>` work too"
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

    /// The id of the user it is about.
    fn user_id(&self) -> &str;

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
        Handlers::new(self.lists, timeout)
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
