//! What a reset token promises, proved from outside: through the public API alone, against whoever holds the master key
//! and can sign anything.
//!
//! A random test that fails prints its seed; `SEED=7 cargo test --test token` takes that one. A release build does ten times as many rounds.

mod binding;
mod claims;
mod constant_time;
mod expiry;
mod forged;
mod forger;
mod header;
mod json;
mod keys;
mod rotation;
mod secrecy;
mod spelling;

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "../support/random.rs"]
mod random;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "../support/welch.rs"]
mod welch;
