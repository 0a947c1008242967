//! Connections that are used again.

use std::sync::Arc;
use std::time::Duration;

use poem_password_reset::mail::MailTransport as _;
use serde_json::json;

use crate::server::{MailServer, wait_until};
use crate::{described, mail, send_all, transport};

#[tokio::test]
async fn thousand_mails_share_few_connections() {
    const MAILS: usize = 1000;
    let Some(server) = MailServer::start(json!({})) else { return };
    let smtp = Arc::new(transport(&server.url("smtp", "", "")).connections(4));
    let mail = mail().await;
    for _ in 0..MAILS / 50 {
        send_all(&smtp, std::iter::repeat_n(mail.clone(), 50)).await;
    }
    assert_eq!(server.wait_for_mails(MAILS).await.len(), MAILS);
    // Each serves 100 mails.
    let connections = server.events("connect").len();
    assert!((MAILS / 100..MAILS / 20).contains(&connections), "{connections} connections");
}

#[tokio::test]
async fn no_more_connections_are_open_than_allowed() {
    // Each mail takes the server a moment, so that all of them wait at once.
    let Some(server) = MailServer::start(json!({ "delays": { "DATA": vec![0.2; 12] } })) else { return };
    let smtp = Arc::new(transport(&server.url("smtp", "", "")).connections(3));
    let mail = mail().await;
    send_all(&smtp, std::iter::repeat_n(mail, 12)).await;
    assert!(server.events("connect").len() <= 3);
}

#[tokio::test]
async fn connection_that_the_server_closed_is_replaced_without_a_failed_attempt() {
    let log = crate::log::Log::default();
    let _guard = log.of_thread();
    let Some(server) = MailServer::start(json!({ "idle_timeout": 1 })) else { return };
    let smtp = transport(&server.url("smtp", "", "")).idle_timeout(Duration::from_secs(600));
    smtp.send(&mail().await).await.unwrap();
    // The server closes the connection.
    tokio::time::sleep(Duration::from_secs(2)).await;
    smtp.send(&mail().await).await.unwrap();
    assert_eq!(server.wait_for_mails(2).await.len(), 2);
    assert_eq!(server.events("connect").len(), 2);
    assert!(!log.text().contains("retrying"), "{}", log.text());
}

#[tokio::test]
async fn idle_connection_is_closed_with_quit() {
    let Some(server) = MailServer::start(json!({})) else { return };
    let smtp = transport(&server.url("smtp", "", "")).idle_timeout(Duration::from_secs(1));
    smtp.send(&mail().await).await.unwrap();
    assert_eq!(server.commands("QUIT"), 0);
    wait_until("QUIT", || server.commands("QUIT") == 1).await;
    smtp.send(&mail().await).await.unwrap();
    assert_eq!(server.events("connect").len(), 2);
}

#[tokio::test]
async fn zero_idle_timeout_opens_a_connection_for_each_mail() {
    let Some(server) = MailServer::start(json!({})) else { return };
    let smtp = transport(&server.url("smtp", "", "")).idle_timeout(Duration::ZERO);
    for _ in 0..3 {
        smtp.send(&mail().await).await.unwrap();
    }
    wait_until("QUIT", || server.commands("QUIT") == 3).await;
    assert_eq!(server.events("connect").len(), 3);
}

/// A send times out while the server still works on the mail. Its late `250` must not answer the next mail, which the server
/// refuses.
#[tokio::test]
async fn late_reply_of_an_interrupted_send_does_not_answer_the_next_mail() {
    let settings =
        json!({ "delays": { "DATA": [4.0] }, "replies": { "DATA": [null, "554 5.7.1 spam", "554 5.7.1 spam"] } });
    let Some(server) = MailServer::start(settings) else { return };
    let smtp = transport(&server.url("smtp", "", "")).attempt_timeout(Duration::from_secs(20));
    let mail = mail().await;
    let interrupted = tokio::time::timeout(Duration::from_secs(2), smtp.send(&mail)).await;
    assert!(interrupted.is_err(), "the test needs a send that is interrupted");
    wait_until("the first mail", || server.commands("DATA") == 1).await;
    // If the connection were kept, the late reply would be there now.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (text, is_permanent) = described(smtp.send(&mail).await.unwrap_err());
    assert_eq!(text, "the mail server answered 554 5.7.1 to the mail (attempts: 1)");
    assert!(is_permanent);
    assert_eq!(server.events("connect").len(), 2, "the connection of the interrupted send is not used again");
}

/// The same with the transport's own timeout.
#[tokio::test]
async fn late_reply_after_a_timeout_does_not_answer_the_next_attempt() {
    let settings = json!({ "delays": { "DATA": [4.0] }, "replies": { "DATA": [null, "554 5.7.1 spam"] } });
    let Some(server) = MailServer::start(settings) else { return };
    let smtp = transport(&server.url("smtp", "", "")).attempt_timeout(Duration::from_secs(3));
    let (text, _) = described(smtp.send(&mail().await).await.unwrap_err());
    assert_eq!(text, "the mail server answered 554 5.7.1 to the mail (attempts: 2)");
}

/// A test or a script can have one runtime after the other. The task that closes idle connections ends with its runtime.
#[test]
fn idle_connection_is_closed_after_the_runtime_of_an_earlier_mail_ended() {
    let Some(server) = MailServer::start(json!({})) else { return };
    let url = server.url("smtp", "", "");
    let transport = transport(&url).idle_timeout(Duration::from_millis(300));
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime().block_on(async { transport.send(&mail().await).await.unwrap() });
    runtime().block_on(async {
        transport.send(&mail().await).await.unwrap();
        wait_until("QUIT", || server.commands("QUIT") > 0).await;
    });
    assert_eq!(server.accepted().len(), 2);
}
