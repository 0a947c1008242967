use poem_password_reset::{ResetTokenCreated, on_reset_token_created};

struct MailError;

#[on_reset_token_created]
async fn mail(_: &ResetTokenCreated) -> Result<(), MailError> {
    Err(MailError)
}

fn main() {}
