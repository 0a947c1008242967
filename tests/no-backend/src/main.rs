//! The library in a program where `jsonwebtoken` has no backend, as in most programs that use it: with
//! `cargo run -p no-backend`, alone, so that no other member's features are unified in.
//!
//! There `jsonwebtoken::encode` and `decode` panic. That the library never calls them is seen here and nowhere else: in
//! a build of the whole workspace the interop tests bring a backend along.

use std::error::Error;
use std::panic;
use std::process::ExitCode;
use std::time::Duration;

use poem_password_reset::store::MemoryUsers;
use poem_password_reset::{
    Client, NewPassword, PasswordReset, ResetError, ResetToken, ResetTokenCreated, SigningKey, StoredUser, TokenCodec,
    on_reset_token_created,
};
use time::OffsetDateTime;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::timeout;

fn main() -> ExitCode {
    match show() {
        Ok(()) => {
            println!("no backend: jsonwebtoken::encode panics here, and the library issued, verified, bound and reset");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("no-backend: {error}");
            ExitCode::FAILURE
        }
    }
}

fn show() -> Result<(), Box<dyn Error>> {
    if has_backend() {
        return Err("jsonwebtoken has a backend in this build, so it shows nothing: run this alone, with \
                    `cargo run -p no-backend`, and look who depends on jsonwebtoken with features"
            .into());
    }
    token()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(reset())
}

/// Whether `jsonwebtoken` can sign here. Without a backend it panics.
#[allow(clippy::disallowed_methods)] // the panic that the ban is there for is what is looked for
fn has_backend() -> bool {
    use jsonwebtoken::{EncodingKey, Header, encode};

    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {})); // this panic is no news
    let signed = panic::catch_unwind(|| encode(&Header::default(), &(), &EncodingKey::from_secret(b"any")));
    panic::set_hook(hook);
    signed.is_ok()
}

/// The token layer.
fn token() -> Result<(), Box<dyn Error>> {
    let codec = TokenCodec::new(SigningKey::generate()?);
    let ann = |hash: &str| StoredUser::new(7, "ann@example.com", Some(hash.to_owned()));
    let now = OffsetDateTime::now_utc();
    let token = codec.issue(&ann("old"), now, time::Duration::HOUR)?;
    let bound = codec.bind(codec.verify(token.expose(), now)?, ann("old"))?;
    if bound.user().id() != "7" {
        return Err("the token is of another user".into());
    }
    match codec.bind(codec.verify(token.expose(), now)?, ann("new")) {
        Err(_) => Ok(()),
        Ok(_) => Err("the token outlived the password".into()),
    }
}

#[on_reset_token_created]
async fn hand_over(event: &ResetTokenCreated, mails: &UnboundedSender<ResetToken>) {
    // The receiver is gone only when the run is over.
    let _ = mails.send(event.token().clone());
}

/// Everything: a request, its handler, a new password, and the end of the token.
async fn reset() -> Result<(), Box<dyn Error>> {
    let users = MemoryUsers::new([StoredUser::new(7, "ann@example.com", Some("old".to_owned()))]);
    let (mails, mut inbox) = unbounded_channel::<ResetToken>();
    let reset = PasswordReset::builder(users.clone(), SigningKey::generate()?)
        .link("https://app.example.com/reset-password#token={token}")
        .data(mails)
        .build()
        .await?;
    reset.request("ann@example.com", Client::none()).await?;
    let token = timeout(Duration::from_secs(30), inbox.recv()).await?.ok_or("no mail")?;
    let password = || NewPassword::new("correct horse battery staple");
    reset.validate(token.expose()).await?;
    reset.confirm(token.expose(), password(), Client::none()).await?;
    let ann = users.get("7").ok_or("the user is gone")?;
    if !ann.password_hash().is_some_and(|hash| hash.expose().starts_with("$argon2id$")) {
        return Err("the password was not replaced".into());
    }
    match reset.confirm(token.expose(), password(), Client::none()).await {
        Err(ResetError::InvalidToken(_)) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Err("the token worked twice".into()),
    }
}

#[cfg(test)]
mod tests {
    //! In a build of the whole workspace there may be a backend: only the library is tested here.

    use super::*;

    #[test]
    fn token_layer_works_without_jsonwebtoken_backend() {
        token().unwrap();
    }

    #[test]
    fn reset_works_without_jsonwebtoken_backend() {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(reset()).unwrap();
    }
}
