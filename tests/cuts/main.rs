//! F2, F9 and F22: the connection to PostgreSQL or MariaDB is cut, stalled or delayed at any byte of a confirmation, and the server is
//! killed or restarted. Afterwards the password is the old or the new one, and the rows that belong to a reset agree with it.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion, in its helpers too")]

mod cuts;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "../support/doubles.rs"]
mod doubles;
mod kills;
#[path = "../support/mariadb.rs"]
mod mariadb;
#[path = "../support/own_postgres.rs"]
mod own_postgres;
#[path = "../support/postgres.rs"]
mod postgres;
mod proxy;
mod restarts;
#[path = "../support/server.rs"]
mod server;
mod stalls;
mod world;
