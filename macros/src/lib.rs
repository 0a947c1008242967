//! The attribute macros of `poem-password-reset`. This crate is an implementation detail: depend on `poem-password-reset`,
//! which re-exports and documents them.

#![forbid(unsafe_code)]

mod expand;
mod parse;

use proc_macro::TokenStream;

use crate::parse::{Arguments, Function};

#[allow(missing_docs)] // documented at the re-export
#[proc_macro_attribute]
pub fn on_reset_token_created(arguments: TokenStream, item: TokenStream) -> TokenStream {
    handler("ResetTokenCreated", arguments, item)
}

#[allow(missing_docs)] // documented at the re-export
#[proc_macro_attribute]
pub fn on_pre_password_reset(arguments: TokenStream, item: TokenStream) -> TokenStream {
    handler("PrePasswordReset", arguments, item)
}

#[allow(missing_docs)] // documented at the re-export
#[proc_macro_attribute]
pub fn on_post_password_reset(arguments: TokenStream, item: TokenStream) -> TokenStream {
    handler("PostPasswordReset", arguments, item)
}

/// Returns the item unchanged, followed by the registration or by compile errors. The item is kept in case of an error,
/// because every use of a missing function would be another error.
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
