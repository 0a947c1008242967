//! What the two programs share. It does not mention the handlers.

use std::process::ExitCode;

use poem_password_reset::store::MemoryUsers;
use poem_password_reset::{PasswordReset, SigningKey};

/// Starts, or says why not.
pub fn run() -> ExitCode {
    let key = SigningKey::from_bytes(b"the signing key of the tests, 32+").expect("the key is long enough");
    let reset = PasswordReset::builder(MemoryUsers::new([]), key).link("https://app.example.com/#{token}").build();
    match reset {
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
