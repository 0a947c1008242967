//! New passwords: what they must be like ([`PasswordPolicy`]), and what is stored of them ([`PasswordHasher`]).
//!
//! The built-in checks and the hash are work for the processor, so both run on tokio's blocking threads, and no more of it at
//! once than there are cores. The application's rules can block, so they run elsewhere.

mod argon2id;
mod common_words;
mod hasher;
mod known_words;
mod policy;
mod rule;
mod workers;

pub use self::argon2id::Argon2id;
pub use self::hasher::PasswordHasher;
pub use self::policy::{PasswordPolicy, Strength};
pub(crate) use self::workers::{Permit, Workers};
