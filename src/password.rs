//! New passwords: what they must be like ([`PasswordPolicy`]), and what is stored of them ([`PasswordHasher`]).
//!
//! Both are work for the processor, so both run on tokio's blocking threads, and no more of it at once than there are
//! cores.

mod argon2id;
mod hasher;
mod policy;
mod workers;

pub use self::argon2id::Argon2id;
pub use self::hasher::PasswordHasher;
pub use self::policy::{PasswordPolicy, Strength};
pub(crate) use self::workers::{Place, Workers};
