//! The mails of `Mailer`, parsed as a mail program parses them: content, headers, templates, addresses, and what reaches the
//! log if sending fails.

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/doubles.rs"]
mod doubles;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/log.rs"]
mod log;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use doubles::{GOOD_PASSWORD, cheap_hash, key};
use log::Log;
use mail_parser::{Message, MessageParser, MimeHeaders as _};
use poem_password_reset::mail::{Mail, MailKind, MailPart, MailTransport, Mailer, MemoryOutbox, OutboxDirectory};
use poem_password_reset::store::MemoryUsers;
use poem_password_reset::{
    BoxError, BuildError, Client, PasswordReset, PasswordResetBuilder, Permanent, Problem, StoredUser,
};
use time::OffsetDateTime;

const FIREFOX: &str = "Mozilla/5.0 (Windows NT 10.0; rv:145.0) Gecko/20100101 Firefox/145.0";

fn ann() -> StoredUser {
    StoredUser::new(1, "ann@example.com", cheap_hash("old").ok()).with_username(Some("ann".to_owned()))
}

fn client() -> Client {
    Client::new(Some([192, 0, 2, 7].into()), Some(FIREFOX))
}

fn builder(user: StoredUser, mailer: Mailer) -> PasswordResetBuilder {
    PasswordReset::builder(MemoryUsers::new([user]), key())
        .link("https://app.example.com/reset-password#token={token}")
        .mailer(mailer)
        .linked_handlers(false)
        .hasher(cheap_hash)
        .clock(|| OffsetDateTime::from_unix_timestamp(1_795_382_760).unwrap())
}

fn acme(transport: impl MailTransport) -> Mailer {
    Mailer::new(transport).from("Acme <no-reply@acme.example>").brand("Acme")
}

/// Requests a reset and confirms it. Returns the mail with the link, and the notice.
async fn mails(user: StoredUser, change: impl FnOnce(Mailer) -> Mailer) -> [Mail; 2] {
    let outbox = MemoryOutbox::new();
    let email = user.email().to_owned();
    let builder = builder(user, change(acme(outbox.clone()))).international_addresses(true);
    let reset = builder.build().await.unwrap();
    reset.request(&email, client()).await.unwrap();
    let link = outbox.next().await;
    let token = token_of(&link).to_owned();
    reset.confirm(&token, GOOD_PASSWORD.into(), client()).await.unwrap();
    let notice = outbox.next().await;
    assert_eq!(notice.kind(), MailKind::Changed);
    assert!(!notice.text().contains(&token) && !notice.html().contains(&token));
    [link, notice]
}

/// Returns the token in a mail. Its link is on a line of its own in both parts.
fn token_of(mail: &Mail) -> &str {
    assert_eq!(mail.kind(), MailKind::Reset);
    let link = mail.text().lines().find(|line| line.starts_with("https://")).expect("the text has the link");
    let line = mail.html().lines().find(|line| line.starts_with("<a ")).expect("the HTML part has the link");
    assert!(line.contains(&format!("href=\"{link}\"")) && line.contains(&format!(">{link}</a>")), "{line}");
    link.strip_prefix("https://app.example.com/reset-password#token=").unwrap()
}

/// Returns the value of the only header with this name.
fn header<'m>(mail: &'m Message<'_>, name: &'static str) -> &'m str {
    let values: Vec<_> = mail.header_values(name.to_owned()).collect();
    assert_eq!(values.len(), 1, "{name}");
    values[0].as_text().unwrap_or_else(|| panic!("{name}: {:?}", values[0]))
}

#[tokio::test]
async fn mails_say_who_asked_until_when_and_what_to_do() {
    let [link, notice] = mails(ann(), |mailer| mailer.forgot_password("https://app.example.com/forgot")).await;
    assert_eq!((link.to(), link.subject()), ("ann@example.com", "Reset your Acme password"));
    assert_eq!((notice.to(), notice.subject()), ("ann@example.com", "Your Acme password was changed"));
    assert_eq!(link.from(), "Acme <no-reply@acme.example>");
    for part in [link.text(), link.html()] {
        let part = part.replace('\n', " ");
        assert!(part.contains("Hello ann,"), "{part}");
        assert!(part.contains("from the address 192.0.2.7 (Firefox on Windows)."), "{part}");
        assert!(part.contains("expires in 60 minutes (22 November 2026, 22:26 UTC)"), "{part}");
        assert!(part.contains("If you did not request this, ignore this email."), "{part}");
    }
    assert!(link.html().contains("If the button does not work"));
    for part in [notice.text(), notice.html()] {
        let part = part.replace('\n', " ");
        assert!(part.contains("was changed on 22 November 2026, 21:26 UTC from the address 192.0.2.7"), "{part}");
        assert!(part.contains("https://app.example.com/forgot"), "{part}");
    }
}

