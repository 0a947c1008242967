use poem_password_reset::{ResetTokenCreated, on_reset_token_created};

struct Mailer;

impl Mailer {
    #[on_reset_token_created]
    async fn mail(&self, _: &ResetTokenCreated) {}
}

fn main() {}
