//! The attributes work without a prelude, with shadowed names, in macros, with `cfg`, and in nested modules.

#![no_implicit_prelude]
#![forbid(unsafe_code)]
// Generated code causes no lint. The allowed lints concern the handlers below.
#![deny(warnings, clippy::all, clippy::pedantic)]
#![allow(clippy::unused_async, clippy::non_minimal_cfg, clippy::type_complexity)]

pub extern crate poem_password_reset as renamed;

use ::renamed::store::MemoryUsers;
use ::renamed::{PasswordReset, SigningKey, StoredUser};
use ::std::prelude::rust_2024::{Clone, Fn, None, Result, Send, Some, Sync, ToOwned, Vec};

static RAN: ::std::sync::Mutex<Vec<&str>> = ::std::sync::Mutex::new(Vec::new());

fn ran(name: &'static str) {
    RAN.lock().expect("no handler panics while it is locked").push(name);
}

/// Items that shadow the names that generated code could use.
#[allow(dead_code)]
mod shadowed {
    pub struct Box;
    pub struct Data;
    pub struct Deps;
    pub struct Err;
    pub struct Handler;
    pub struct Ok;
    pub struct Option;
    pub struct Pin;
    pub struct PostPasswordReset;
    pub struct Requirements;
    pub struct ResetTokenCreated;
    pub struct Result;
    pub struct String;
    pub struct Vec;
    pub trait FromDeps {}
    pub trait Future {}
    pub trait HandlerOutput {}
    pub trait Into {}
    pub trait IsEvent {}
    pub mod core {}
    pub mod inventory {}
    pub mod poem_password_reset {}
    pub mod std {}

    macro_rules! refuse {
        ($($name:ident)*) => { $(
            #[allow(unused_macros)]
            macro_rules! $name { () => {} }
            #[allow(unused_imports)]
            pub(crate) use $name;
        )* };
    }
    refuse!(concat file line module_path stringify submit);
}

mod names {
    #[allow(unused_imports)]
    use super::shadowed::*;
    use ::renamed::on_reset_token_created;

    #[on_reset_token_created]
    async fn call(_: &::renamed::ResetTokenCreated) {
        crate::ran("names::call");
    }

    #[on_reset_token_created]
    async fn deps(call: &::renamed::ResetTokenCreated, event: &u8) -> ::std::result::Result<(), ::std::io::Error> {
        ::std::assert!(call.user().is_active() && *event == 8);
        crate::ran("names::deps");
        ::std::result::Result::Ok(())
    }

    #[on_reset_token_created]
    async fn event(event: &::renamed::ResetTokenCreated) {
        ::std::assert!(event.user().is_active());
        crate::ran("names::event");
    }

    #[on_reset_token_created]
    async fn requirements(
        _: &::renamed::ResetTokenCreated,
        ::poem::web::Data(Handler): ::poem::web::Data<&Handler>,
        Handler: &Handler,
        none: ::std::option::Option<::poem::web::Data<&String>>,
        nothing: ::std::option::Option<&String>,
    ) {
        ::std::assert!(none.is_none() && nothing.is_none());
        crate::ran("names::requirements");
    }

    #[on_reset_token_created]
    async fn r#type(_: &::renamed::ResetTokenCreated) {
        crate::ran("names::type");
    }
}

/// The path for the macros below, as macros of other crates use it.
pub use ::renamed as library;

mod macros {
    macro_rules! whole {
        () => {
            #[::renamed::on_reset_token_created]
            async fn whole(event: &::renamed::ResetTokenCreated, eight: &u8) {
                ::std::assert!(event.user().is_active() && *eight == 8);
                crate::ran("macros::whole");
            }
        };
    }
    whole!();

    macro_rules! named {
        ($name:ident, $event:ty, $data:ty, $text:literal) => {
            #[$crate::library::on_reset_token_created(crate = $crate::library)]
            async fn $name(event: $event, data: $data) {
                ::std::assert!(event.user().is_active() && **data == 8);
                crate::ran($text);
            }
        };
    }
    named!(event, &::renamed::ResetTokenCreated, ::poem::web::Data<&u8>, "macros::event");

    macro_rules! borrowed {
        ($data:ty, $referent:ty) => {
            #[$crate::library::on_reset_token_created(crate = $crate::library)]
            async fn borrowed(_: &::renamed::ResetTokenCreated, eight: $data, handler: &$referent) {
                ::std::assert!(*eight == 8);
                let super::shadowed::Handler = handler;
                crate::ran("macros::borrowed");
            }
        };
    }
    borrowed!(&u8, super::shadowed::Handler);

    macro_rules! around {
        ($($item:item)*) => { $($item)* };
    }
    around! {
        #[::renamed::on_reset_token_created]
        async fn given(_: &::renamed::ResetTokenCreated) {
            crate::ran("macros::given");
        }
    }