#[tokio::test]
async fn mime_message_has_two_parts_and_the_headers() {
    for mail in mails(ann(), |mailer| mailer).await {
        let raw = mail.mime();
        assert!(raw.split(|byte| *byte == b'\n').all(|line| line.len() <= 998 && line.is_ascii()), "RFC 5322, 2.1.1");
        let parsed = MessageParser::default().parse(&raw).unwrap();
        let kind = parsed.content_type().unwrap();
        assert_eq!((kind.ctype(), kind.subtype()), ("multipart", Some("alternative")));
        assert_eq!((parsed.text_body_count(), parsed.html_body_count(), parsed.attachment_count()), (1, 1, 0));
        // The text part comes first, because a mail program shows the last alternative that it supports (RFC 2046, 5.1.4).
        assert!(parsed.text_body < parsed.html_body);
        assert_eq!(parsed.body_text(0).unwrap().replace("\r\n", "\n"), mail.text());
        assert_eq!(parsed.body_html(0).unwrap().replace("\r\n", "\n"), mail.html());
        assert_eq!(parsed.subject(), Some(mail.subject()));
        assert_eq!(parsed.from().unwrap().first().unwrap().name(), Some("Acme"));
        assert!(parsed.date().is_some());
        let id = parsed.message_id().unwrap();
        assert!(id.ends_with("@acme.example") && mail.message_id() == format!("<{id}>"));
        for (name, value) in [
            ("Auto-Submitted", "auto-generated"),
            ("Content-Language", "en"),
            ("X-Mailgun-Track-Clicks", "no"),
            ("X-PM-TrackLinks", "None"),
            ("X-MC-Track", "none"),
            ("X-Mailjet-TrackClick", "0"),
        ] {
            assert!(mail.headers().any(|header| header == (name, value)), "{name}");
            let sent = parsed.header_raw(name).unwrap_or_else(|| panic!("{name} is missing"));
            assert_eq!(sent.trim(), value);
        }
        for (name, path) in
            [("X-SMTPAPI", "/filters/clicktrack/settings/enable"), ("X-MSYS-API", "/options/click_tracking")]
        {
            let value: serde_json::Value = serde_json::from_str(header(&parsed, name)).unwrap();
            let switch = value.pointer(path).unwrap();
            assert!(*switch == 0 || *switch == false, "{name}: {value}");
        }
    }
}

#[tokio::test]
async fn unknown_client_and_odd_username_are_left_out() {
    let outbox = MemoryOutbox::new();
    let user = ann().with_username(Some("win at evil.example".to_owned()));
    let reset = builder(user.clone(), Mailer::new(outbox.clone()).from("no-reply@acme.example")).build().await.unwrap();
    reset.send(&user, None).await.unwrap();
    let mail = outbox.next().await;
    assert_eq!(mail.subject(), "Reset your password");
    for part in [mail.text(), mail.html()] {
        assert!(part.contains("Hello,") && part.contains("the password of your account."), "{part}");
        assert!(!part.contains("evil") && !part.contains("none,"), "{part}");
    }
}

#[tokio::test]
async fn brand_and_sender_of_any_script_are_sent_whole() {
    for brand in [
        "\u{5e0}\u{5de}\u{5dc} \u{5d0}\u{5e8}\u{5d6}",
        "\u{d8}st & Co \u{1f41f}",
        "Acme, Inc.",
        "A".repeat(200).as_str(),
    ] {
        let sender = format!("{brand} <no-reply@b\u{fc}cher.example>");
        let [mail, _] = mails(ann(), |mailer| mailer.brand(brand).from(sender)).await;
        let raw = mail.mime();
        assert!(raw.split(|byte| *byte == b'\n').all(|line| line.len() <= 998 && line.is_ascii()));
        let parsed = MessageParser::default().parse(&raw).unwrap();
        assert_eq!(parsed.subject(), Some(format!("Reset your {brand} password").as_str()));
        let from = parsed.from().unwrap().first().unwrap();
        assert_eq!((from.name(), from.address()), (Some(brand), Some("no-reply@xn--bcher-kva.example")));
        assert!(parsed.message_id().unwrap().ends_with("@xn--bcher-kva.example"));
        let escaped = brand.replace('&', "&amp;");
        assert!(mail.html().contains(&format!("<bdi>{escaped}</bdi>")), "{}", mail.html());
    }
}

#[tokio::test]
async fn international_addresses_are_mailed() {
    for (email, sent_to) in [
        ("ann@b\u{fc}cher.example", "ann@xn--bcher-kva.example"),
        ("\u{5d0}\u{5e0}@example.com", "\u{5d0}\u{5e0}@example.com"),
    ] {
        let user = StoredUser::new(1, email, cheap_hash("old").ok());
        let [mail, _] = mails(user, |mailer| mailer).await;
        assert_eq!(mail.to(), email);
        let raw = mail.mime();
        let parsed = MessageParser::default().parse(&raw).unwrap();
        assert_eq!(parsed.to().unwrap().first().unwrap().address(), Some(sent_to));
    }
}

