use poem_password_reset::{ResetTokenCreated, on_reset_token_created};

#[on_reset_token_created(crate = "poem_password_reset")]
async fn mail(_: &ResetTokenCreated) {}

fn main() {}
