//! User stores over other database libraries. Each module is one file to copy.
//!
//! `cargo test --manifest-path examples/stores/Cargo.toml` runs the contract test of the first two on PostgreSQL.

pub mod diesel_users;
pub mod mongodb_users;
pub mod sea_orm_users;
