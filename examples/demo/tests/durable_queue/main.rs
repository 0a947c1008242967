//! The demo with `--queue postgres://..`: accepted requests survive the process. Skipped with a message if PostgreSQL is not
//! installed.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion, in its helpers too")]

#[path = "../support/eml.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod eml;
mod flags;
#[path = "../demo/helpers.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod helpers;
mod kills;
#[path = "../../../../tests/support/postgres.rs"]
mod postgres;
#[path = "../support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;
#[path = "../../../../tests/support/server.rs"]
mod server;
