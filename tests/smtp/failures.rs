//! Refusals, grey-listing, cuts and silence.

use std::time::Duration;

use poem_password_reset::mail::MailTransport as _;
use serde_json::json;

use crate::server::MailServer;
use crate::{described, mail, transport};

#[tokio::test]
async fn refused_mail_fails_permanently_after_one_attempt() {
    for (command, reply, reason) in [
        ("RCPT", "550 5.1.1 <{address}> is unknown", "answered 550 5.1.1 to RCPT TO"),
        ("DATA", "554 5.7.1 spam", "answered 554 5.7.1 to the mail"),
    ] {
        let Some(server) = MailServer::start(json!({ "replies": { (command): [reply] } })) else { return };
        let smtp = transport(&server.url("smtp", "", ""));
        let (text, is_permanent) = described(smtp.send(&mail().await).await.unwrap_err());
        assert_eq!(text, format!("the mail server {reason} (attempts: 1)"));
        assert!(is_permanent);
        assert_eq!(server.events("connect").len(), 1);
        // The next mail is not affected.
        smtp.send(&mail().await).await.unwrap();
    }
}

#[tokio::test]
async fn refused_sender_may_be_accepted_later() {
    let Some(server) = MailServer::start(json!({ "replies": { "MAIL": ["553 5.7.1 not yours"] } })) else { return };
    let smtp = transport(&server.url("smtp", "", ""));
    let (text, is_permanent) = described(smtp.send(&mail().await).await.unwrap_err());
    assert_eq!(text, "the mail server answered 553 5.7.1 to MAIL FROM (attempts: 1)");
    assert!(!is_permanent);
}

#[tokio::test]
async fn greylisted_mail_is_accepted_at_the_next_attempt() {
    let replies = json!({ "replies": { "RCPT": ["451 4.7.1 greylisted", "450 4.7.1 greylisted"] } });
    let Some(server) = MailServer::start(replies) else { return };
    let smtp = transport(&server.url("smtp", "", ""));
    smtp.send(&mail().await).await.unwrap();
    assert_eq!(server.wait_for_mails(1).await.len(), 1);
    assert_eq!(server.commands("RCPT"), 3);
}

#[tokio::test]
async fn mail_greylisted_three_times_fails_for_now() {
    let replies = json!({ "replies": { "RCPT": vec!["451 4.7.1 greylisted"; 3] } });
    let Some(server) = MailServer::start(replies) else { return };
    let smtp = transport(&server.url("smtp", "", ""));
    let (text, is_permanent) = described(smtp.send(&mail().await).await.unwrap_err());
    assert_eq!(text, "the mail server answered 451 4.7.1 to RCPT TO (attempts: 3)");
    assert!(!is_permanent);
}

#[tokio::test]
async fn cut_connection_is_tried_again() {
    for command in ["EHLO", "MAIL", "RCPT", "DATA"] {
        let Some(server) = MailServer::start(json!({ "cut": { (command): [true] } })) else { return };
        let smtp = transport(&server.url("smtp", "", ""));
        let mail = mail().await;
        smtp.send(&mail).await.unwrap();
        let mails = server.wait_for_mails(1).await;
        assert_eq!(server.events("connect").len(), 2, "cut at {command}");
        // A mail that was read before the cut arrives twice, with one id.
        let id = format!("Message-ID: {}", mail.message_id());
        assert!(mails.iter().all(|mail| mail["content"].as_str().unwrap().contains(&id)));
    }
}

#[tokio::test]
async fn slow_server_is_waited_for() {
    let second = json!([1.0]);
    let delays = json!({ "delays": { "EHLO": second, "MAIL": second, "RCPT": second, "DATA": second } });
    let Some(server) = MailServer::start(delays) else { return };
    let smtp = transport(&server.url("smtp", "", ""));
    smtp.send(&mail().await).await.unwrap();
    assert_eq!(server.wait_for_mails(1).await.len(), 1);
    assert_eq!(server.events("connect").len(), 1);
}

#[tokio::test]
async fn silent_server_is_given_up_after_three_timeouts() {
    for settings in [json!({ "silent": true }), json!({ "delays": { "RCPT": [600, 600, 600] } })] {
        let Some(server) = MailServer::start(settings) else { return };
        let smtp = transport(&server.url("smtp", "", "")).attempt_timeout(Duration::from_secs(2));
        let (text, is_permanent) = described(smtp.send(&mail().await).await.unwrap_err());
        assert_eq!(text, "the mail server did not finish within 2s (attempts: 3)");
        assert!(!is_permanent);
    }
}

/// The server's process is stopped: its system accepts connections, and nothing answers.
#[tokio::test]
async fn server_that_hangs_for_a_while_gets_the_mail_afterwards() {
    let Some(server) = MailServer::start(json!({})) else { return };
    let smtp = transport(&server.url("smtp", "", "")).attempt_timeout(Duration::from_secs(5));
    smtp.send(&mail().await).await.unwrap();
    server.signal("STOP");
    let (sent, ()) = tokio::join!(async { smtp.send(&mail().await).await }, async {
        tokio::time::sleep(Duration::from_secs(6)).await;
        server.signal("CONT");
    });
    sent.unwrap();
    server.wait_for_mails(2).await;
}
