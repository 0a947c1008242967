//! Bad tokens: every kind gets the same response, byte for byte, from both endpoints.

use std::sync::Arc;

use poem_password_reset::{PasswordResetBuilder, SigningKey, StoredUser, TokenCodec};
use time::{Duration, OffsetDateTime};
use tokio::sync::Barrier;

use crate::http::Operation::{Confirm, Validate};
use crate::http::doubles::{GOOD_PASSWORD, cheap_hash};
use crate::http::{Encoding, HttpRequest, Reply, World, defaults, over_both_transports};

#[tokio::test]
async fn every_kind_of_bad_token_has_the_same_response() {
    over_both_transports(defaults, async |world| {
        let good = world.token("1");
        let mut replies: Vec<(&str, Reply)> = Vec::new();
        for (class, token) in bad_tokens(world).await {
            for (operation, password) in [(Validate, None), (Confirm, Some(GOOD_PASSWORD)), (Confirm, Some("short"))] {
                let mut fields = vec![("token", token.as_str())];
                fields.extend(password.map(|password| ("password", password)));
                replies.push((class, world.post(operation, &fields).await));
            }
        }
        assert_eq!(replies.len(), 3 * 16);
        let (_, first) = &replies[0];
        first.is_bad_token();
        for (class, reply) in &replies {
            assert_eq!(reply, first, "{class}");
        }

        // The bad tokens changed nothing.
        assert!(world.has_password("1", "ann's old password"));
        world.post(Validate, &[("token", &good)]).await.is_ok();
        let confirm = [("token", good.as_str()), ("password", GOOD_PASSWORD)];
        world.send(&HttpRequest::post(Confirm).fields(Encoding::Json, &confirm)).await.is_ok();
    })
    .await;
}

async fn bad_tokens(world: &World) -> Vec<(&'static str, String)> {
    let now = OffsetDateTime::now_utc();
    let good = world.token("1");
    let [header, claims, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let other_key = TokenCodec::new(SigningKey::from_bytes(b"the signing key of another owner").unwrap());
    let forged = other_key.issue(&world.users.get("1").unwrap(), now, Duration::HOUR).unwrap().expose().to_owned();
    let forged_signature = forged.rsplit('.').next().unwrap();
    let mut bad = vec![
        ("no token at all", "abc".to_owned()),
        ("too long", "a.b.".to_owned() + &"c".repeat(2000)),
        ("not ASCII", "ä.ö.ü".to_owned()),
        ("without a signature", format!("{header}.{claims}.")),
        ("signed with another key", forged.clone()),
        ("another key's signature", format!("{header}.{claims}.{forged_signature}")),
        ("other claims", format!("{header}.{claims}A.{signature}")),
        ("in upper case", good.to_uppercase()),
        ("alg none", format!("eyJhbGciOiJub25lIn0.{claims}.")),
        ("expired", world.token_at("1", now - Duration::HOUR)),
        ("of the future", world.token_at("1", now + Duration::minutes(2))),
    ];

    let used = world.token("2");
    let confirm = [("token", used.as_str()), ("password", GOOD_PASSWORD)];
    world.send(&HttpRequest::post(Confirm).fields(Encoding::Json, &confirm)).await.is_ok();
    bad.push(("used", used));

    let put = |id: u32, email: &str, hash: Option<String>| world.users.put(StoredUser::new(id, email, hash));
    let hash = || Some(cheap_hash("a password").unwrap());
    put(10, "erin@example.com", hash());
    bad.push(("stale", world.token("10")));
    put(10, "erin@example.org", hash());

    put(11, "frank@example.com", hash());
    bad.push(("of an unknown user", world.token("11")));
    world.users.remove("11");

    bad.push(("of a deactivated user", world.token("3")));
    bad.push(("of a user without a password", world.token("4")));
    bad
}

/// Two confirmations have both checked the token before either writes. The one that loses gets the response to a bad token.
#[tokio::test]
async fn confirm_that_loses_a_race_returns_404() {
    let settings = |builder: PasswordResetBuilder| {
        let both_checked = Arc::new(Barrier::new(2));
        builder.on_pre_password_reset(move |_| {
            let both_checked = Arc::clone(&both_checked);
            async move {
                both_checked.wait().await;
            }
        })
    };
    // Not `over_both_transports`, because the winner differs from run to run.
    for world in [World::in_process(settings).await, World::over_a_socket(settings).await] {
        for encoding in Encoding::ALL {
            let token = world.token("1");
            let confirm = |password| {
                HttpRequest::post(Confirm).fields(encoding, &[("token", token.as_str()), ("password", password)])
            };
            let (one, other) = (confirm(GOOD_PASSWORD), confirm("another good one"));
            let (one, other) = tokio::join!(world.send(&one), world.send(&other));
            let (winner, loser) = if one.status == 200 { (one, other) } else { (other, one) };
            winner.is_ok();
            loser.is_bad_token();
        }
    }
}

#[tokio::test]
async fn token_is_valid_until_it_expires_without_leeway() {
    over_both_transports(defaults, async |world| {
        let now = OffsetDateTime::now_utc();
        let almost = world.token_at("1", now - Duration::HOUR + Duration::seconds(30));
        world.post(Validate, &[("token", &almost)]).await.is_ok();
        let expired = world.token_at("1", now - Duration::HOUR);
        world.post(Validate, &[("token", &expired)]).await.is_bad_token();
    })
    .await;
}

#[tokio::test]
async fn validate_changes_nothing_and_can_be_repeated() {
    over_both_transports(defaults, async |world| {
        let token = world.token("1");
        for _ in 0..10 {
            world.post(Validate, &[("token", &token)]).await.is_ok();
        }
        assert_eq!(world.calls.replace_password.load(std::sync::atomic::Ordering::SeqCst), 0);
        let [first, again] = [GOOD_PASSWORD, "another good one"].map(|password| {
            HttpRequest::post(Confirm).fields(Encoding::Json, &[("token", &token), ("password", password)])
        });
        world.send(&first).await.is_ok();
        world.send(&again).await.is_bad_token();
        world.post(Validate, &[("token", &token)]).await.is_bad_token();
        assert!(world.has_password("1", GOOD_PASSWORD));
    })
    .await;
}
