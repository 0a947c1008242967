use poem_password_reset::{ResetTokenCreated, on_reset_token_created};

#[on_reset_token_created]
async fn mail(_: &ResetTokenCreated) {
    let count = std::rc::Rc::new(1);
    std::future::ready(()).await;
    drop(count);
}

fn main() {}
