//! The demo as a process among clients that hang up, signals, kills and connections that do nothing. What was promised
//! is looked up where it counts: in the database file and in the outbox.
//!
//! `cargo test --release -p demo --test faults -- --ignored --nocapture --test-threads 1` runs the long forms: 1,000
//! hang-ups, 50 shutdowns under load, 300 kills, two hours of everything (`SOAK_MINUTES`).

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
