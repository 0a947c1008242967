//! Proxies in front of the application: the address of the client, and the warning about a missing setting.

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/doubles.rs"]
mod doubles;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/log.rs"]
mod log;

use std::time::Duration;

use doubles::{builder, no_mail, people};
use log::Log;
use poem::http::{HeaderMap, HeaderName, HeaderValue};
use poem_password_reset::{PasswordReset, PasswordResetBuilder, Problem};

const CLIENT: &str = "203.0.113.9";

/// A value of each header that proxies send.
const FORWARDING: [(&str, &str); 6] = [
    ("X-Forwarded-For", "203.0.113.9"),
    ("Forwarded", "for=203.0.113.9"),
    ("X-Real-IP", "203.0.113.9"),
    ("CF-Connecting-IP", "203.0.113.9"),
    ("True-Client-IP", "203.0.113.9"),
    ("Fly-Client-IP", "203.0.113.9"),
];

async fn built(settings: impl FnOnce(PasswordResetBuilder) -> PasswordResetBuilder) -> PasswordReset {
    settings(builder(people())).on_reset_token_created(no_mail).build().await.unwrap()
}

/// Returns the address of the client of a request.
fn client(reset: &PasswordReset, peer: &str, (name, value): (&str, &str)) -> String {
    let mut headers = HeaderMap::new();
    headers.insert("User-Agent", HeaderValue::from_static("Firefox"));
    headers.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    reset.client(peer.parse().ok(), &headers).address().unwrap().to_string()
}

fn warnings(log: &Log) -> Vec<String> {
    log.text().lines().filter(|line| line.contains("WARN")).map(str::to_owned).collect()
}

#[tokio::test]
async fn forwarding_header_from_untrusted_private_peer_logs_a_warning() {
    for header in FORWARDING {
        for (peer, trusted) in [("127.0.0.1", None), ("10.0.0.7", Some("10.0.0.8")), ("fd00::7", None)] {
            let log = Log::default();
            let _guard = log.of_thread();
            let reset = built(|builder| builder.trusted_proxies(trusted)).await;
            assert_eq!(client(&reset, peer, header), peer);
            let warnings = warnings(&log);
            assert_eq!(warnings.len(), 1, "{header:?} {peer}: {warnings:?}");
            let [name, setting] = [header.0.to_ascii_lowercase(), format!(".trusted_proxies([\"{peer}\"])")];
            for part in [&name, &setting, "share one quota"] {
                assert!(warnings[0].contains(part), "{part}: {warnings:?}");
            }
            assert!(!log.text().contains(CLIENT), "the log contains no address of a client");
        }
    }
}

#[tokio::test]
async fn public_peer_or_missing_forwarding_header_logs_no_warning() {
    let log = Log::default();
    let _guard = log.of_thread();
    let reset = built(|builder| builder).await;
    for header in FORWARDING {
        client(&reset, "198.51.100.1", header);
        client(&reset, "2001:db8::1", header);
    }
    client(&reset, "127.0.0.1", ("X-Request-Id", CLIENT));
    let reset = built(|builder| builder.trusted_proxies(["10.0.0.0/8"])).await;
    assert_eq!(client(&reset, "10.0.0.7", FORWARDING[0]), CLIENT);
    assert_eq!(client(&reset, "10.0.0.7", FORWARDING[1]), CLIENT);
    assert_eq!(client(&reset, "10.0.0.7", ("X-Request-Id", CLIENT)), "10.0.0.7");
    let reset = built(|builder| builder.trusted_proxies(["10.0.0.0/8"]).client_address_header("x-real-ip")).await;
    assert_eq!(client(&reset, "10.0.0.7", FORWARDING[2]), CLIENT);
    assert_eq!(warnings(&log), [""; 0]);
}

#[tokio::test]
async fn trusted_proxy_without_client_address_in_a_known_header_logs_a_warning() {
    for (configured, header) in [
        (None, FORWARDING[2]),
        (None, FORWARDING[3]),
        (Some("CF-Connecting-IP"), FORWARDING[0]),
        (Some("X-Own-Header"), ("X-Own-Header", "203.0.113.9, 203.0.113.9")),
    ] {
        let log = Log::default();
        let _guard = log.of_thread();
        let reset = built(|builder| {
            let builder = builder.trusted_proxies(["10.0.0.0/8"]);
            configured.into_iter().fold(builder, PasswordResetBuilder::client_address_header)
        })
        .await;
        assert_eq!(client(&reset, "10.0.0.7", header), "10.0.0.7");
        let warnings = warnings(&log);
        assert_eq!(warnings.len(), 1, "{header:?}: {warnings:?}");
        let read = configured.map_or("x-forwarded-for, forwarded".to_owned(), str::to_lowercase);
        for part in [&header.0.to_lowercase(), &read, ".client_address_header("] {
            assert!(warnings[0].contains(part), "{part}: {warnings:?}");
        }
        assert!(!log.text().contains(CLIENT), "the log contains no address of a client");
    }
}

#[tokio::test(start_paused = true)]
async fn proxy_warning_is_logged_at_most_once_an_hour() {
    let log = Log::default();
    let _guard = log.of_thread();
    let reset = built(|builder| builder).await;
    for expected in 1..4 {
        for number in 0..100 {
            client(&reset, &format!("10.0.0.{number}"), FORWARDING[number % FORWARDING.len()]);
        }
        assert_eq!(warnings(&log).len(), expected);
        tokio::time::advance(Duration::from_secs(3599)).await;
        client(&reset, "10.0.0.7", FORWARDING[0]);
        assert_eq!(warnings(&log).len(), expected);
        tokio::time::advance(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn client_address_header_without_trusted_proxies_is_ignored_with_a_warning() {
    let log = Log::default();
    let _guard = log.of_thread();
    let reset = built(|builder| builder.client_address_header("CF-Connecting-IP")).await;
    assert_eq!(client(&reset, "198.51.100.1", FORWARDING[3]), "198.51.100.1");
    let warnings = warnings(&log);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("cf-connecting-ip") && warnings[0].contains(".trusted_proxies("), "{warnings:?}");
}

#[tokio::test]
async fn build_with_invalid_client_address_header_returns_a_problem_with_its_fix() {
    for header in ["", "CF Connecting IP", "CF-Connecting-IP:", "ä", "X-Forwarded-For", "forwarded"] {
        let builder = builder(people()).on_reset_token_created(no_mail).client_address_header(header);
        let error = builder.build().await.unwrap_err();
        assert_eq!(error.problems(), [Problem::ClientAddressHeader { header: header.to_owned() }]);
        assert!(
            error.to_string().contains("set the name of the header in which your proxy sends one address"),
            "{error}"
        );
    }
}
