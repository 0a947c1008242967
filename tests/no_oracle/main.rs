//! A request does not reveal whether an address belongs to a user: not by the bytes or the time of the response, by the
//! state of the connection, or by the next request on the same connection.
//!
//! `cargo test --release --test no_oracle -- --ignored --nocapture` measures 20,000 samples a class and prints every t.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion")]

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "../support/http.rs"]
mod http;
#[path = "../support/postgres.rs"]
mod postgres;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "../support/random.rs"]
mod random;
#[path = "../support/server.rs"]
mod server;
#[path = "../support/welch.rs"]
mod welch;

mod bytes;
mod timing;
