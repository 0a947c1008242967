//! The operation **request**: the answer comes before the look-up, mail goes to the address on record, and every
//! accepted request is accounted for.

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/doubles.rs"]
mod doubles;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use doubles::{Call, Calls, Finds, Watched, builder, no_mail, people};
use poem_password_reset::store::MemoryUsers;
use poem_password_reset::{
    BoxError, Client, IssueError, Ledger, PasswordReset, PasswordResetBuilder, ResetError, ResetTokenCreated,
    SendError, StoredUser, Unavailable, UserStore,
};
use time::{Duration as TimeDuration, OffsetDateTime};

/// A handler that records the address and the link of each event.
#[derive(Clone, Default)]
struct Outbox(Arc<Mutex<Vec<(String, String)>>>);

impl Outbox {
    fn receive(&self, event: &ResetTokenCreated) {
        self.0.lock().unwrap().push((event.user().email().to_owned(), event.link().to_owned()));
    }

    fn handler(&self) -> impl Fn(Arc<ResetTokenCreated>) -> std::future::Ready<()> + Send + Sync + 'static {
        let outbox = self.clone();
        move |event| {
            outbox.receive(&event);
            std::future::ready(())
        }
    }

    fn addresses(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(address, _)| address.clone()).collect()
    }
}

fn with_outbox(users: impl UserStore) -> (PasswordResetBuilder, Outbox) {
    let outbox = Outbox::default();
    (builder(users).on_reset_token_created(outbox.handler()), outbox)
}

async fn settled(reset: &PasswordReset) -> Ledger {
    loop {
        let ledger = reset.ledger();
        assert!(adds_up(ledger), "{ledger:?}");
        if ledger.waiting == 0 {
            return ledger;
        }
        tokio::task::yield_now().await;
    }
}

fn adds_up(ledger: Ledger) -> bool {
    ledger.accepted
        == ledger.delivered + ledger.failed + ledger.ineligible + ledger.suppressed + ledger.lost + ledger.waiting
}

#[tokio::test]
async fn eligible_user_gets_a_valid_link_at_the_address_on_record() {
    let users = people();
    let (builder, outbox) = with_outbox(users);
    let reset = builder.build().await.unwrap();
    reset.request("  ANN@Example.COM ", Client::none()).await.unwrap();
    assert_eq!(settled(&reset).await.delivered, 1);
    let (address, link) = outbox.0.lock().unwrap()[0].clone();
    assert_eq!(address, "ann@example.com", "the address on record, not the one typed");
    let token = link.strip_prefix("https://app.example.com/reset-password#token=").unwrap();
    assert_eq!(reset.validate(token).await.unwrap().user().id(), "1");
}

#[tokio::test]
async fn ineligible_and_unknown_users_get_no_mail() {
    let (builder, outbox) = with_outbox(people());
    let reset = builder.build().await.unwrap();
    for email in ["nobody@example.com", "carol@example.com", "dave@example.com"] {
        reset.request(email, Client::none()).await.unwrap();
    }
    let ledger = settled(&reset).await;
    assert_eq!((ledger.accepted, ledger.ineligible), (3, 3));
    assert!(outbox.addresses().is_empty());
}

#[tokio::test]
async fn user_without_password_gets_mail_only_if_first_passwords_are_allowed() {
    let (builder, outbox) = with_outbox(people());
    let reset = builder.allow_first_password(true).build().await.unwrap();
    reset.request("dave@example.com", Client::none()).await.unwrap();
    reset.request("carol@example.com", Client::none()).await.unwrap();
    settled(&reset).await;
    assert_eq!(outbox.addresses(), ["dave@example.com"]);
}

/// With a store that hangs, every request still returns before its look-up begins.
#[tokio::test(start_paused = true)]
async fn request_returns_before_the_look_up() {
    for email in ["ann@example.com", "nobody@example.com"] {
        let calls = Arc::new(Calls::default());
        let (builder, _) = with_outbox(Watched {
            users: people(),
            calls: Arc::clone(&calls),
            before: async |_| std::future::pending::<Result<(), BoxError>>().await,
        });
        let reset = builder.build().await.unwrap();
        let before = tokio::time::Instant::now();
        reset.request(email, Client::none()).await.unwrap();
        assert_eq!(calls.all(), 0, "no user was looked up yet");
        assert_eq!(before.elapsed(), Duration::ZERO);
    }
}

