//! Uses the library in a program where `jsonwebtoken` has no backend, as in most applications. Run it alone, with
//! `cargo run -p no-backend`, because features of other workspace members would add a backend.
//!
//! Without a backend `jsonwebtoken::encode` and `decode` panic, so this program shows that the library never calls
//! them. A build of the whole workspace cannot show it, because the interop tests enable a backend.

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
    match run() {
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

fn run() -> Result<(), Box<dyn Error>> {
    if has_backend() {
        return Err("jsonwebtoken has a backend in this build, so this test is not meaningful: run it alone, \
                    with `cargo run -p no-backend`, and check which dependency enables a backend"
            .into());
    }
    token()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(reset())
}

/// Returns whether `jsonwebtoken` can sign in this build. Without a backend it panics.
#[allow(clippy::disallowed_methods)] // the panic that the ban prevents is expected here
fn has_backend() -> bool {
    use jsonwebtoken::{EncodingKey, Header, encode};

    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {})); // the panic is expected, so it is not printed
    let signed = panic::catch_unwind(|| encode(&Header::default(), &(), &EncodingKey::from_secret(b"any")));
    panic::set_hook(hook);
    signed.is_ok()
}

/// Issues, verifies and binds a token.
fn token() -> Result<(), Box<dyn Error>> {
    let codec = TokenCodec::new(SigningKey::generate()?);
    let ann = |hash: &str| StoredUser::new(7, "ann@example.com", Some(hash.to_owned()));
    let now = OffsetDateTime::now_utc();
    let token = codec.issue(&ann("old"), now, time::Duration::HOUR)?;
    let bound = codec.bind(codec.verify(token.expose(), now)?, ann("old"))?;
    if bound.user().id() != "7" {
        return Err("the token is bound to another user".into());
    }
    match codec.bind(codec.verify(token.expose(), now)?, ann("new")) {
        Err(_) => Ok(()),
        Ok(_) => Err("the token was accepted after a password change".into()),
    }
}

#[on_reset_token_created]
async fn send_token(event: &ResetTokenCreated, mails: &UnboundedSender<ResetToken>) {
    // The receiver is dropped only at the end of the run.
    let _ = mails.send(event.token().clone());
}

/// Runs a whole reset: request, handler, confirmation, and refusal of the used token.
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
    //! A build of the whole workspace may have a backend, so these tests cover the library only.

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
