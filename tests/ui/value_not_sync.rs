use poem_password_reset::{ResetTokenCreated, on_reset_token_created};
use std::cell::Cell;

#[on_reset_token_created]
async fn mail(_: &ResetTokenCreated, _: &Cell<u8>) {}

fn main() {}