/// A handler that hangs, fails or panics does not change the result or delay the next request.
#[tokio::test(start_paused = true)]
async fn handlers_neither_delay_nor_change_the_result_of_request() {
    type Outcome = Result<(), BoxError>;
    async fn fault(kind: usize) -> Outcome {
        match kind {
            0 => std::future::pending::<Outcome>().await,
            1 => Err("no mail today".into()),
            _ => panic!("an injected panic"),
        }
    }
    for kind in 0..3 {
        let reset = builder(people()).on_reset_token_created(move |_| fault(kind)).build().await.unwrap();
        let before = tokio::time::Instant::now();
        for email in ["ann@example.com", "nobody@example.com", "ann@example.com"] {
            reset.request(email, Client::none()).await.unwrap();
        }
        assert_eq!(before.elapsed(), Duration::ZERO, "fault {kind}");
        assert_eq!(reset.shutdown(Duration::from_secs(100)).await.lost_requests, 0);
        let ledger = reset.ledger();
        assert_eq!((ledger.accepted, ledger.failed, ledger.ineligible), (3, 2, 1), "fault {kind}: {ledger:?}");
    }
}

#[tokio::test]
async fn malformed_address_is_refused_without_a_look_up() {
    let calls = Arc::new(Calls::default());
    let before = async |_| Ok::<(), BoxError>(());
    let (builder, _) = with_outbox(Watched { users: people(), calls: Arc::clone(&calls), before });
    let reset = builder.build().await.unwrap();
    for email in
        ["", "ann", "ann@example.com, bob@example.com", "ann@example.com\r\nBcc: bob@example.com", "änn@example.com"]
    {
        assert!(matches!(reset.request(email, Client::none()).await, Err(ResetError::InvalidEmail)), "{email:?}");
    }
    assert_eq!(settled(&reset).await.accepted, 0);
    assert_eq!(calls.all(), 0);
}

#[tokio::test]
async fn user_with_another_address_gets_no_mail() {
    let user = |email: &str| StoredUser::new(email.len(), email, Some("a hash".to_owned()));
    let users = [
        "ann@example.com",
        "Ann@Example.com",
        "bob@example.com",
        "\u{ff41}nn@example.com",
        "ann@ex\u{ff41}mple.com",
        "ann@example.com\r\nBcc: bob@example.com",
        "ann@example.com, bob@example.com",
        "\"ann\"@example.com",
        " ann@example.com",
        "",
    ];
    let (builder, outbox) = with_outbox(Finds(users.map(user).to_vec()));
    let reset = builder.build().await.unwrap();
    reset.request("ann@example.com", Client::none()).await.unwrap();
    settled(&reset).await;
    assert_eq!(outbox.addresses(), ["ann@example.com", "Ann@Example.com"]);
}

#[tokio::test]
async fn users_who_share_an_address_each_get_a_token() {
    let hash = |text: &str| Some(text.to_owned());
    let users = MemoryUsers::new([
        StoredUser::new("a", "Both@example.com", hash("one")),
        StoredUser::new("b", "both@example.com", hash("two")),
        StoredUser::new("c", "both@example.com", hash("three")).with_active(false),
    ]);
    let (builder, outbox) = with_outbox(users);
    let reset = builder.build().await.unwrap();
    reset.request("both@example.com", Client::none()).await.unwrap();
    assert_eq!(settled(&reset).await.delivered, 1, "it is one request");
    assert_eq!(outbox.addresses(), ["Both@example.com", "both@example.com"]);
    let mails = outbox.0.lock().unwrap().clone();
    for ((_, link), id) in mails.iter().zip(["a", "b"]) {
        let token = link.rsplit('=').next().unwrap();
        assert_eq!(reset.validate(token).await.unwrap().user().id(), id);
    }
}

