//! A handler in a separate crate. The handler is private, so no program calls it directly.

use poem_password_reset::{ResetTokenCreated, on_reset_token_created};

#[on_reset_token_created]
async fn mail_reset_link(_: &ResetTokenCreated) {}

/// For the macro below: the crate that calls it may not depend on the library, or under another name.
pub use poem_password_reset as library;

/// Defines a handler in the crate that calls the macro.
#[macro_export]
macro_rules! count_tokens {
    ($name:ident, $event:ty) => {
        #[$crate::library::on_reset_token_created(crate = $crate::library)]
        async fn $name(_: &$event) {}
    };
}
