//! `SmtpTransport` with a real mail server, aiosmtpd: encryption, sign-in, refusals, cuts, silence, and connections that are
//! used again. The tests are skipped with a message if Python or aiosmtpd is not installed.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion, in its helpers too")]

mod encryption;
mod failures;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "../support/log.rs"]
mod log;
mod pool;
mod server;
#[path = "../support/server.rs"]
mod services;

use std::sync::Arc;
use std::time::Duration;

use poem_password_reset::mail::{Mail, MailTransport, Mailer, MemoryOutbox, SmtpTransport};
use poem_password_reset::store::MemoryUsers;
use poem_password_reset::{BoxError, PasswordReset, Permanent, SigningKey, StoredUser};

/// Returns a mail with a link, to this address.
async fn mail_to(address: &str) -> Mail {
    let outbox = MemoryOutbox::new();
    let user = StoredUser::new(1, address, Some("a hash".to_owned()));
    let mailer = Mailer::new(outbox.clone()).from("Acme <no-reply@acme.example>").brand("Acme");
    let reset = PasswordReset::builder(MemoryUsers::new([user.clone()]), SigningKey::generate().unwrap())
        .link("https://app.example.com/reset-password#token={token}")
        .mailer(mailer)
        .linked_handlers(false)
        .build()
        .await
        .unwrap();
    reset.send(&user, None).await.unwrap();
    outbox.next().await
}

async fn mail() -> Mail {
    mail_to("ann@example.com").await
}

/// Returns a transport whose attempts are long enough for a busy machine.
fn transport(url: &str) -> SmtpTransport {
    SmtpTransport::from_url(url).unwrap().attempt_timeout(Duration::from_secs(30))
}

/// Returns the text of an error with its sources, and whether it is permanent.
fn described(error: BoxError) -> (String, bool) {
    (error.to_string(), error.is::<Permanent>())
}

/// Sends the mails at the same time, and asserts that all are accepted.
async fn send_all(transport: &Arc<SmtpTransport>, mails: impl IntoIterator<Item = Mail>) {
    let sends = mails.into_iter().map(|mail| {
        let transport = Arc::clone(transport);
        tokio::spawn(async move { transport.send(&mail).await })
    });
    for send in sends.collect::<Vec<_>>() {
        send.await.unwrap().unwrap();
    }
}