#[tokio::test(start_paused = true)]
async fn failed_look_up_is_retried() {
    let failures = Arc::new(AtomicUsize::new(3));
    let left = Arc::clone(&failures);
    let (builder, outbox) = with_outbox(Watched {
        users: people(),
        calls: Arc::default(),
        before: move |_| {
            let fails = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            async move { if fails { Err(BoxError::from("the store is down")) } else { Ok(()) } }
        },
    });
    let reset = builder.max_age(Duration::from_secs(60)).build().await.unwrap();
    reset.request("ann@example.com", Client::none()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(reset.ledger().delivered, 1);
    assert_eq!(outbox.addresses(), ["ann@example.com"]);
}

/// While the store is down, every request is refused, for any address. Requests succeed again after its recovery.
#[tokio::test(start_paused = true)]
async fn every_request_is_refused_while_the_store_is_down() {
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    let (builder, outbox) = with_outbox(Watched {
        users: people(),
        calls: Arc::default(),
        before: move |_| {
            let is_down = is_down.load(Ordering::SeqCst);
            async move { if is_down { Err(BoxError::from("the store is down")) } else { Ok(()) } }
        },
    });
    let reset = builder.build().await.unwrap();
    reset.request("ann@example.com", Client::none()).await.expect("the outage is not detected yet");
    while reset.ledger().lost == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for email in ["ann@example.com", "nobody@example.com"] {
        let Err(ResetError::Unavailable { reason, retry_after }) = reset.request(email, Client::none()).await else {
            panic!("the store is known to be down");
        };
        assert_eq!(reason, Unavailable::StoreDown);
        assert!(retry_after <= Duration::from_secs(5) && !retry_after.is_zero());
    }
    let validated = reset.validate("not even a token").await.map(drop);
    let confirmed = reset.confirm("not even a token", doubles::GOOD_PASSWORD.into(), Client::none()).await.map(drop);
    for answer in [validated, confirmed] {
        let is_down = matches!(answer, Err(ResetError::Unavailable { reason: Unavailable::StoreDown, .. }));
        assert!(is_down, "the outage is reported before the token is read: {answer:?}");
    }
    down.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(5)).await;
    reset.request("ann@example.com", Client::none()).await.expect("requests are accepted after the recovery");
    while reset.ledger().waiting > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(outbox.addresses(), ["ann@example.com"]);
    assert_eq!((reset.ledger().accepted, reset.ledger().lost), (2, 1));
}

