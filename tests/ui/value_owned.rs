use poem_password_reset::{ResetTokenCreated, on_reset_token_created};

struct Mailer;

#[on_reset_token_created]
async fn mail(_: &ResetTokenCreated, _: Mailer, _: Option<Mailer>) {}

fn main() {}