    macro_rules! referent {
        ($event:ty) => {
            #[::renamed::on_reset_token_created]
            async fn referent(_: &$event) {
                crate::ran("macros::referent");
            }
        };
    }
    referent!(::renamed::ResetTokenCreated);
}

mod configured {
    use ::renamed::{ResetTokenCreated, on_reset_token_created};

    #[on_reset_token_created]
    #[cfg(all())]
    async fn on(_: &ResetTokenCreated) {
        crate::ran("configured::on");
    }

    #[on_reset_token_created]
    #[cfg(any())]
    async fn off_below(_: &ResetTokenCreated) {}

    #[cfg(any())]
    #[on_reset_token_created]
    async fn off_above(_: &ResetTokenCreated) {}

    #[on_reset_token_created]
    #[cfg_attr(all(), cfg(any()), allow(dead_code))]
    async fn off_by_attribute(_: &ResetTokenCreated) {}

    #[on_reset_token_created]
    #[cfg_attr(all(), allow(clippy::unused_async), must_use)]
    async fn other_attribute(_: &ResetTokenCreated) {
        crate::ran("configured::other_attribute");
    }

    #[cfg_attr(all(), on_reset_token_created)]
    async fn attribute_on(_: &ResetTokenCreated) {
        crate::ran("configured::attribute_on");
    }

    #[cfg_attr(any(), on_reset_token_created)]
    #[allow(dead_code)]
    async fn attribute_off(_: &ResetTokenCreated) {
        crate::ran("configured::attribute_off");
    }

    #[on_reset_token_created]
    #[cfg(all())]
    async fn either(_: &ResetTokenCreated) {
        crate::ran("configured::either");
    }

    #[on_reset_token_created]
    #[cfg(not(all()))]
    async fn either(_: &ResetTokenCreated) {}
}

mod outer {
    const LAST: i32 = i32::MAX;

    mod inner {
        use super::LAST;
        use ::poem::web::Data;
        use ::renamed::{ResetTokenCreated, on_reset_token_created};
        use ::std::prelude::rust_2024::{Box, Fn, Send, Sync};

        type Created = ResetTokenCreated;
        type Greet = Box<dyn Fn(&str) -> usize + Send + Sync>;

        #[on_reset_token_created(priority = LAST)]
        async fn a_last(_: &Created) {
            crate::ran("outer::inner::a_last");
        }

        #[on_reset_token_created(priority = -2, crate = ::renamed,)]
        async fn z_first(
            event: &ResetTokenCreated,
            greet: Data<&Greet>,
            spelled: Data<&Box<dyn Fn(&str) -> usize + Send + Sync>>,
        ) {
            ::std::assert_eq!(greet("four"), spelled(event.user().id()) + 3);
            crate::ran("outer::inner::z_first");
        }
    }
}

fn inside_a_function() {
    use ::renamed::{ResetTokenCreated, on_reset_token_created};

    struct Private;

    #[on_reset_token_created]
    async fn inside(_: &ResetTokenCreated, none: ::std::option::Option<::poem::web::Data<&Private>>) {
        ::std::assert!(none.is_none());
        ran("inside");
    }
    let _ = Private;
}

/// Handlers of the other two attributes. They only have to compile.
mod other_events {
    use ::renamed::{PostPasswordReset, PrePasswordReset, on_post_password_reset, on_pre_password_reset};

    #[on_pre_password_reset]
    async fn pre(_: &PrePasswordReset) -> ::std::result::Result<(), ::renamed::Veto> {
        ::std::result::Result::Ok(())
    }

    #[on_post_password_reset]
    async fn post(_: &PostPasswordReset) {}
}

#[test]
fn handlers_in_unusual_surroundings_are_called_once_in_order() {
    inside_a_function();
    let greet: ::std::boxed::Box<dyn Fn(&str) -> usize + Send + Sync> = ::std::boxed::Box::new(str::len);
    let user = StoredUser::new(1, "ann@example.com", Some("hash".to_owned()));
    let build = async || -> Result<PasswordReset, ::renamed::BoxError> {
        let key = SigningKey::from_bytes(b"the signing key of the tests, 32+")?;
        let reset = PasswordReset::builder(MemoryUsers::new([user.clone()]), key)
            .link("https://app.example.com/#{token}")
            .data(8_u8)
            .data(shadowed::Handler)
            .data(greet)
            .build()
            .await?;
        Result::Ok(reset)
    };
    let runtime = ::tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { build().await.unwrap().send(&user, None).await }).unwrap();
    let ran = ::std::mem::take(&mut *RAN.lock().unwrap());
    let expected = [
        "outer::inner::z_first",
        "configured::attribute_on",
        "configured::either",
        "configured::on",
        "configured::other_attribute",
        "inside",
        "macros::borrowed",
        "macros::event",
        "macros::given",
        "macros::referent",
        "macros::whole",
        "names::call",
        "names::deps",
        "names::event",
        "names::requirements",
        "names::type",
        "outer::inner::a_last",
    ];
    ::std::assert_eq!(ran, expected);
}