#[tokio::test]
async fn replaced_templates_are_used_and_the_others_stay() {
    let [link, notice] = mails(ann(), |mailer| {
        mailer
            .language("de")
            .template(MailKind::Reset, MailPart::Subject, "{{ brand }}: neues Passwort\r\nBcc: eve@example.com")
            .template(MailKind::Reset, MailPart::Text, "overridden below {{ link }}")
            .template(
                MailKind::Reset,
                MailPart::Text,
                "{{ name }} <{{ email }}>\n{{ link }}\n{{ address }} {{ browser }}\n",
            )
    })
    .await;
    assert_eq!(link.subject(), "Acme: neues Passwort Bcc: eve@example.com");
    assert!(link.text().starts_with("ann <ann@example.com>\nhttps://"), "{}", link.text());
    assert!(link.text().ends_with("192.0.2.7 Firefox on Windows\n"));
    assert!(link.html().contains("<html lang=\"de\">") && link.html().contains("<title>Acme: neues Passwort"));
    let raw = link.mime();
    let parsed = MessageParser::default().parse(&raw).unwrap();
    assert!(parsed.bcc().is_none() && parsed.to().unwrap().iter().count() == 1);
    assert_eq!(parsed.header_raw("Content-Language").unwrap().trim(), "de");
    assert_eq!(notice.subject(), "Your Acme password was changed");
}

async fn problems(mailer: Mailer) -> Vec<Problem> {
    let error: BuildError = builder(ann(), mailer).build().await.expect_err("the start fails");
    error.problems().to_vec()
}

/// Web mail shows the content of the body in a page of its own, without the elements around it.
#[tokio::test]
async fn content_of_html_mail_has_its_language_and_title_without_the_document_around_it() {
    for mail in mails(ann(), |mailer| mailer.language("de")).await {
        let (_, body) = mail.html().split_once("<body").unwrap();
        let content = body.split_once('>').unwrap().1.trim_start();
        let expected = format!("<div lang=\"de\" role=\"article\" aria-label=\"{}\">", mail.subject());
        assert!(content.starts_with(&expected), "{content}");
        assert!(content.contains("</div>\n</body>"), "{content}");
    }
}

