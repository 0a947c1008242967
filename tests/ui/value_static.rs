use poem::web::Data;
use poem_password_reset::{ResetTokenCreated, on_reset_token_created};

struct Mailer;

#[on_reset_token_created]
async fn mail(
    _: &ResetTokenCreated,
    _: &'static Mailer,
    _: Option<&'static Mailer>,
    _: Data<&'static Mailer>,
    _: Option<Data<&'static Mailer>>,
) {
}

fn main() {}
