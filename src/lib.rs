#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(unreachable_pub, clippy::unwrap_used)]
#![cfg_attr(docsrs, feature(doc_cfg))]

// Generated code says `::poem_password_reset`, in the tests of this crate too.
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
mod delivery;
#[cfg(feature = "reset")]
mod email;
#[cfg(feature = "reset")]
mod endpoint;
#[cfg(feature = "reset")]
mod event;
#[cfg(feature = "reset")]
mod handler;
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
    error::{ApplicationError, BuildError, Problem, ResetError, Unavailable},
    event::{PostPasswordReset, PrePasswordReset, ResetTokenCreated, Veto},
    handler::HandlerOutput,
    password::{Argon2id, PasswordHasher, PasswordPolicy, Strength},
    reset::{
        DiagnosedUser, Diagnosis, LastFailure, MailQuota, Obstacle, PasswordReset, PasswordResetBuilder, SendError,
        ShutdownReport,
    },
    store::{Swap, UserStore},
};

#[cfg(feature = "poem")]
pub use api::{AtRoot, HttpContract, HttpContractAt, HttpContractEndpoint, MountPath, ResetApi};

/// Makes a function a handler of [`ResetTokenCreated`]: the one that sends the mail.
///
/// ```
/// use poem::web::Data;
/// use poem_password_reset::{ResetTokenCreated, on_reset_token_created};
///
/// #[on_reset_token_created]
/// async fn mail_reset_link(event: &ResetTokenCreated, mailer: Data<&Mailer>) -> Result<(), MailError> {
///     mailer.send(event.user().email(), "Reset your password", event.link()).await
/// }
/// # struct Mailer;
/// # type MailError = std::io::Error;
/// # impl Mailer {
/// #     async fn send(&self, _to: &str, _subject: &str, _link: &str) -> Result<(), MailError> { Ok(()) }
/// # }
/// ```
///
/// That is all: the function stays what it is, and every [`PasswordReset`] of the program calls it, unless its builder
/// says [`linked_handlers(false)`](PasswordResetBuilder::linked_handlers). `build()` refuses to start when nothing
/// handles this event.
///
/// A handler is an `async fn`, not generic and not a method. Its parameters are
///
/// * first `&ResetTokenCreated`, the event;
/// * then any number of `Data<&T>`, each the value of that type given to the builder with
///   [`.data(value)`](PasswordResetBuilder::data). If nobody gave it, `build()` says which handler wants it. Of what may
///   be missing, `Option<Data<&T>>`.
///
/// It returns nothing, or `Result<(), E>` with any error that is `Into<`[`BoxError`]`>`. Handlers run one after the
/// other, each in a task of its own. One that fails, panics or takes longer than
/// [`handler_timeout`](PasswordResetBuilder::handler_timeout) is logged by its name and counted, and the others still
/// run. Of an error the log has the text, without the user's address and the token; of a panic nothing. Work that blocks
/// belongs in `tokio::task::spawn_blocking`: no timeout can end it elsewhere.
///
/// # Arguments
///
/// | argument | meaning | default |
/// | --- | --- | --- |
/// | `priority = <i32>` | lower runs earlier; handlers of equal priority run by name | `0` |
/// | `crate = <path>` | where this library is, for macros of other crates | `::poem_password_reset` |
///
/// ```
/// # use poem_password_reset::{ResetTokenCreated, on_reset_token_created};
/// #[on_reset_token_created(priority = -1)]
/// async fn count_it_first(_event: &ResetTokenCreated) {}
/// ```
///
/// # A handler that is never called
///
/// Rust does not link a crate that no line of code mentions, and its handlers are missing without a word. Where handlers
/// live in a crate of their own, mention it in the program: `use my_handlers as _;`. The log names, at start, the
/// handlers that were found.
#[cfg(feature = "reset")]
pub use poem_password_reset_macros::on_reset_token_created;

/// Makes a function a handler of [`PrePasswordReset`]: it is asked before a password is replaced.
///
/// Returning [`Veto`] refuses, with a text for the user; any other error, a panic or a timeout fails the reset with a
/// 500. Either way nothing was written, the token stays good, and no further handler is asked. Parameters and arguments
/// are those of [`on_reset_token_created`](macro@on_reset_token_created).
///
/// ```
/// use poem::web::Data;
/// use poem_password_reset::{BoxError, PrePasswordReset, Veto, on_pre_password_reset};
///
/// #[on_pre_password_reset]
/// async fn not_while_frozen(event: &PrePasswordReset, freezes: Data<&Freezes>) -> Result<(), BoxError> {
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

/// Makes a function a handler of [`PostPasswordReset`]: it is told of every password that was replaced.
///
/// The place to end the user's login sessions and to send a notice. It runs once per reset, after the store acknowledged
/// the write, also when the client is gone by then; an error is logged and counted, and the reset stands. Parameters and
/// arguments are those of [`on_reset_token_created`](macro@on_reset_token_created).
///
/// ```
/// use poem::web::Data;
/// use poem_password_reset::{PostPasswordReset, on_post_password_reset};
///
/// #[on_post_password_reset]
/// async fn end_sessions(event: &PostPasswordReset, sessions: Data<&Sessions>) {
///     sessions.end_all_of(event.user().id()).await;
/// }
/// # struct Sessions;
/// # impl Sessions {
/// #     async fn end_all_of(&self, _id: &str) {}
/// # }
/// ```
#[cfg(feature = "reset")]
pub use poem_password_reset_macros::on_post_password_reset;

/// For the code that the attributes generate, and nobody else: every name it uses, whatever the user imports or shadows.
#[cfg(feature = "reset")]
#[doc(hidden)]
pub mod __private {
    pub use std::boxed::Box;
    pub use std::{concat, file, line, module_path};

    pub use inventory;

    pub use crate::event::{PostPasswordReset, PrePasswordReset, ResetTokenCreated};
    pub use crate::handler::{Deps, FromDeps, Handler, HandlerFuture, HandlerOutput, IsEvent, Requirements};
}
