//! [`Rules`]: the application's rules for new passwords, with a timeout.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument as _, Span};

use crate::catch_panic::catch_panic;
use crate::error::{BoxError, PasswordRefusal};
use crate::event::Veto;
use crate::redact::redacted_error;
use crate::secret::{NewPassword, PasswordHash};
use crate::timeout::with_timeout;
use crate::user::StoredUser;

/// Maximum number of threads for synchronous rules. A call that hangs keeps its thread until the process ends, so the number
/// must be limited.
const MAX_THREADS: usize = 64;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

type SyncRule = Arc<dyn Fn(&str, &StoredUser) -> Result<(), String> + Send + Sync>;
type AsyncRule = Arc<dyn Fn(NewPassword, StoredUser) -> RuleFuture + Send + Sync>;

/// A running call. It ends with a [`Veto`] or a [`PasswordRefusal`] if the rule refuses the password, with another error if the
/// rule failed.
type RuleFuture = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

/// The rules in the order in which they were added. Clones share the limit on threads.
#[derive(Clone)]
pub(super) struct Rules {
    list: Vec<Rule>,
    timeout: Duration,
    threads: Arc<Semaphore>,
}

#[derive(Clone)]
struct Rule {
    kind: Kind,
    /// Line of code that added the rule. It identifies the rule in the log.
    location: &'static Location<'static>,
    /// Whether the password passes if the rule fails.
    is_optional: bool,
}

#[derive(Clone)]
enum Kind {
    Sync(SyncRule),
    Async(AsyncRule),
}

/// Result of all rules for one password.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Refusals of the rules that refused the password.
    pub(super) refusals: Vec<PasswordRefusal>,
    /// Error of the first rule that failed. It has been logged.
    pub(super) failure: Option<BoxError>,
}

/// Reason why a rule did not return a result.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
enum RuleFailure {
    /// The panic message is not kept, because it can quote the password.
    #[error("the rule panicked")]
    Panicked,
    #[error("the rule did not return within {0:?}")]
    TimedOut(Duration),
    #[error("{MAX_THREADS} calls of synchronous rules are running; check whether the rules hang")]
    TooManyThreads,
    #[error("the operating system could not start a thread for the rule")]
    NoThread,
    #[error("the runtime is shutting down")]
    Dropped,
}

impl Default for Rules {
    fn default() -> Self {
        Self { list: Vec::new(), timeout: DEFAULT_TIMEOUT, threads: Arc::new(Semaphore::new(MAX_THREADS)) }
    }
}

impl Rules {
    pub(super) fn add_sync(
        &mut self,
        rule: impl Fn(&str, &StoredUser) -> Result<(), String> + Send + Sync + 'static,
        location: &'static Location<'static>,
    ) {
        self.list.push(Rule { kind: Kind::Sync(Arc::new(rule)), location, is_optional: false });
    }

