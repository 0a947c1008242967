//! Tests of the demo as a process, over real sockets.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion, in its helpers too")]

mod contrast;
#[path = "../support/eml.rs"]
mod eml;
mod helpers;
mod mails;
mod pages;
#[path = "../support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;
mod running;
mod sign_in;
mod start;
