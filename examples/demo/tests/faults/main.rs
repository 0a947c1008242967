//! The demo process with disconnecting clients, signals, kills and stalled connections. The tests compare the responses
//! with the database file and the outbox.
//!
//! `cargo test --release -p demo --test faults -- --ignored --nocapture --test-threads 1` runs the long versions: 1,000
//! disconnects, 50 shutdowns under load, 300 kills, and a soak test of two hours (`SOAK_MINUTES` sets its length).

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion, in its helpers too")]

#[path = "../support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;

mod clocks;
mod connections;
mod hangups;
mod kills;
mod memory;
mod shutdowns;
mod site;
mod soak;
