//! Settings that change a response.

use poem_password_reset::StoredUser;

use crate::http::Operation::{Confirm, Request, Validate};
use crate::http::doubles::GOOD_PASSWORD;
use crate::http::{Encoding, HttpRequest, Store, defaults, over_both_transports};

#[tokio::test]
async fn validate_with_user_details_returns_username_and_email() {
    over_both_transports(
        |builder| builder.user_details_on_validation(true),
        async |world| {
            let ann = world.post(Validate, &[("token", &world.token("1"))]).await;
            ann.is(200, r#"{"status":"OK","username":"annie","email":"ann@example.com"}"#);
            // Bob has no username.
            let bob = world.post(Validate, &[("token", &world.token("2"))]).await;
            bob.is(200, r#"{"status":"OK","email":"bob@example.com"}"#);
            world.post(Validate, &[("token", "bad")]).await.is_bad_token();
            world.post(Validate, &[("token", &world.token("3"))]).await.is_bad_token();
            world.post(Request, &[("email", "ann@example.com")]).await.is_ok();
            let confirm = [("token", &*world.token("1")), ("password", GOOD_PASSWORD)];
            world.send(&HttpRequest::post(Confirm).fields(Encoding::Json, &confirm)).await.is_ok();
        },
    )
    .await;
}

#[tokio::test]
async fn request_that_reveals_unknown_users_returns_400_for_unknown_address() {
    over_both_transports(
        |builder| builder.reveal_unknown_users(true),
        async |world| {
            world.post(Request, &[("email", "ann@example.com")]).await.is_ok();
            world.post(Request, &[("email", " ANN@example.com ")]).await.is_ok();
            let unknown = world.post(Request, &[("email", "nobody@example.com")]).await;
            unknown.is(400, r#"{"email":["No active user has this email address."]}"#);
            for ineligible in ["carol@example.com", "dave@example.com"] {
                assert_eq!(world.post(Request, &[("email", ineligible)]).await, unknown, "{ineligible}");
            }
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn request_that_reveals_unknown_users_with_store_down_returns_503() {
    let world = crate::http::World::in_process(|builder| builder.reveal_unknown_users(true)).await;
    world.store(Store::Errs);
    for email in ["ann@example.com", "nobody@example.com"] {
        world.post(Request, &[("email", email)]).await.is_unavailable();
    }
}

#[tokio::test]
async fn international_addresses_are_accepted_if_enabled() {
    over_both_transports(
        |builder| builder.international_addresses(true),
        async |world| {
            world.post(Request, &[("email", "änn@bücher.example")]).await.is_ok();
            world.post_json(Request, r#"{"email":"\u00e4nn@example.com"}"#).await.is_ok();
            for email in ["ä\u{202e}nn@example.com", "ä nn@example.com", "änn@example", "\u{ad}änn@example.com"] {
                world.post(Request, &[("email", email)]).await.is_faulty(&["email"]);
            }
            // The limit of 254 counts bytes, not characters.
            let long = "ä".repeat(121) + "@example.com";
            assert_eq!(long.len(), 254);
            world.post(Request, &[("email", &long)]).await.is_ok();
            world.post(Request, &[("email", &format!("a{long}"))]).await.is_faulty(&["email"]);
        },
    )
    .await;
}

#[tokio::test]
async fn lenient_addresses_are_accepted_if_enabled() {
    const LENIENT: [&str; 5] = [
        "taro..suzuki@example.ne.jp",
        "taro.@docomo.example",
        ".taro@docomo.example",
        "root@intranet",
        "ops@mail_host.example",
    ];
    over_both_transports(
        |builder| builder.lenient_addresses(true),
        async |world| {
            for email in LENIENT {
                world.users.put(StoredUser::new(email, email, Some("a hash".to_owned())));
                world.post(Request, &[("email", email)]).await.is_ok();
                world.post(Validate, &[("token", &world.token(email))]).await.is_ok();
            }
            let mut mails: Vec<_> = world.mails().await.into_iter().map(|(address, _)| address).collect();
            mails.dedup();
            assert_eq!(mails, LENIENT);
            for email in
                ["\"a..b\"@example.com", "a..b@[127.0.0.1]", ".@example.com", "../a@example.com", "a b@intranet"]
            {
                world.post(Request, &[("email", email)]).await.is_faulty(&["email"]);
            }
        },
    )
    .await;
    over_both_transports(defaults, async |world| {
        for email in LENIENT {
            world.users.put(StoredUser::new(email, email, Some("a hash".to_owned())));
            world.post(Request, &[("email", email)]).await.is_faulty(&["email"]);
        }
    })
    .await;
}

#[tokio::test]
async fn user_without_password_can_reset_if_enabled() {
    over_both_transports(
        |builder| builder.allow_first_password(true),
        async |world| {
            let token = world.token("4");
            world.post(Validate, &[("token", &token)]).await.is_ok();
            let confirm =
                HttpRequest::post(Confirm).fields(Encoding::Json, &[("token", &token), ("password", GOOD_PASSWORD)]);
            world.send(&confirm).await.is_ok();
            assert!(world.has_password("4", GOOD_PASSWORD));
            world.send(&confirm).await.is_bad_token();
            world.post(Validate, &[("token", &world.token("3"))]).await.is_bad_token();
        },
    )
    .await;
}