#[tokio::test]
async fn full_queue_refuses_every_address() {
    let reset = builder(people())
        .queue(3)
        .handled_at_once(2)
        .on_reset_token_created(|_| std::future::pending::<()>())
        .build()
        .await
        .unwrap();
    // Two jobs run and three wait.
    for _ in 0..2 {
        reset.request("ann@example.com", Client::none()).await.unwrap();
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    for email in ["ann@example.com", "nobody@example.com", "bob@example.com"] {
        reset.request(email, Client::none()).await.unwrap();
    }
    for email in ["ann@example.com", "nobody@example.com"] {
        let Err(ResetError::Unavailable { reason, .. }) = reset.request(email, Client::none()).await else {
            panic!("the queue is full");
        };
        assert_eq!(reason, Unavailable::QueueFull);
    }
    assert_eq!((reset.ledger().accepted, reset.ledger().waiting), (5, 5));
}

#[tokio::test]
async fn request_does_not_change_the_user() {
    let (users, calls) = (people(), Arc::new(Calls::default()));
    let before = async |call| match call {
        Call::ReplacePassword => Err(BoxError::from("a request wrote")),
        _ => Ok(()),
    };
    let (builder, _) = with_outbox(Watched { users: users.clone(), calls: Arc::clone(&calls), before });
    let reset = builder.build().await.unwrap();
    for _ in 0..20 {
        reset.request("ann@example.com", Client::none()).await.unwrap();
    }
    settled(&reset).await;
    assert_eq!(calls.replace_password.load(Ordering::SeqCst), 0);
    assert!(doubles::verifies(&users.get("1").unwrap(), "ann's old password"));
}

#[tokio::test]
async fn unknown_users_are_revealed_only_with_the_setting() {
    let reset = builder(people()).reveal_unknown_users(true).on_reset_token_created(no_mail).build().await.unwrap();
    assert!(matches!(reset.request("nobody@example.com", Client::none()).await, Err(ResetError::UnknownUser)));
    reset.request("ann@example.com", Client::none()).await.unwrap();
    assert_eq!(settled(&reset).await.accepted, 1);
}

#[tokio::test(start_paused = true)]
async fn send_returns_when_the_token_expires() {
    let users = people();
    let (builder, outbox) = with_outbox(users.clone());
    let reset = builder.build().await.unwrap();
    let ann = users.get("1").unwrap();
    for (lifetime, seconds) in [(None, 3600), (Some(time::Duration::minutes(5)), 300)] {
        let now = OffsetDateTime::now_utc();
        let sent = reset.send(&ann, lifetime).await.unwrap();
        assert!((sent.expires_at() - now).whole_seconds().abs_diff(seconds) <= 2, "{sent:?}");
        let link = outbox.0.lock().unwrap().last().unwrap().1.clone();
        let validated = reset.validate(link.split_once('=').unwrap().1).await.unwrap();
        assert_eq!(validated.expires_at(), sent.expires_at());
    }
}

#[tokio::test]
async fn send_delivers_a_link_like_a_request() {
    let users = people();
    let (builder, outbox) = with_outbox(users.clone());
    let reset = builder.build().await.unwrap();
    reset.send(&users.get("1").unwrap(), Some(time::Duration::hours(24))).await.unwrap();
    assert_eq!(outbox.addresses(), ["ann@example.com"]);
    assert_eq!(reset.ledger().delivered, 1);
    for (id, lifetime) in [("3", None), ("4", None), ("1", Some(time::Duration::hours(25)))] {
        let sent = reset.send(&users.get(id).unwrap(), lifetime).await;
        assert!(matches!(sent, Err(SendError::Issue(_))), "{id}");
    }
    assert_eq!(reset.ledger().accepted, 1);

    let reset = doubles::builder(people())
        .on_reset_token_created(|_| async { Err::<(), BoxError>("no mail today".into()) })
        .build()
        .await
        .unwrap();
    assert_eq!(reset.send(&users.get("1").unwrap(), None).await, Err(SendError::Handlers));
    assert_eq!(reset.ledger().failed, 1);
}

/// An address on record cannot inject a header into a mail.
#[tokio::test]
async fn malformed_address_on_record_gets_no_mail() {
    let outbox = Outbox::default();
    let reset = builder(people()).on_reset_token_created(outbox.handler()).build().await.unwrap();
    for email in [
        "ann@example.com\r\nBcc: eve@example.com",
        "ann@example.com\0",
        "\"ann\" <ann@example.com>",
        "ann@example.com, eve@example.com",
        " ann@example.com",
        "ann@exam\u{202e}ple.com",
        "ann",
        "",
    ] {
        let user = StoredUser::new(1, email, Some("a hash".to_owned()));
        assert_eq!(reset.send(&user, None).await, Err(SendError::Issue(IssueError::Address)), "{email:?}");
    }
    assert!(outbox.addresses().is_empty());
}

/// A browser sends the Punycode of a domain that was typed in Unicode. Each spelling finds the user of the other one.
#[tokio::test]
async fn unicode_and_punycode_domains_are_the_same_address() {
    let (unicode, punycode) = ("ann@b\u{fc}cher.example", "ann@xn--bcher-kva.example");
    let user = |id: usize, email: &str| StoredUser::new(id, email, Some("a hash".to_owned()));
    for (stored, typed) in [
        (unicode, punycode),
        (punycode, unicode),
        (unicode, "Ann@B\u{dc}CHER.example"),
        (punycode, "ANN@XN--BCHER-KVA.EXAMPLE"),
    ] {
        let (builder, outbox) = with_outbox(MemoryUsers::new([user(1, stored), user(2, "ann@bucher.example")]));
        let reset = builder.reveal_unknown_users(true).build().await.unwrap();
        reset.request(typed, Client::none()).await.unwrap();
        settled(&reset).await;
        assert_eq!(outbox.addresses(), [stored], "{typed:?}");
    }

    // One user for each spelling: one request leads to a mail for each. The store is called twice.
    let users = [user(1, unicode), user(2, punycode), user(3, "ann@b\u{430}cher.example")];
    let (memory, memory_outbox) = with_outbox(MemoryUsers::new(users.clone()));
    let (loose, loose_outbox) = with_outbox(Finds(users.to_vec()));
    for (builder, outbox) in [(memory, memory_outbox), (loose, loose_outbox)] {
        let reset = builder.build().await.unwrap();
        reset.request(punycode, Client::none()).await.unwrap();
        settled(&reset).await;
        let mut addresses = outbox.addresses();
        addresses.sort();
        assert_eq!(addresses, [unicode, punycode], "a mail each");
    }
}

/// The number of look-ups depends only on the typed text.
#[tokio::test]
async fn international_domain_takes_two_look_ups_for_known_and_unknown_users() {
    for (typed, look_ups) in [
        ("ann@xn--bcher-kva.example", 2),
        ("ann@b\u{fc}cher.example", 2),
        ("nobody@b\u{fc}cher.example", 2),
        ("ann@example.com", 1),
        ("nobody@example.com", 1),
        ("ann@ex\u{ff41}mple.com", 1),
        ("ann@xn--a.example", 1),
    ] {
        let calls = Arc::new(Calls::default());
        let users = MemoryUsers::new([StoredUser::new(1, "ann@b\u{fc}cher.example", Some("a hash".to_owned()))]);
        let before = async |_| Ok::<(), BoxError>(());
        let (builder, _) = with_outbox(Watched { users, calls: Arc::clone(&calls), before });
        let reset = builder.build().await.unwrap();
        reset.request(typed, Client::none()).await.unwrap();
        settled(&reset).await;
        assert_eq!(calls.find_by_email.load(Ordering::SeqCst), look_ups, "{typed:?}");
    }
}

/// One setting applies to typed addresses and to addresses on record.
#[tokio::test]
async fn lenient_addresses_are_accepted_only_with_the_setting() {
    let lenient = ["taro..suzuki@example.ne.jp", "taro.@docomo.example", "root@intranet", "ops@mail_host.example"];
    let user = |email: &str| StoredUser::new(email, email, Some("a hash".to_owned()));
    for allowed in [true, false] {
        let (builder, outbox) = with_outbox(MemoryUsers::new(lenient.map(user)));
        let reset = builder.lenient_addresses(allowed).build().await.unwrap();
        for email in lenient {
            let requested = reset.request(email, Client::none()).await;
            let (sent, issued) = (reset.send(&user(email), None).await, reset.issue(&user(email), None));
            if allowed {
                assert!(requested.is_ok() && sent.is_ok() && issued.is_ok(), "{email:?}");
            } else {
                assert!(matches!(requested, Err(ResetError::InvalidEmail)), "{email:?}");
                assert_eq!(sent, Err(SendError::Issue(IssueError::Address)), "{email:?}");
                assert_eq!(issued.err(), Some(IssueError::Address), "{email:?}");
            }
        }
        settled(&reset).await;
        for email in lenient {
            let mails = outbox.addresses().iter().filter(|address| *address == email).count();
            assert_eq!(mails, if allowed { 2 } else { 0 }, "{email:?}");
        }
    }
}

#[tokio::test]
async fn event_has_the_client_of_the_request() {
    let seen = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&seen);
    let reset = builder(people())
        .on_reset_token_created(move |event: Arc<ResetTokenCreated>| {
            *keep.lock().unwrap() = Some(event.client().clone());
            std::future::ready(())
        })
        .build()
        .await
        .unwrap();
    let client = Client::new("::ffff:192.0.2.7".parse().ok(), Some("a browser"));
    reset.request("ann@example.com", client.clone()).await.unwrap();
    settled(&reset).await;
    let seen = seen.lock().unwrap().clone().unwrap();
    assert_eq!(seen, client);
    assert_eq!(seen.address().unwrap().to_string(), "192.0.2.7");
    assert_eq!(seen.user_agent(), Some("a browser"));
}

#[tokio::test]
async fn event_has_the_exact_expiry_of_the_token() {
    let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap() + TimeDuration::milliseconds(900);
    let reset =
        builder(people()).clock(move || now).on_reset_token_created(|_| std::future::ready(())).build().await.unwrap();
    let ann = people().get("1").unwrap();
    for (lifetime, seconds) in [(None, 3_600), (Some(TimeDuration::milliseconds(90_700)), 90)] {
        let event = reset.issue(&ann, lifetime).unwrap();
        assert_eq!(event.expires_at().unix_timestamp(), 1_800_000_000 + seconds);
        assert_eq!(event.expires_at().millisecond(), 0);
    }
}
