use poem_password_reset::{ResetTokenCreated, on_reset_token_created};

#[on_reset_token_created(priority = 1, priority = 2)]
async fn mail(_: &ResetTokenCreated) {}

fn main() {}
