#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

// The code that the attributes generate says `::poem_password_reset`, in our own tests too.
extern crate self as poem_password_reset;

#[cfg(feature = "poem")]
mod client;
mod error;
#[cfg(feature = "poem")]
mod event;
#[cfg(feature = "poem")]
mod handler;
mod secret;
pub mod token;
mod user;

#[cfg(feature = "poem")]
pub use client::Client;
pub use error::{BoxError, InvalidToken, IssueError, KeyError, Refusal};
#[cfg(feature = "poem")]
pub use event::{PostPasswordReset, PrePasswordReset, ResetTokenCreated, Veto};
#[cfg(feature = "poem")]
pub use poem_password_reset_macros::{on_post_password_reset, on_pre_password_reset, on_reset_token_created};
pub use secret::{KeyRing, MIN_KEY_BYTES, NewPassword, PasswordHash, ResetToken, SigningKey};
pub use token::{BoundUser, SignedClaims, TokenCodec};
pub use user::StoredUser;

/// For the code that the attributes generate, and nobody else: every name it uses, whatever the user imports or shadows.
#[cfg(feature = "poem")]
#[doc(hidden)]
pub mod __private {
    pub use std::boxed::Box;
    pub use std::{concat, file, line, module_path};

    pub use inventory;

    pub use crate::event::{PostPasswordReset, PrePasswordReset, ResetTokenCreated};
    pub use crate::handler::{Deps, FromDeps, Handler, HandlerFuture, HandlerOutput, IsEvent, Requirements};
}
