//! The address of a client, over a socket: that of the peer, or the one that a trusted proxy names.

use poem_password_reset::PasswordResetBuilder;
use poem_password_reset::throttle::{Quota, Quotas};

use crate::http::{HttpRequest, Operation, World};

const HEADERS: [&str; 6] =
    ["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Client-IP", "CF-Connecting-IP", "True-Client-IP"];

/// Sends 60 requests, each with another address in this header, against a quota of ten per client. Returns how many pass.
async fn passing(header: &str, value: impl Fn(usize) -> String, trusted: &[&str]) -> usize {
    let settings = |builder: PasswordResetBuilder| {
        let quotas = Quotas::off().request_per_client(Quota::per_hour(10).unwrap());
        builder.quotas(quotas).trusted_proxies(trusted.to_vec())
    };
    let world = World::over_a_socket(settings).await;
    let mut passed = 0;
    for number in 0..60 {
        let request =
            HttpRequest::post(Operation::Request).header(header, &value(number)).json(r#"{"email":"ann@example.com"}"#);
        let status = world.send(&request).await.status;
        assert!(matches!(status, 200 | 429), "{status}");
        passed += usize::from(status == 200);
    }
    passed
}

fn claim(header: &str, number: usize) -> String {
    if header == "Forwarded" { format!("for=198.51.100.{number}") } else { format!("198.51.100.{number}") }
}

/// The peer of these requests is 127.0.0.1.
#[tokio::test]
async fn forwarded_address_is_used_only_from_a_trusted_proxy() {
    for header in HEADERS {
        for trusted in [&[][..], &["203.0.113.0/24"][..]] {
            assert_eq!(passing(header, |number| claim(header, number), trusted).await, 10, "{header}, {trusted:?}");
        }
        let expected = if matches!(header, "X-Forwarded-For" | "Forwarded") { 60 } else { 10 };
        let passed = passing(header, |number| claim(header, number), &["127.0.0.0/8"]).await;
        assert_eq!(passed, expected, "{header} from a trusted proxy");
    }
}

/// A proxy appends the address of its peer. The client can write everything to the left of it.
#[tokio::test]
async fn client_behind_a_trusted_proxy_cannot_forge_its_address() {
    for header in ["X-Forwarded-For", "Forwarded"] {
        let seen = if header == "Forwarded" { "for=192.0.2.7" } else { "192.0.2.7" };
        let value = |number| format!("{}, {seen}", claim(header, number));
        assert_eq!(passing(header, value, &["127.0.0.0/8"]).await, 10, "{header}");
    }
}
