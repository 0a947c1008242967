//! The attributes of `poem-password-reset`. An implementation detail: depend on `poem-password-reset`, which re-exports
//! them and holds their documentation.

#![forbid(unsafe_code)]

mod expand;
mod parse;

use proc_macro::TokenStream;

use crate::parse::{Arguments, Function};

#[allow(missing_docs)] // documented where it is re-exported
#[proc_macro_attribute]
pub fn on_reset_token_created(arguments: TokenStream, item: TokenStream) -> TokenStream {
    handler("ResetTokenCreated", arguments, item)
}

#[allow(missing_docs)] // documented where it is re-exported
#[proc_macro_attribute]
pub fn on_pre_password_reset(arguments: TokenStream, item: TokenStream) -> TokenStream {
    handler("PrePasswordReset", arguments, item)
}

#[allow(missing_docs)] // documented where it is re-exported
#[proc_macro_attribute]
pub fn on_post_password_reset(arguments: TokenStream, item: TokenStream) -> TokenStream {
    handler("PostPasswordReset", arguments, item)
}

/// The item as the user wrote it, and after it the registration or what is wrong. Without the item every mention of it
/// would be one more error.
fn handler(event: &str, arguments: TokenStream, item: TokenStream) -> TokenStream {
    let registration = Arguments::parse(arguments)
        .and_then(|arguments| {
            Ok(expand::registration(event, &arguments, &Function::parse(event, item.clone().into())?))
        })
        .unwrap_or_else(syn::Error::into_compile_error);
    let mut output = item;
    output.extend(TokenStream::from(registration));
    output
}
