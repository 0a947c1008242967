use poem::web::Data;
use poem_password_reset::{ResetTokenCreated, on_reset_token_created};

struct Mailer;

#[on_reset_token_created]
async fn mail(event: &ResetTokenCreated, mailer: Data<&Mailer>) -> Result<(), std::io::Error> {
    let _ = (event, mailer);
    Ok(())
}
