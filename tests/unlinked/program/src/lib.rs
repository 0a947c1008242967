//! What the two programs share. It does not mention the handlers.

use std::error::Error;
use std::process::ExitCode;

use poem_password_reset::store::MemoryUsers;
use poem_password_reset::{PasswordReset, SigningKey};

/// Starts, or says why not.
#[tokio::main(flavor = "current_thread")]
pub async fn run() -> ExitCode {
    match start().await {
        Ok(_) => {
            println!("started");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn start() -> Result<PasswordReset, Box<dyn Error>> {
    let key = SigningKey::from_bytes(b"the signing key of the tests, 32+")?;
    let users = MemoryUsers::new([]);
    Ok(PasswordReset::builder(users, key).link("https://app.example.com/#{token}").build().await?)
}
