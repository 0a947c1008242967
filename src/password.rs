//! New passwords: the rules for them ([`PasswordPolicy`]) and their hashes ([`PasswordHasher`]).
//!
//! The built-in checks and the hashing are CPU-bound. Both run on blocking threads of tokio, on at most as many at once as the
//! machine has cores. The application's rules can block, so they run elsewhere.

mod argon2id;
#[cfg(feature = "breached")]
pub(crate) mod breached;
mod check;
mod common_words;
mod hasher;
mod known_words;
mod policy;
mod reuse;
mod rule;
mod strength;
mod workers;

pub use self::argon2id::Argon2id;
pub use self::hasher::PasswordHasher;
pub use self::policy::PasswordPolicy;
pub use self::reuse::{PasswordHistory, PasswordVerifier};
pub use self::strength::Strength;
pub(crate) use self::workers::{Permit, Workers};
