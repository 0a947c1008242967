use poem_password_reset::{ResetTokenCreated, on_reset_token_created};

#[on_reset_token_created(order = 1)]
async fn mail(_: &ResetTokenCreated) {}

fn main() {}
