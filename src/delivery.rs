//! Where accepted requests wait until their mail is sent.
//!
//! `POST /` stores a request and answers before it looks the user up. By default requests wait in a queue in this process:
//! bounded, drained by [`shutdown`](crate::PasswordReset::shutdown), and lost if the process is killed. A [`Delivery`] of
//! your own stores them in a job engine instead, so that they survive the process.
//!
//! # Retries
//!
//! A request whose look-up or handler fails is tried again after 1, 2, 4 .. 60 seconds until it is older than
//! [`max_age`](crate::PasswordResetBuilder::max_age), an hour by default. A restart of the database or of the mail server
//! loses nothing. Each try issues a token of its own. The queue in memory calls only those handlers again that failed. A
//! handler ends the retries with [`Permanent`](crate::Permanent).

mod accepted;
mod custom;
#[cfg(feature = "graphile")]
pub(crate) mod graphile;
mod ledger;
mod queue;

use std::future::Future;
use std::sync::Arc;

use thiserror::Error;

pub use self::accepted::AcceptedRequest;
pub(crate) use self::custom::CustomDelivery;
#[cfg(feature = "graphile")]
pub use self::graphile::{GraphileDelivery, GraphileError};
pub use self::ledger::Ledger;
pub(crate) use self::ledger::Outcome;
pub(crate) use self::queue::{Ended, Job, MemoryQueue, Permit, Retry};
use crate::error::BoxError;

/// Stores accepted requests until a worker passes them to [`PasswordReset::deliver`](crate::PasswordReset::deliver).
///
/// Implement it for a job engine if a request must survive the process, or if several instances share the work.
///
/// ```
/// use poem_password_reset::delivery::{AcceptedRequest, Delivery};
/// use poem_password_reset::{BoxError, PasswordReset};
///
/// /// Stands for a job engine.
/// #[derive(Clone, Default)]
/// struct Engine(std::sync::Arc<std::sync::Mutex<Vec<String>>>);
///
/// impl Delivery for Engine {
///     type Error = BoxError;
///
///     async fn enqueue(&self, request: AcceptedRequest) -> Result<(), BoxError> {
///         let job = serde_json::to_string(&request)?;
///         self.0.lock().map_err(|_| "the engine panicked")?.push(job);
///         Ok(())
///     }
/// }
///
/// /// The engine calls this function for each job, and again later if it returns an error.
/// async fn run_job(reset: &PasswordReset, job: &str) -> Result<(), BoxError> {
///     reset.deliver(serde_json::from_str(job)?).await?;
///     Ok(())
/// }
///
/// # use poem_password_reset::{Client, SigningKey, StoredUser, store::MemoryUsers};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// # let ann = StoredUser::new(7, "ann@example.com", Some("her hash".to_owned()));
/// # let (users, key) = (MemoryUsers::new([ann]), SigningKey::generate()?);
/// let engine = Engine::default();
/// let reset = PasswordReset::builder(users, key)
///     .link("https://app.example.com/reset-password#token={token}")
///     .on_reset_token_created(async |event| println!("{}", event.user().email()))
/// #   .linked_handlers(false)
///     .delivery(engine.clone())
///     .build()
///     .await?;
/// # reset.request("ann@example.com", Client::none()).await?;
/// # let job = engine.0.lock().unwrap().pop().unwrap();
/// # run_job(&reset, &job).await?;
/// # assert_eq!(reset.ledger().delivered, 1);
/// # Ok(())
/// # }
/// ```
pub trait Delivery: Send + Sync + 'static {
    /// The error if the request was not stored. It is logged, without the address, and never shown to a client.
    type Error: Into<BoxError> + Send;

    /// Stores the request. Returns once it survives what this delivery promises to survive.
    ///
    /// An error, a panic, and a call that takes more than five seconds are answered 503 with `Retry-After`, and the request
    /// counts against no quota. The call must take the same time for every address.
    fn enqueue(&self, request: AcceptedRequest) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Checks at start that the engine answers. [`build()`](crate::PasswordResetBuilder::build) calls this method once and
    /// refuses to start if it fails or takes more than five seconds. The default does nothing.
    fn check_at_start(&self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        async { Ok(()) }
    }
}

impl<D: Delivery> Delivery for Arc<D> {
    type Error = D::Error;

    fn enqueue(&self, request: AcceptedRequest) -> impl Future<Output = Result<(), D::Error>> + Send {
        D::enqueue(self, request)
    }

    fn check_at_start(&self) -> impl Future<Output = Result<(), D::Error>> + Send {
        D::check_at_start(self)
    }
}

/// The end of a request that needs no further try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivered {
    /// The handlers succeeded for every eligible user with the address.
    Mailed,
    /// No user who may reset a password has the address.
    Ineligible,
    /// The address was over its quota.
    Suppressed,
    /// A handler failed with [`Permanent`](crate::Permanent), or no token could be issued. The log has the reason.
    Failed,
    /// The request is older than [`max_age`](crate::PasswordResetBuilder::max_age).
    TooOld,
}

/// The reason why a request must be tried again. The texts contain no address and no token, so an engine may store them.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeliveryError {
    /// The user store failed.
    #[error("the user store failed: {reason}")]
    Store {
        /// The error of the store, redacted.
        reason: String,
    },
    /// A handler failed, panicked or timed out.
    #[error("a handler failed: {reason}")]
    Handler {
        /// The name of the last handler that failed and its error, redacted.
        reason: String,
    },
    /// The service is shutting down. Nothing was tried.
    #[error("the service is shutting down")]
    ShuttingDown,
}
