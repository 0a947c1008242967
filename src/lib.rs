#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(unreachable_pub)]
#![cfg_attr(docsrs, feature(doc_cfg))]

// Generated code says `::poem_password_reset`; so do this crate's own tests.
#[cfg(feature = "poem")]
extern crate self as poem_password_reset;

mod error;
mod secret;
mod user;

pub mod token;

#[cfg(feature = "poem")]
mod api;
#[cfg(feature = "poem")]
mod client;
#[cfg(feature = "poem")]
mod delivery;
#[cfg(feature = "poem")]
mod email;
#[cfg(feature = "poem")]
mod event;
#[cfg(feature = "poem")]
mod handler;
#[cfg(feature = "poem")]
mod password;
#[cfg(feature = "poem")]
mod reset;
#[cfg(feature = "poem")]
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;

pub use error::{BoxError, InvalidToken, IssueError, KeyError, Refusal};
pub use secret::{KeyRing, MIN_KEY_BYTES, NewPassword, PasswordHash, ResetToken, SigningKey};
pub use token::{BoundUser, SignedClaims, TokenCodec};
pub use user::StoredUser;

#[cfg(feature = "poem")]
pub use {
    api::{HttpContract, HttpContractEndpoint, ResetApi},
    client::Client,
    delivery::Ledger,
    error::{BuildError, Problem, ResetError, Unavailable},
    event::{PostPasswordReset, PrePasswordReset, ResetTokenCreated, Veto},
    handler::HandlerOutput,
    password::{Argon2id, PasswordHasher, PasswordPolicy, Strength},
    poem_password_reset_macros::{on_post_password_reset, on_pre_password_reset, on_reset_token_created},
    reset::{PasswordReset, PasswordResetBuilder, SendError, ShutdownReport},
    store::{Swap, UserStore},
};

/// For the code that the attributes generate, and nobody else: every name it uses, whatever the user imports or shadows.
#[cfg(feature = "poem")]
#[doc(hidden)]
pub mod __private {
    pub use std::boxed::Box;
    pub use std::{concat, file, line, module_path};

    pub use inventory;

    pub use crate::event::{PostPasswordReset, PrePasswordReset, ResetTokenCreated};
    pub use crate::handler::{FromDeps, Handler, HandlerOutput, IsEvent};
}
