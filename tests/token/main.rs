//! Tests of the reset token through the public API, including attacks by a holder of the master key who can sign any
//! content.
//!
//! A random test that fails prints its seed; `SEED=7 cargo test --test token` runs that seed again. A release build
//! runs ten times as many rounds.

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
