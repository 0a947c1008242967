//! Parses the attribute and the function into [`Arguments`] and [`Function`], and reports errors in their syntax.
//!
//! Only the compiler knows the types. The texts of its errors are on the traits in the library's `handler.rs`.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::parse::Parser;
use syn::{
    Error, Expr, FnArg, GenericArgument, GenericParam, Item, ItemFn, Lit, Path, PathArguments, Result, ReturnType,
    Safety, Signature, Type, TypeReference, parse_quote,
};

/// Arguments of the attribute: `#[on_..(priority = -1, crate = path::to::poem_password_reset)]`, both optional.
pub(crate) struct Arguments {
    /// Constant expression. The compiler checks that it is an `i32`.
    pub(crate) priority: Expr,
    /// Path of the library.
    pub(crate) library: Path,
}

impl Arguments {
    pub(crate) fn parse(tokens: proc_macro::TokenStream) -> Result<Self> {
        let mut priority = None;
        let mut library = None;
        let arguments = syn::meta::parser(|argument| {
            let repeated = if argument.path.is_ident("priority") {
                priority.replace(argument.value()?.parse()?).is_some()
            } else if argument.path.is_ident("crate") {
                let value = argument.value()?;
                if value.peek(Lit) {
                    let msg = "write the path without quotes: `crate = path::to::poem_password_reset`";
                    return Err(value.error(msg));
                }
                library.replace(value.call(Path::parse_mod_style)?).is_some()
            } else {
                let msg = "unknown argument: expected `priority = <i32>` or `crate = <path>`";
                return Err(argument.error(msg));
            };
            if repeated { Err(argument.error("this argument is given twice")) } else { Ok(()) }
        });
        Parser::parse(arguments, tokens)?;
        Ok(Self {
            priority: priority.unwrap_or_else(|| parse_quote!(0)),
            library: library.unwrap_or_else(|| parse_quote!(::poem_password_reset)),
        })
    }
}

/// The annotated function: `async fn name(event: &Event, injected: Type, ..) -> Output`.
pub(crate) struct Function {
    pub(crate) name: Ident,
    /// Type of the first parameter, without the reference.
    pub(crate) event: Type,
    /// Types of the other parameters.
    pub(crate) injected: Vec<Type>,
    pub(crate) output: Type,
}

impl Function {
    pub(crate) fn parse(event: &str, item: TokenStream) -> Result<Self> {
        let ItemFn { sig, .. } =
            syn::parse2(item.clone()).map_err(|error| not_a_function(event, item).unwrap_or(error))?;
        let mut types = sig.inputs.iter().filter_map(|parameter| match parameter {
            FnArg::Typed(parameter) => Some(&*parameter.ty),
            FnArg::Receiver(_) => None,
        });
        let event = match types.next() {
            Some(parameter) => check_event(event, parameter),
            None => {
                let msg =
                    format!("a handler takes the event as its first parameter: write `{}(event: &{event})`", sig.ident);
                Err(Error::new_spanned(&sig.ident, msg))
            }
        };
        let injected: Vec<Type> = types.cloned().collect();
        let output = match &sig.output {
            ReturnType::Default => parse_quote!(()),
            ReturnType::Type(_, output) => (**output).clone(),
        };

        let mut errors = check_signature(&sig);
        errors.extend(sig.inputs.iter().flat_map(check_parameter));
        errors.extend(event.as_ref().err().cloned());
        errors.extend(injected.iter().filter_map(check_injected));
        if let Some(errors) = errors.into_iter().reduce(|mut errors, error| {
            errors.combine(error);
            errors
        }) {
            return Err(errors);
        }
        Ok(Self { name: sig.ident, event: event?, injected, output })
    }
}

/// Returns an error for an item of another kind, such as a struct. A syntax error is left to the caller.
fn not_a_function(event: &str, item: TokenStream) -> Option<Error> {
    match syn::parse2(item.clone()) {
        Ok(Item::Fn(_) | Item::Verbatim(_)) | Err(_) => None,
        Ok(_) => {
            let msg = format!("a handler is a function: write `async fn name(event: &{event})`");
            Some(Error::new_spanned(item, msg))
        }
    }
}

fn check_signature(sig: &Signature) -> Vec<Error> {
    let mut errors = Vec::new();
    if sig.asyncness.is_none() {
        errors.push(Error::new_spanned(sig.fn_token, "a handler must be async: write `async fn`"));
    }
    if let Safety::Unsafe(token) = &sig.safety {
        let msg = "a handler cannot be unsafe, because the library calls it from safe code: remove `unsafe`";
        errors.push(Error::new_spanned(token, msg));
    }
    if !sig.generics.params.is_empty() {
        let only_lifetimes = sig.generics.params.iter().all(|param| matches!(param, GenericParam::Lifetime(_)));
        let msg = if only_lifetimes {
            "a handler cannot have lifetime parameters: remove them and write `&T`"
        } else {
            "a handler cannot be generic, because it is registered once: write concrete types"
        };
        errors.push(Error::new_spanned(&sig.generics, msg));
    }
    if let Some(clause) = &sig.generics.where_clause {
        let msg = "a handler cannot be generic: remove the `where` clause";
        errors.push(Error::new_spanned(clause, msg));
    }
    if let ReturnType::Type(_, output) = &sig.output {
        errors.extend(check_type(output));
    }
    errors
}

