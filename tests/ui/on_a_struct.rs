use poem_password_reset::on_reset_token_created;

#[on_reset_token_created]
struct Mailer;

fn main() {}
