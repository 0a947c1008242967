use poem::web::Data;
use poem_password_reset::{ResetTokenCreated, on_reset_token_created};

#[on_reset_token_created]
async fn mail(
    _: &ResetTokenCreated,
    _: &str,
    _: &[u8],
    _: Option<&(dyn Fn() + Send + Sync)>,
    _: Data<&str>,
) {
}

fn main() {}