fn check_parameter(parameter: &FnArg) -> Vec<Error> {
    let parameter = match parameter {
        FnArg::Typed(parameter) => parameter,
        FnArg::Receiver(receiver) => {
            let msg = "a handler cannot be a method: write a free function that takes the values it needs as `&T`";
            return vec![Error::new_spanned(receiver, msg)];
        }
    };
    let mut errors = Vec::new();
    // The compiler resolves `cfg` on the function before it expands the attribute, but not `cfg` on a parameter.
    let is_cfg = |path: &Path| path.is_ident("cfg") || path.is_ident("cfg_attr");
    if let Some(cfg) = parameter.attrs.iter().find(|attribute| is_cfg(attribute.path())) {
        let msg = "a handler's parameter cannot have `#[cfg]`: write two handlers, each with a `#[cfg]`";
        errors.push(Error::new_spanned(cfg, msg));
    }
    errors.extend(check_type(&parameter.ty));
    errors
}

fn check_type(ty: &Type) -> Option<Error> {
    let msg = "a handler cannot be generic, because it is registered once: write a concrete type";
    find_impl(ty.to_token_stream()).map(|token| Error::new_spanned(token, msg))
}

fn find_impl(tokens: TokenStream) -> Option<Ident> {
    tokens.into_iter().find_map(|token| match token {
        TokenTree::Ident(ident) => (ident == "impl").then_some(ident),
        TokenTree::Group(group) => find_impl(group.stream()),
        TokenTree::Punct(_) | TokenTree::Literal(_) => None,
    })
}

/// Returns the event's type without the reference.
fn check_event(event: &str, parameter: &Type) -> Result<Type> {
    match ungrouped(parameter) {
        // Any other lifetime would have to be declared, which `check_signature` reports.
        Type::Reference(TypeReference { lifetime: Some(lifetime), .. }) if lifetime.ident == "static" => {
            let msg = format!("a handler borrows the event for one call: write `&{event}`");
            Err(Error::new_spanned(lifetime, msg))
        }
        Type::Reference(TypeReference { mutability: Some(token), .. }) => {
            Err(Error::new_spanned(token, format!("all handlers share the event: write `&{event}`")))
        }
        Type::Reference(reference) => Ok((*reference.elem).clone()),
        _ => Err(Error::new_spanned(parameter, format!("a handler borrows the event: write `&{event}`"))),
    }
}

/// Reports a reference to an injected value that no value given to the builder can satisfy.
fn check_injected(ty: &Type) -> Option<Error> {
    let TypeReference { lifetime, mutability, elem, .. } = injected_reference(ty)?;
    if let Some(lifetime) = lifetime.as_ref().filter(|lifetime| lifetime.ident == "static") {
        let msg = "a handler borrows its values for one call: remove `'static`";
        return Some(Error::new_spanned(lifetime, msg));
    }
    if let Some(token) = mutability {
        let msg = "all handlers share the values: write `&T`, with a `Mutex` or an atomic in `T` if it changes";
        return Some(Error::new_spanned(token, msg));
    }
    let sized = match ungrouped(elem) {
        Type::Path(path) if path.path.is_ident("str") => "`&String`",
        Type::Slice(_) => "`&Vec<T>`",
        Type::TraitObject(_) => "`&Box<dyn Trait + Send + Sync>`",
        _ => return None,
    };
    let msg = format!("a value given with `.data(value)` has a size known at compile time: write {sized}");
    Some(Error::new_spanned(elem, msg))
}

/// The outermost reference of `&T`, `Option<&T>`, `Data<&T>` or `Option<Data<&T>>`.
fn injected_reference(ty: &Type) -> Option<&TypeReference> {
    match ungrouped(ty) {
        Type::Reference(reference) => Some(reference),
        Type::Path(path) => {
            let last = path.path.segments.last()?;
            match &last.arguments {
                PathArguments::AngleBracketed(arguments) if last.ident == "Option" || last.ident == "Data" => {
                    arguments.args.iter().find_map(|argument| match argument {
                        GenericArgument::Type(ty) => injected_reference(ty),
                        _ => None,
                    })
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// Removes parentheses, and the invisible group that `macro_rules!` puts around a `$parameter:ty`.
fn ungrouped(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => ungrouped(&group.elem),
        Type::Paren(paren) => ungrouped(&paren.elem),
        _ => ty,
    }
}
