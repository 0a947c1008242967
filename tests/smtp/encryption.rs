//! TLS, STARTTLS and sign-in.

use mail_parser::MessageParser;
use poem_password_reset::mail::MailTransport as _;
use serde_json::json;

use crate::server::MailServer;
use crate::{described, mail, mail_to, transport};

#[tokio::test]
async fn mail_and_password_cross_the_network_encrypted() {
    for (tls, scheme, after) in [("tls", "smtps", ""), ("starttls", "smtp", "?tls=required")] {
        let settings = json!({ "tls": tls, "user": "the user", "password": "hunter:2" });
        let Some(server) = MailServer::start(settings) else { return };
        let url = server.url(scheme, "the%20user:hunter%3A2@", after);
        let smtp = transport(&url).root_certificate(server.root_certificate()).unwrap();
        assert!(!format!("{smtp:?} {smtp}").contains("hunter") && smtp.to_string().starts_with("localhost:"));
        let mail = mail().await;
        smtp.send(&mail).await.unwrap();
        let received = server.wait_for_mails(1).await.remove(0);
        assert_eq!(received["tls"], true, "{tls}");
        assert_eq!(received["signed_in"], true, "{tls}");
        assert_eq!(received["sender"], "no-reply@acme.example");
        assert_eq!(received["recipients"], json!(["ann@example.com"]));
        let content = received["content"].as_str().unwrap().as_bytes();
        let parsed = MessageParser::default().parse(content).unwrap();
        assert_eq!(parsed.subject(), Some("Reset your Acme password"));
        assert_eq!(format!("<{}>", parsed.message_id().unwrap()), mail.message_id());
        assert_eq!(parsed.body_text(0).unwrap().replace("\r\n", "\n"), mail.text());
    }
}

#[tokio::test]
async fn certificate_that_does_not_fit_gets_no_mail_and_no_password() {
    for tls in ["tls", "starttls"] {
        for (settings, reason, trusted) in [
            (json!({ "tls": tls }), "UnknownIssuer", false),
            (json!({ "tls": tls, "certificate_for": "mail.example.com" }), "not valid for name", true),
            (json!({ "tls": tls, "certificate_for": "127.0.0.1" }), "not valid for name", true),
            (json!({ "tls": tls, "expired": true }), "xpired", true),
        ] {
            let Some(server) = MailServer::start(settings.clone()) else { return };
            let url = match tls {
                "tls" => server.url("smtps", "user:hunter2@", ""),
                _ => server.url("smtp", "user:hunter2@", "?tls=required"),
            };
            let mut smtp = transport(&url);
            if trusted {
                smtp = smtp.root_certificate(server.root_certificate()).unwrap();
            }
            let (reason_given, is_permanent) = described(smtp.send(&mail().await).await.unwrap_err());
            assert!(reason_given.starts_with("no encrypted connection to the mail server: "), "{reason_given}");
            assert!(reason_given.contains(reason) && reason_given.ends_with("(attempts: 1)"), "{reason_given}");
            // The operator can mend it before the request is too old.
            assert!(!is_permanent);
            assert!(server.commands("EHLO") == 0 || tls == "starttls", "{settings}");
            assert_eq!(server.commands("MAIL"), 0, "{settings}");
        }
    }
}

#[tokio::test]
async fn certificate_for_the_address_of_the_url_is_accepted() {
    let settings = json!({ "tls": "tls", "certificate_for": "127.0.0.1" });
    let Some(server) = MailServer::start(settings) else { return };
    let smtp = transport(&format!("smtps://127.0.0.1:{}", server.port));
    let smtp = smtp.root_certificate(server.root_certificate()).unwrap();
    smtp.send(&mail().await).await.unwrap();
}

/// An attacker on the network removes STARTTLS from the reply to EHLO.
#[tokio::test]
async fn server_without_starttls_gets_no_mail_and_no_password() {
    let Some(server) = MailServer::start(json!({ "user": "user", "password": "hunter2" })) else { return };
    let smtp = transport(&server.url("smtp", "user:hunter2@", "?tls=required"));
    let (reason, is_permanent) = described(smtp.send(&mail().await).await.unwrap_err());
    assert!(reason.starts_with("the mail server offers no STARTTLS"), "{reason}");
    assert!(!is_permanent && server.commands("MAIL") == 0 && server.accepted().is_empty());
}

/// An attacker on the network adds replies to the one to STARTTLS. They must not count as replies of the server.
#[tokio::test]
async fn replies_injected_before_the_handshake_are_not_believed() {
    for inject in ["250-injected\r\n250 AUTH PLAIN", "250 injected\r\n250 OK\r\n250 OK\r\n354 go on\r\n250 OK"] {
        let settings = json!({
            "tls": "starttls",
            "inject": inject,
            "replies": { "DATA": ["554 5.7.1 spam"] },
        });
        let Some(server) = MailServer::start(settings) else { return };
        let smtp = transport(&server.url("smtp", "", "?tls=required"));
        let smtp = smtp.root_certificate(server.root_certificate()).unwrap();
        let (reason, _) = described(smtp.send(&mail().await).await.unwrap_err());
        // The injected bytes are dropped, or break the handshake.
        let is_refused = reason.starts_with("the mail server answered 554 5.7.1 to the mail");
        assert!(is_refused || reason.starts_with("no encrypted connection"), "{reason}");
        assert!(server.events("mail").iter().all(|mail| mail["tls"] == true));
    }
}

#[tokio::test]
async fn wrong_password_is_tried_once_and_never_shown() {
    let Some(server) = MailServer::start(json!({ "user": "user", "password": "right" })) else { return };
    let smtp = transport(&server.url("smtp", "user:hunter2@", ""));
    let (reason, is_permanent) = described(smtp.send(&mail().await).await.unwrap_err());
    assert_eq!(reason, "the mail server answered 535 5.7.8 to AUTH (attempts: 1)");
    assert!(!is_permanent && server.events("connect").len() == 1);
}

#[tokio::test]
async fn international_address_needs_smtputf8_and_unicode_domain_does_not() {
    let Some(server) = MailServer::start(json!({})) else { return };
    let smtp = transport(&server.url("smtp", "", ""));
    smtp.send(&mail_to("\u{e4}nn@b\u{fc}cher.example").await).await.unwrap();
    smtp.send(&mail_to("ann@b\u{fc}cher.example").await).await.unwrap();
    let mails = server.wait_for_mails(2).await;
    assert_eq!(mails[0]["recipients"], json!(["\u{e4}nn@b\u{fc}cher.example"]));
    assert!(mails[0]["options"].as_array().unwrap().contains(&json!("SMTPUTF8")), "{}", mails[0]["options"]);
    assert_eq!(mails[1]["recipients"], json!(["ann@xn--bcher-kva.example"]));
    assert!(!mails[1]["options"].as_array().unwrap().contains(&json!("SMTPUTF8")));
}
