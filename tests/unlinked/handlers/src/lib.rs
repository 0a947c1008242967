//! A handler in a crate of its own. Nothing is exported: there is no item that a program would call.

use poem_password_reset::{ResetTokenCreated, on_reset_token_created};

#[on_reset_token_created]
async fn mail_reset_link(_: &ResetTokenCreated) {}
