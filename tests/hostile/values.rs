//! Hostile text as the values of fields in well-formed bodies.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use poem_password_reset::{Client, PasswordHash, StoredUser, Swap, UserStore};

use crate::ADDRESS_MODES;
use crate::generator::{CANARY, PIECES, damaged, text};
use crate::http::Operation::{Confirm, Request, Validate};
use crate::http::doubles::{GOOD_PASSWORD, builder, no_mail};
use crate::http::{Encoding, HttpRequest, Reply, World, defaults, trimmed, until};
use crate::log::Log;
use crate::random::Random;

const CASES: usize = 6_000;

/// Addresses on record that only the lenient setting accepts.
const LENIENT: [&str; 4] =
    ["..taro..suzuki.@example.ne.jp", "taro.@docomo.example", "root@intranet", "ops@mail_host.example"];

/// Returns the address of a user, a similar text, or any text.
fn email(random: &mut Random) -> String {
    let stored = match random.below(3) {
        0 => random.pick(&LENIENT),
        _ => random.pick(&["ann@example.com", "bob@example.com", "carol@example.com", "dave@example.com"]),
    };
    match random.below(4) {
        0 => stored.to_owned(),
        1 => text(random),
        2 => stored.chars().map(|letter| swap_case(random, letter)).collect(),
        _ => damaged(random, stored),
    }
}

fn swap_case(random: &mut Random, letter: char) -> char {
    if random.once_in(2) { letter.to_ascii_uppercase() } else { letter }
}

/// Returns the stored address that must get mail, by a rule simpler than that of the library: the user is active, has a
/// password, and the address matches without regard to case.
fn gets_mail(email: &str, lenient: bool) -> Option<&'static str> {
    let email = trimmed(email).to_ascii_lowercase();
    let lenient = if lenient { &LENIENT[..] } else { &[] };
    ["ann@example.com", "bob@example.com"].iter().chain(lenient).copied().find(|stored| *stored == email)
}

/// Adds the users whose addresses only the lenient setting accepts.
fn add_lenient_users(world: &World) {
    for (id, address) in (10..).zip(LENIENT) {
        world.users.put(StoredUser::new(id, address, Some("a hash".to_owned())));
    }
}

fn check_reply(reply: &Reply, shown: &str) {
    assert!(matches!(reply.status, 200 | 400 | 404 | 413), "{} for {shown}", reply.status);
    assert!(!format!("{reply:?}").contains(CANARY), "the response repeats {shown}");
}

#[tokio::test]
async fn mail_is_sent_to_the_exact_address_only() {
    for (lenient, mode) in [false, true].into_iter().zip(ADDRESS_MODES) {
        check_recipients(lenient, World::in_process(mode).await).await;
    }
}

async fn check_recipients(lenient: bool, world: World) {
    let mut random = Random::seeded();
    let log = Log::default();
    let _guard = log.of_thread();
    add_lenient_users(&world);
    let mut replies = BTreeSet::new();
    let mut expected = Vec::new();
    for _ in 0..CASES {
        let email = email(&mut random);
        let encoding = Encoding::ALL[random.below(3)];
        let looked_up = world.calls.all();
        let reply = world.send(&HttpRequest::post(Request).fields(encoding, &[("email", &email)])).await;
        check_reply(&reply, &format!("{email:?}"));
        let mails = world.mails().await.len();
        match reply.status {
            200 => expected.extend(gets_mail(&email, lenient)),
            _ => {
                assert_eq!(gets_mail(&email, lenient), None, "{email:?} was rejected");
                assert_eq!(world.calls.all(), looked_up, "{email:?} was looked up");
            }
        }
        assert_eq!(mails, expected.len(), "{email:?} in {encoding:?}");
        replies.insert((reply.status, reply.body));
    }
    let mails: Vec<_> = world.mails().await.into_iter().map(|(address, _)| address).collect();
    assert_eq!(mails, expected);
    assert!(expected.len() > CASES / 10, "{} mails", expected.len());
    assert!(replies.len() < 10, "responses do not depend on the values: {replies:?}");
    check_log(&log);
}

