//! Code shared by the test programs. It does not mention the crate with the handlers.

use std::error::Error;
use std::process::ExitCode;

use poem_password_reset::store::MemoryUsers;
use poem_password_reset::{PasswordReset, SigningKey};

/// Builds a `PasswordReset`, prints the result, and returns the exit code.
pub fn run() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(start())) {
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
