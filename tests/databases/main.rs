//! The stores over SQL, each on its own database server. A database that is not installed is skipped with a message.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion, in its helpers too")]

mod comparison;
mod contract;
mod database;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "../support/doubles.rs"]
mod doubles;
#[path = "../support/mariadb.rs"]
mod mariadb;
#[path = "../support/postgres.rs"]
mod postgres;
mod races;
#[path = "../support/server.rs"]
mod server;
mod settings;
mod start;
