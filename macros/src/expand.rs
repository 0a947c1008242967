//! Generates the registration of a handler from [`Arguments`] and [`Function`].

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;

use crate::parse::{Arguments, Function};

/// Returns the registration of a handler, which is emitted after the function.
///
/// The registration defines no name, so it cannot conflict with the user's items. Every path goes through the library's
/// `__private`, so the user's imports and shadowed names do not matter. Each part has the span of the user's tokens that it
/// depends on, so the compiler reports errors there.
pub(crate) fn registration(event: &str, arguments: &Arguments, function: &Function) -> TokenStream {
    let Arguments { priority, library } = arguments;
    let Function { name, event: event_type, injected, output } = function;
    let event = format_ident!("{event}");
    let name_text = name.unraw().to_string();

    let [given_event, given_deps, requirements, result] = ["event", "deps", "requirements", "result"]
        .map(|local| Ident::new(local, Span::mixed_site().located_at(name.span())));

    let event_type = {
        let private = private(library, event_type.span());
        quote_spanned!(here(event_type.span())=> <#event_type as #private::IsEvent<#private::#event>>)
    };
    let injected = injected.iter().map(|ty| {
        let private = private(library, ty.span());
        quote_spanned!(here(ty.span())=> <#ty as #private::FromDeps<'_>>)
    });
    let injected: Vec<_> = injected.collect();
    let output = {
        let private = private(library, output.span());
        quote_spanned!(here(output.span())=> <#output as #private::HandlerOutput>)
    };
    let registry = private(library, library.span());
    let private = private(library, name.span());
    quote_spanned! {here(name.span())=>
        #registry::inventory::submit! {
            #private::Handler::<#private::#event>::new(
                #private::concat!(#private::module_path!(), "::", #name_text),
                #private::concat!(#private::file!(), ":", #private::line!()),
                #priority,
                |#requirements| { #(#injected::require(#requirements);)* },
                |#given_event, #given_deps| #private::Box::pin(async move {
                    let #result = #name(
                        #event_type::from_event(#given_event),
                        #(#injected::from_deps(#given_deps)?),*
                    ).await;
                    #output::into_result(#result)
                }),
            )
        }
    }
}

/// Returns a span that resolves names at the attribute and reports errors at `span`.
fn here(span: Span) -> Span {
    Span::call_site().located_at(span)
}

/// Returns the path `#library::__private`, with errors reported at `span`. Names in `library` still resolve where they were
/// written.
fn private(library: &impl ToTokens, span: Span) -> TokenStream {
    let library = library.to_token_stream().into_iter().map(|mut token: TokenTree| {
        token.set_span(token.span().located_at(span));
        token
    });
    let library: TokenStream = library.collect();
    let private = Ident::new("__private", here(span));
    let colons = quote_spanned!(here(span)=> ::);
    quote!(#library #colons #private)
}
