use poem_password_reset::{ResetTokenCreated, on_post_password_reset};

#[on_post_password_reset]
async fn tell(_: &ResetTokenCreated) {}

fn main() {}
