#![cfg_attr(feature = "poem", doc = include_str!("front_page.md"))]
#![cfg_attr(
    not(feature = "poem"),
    doc = "Password reset without a table of tokens. Enable the feature `poem` for the endpoints."
)]
#![forbid(unsafe_code)]
#![warn(unreachable_pub, clippy::unwrap_used)]
#![cfg_attr(docsrs, feature(doc_cfg))]

/// Compiles the quickstart of the README.
#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../README.md")]
struct Readme;

// Generated code uses the path `::poem_password_reset`, also in the unit tests of this crate.
#[cfg(all(test, feature = "reset"))]
extern crate self as poem_password_reset;

// The token layer.
mod error;
mod secret;
pub mod token;
mod user;

// Operations, stores, handlers and endpoints, independent of a web framework.
#[cfg(feature = "reset")]
mod catch_panic;
#[cfg(feature = "reset")]
mod client;
#[cfg(feature = "reset")]
pub mod delivery;
#[cfg(feature = "reset")]
mod email;
#[cfg(feature = "reset")]
mod endpoint;
#[cfg(feature = "reset")]
mod event;
#[cfg(feature = "reset")]
mod handler;
#[cfg(feature = "mail")]
pub mod mail;
#[cfg(feature = "reset")]
mod metrics;
#[cfg(feature = "reset")]
mod password;
#[cfg(feature = "reset")]
mod redact;
#[cfg(feature = "reset")]
mod reset;
#[cfg(feature = "reset")]
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "reset")]
pub mod throttle;
#[cfg(feature = "reset")]
mod timeout;
#[cfg(feature = "reset")]
mod white_space;

// The adapter for poem, and the user guide, whose examples use it.
#[cfg(feature = "poem")]
mod api;
#[cfg(feature = "poem")]
pub mod guide;

pub use error::{BoxError, InvalidToken, IssueError, KeyError, Refusal};
pub use secret::{KeyRing, MIN_KEY_BYTES, NewPassword, PasswordHash, ResetToken, SigningKey};
pub use token::{BoundUser, SignedClaims, TokenCodec};
pub use user::StoredUser;

#[cfg(feature = "reset")]
pub use {
    client::Client,
    delivery::Ledger,
    error::{ApplicationError, BuildError, PasswordRefusal, Permanent, Problem, ResetError, Unavailable},
    event::{PostPasswordReset, PrePasswordReset, ResetTokenCreated, Veto},
    handler::HandlerOutput,
    password::{Argon2id, PasswordHasher, PasswordHistory, PasswordPolicy, PasswordVerifier, Strength},
    reset::{
        Confirmed, DiagnosedUser, Diagnosis, LastFailure, MailQuota, Obstacle, PasswordReset, PasswordResetBuilder,
        Requested, SendError, Sent, ShutdownReport, Validated,
    },
    store::{Swap, UserStore},
};

#[cfg(feature = "graphile")]
pub use reset::QueueWorker;

/// Lists of breached passwords, asked by range (feature `breached`).
#[cfg(feature = "breached")]
pub mod breached {
    pub use crate::password::breached::{BreachedPasswords, IfUnavailable};
}

#[cfg(feature = "poem")]
pub use api::{AtRoot, HttpContract, HttpContractAt, HttpContractEndpoint, MountPath, ResetApi};