    pub(super) fn add_async<Fut, E>(
        &mut self,
        rule: impl Fn(NewPassword, StoredUser) -> Fut + Send + Sync + 'static,
        location: &'static Location<'static>,
        is_optional: bool,
    ) where
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let rule = move |password, user| -> RuleFuture {
            let call = rule(password, user);
            Box::pin(async move { call.await.map_err(Into::into) })
        };
        self.list.push(Rule { kind: Kind::Async(Arc::new(rule)), location, is_optional });
    }

    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Runs all rules at the same time, so that together they take no longer than one timeout.
    pub(super) async fn check(&self, password: &NewPassword, user: &StoredUser) -> Outcome {
        let started = Instant::now();
        let calls: Vec<RuleFuture> = self.list.iter().map(|rule| self.start(rule, password, user)).collect();
        let mut outcome = Outcome::default();
        for (rule, call) in self.list.iter().zip(calls) {
            let remaining = self.timeout.saturating_sub(started.elapsed());
            let result =
                with_timeout(remaining, call).await.unwrap_or_else(|_| Err(RuleFailure::TimedOut(self.timeout).into()));
            let Err(error) = result else { continue };
            if let Some(refusal) = refusal_in(&error) {
                outcome.refusals.push(refusal);
                continue;
            }
            log_failure(rule, &error, password, user);
            match outcome.failure {
                None if !rule.is_optional => outcome.failure = Some(error),
                _ => {
                    // An error of the application can panic when it is dropped.
                    let _ = catch_panic(|| drop(error));
                }
            }
        }
        outcome
    }

    fn start(&self, rule: &Rule, password: &NewPassword, user: &StoredUser) -> RuleFuture {
        let (password, user) = (password.clone(), user.clone());
        match &rule.kind {
            Kind::Sync(rule) => match self.start_thread(rule, password, user) {
                Ok(receiver) => {
                    Box::pin(async { receiver.await.unwrap_or_else(|_| Err(RuleFailure::Panicked.into())) })
                        as RuleFuture
                }
                Err(failure) => Box::pin(async move { Err(failure.into()) }),
            },
            Kind::Async(rule) => start_task(Arc::clone(rule), password, user),
        }
    }

    /// Calls a synchronous rule on its own thread.
    ///
    /// A call that hangs must not hold a hashing thread, because two of them would stop every reset on a machine with two
    /// cores. It must not hold a blocking thread of the runtime either, because a runtime waits for those when it is
    /// dropped.
    fn start_thread(
        &self,
        rule: &SyncRule,
        password: NewPassword,
        user: StoredUser,
    ) -> Result<oneshot::Receiver<Result<(), BoxError>>, RuleFailure> {
        let permit = Arc::clone(&self.threads).try_acquire_owned().map_err(|_| RuleFailure::TooManyThreads)?;
        let (sender, receiver) = oneshot::channel();
        let (rule, span, runtime) = (Arc::clone(rule), Span::current(), Handle::try_current().ok());
        let call = move || {
            // The rule may use the runtime, with `Handle::current().block_on(..)` for example.
            let _context = runtime.as_ref().map(Handle::enter);
            let checked = catch_panic(|| span.in_scope(|| rule(password.expose(), &user)));
            drop((password, user));
            drop(permit);
            let result = match checked {
                Ok(result) => result.map_err(|text| Veto::new(text).into()),
                Err(_) => Err(RuleFailure::Panicked.into()),
            };
            // Fails after the timeout, because the receiver was dropped.
            let _ = sender.send(result);
        };
        thread::Builder::new().name("password-rule".to_owned()).spawn(call).map_err(|_| RuleFailure::NoThread)?;
        Ok(receiver)
    }
}

/// Calls an asynchronous rule in its own task, which is aborted when the returned future is dropped.
fn start_task(rule: AsyncRule, password: NewPassword, user: StoredUser) -> RuleFuture {
    let task = tokio::spawn(async move { rule(password, user).await }.in_current_span());
    let task = AbortOnDropHandle::new(task);
    Box::pin(async move {
        task.await.unwrap_or_else(|error| {
            let failure = if error.is_panic() { RuleFailure::Panicked } else { RuleFailure::Dropped };
            // The payload of the panic can panic when it is dropped.
            let _ = catch_panic(|| drop(error));
            Err(failure.into())
        })
    })
}

/// Returns the refusal that the error of a rule stands for, or `None` if the rule failed.
fn refusal_in(error: &BoxError) -> Option<PasswordRefusal> {
    let veto = Veto::of(error).map(|veto| PasswordRefusal::Custom(veto.text().to_owned()));
    veto.or_else(|| error.downcast_ref().cloned())
}

fn log_failure(rule: &Rule, error: &BoxError, password: &NewPassword, user: &StoredUser) {
    let hash = user.password_hash().map(PasswordHash::expose);
    let secrets = [Some(password.expose()), Some(user.email()), user.username(), hash].into_iter().flatten();
    let reason = catch_panic(|| redacted_error(error, secrets))
        .unwrap_or_else(|_| "the error panics when it is displayed".to_owned());
    tracing::error!(rule = %rule.location, reason, "a rule of the password policy failed");
}
