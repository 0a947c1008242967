//! A handler in a crate of its own. Nothing is exported: there is no item that a program would call.

use poem_password_reset::{ResetTokenCreated, on_reset_token_created};

#[on_reset_token_created]
async fn mail_reset_link(_: &ResetTokenCreated) {}

/// For the macro below: who uses it may know the library by no name, or by another.
pub use poem_password_reset as library;

/// Makes a handler in the crate that calls it.
#[macro_export]
macro_rules! count_tokens {
    ($name:ident, $event:ty) => {
        #[$crate::library::on_reset_token_created(crate = $crate::library)]
        async fn $name(_: &$event) {}
    };
}