/// Inserts each piece at the edges and in the middle of both parts of an address, typed and on record.
#[tokio::test]
async fn header_syntax_in_an_address_reaches_neither_store_nor_mail() {
    for mode in ADDRESS_MODES {
        let store = Asked::default();
        let builder = mode(builder(store.clone())).international_addresses(true).on_reset_token_created(no_mail);
        let reset = builder.build().await.unwrap();
        let (mut accepted, mut mailable) = (0, 0);
        for address in LENIENT.iter().chain(&["ann@example.com"]) {
            let at = address.find('@').unwrap();
            let indices = [0, 1, at, at + 1, at + 3, address.len()];
            for (piece, index) in PIECES.iter().flat_map(|piece| indices.map(|index| (piece, index))) {
                let damaged = format!("{}{piece}{}", &address[..index], &address[index..]);
                if reset.request(&damaged, Client::none()).await.is_ok() {
                    until(|| reset.ledger().waiting == 0).await;
                    let asked = std::mem::take(&mut *store.0.lock().unwrap());
                    assert!(!asked.is_empty() && asked.iter().all(|asked| is_safe_in_header(asked)), "{asked:?}");
                    accepted += 1;
                }
                let on_record = StoredUser::new(1, &damaged, Some("a hash".to_owned()));
                if let Ok(event) = reset.issue(&on_record, None) {
                    assert!(is_safe_in_header(event.user().email()), "{damaged:?}");
                    mailable += 1;
                }
            }
        }
        assert!(
            accepted > 200 && mailable > 200,
            "{accepted} addresses were accepted, {mailable} on record were mailable"
        );
    }
}

/// Returns whether an address has no character that ends, quotes, groups or routes an address in a mail header.
fn is_safe_in_header(address: &str) -> bool {
    let is_safe = |letter: char| !letter.is_control() && !letter.is_whitespace() && !"\"<>(),:;\\[]".contains(letter);
    address.matches('@').count() == 1 && address.chars().all(is_safe)
}

/// A store without users that records the addresses it is asked for.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<String>>>);

impl UserStore for Asked {
    type Error = Infallible;

    async fn find_by_email(&self, email: &str) -> Result<Vec<StoredUser>, Infallible> {
        self.0.lock().unwrap().push(email.to_owned());
        Ok(Vec::new())
    }

    async fn find_by_id(&self, _: &str) -> Result<Option<StoredUser>, Infallible> {
        Ok(None)
    }

    async fn replace_password(&self, _: &StoredUser, _: &PasswordHash) -> Result<Swap, Infallible> {
        Ok(Swap::Stale)
    }
}

/// Asserts that no submitted value appears in the log or starts a line of it.
fn check_log(log: &Log) {
    let text = log.text();
    assert!(!text.contains(CANARY) && !text.contains("@example.com"), "{text:.2000}");
    assert!(LENIENT.iter().all(|address| !text.contains(address)), "{text:.2000}");
    assert!(text.lines().count() > 100, "the log is captured");
    for line in text.split('\n').filter(|line| !line.is_empty()) {
        assert!(
            line.starts_with("20") && line.is_ascii() && !line.contains(|letter: char| letter.is_ascii_control()),
            "{line:?}"
        );
    }
}

