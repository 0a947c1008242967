//! Returns the error from `main`, as most programs do.

use std::error::Error;

use poem_password_reset::store::MemoryUsers;
use poem_password_reset::{PasswordReset, SigningKey};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let key = SigningKey::from_env("PASSWORD_RESET_KEY")?;
    PasswordReset::builder(MemoryUsers::default(), key).build().await?;
    Ok(())
}
