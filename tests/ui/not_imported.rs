use poem_password_reset::on_reset_token_created;

#[on_reset_token_created]
async fn mail(_: &ResetTokenCreated) {}

fn main() {}
