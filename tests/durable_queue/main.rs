//! The durable queue (`GraphileDelivery`) on a real PostgreSQL server. Skipped with a message if PostgreSQL is not installed.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion, in its helpers too")]

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "../support/doubles.rs"]
mod doubles;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "../support/log.rs"]
mod log;
#[path = "../support/own_postgres.rs"]
mod own_postgres;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/server.rs"]
mod server;

mod delivered;
mod outages;
mod retries;
mod secrecy;
mod shutdowns;
mod start;
mod world;
