use poem::web::Data;
use poem_password_reset::{ResetTokenCreated, on_reset_token_created};

#[on_reset_token_created]
async fn mail(_: &ResetTokenCreated, _: Data<&impl Clone>) {}

fn main() {}