/// Registers a function as a handler of [`ResetTokenCreated`], to send the mail with the link.
///
/// ```
/// use poem_password_reset::{ResetTokenCreated, on_reset_token_created};
///
/// #[on_reset_token_created]
/// async fn mail_reset_link(event: &ResetTokenCreated, mailer: &Mailer) -> Result<(), MailError> {
///     mailer.send(event.user().email(), "Reset your password", event.link()).await
/// }
/// # struct Mailer;
/// # type MailError = std::io::Error;
/// # impl Mailer {
/// #     async fn send(&self, _to: &str, _subject: &str, _link: &str) -> Result<(), MailError> { Ok(()) }
/// # }
/// ```
///
/// The function itself is not changed. Every [`PasswordReset`] of the program calls it, unless its builder sets
/// [`linked_handlers(false)`](PasswordResetBuilder::linked_handlers). `build()` fails if this event has no handler.
///
/// # Signature
///
/// A handler is an `async fn`. It is neither generic nor a method. Its parameters are:
///
/// * first the event, `&ResetTokenCreated`;
/// * then any number of values given to the builder with [`.data(value)`](PasswordResetBuilder::data), chosen by type:
///   `&T` for a required value, `Option<&T>` for an optional one. `T` is `Send + Sync + 'static`. If a required value is
///   missing, `build()` fails and names the type and the handler. poem's `Data<&T>` and `Option<Data<&T>>` work too.
///
/// A handler returns nothing, or `Result<(), E>` with any error that implements `Into<`[`BoxError`]`>`.
///
/// # Execution
///
/// The handlers of an event run one after the other, each in a task of its own. A handler that fails, panics, or exceeds
/// the [`handler_timeout`](PasswordResetBuilder::handler_timeout) is logged by name and counted; the others still run. The
/// log contains the error's message with the user's address, password hash and token removed. Panic messages are not
/// logged.
///
/// Run blocking work in `tokio::task::spawn_blocking`. The timeout cannot interrupt a handler that blocks its thread.
///
/// # Arguments
///
/// | argument | meaning | default |
/// | --- | --- | --- |
/// | `priority = <i32>` | lower runs earlier; handlers of equal priority run in order of their names | `0` |
/// | `crate = <path>` | path of this library, for macros of other crates | `::poem_password_reset` |
///
/// ```
/// # use poem_password_reset::{ResetTokenCreated, on_reset_token_created};
/// #[on_reset_token_created(priority = -1)]
/// async fn count_tokens(_event: &ResetTokenCreated) {}
/// ```
///
/// # Handlers that are not called
///
/// Rust does not link a crate that the program never mentions, so the handlers in it are missing without an error. If your
/// handlers are in a separate crate, write `use my_handlers as _;` in the program. One log line at start names all handlers
/// that were found.
#[cfg(feature = "reset")]
pub use poem_password_reset_macros::on_reset_token_created;

/// Registers a function as a handler of [`PrePasswordReset`], to check a reset before the password is replaced.
///
/// A [`Veto`] refuses the reset with a text for the user. Any other error, a panic or a timeout fails it with status 500.
/// Either way nothing was written, the token stays valid, and the remaining handlers are not called. Parameters and
/// arguments are those of [`on_reset_token_created`](macro@on_reset_token_created).
///
/// ```
/// use poem_password_reset::{BoxError, PrePasswordReset, Veto, on_pre_password_reset};
///
/// #[on_pre_password_reset]
/// async fn not_while_frozen(event: &PrePasswordReset, freezes: &Freezes) -> Result<(), BoxError> {
///     match freezes.is_frozen(event.user().id()).await? {
///         true => Err(Veto::new("This account is frozen. Please call us.").into()),
///         false => Ok(()),
///     }
/// }
/// # struct Freezes;
/// # impl Freezes {
/// #     async fn is_frozen(&self, _id: &str) -> Result<bool, std::io::Error> { Ok(true) }
/// # }
/// ```
#[cfg(feature = "reset")]
pub use poem_password_reset_macros::on_pre_password_reset;

/// Registers a function as a handler of [`PostPasswordReset`], to act on a replaced password.
///
/// End the user's sessions and send a notice here. The handler runs once per reset, after the store acknowledged the write,
/// even if the client has disconnected. An error is logged and counted, and does not undo the reset. Parameters and
/// arguments are those of [`on_reset_token_created`](macro@on_reset_token_created).
///
/// ```
/// use poem_password_reset::{PostPasswordReset, on_post_password_reset};
///
/// #[on_post_password_reset]
/// async fn end_sessions(event: &PostPasswordReset, sessions: &Sessions) {
///     sessions.end_all_of(event.user().id()).await;
/// }
/// # struct Sessions;
/// # impl Sessions {
/// #     async fn end_all_of(&self, _id: &str) {}
/// # }
/// ```
#[cfg(feature = "reset")]
pub use poem_password_reset_macros::on_post_password_reset;

/// Not public API: the names used by the code that the attributes generate. Full paths keep it independent of the user's
/// imports and shadowed names.
#[cfg(feature = "reset")]
#[doc(hidden)]
pub mod __private {
    pub use std::boxed::Box;
    pub use std::{concat, file, line, module_path};

    pub use inventory;

    pub use crate::event::{PostPasswordReset, PrePasswordReset, ResetTokenCreated};
    pub use crate::handler::{Deps, FromDeps, Handler, HandlerFuture, HandlerOutput, IsEvent, Requirements};
}
