#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
mod secret;
pub mod token;
mod user;

pub use error::{BoxError, InvalidToken, IssueError, KeyError, Refusal};
pub use secret::{KeyRing, MIN_KEY_BYTES, NewPassword, PasswordHash, ResetToken, SigningKey};
pub use token::{BoundUser, SignedClaims, TokenCodec};
pub use user::StoredUser;
