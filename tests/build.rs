//! `build()` refuses with every problem at once.

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/doubles.rs"]
mod doubles;

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/log.rs"]
mod log;

use std::convert::Infallible;

use doubles::{builder, key, no_mail, people};
use log::Log;
use poem_password_reset::{BuildError, PasswordPolicy, PasswordReset, Problem};
use time::{Duration, OffsetDateTime};

fn problem(error: BuildError) -> Problem {
    assert_eq!(error.problems().len(), 1, "{error}");
    error.problems()[0].clone()
}

#[tokio::test]
async fn complete_builder_builds() {
    builder(people()).on_reset_token_created(no_mail).build().await.unwrap();
}

#[tokio::test]
async fn tokens_are_valid_for_the_configured_lifetime() {
    let now = OffsetDateTime::UNIX_EPOCH;
    let good = || builder(people()).clock(move || now).on_reset_token_created(no_mail);
    for (builder, lifetime) in [(good(), Duration::HOUR), (good().lifetime(Duration::MINUTE), Duration::MINUTE)] {
        let reset = builder.build().await.unwrap();
        assert_eq!(reset.lifetime(), lifetime);
        let event = reset.issue(&people().get("1").unwrap(), None).unwrap();
        assert_eq!(event.expires_at(), now + lifetime);
    }
}

#[tokio::test]
async fn build_reports_each_problem() {
    let good = || builder(people()).on_reset_token_created(no_mail);
    assert_eq!(problem(builder(people()).build().await.unwrap_err()), Problem::NoHandler);
    let link = "http://app.example.com/#{token}".to_owned();
    assert_eq!(problem(good().link(link.as_str()).build().await.unwrap_err()), Problem::LinkNotHttps { link });
    for lifetime in [Duration::ZERO, -Duration::HOUR, Duration::milliseconds(999), Duration::DAY + Duration::SECOND] {
        assert_eq!(problem(good().lifetime(lifetime).build().await.unwrap_err()), Problem::Lifetime { lifetime });
    }
    for lifetime in [Duration::SECOND, Duration::DAY] {
        good().lifetime(lifetime).build().await.unwrap();
    }
    let unsalted = |password: &str| Ok::<_, Infallible>(format!("hash of {password}"));
    assert_eq!(problem(good().hasher(unsalted).build().await.unwrap_err()), Problem::UnsaltedHasher);
    let broken = |_: &str| Err::<String, _>("no randomness");
    let reason = "no randomness".to_owned();
    assert_eq!(problem(good().hasher(broken).build().await.unwrap_err()), Problem::HasherFails { reason });
    assert_eq!(problem(good().queue(0).build().await.unwrap_err()), Problem::Zero { setting: "queue" });
    assert_eq!(
        problem(good().handled_at_once(0).build().await.unwrap_err()),
        Problem::Zero { setting: "handled_at_once" }
    );
    let network = "10.0.0.0/33".to_owned();
    assert_eq!(
        problem(good().trusted_proxies([network.as_str()]).build().await.unwrap_err()),
        Problem::TrustedProxy { proxy: network }
    );
    good().trusted_proxies(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::1"]).build().await.unwrap();
    let policy = PasswordPolicy::default().min_chars(20).max_chars(10);
    assert_eq!(problem(good().policy(policy).build().await.unwrap_err()), Problem::PolicyLength { min: 20, max: 10 });
}

#[tokio::test]
async fn insecure_link_needs_a_private_host_and_logs_a_warning() {
    let build =
        |link: &str, allow| builder(people()).link(link).insecure_link(allow).on_reset_token_created(no_mail).build();
    let warning = "the link in the mails is http";
    for (link, allow, warns) in [
        ("http://192.168.1.5:3000/reset#token={token}", true, true),
        ("http://intranet/reset#token={token}", true, true),
        ("https://app.example.com/reset#token={token}", true, false),
        ("http://localhost:3000/reset#token={token}", false, false),
    ] {
        let log = Log::default();
        let _guard = log.of_thread();
        build(link, allow).await.unwrap();
        assert_eq!(log.text().contains(warning), warns, "{link}: {}", log.text());
    }
    for (link, allow) in [("http://192.168.1.5/{token}", false), ("http://app.example.com/{token}", true)] {
        let error = build(link, allow).await.unwrap_err();
        assert!(error.to_string().contains("`.insecure_link(true)`"), "the setting is named: {error}");
        assert_eq!(problem(error), Problem::LinkNotHttps { link: link.to_owned() });
    }
}

#[tokio::test]
async fn build_reports_all_problems_at_once() {
    let error = PasswordReset::builder(people(), key())
        .linked_handlers(false)
        .lifetime(Duration::ZERO)
        .queue(0)
        .trusted_proxies(["not a network"])
        .hasher(|password: &str| Ok::<_, Infallible>(password.to_owned()))
        .build()
        .await
        .unwrap_err();
    assert_eq!(error.problems().len(), 6, "{error}");
    let text = error.to_string();
    for expected in
        ["no link", "a lifetime of 0", "queue is zero", "not a network", "random salt", "use my_handlers as _;"]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert_eq!(text.lines().count(), 7, "a line for each: {text}");
    assert_eq!(format!("{error:?}"), text, "a `main` that returns the error prints its `Debug` form");
}
