//! Two demos behind a balancer, with one PostgreSQL, one Redis, one outbox and the same keys. Skipped with a message if a
//! server is not installed.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion, in its helpers too")]

mod balancer;
mod client;
#[path = "../support/eml.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod eml;
#[path = "../demo/helpers.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod helpers;
mod kill;
mod load;
mod mailbox;
#[path = "../../../../tests/support/postgres.rs"]
mod postgres;
#[path = "../support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;
mod quotas;
#[path = "../../../../tests/support/redis.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod redis_server;
mod rotation;
#[path = "../../../../tests/support/server.rs"]
mod server;
mod site;
mod tokens;
