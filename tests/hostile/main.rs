//! Generated hostile input: only documented responses, no look-up for malformed bodies, mail only to the exact stored address,
//! and passwords stored exactly as sent.
//!
//! A failure prints its seed. `SEED=7 cargo test --test hostile` repeats the run with that seed.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion")]

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "../support/http.rs"]
mod http;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "../support/log.rs"]
mod log;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "../support/random.rs"]
mod random;

mod bodies;
mod encodings;
mod folding;
mod generator;
mod malformed;
mod values;

use poem_password_reset::PasswordResetBuilder;

/// The two address rules: the default, and lenient addresses.
const ADDRESS_MODES: [fn(PasswordResetBuilder) -> PasswordResetBuilder; 2] =
    [http::defaults, |builder| http::defaults(builder).lenient_addresses(true)];