#[tokio::test]
async fn broken_settings_stop_the_start_with_every_reason() {
    let mailer = Mailer::new(MemoryOutbox::new());
    // `NoHandler` is not among them: the mailer is the handler.
    assert_eq!(problems(mailer).await, [Problem::NoMailSender]);
    for from in ["", "Acme", "Acme <no-reply>", "Acme\r\nBcc: eve@example.com <no-reply@acme.example>"] {
        let expected = Problem::MailSender { from: from.to_owned() };
        assert_eq!(problems(acme(MemoryOutbox::new()).from(from)).await, [expected]);
    }
    let mailer = acme(MemoryOutbox::new())
        .brand("Acme\r\nBcc: eve@example.com")
        .forgot_password("/forgot-password")
        .language("en\r\nBcc: eve@example.com")
        .template(MailKind::Reset, MailPart::Html, "<a href=\"{{ link }}\">{{ liink }}</a>")
        .template(MailKind::Changed, MailPart::Text, "{% if name %}");
    let error = builder(ann(), mailer).build().await.unwrap_err();
    let text = error.to_string();
    assert_eq!(error.problems().len(), 5, "{text}");
    for part in ["setting brand", "setting forgot_password", "setting language"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(text.contains("the mail template reset.html is broken: undefined value"), "{text}");
    assert!(text.contains("the mail template changed.txt is broken: syntax error"), "{text}");
}

/// A relative address or another scheme would be a dead link in a mail.
#[tokio::test]
async fn page_in_the_notice_must_be_an_absolute_url() {
    for url in
        ["", "/forgot-password", "app.example.com", "mailto:ann@example.com", "https://", "https://a.example/b c"]
    {
        let found = problems(acme(MemoryOutbox::new()).forgot_password(url)).await;
        assert_eq!(found, [Problem::MailSetting { setting: "forgot_password", value: url.to_owned() }]);
    }
    for url in ["https://app.example.com/forgot", "http://localhost:3000/forgot", "HTTPS://App.example.com"] {
        builder(ann(), acme(MemoryOutbox::new()).forgot_password(url)).build().await.unwrap();
    }
}

#[tokio::test]
async fn mailer_counts_as_handler_and_annotated_ones_run_beside_it() {
    let (outbox, called) = (MemoryOutbox::new(), Arc::new(AtomicUsize::new(0)));
    let log = Log::default();
    let guard = log.of_thread();
    let (created, changed) = (Arc::clone(&called), Arc::clone(&called));
    let reset = builder(ann(), acme(outbox.clone()))
        .on_reset_token_created(move |_| {
            created.fetch_add(1, Ordering::SeqCst);
            async {}
        })
        .on_post_password_reset(move |_| {
            changed.fetch_add(1, Ordering::SeqCst);
            async {}
        })
        .build()
        .await
        .unwrap();
    assert!(log.text().contains("ResetTokenCreated: Mailer (tests/mail.rs:"), "{}", log.text());
    reset.request("ann@example.com", client()).await.unwrap();
    let mail = outbox.next().await;
    reset.confirm(token_of(&mail), GOOD_PASSWORD.into(), client()).await.unwrap();
    outbox.next().await;
    assert!(reset.shutdown(Duration::from_secs(30)).await.lost_requests == 0);
    assert_eq!(called.load(Ordering::SeqCst), 2);
    drop(guard);
}

/// A transport that fails with everything that it was given.
struct Talkative {
    permanent: bool,
    sends: Arc<AtomicUsize>,
}

impl MailTransport for Talkative {
    type Error = BoxError;

    async fn send(&self, mail: &Mail) -> Result<(), BoxError> {
        self.sends.fetch_add(1, Ordering::SeqCst);
        let text = format!("550 {} {} {}", mail.to(), mail.text(), mail.html());
        if self.permanent { Err(Permanent::new(text).into()) } else { Err(text.into()) }
    }
}

#[tokio::test]
async fn failure_is_logged_without_address_and_token() {
    let log = Log::default();
    let guard = log.of_thread();
    let sends = Arc::new(AtomicUsize::new(0));
    let transport = Talkative { permanent: true, sends: Arc::clone(&sends) };
    let reset = builder(ann(), acme(transport)).build().await.unwrap();
    reset.request("ann@example.com", client()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(60), async {
        while reset.ledger().failed == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("a permanent error ends the request, instead of waiting for a retry");
    let text = log.text();
    assert!(text.contains("a handler failed") && text.contains("the mail could not be sent: 550 "), "{text}");
    assert!(!text.contains("ann@example.com") && !text.contains("eyJ"), "{text}");
    assert_eq!(sends.load(Ordering::SeqCst), 1);
    drop(guard);
}

#[tokio::test]
async fn temporary_failure_is_tried_again_by_the_queue() {
    let sends = Arc::new(AtomicUsize::new(0));
    let transport = Talkative { permanent: false, sends: Arc::clone(&sends) };
    let reset = builder(ann(), acme(transport)).build().await.unwrap();
    reset.request("ann@example.com", client()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(60), async {
        while sends.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the queue calls the handler again");
    reset.shutdown(Duration::from_secs(30)).await;
}

#[tokio::test]
async fn sent_mail_is_logged_with_its_id_and_without_address_and_token() {
    let log = Log::default();
    let guard = log.of_thread();
    let outbox = MemoryOutbox::new();
    let reset = builder(ann(), acme(outbox.clone())).build().await.unwrap();
    reset.request("ann@example.com", client()).await.unwrap();
    reset.shutdown(Duration::from_secs(30)).await;
    let (text, mail) = (log.text(), outbox.next().await);
    assert!(text.contains("mail sent") && text.contains(mail.message_id()), "{text}");
    assert!(!text.contains("ann@example.com") && !text.contains(token_of(&mail)), "{text}");
    let debug = format!("{mail:?} {outbox:?}");
    assert!(!debug.contains("ann@") && !debug.contains("eyJ"), "{debug}");
    drop(guard);
}

#[tokio::test]
async fn outbox_directory_has_one_private_file_for_each_mail() {
    let path = std::env::temp_dir().join(format!("outbox-{}", std::process::id())).join("new");
    let outbox = OutboxDirectory::open(&path).unwrap();
    let user = ann();
    let reset = builder(user.clone(), acme(outbox.clone())).build().await.unwrap();
    for _ in 0..3 {
        reset.send(&user, None).await.unwrap();
    }
    let files: Vec<_> = std::fs::read_dir(outbox.path()).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 3, "no temporary files are left: {files:?}");
    for file in &files {
        assert!(file.extension().is_some_and(|extension| extension == "eml"));
        let raw = std::fs::read(file).unwrap();
        let parsed = MessageParser::default().parse(&raw).unwrap();
        assert_eq!(parsed.subject(), Some("Reset your Acme password"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    assert!(OutboxDirectory::open(files[0].join("x")).is_ok(), "a missing directory is created");
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    let file = std::env::temp_dir().join(format!("outbox-file-{}", std::process::id()));
    std::fs::write(&file, "").unwrap();
    assert!(OutboxDirectory::open(&file).is_err());
    std::fs::remove_file(file).unwrap();
}
