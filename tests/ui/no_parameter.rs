use poem_password_reset::on_pre_password_reset;

#[on_pre_password_reset]
async fn ask() {}

fn main() {}
