//! What a reset token promises, proved from outside: through the public API alone, against whoever holds the master key
//! and can sign anything.
//!
//! Random tests are the same in every run. `SEED=7 cargo test --test token` gives others, and a failure prints the
//! seed. A release build does ten times as many rounds.

mod binding;
mod claims;
mod expiry;
mod forged;
mod forger;
mod header;
mod json;
mod keys;
mod rotation;
mod secrecy;
mod spelling;