#[tokio::test]
async fn changed_token_is_rejected() {
    let mut random = Random::seeded();
    let log = Log::default();
    let _guard = log.of_thread();
    let world = World::in_process(defaults).await;
    let token = world.token("1");
    let mut good = 0;
    for _ in 0..CASES {
        let sent = match random.below(6) {
            0 => token.clone(),
            1 => text(&mut random),
            2 => {
                format!(
                    "{}{token}{}",
                    random.pick(&[" ", "\t\r\n", "\n", "\u{a0}"]),
                    random.pick(&["", "\u{c}", "\u{200b}"])
                )
            }
            _ => damaged(&mut random, &token),
        };
        let encoding = Encoding::ALL[random.below(3)];
        let is_good = trimmed(&sent) == token;
        let calls = world.calls.all();
        let reply = world.send(&HttpRequest::post(Validate).fields(encoding, &[("token", &sent)])).await;
        check_reply(&reply, &format!("{sent:?}"));
        assert_eq!(reply.status == 200, is_good, "{sent:?} in {encoding:?}");
        assert_eq!(world.calls.all() - calls, usize::from(is_good), "{sent:?}");
        good += usize::from(is_good);

        let confirm = [("token", sent.as_str()), ("password", GOOD_PASSWORD)];
        if !is_good {
            let reply = world.send(&HttpRequest::post(Confirm).fields(encoding, &confirm)).await;
            check_reply(&reply, &format!("{sent:?}"));
            assert!(reply.status != 200, "{sent:?}");
        }
    }
    assert!(world.has_password("1", "ann's old password"));
    assert!((CASES / 5..CASES / 2).contains(&good), "{good} tokens were valid");
    check_log(&log);
}

#[tokio::test]
async fn password_is_stored_exactly_or_rejected() {
    let mut random = Random::seeded();
    let log = Log::default();
    let _guard = log.of_thread();
    let world = World::in_process(defaults).await;
    let mut password = "ann's old password".to_owned();
    let mut stored = 0;
    for _ in 0..CASES {
        let sent = if random.once_in(2) { text(&mut random) } else { damaged(&mut random, GOOD_PASSWORD) };
        let encoding = Encoding::ALL[random.below(3)];
        if encoding == Encoding::Multipart && sent.contains("\r\n--between-the-fields") {
            continue; // the text contains the delimiter, so the part ends there
        }
        let fields = [("token", &*world.token("1")), ("password", &*sent)];
        let reply = world.send(&HttpRequest::post(Confirm).fields(encoding, &fields)).await;
        check_reply(&reply, &format!("{sent:?}"));
        if reply.status == 200 {
            assert!(!sent.contains('\0') && !sent.trim().is_empty());
            password = sent;
            stored += 1;
        } else {
            assert!(
                reply.status == 400 || (reply.status == 413 && sent.len() > 4_000),
                "{} for {sent:?}",
                reply.status
            );
        }
        assert!(world.has_password("1", &password), "{password:?} is not stored");
    }
    assert!(stored > CASES / 3, "{stored} passwords were stored");
    check_log(&log);
}

/// Each piece alone, in the middle and at both ends of a password of allowed length is accepted, unless it contains NUL.
#[tokio::test]
async fn text_of_allowed_length_is_accepted_as_password() {
    use poem_password_reset::{PasswordPolicy, Strength};
    let world = World::in_process(|builder| {
        builder.policy(PasswordPolicy::default().strength(Strength::Any).allow_similar(true))
    })
    .await;
    for piece in PIECES {
        for sent in [
            format!("{piece}purple tractor{piece}"),
            format!("purple{piece}tractor"),
            piece.repeat(8 / piece.chars().count() + 1),
        ] {
            let is_rejected =
                sent.contains('\0') || sent.trim().is_empty() || sent.bytes().all(|byte| byte.is_ascii_digit());
            for encoding in Encoding::ALL {
                let fields = [("token", &*world.token("1")), ("password", &*sent)];
                let reply = world.send(&HttpRequest::post(Confirm).fields(encoding, &fields)).await;
                assert_eq!(
                    reply.status,
                    if is_rejected { 400 } else { 200 },
                    "{sent:?} in {encoding:?}: {}",
                    reply.body
                );
                assert_eq!(world.has_password("1", &sent), !is_rejected, "{sent:?} in {encoding:?}");
            }
        }
    }
}
