use poem_password_reset::{ResetTokenCreated, on_reset_token_created};

#[on_reset_token_created]
async fn mail(_: &'static ResetTokenCreated) {}

fn main() {}
