//! R6, R7: a character that folds into ASCII never sends mail to another user, even if the store folds in every known way.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use poem_password_reset::{Client, PasswordHash, PasswordReset, ResetTokenCreated, StoredUser, Swap, UserStore};
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

use crate::http::doubles::builder;
use crate::http::until;
use crate::random::Random;

/// Forms by which stores compare text: lower case, upper case, compatibility, without accents, and all combined.
fn forms(text: &str) -> [String; 5] {
    let without_accents = |text: &str| text.nfkd().filter(|letter| !is_combining_mark(*letter)).collect::<String>();
    [
        text.to_lowercase(),
        text.to_uppercase().to_lowercase(),
        text.nfkc().collect::<String>(),
        without_accents(text),
        without_accents(&text.to_uppercase()).to_lowercase(),
    ]
}

/// A store that finds every user whose address is similar in any form.
#[derive(Clone)]
struct Loose(Arc<Vec<StoredUser>>);

impl UserStore for Loose {
    type Error = Infallible;

    async fn find_by_email(&self, email: &str) -> Result<Vec<StoredUser>, Infallible> {
        let typed = forms(email);
        let is_similar = |user: &&StoredUser| forms(user.email()).iter().any(|form| typed.contains(form));
        Ok(self.0.iter().filter(is_similar).cloned().collect())
    }

    async fn find_by_id(&self, id: &str) -> Result<Option<StoredUser>, Infallible> {
        Ok(self.0.iter().find(|user| user.id() == id).cloned())
    }

    async fn replace_password(&self, _: &StoredUser, _: &PasswordHash) -> Result<Swap, Infallible> {
        Ok(Swap::Stale)
    }
}

type Mails = Arc<Mutex<Vec<(String, String, String)>>>;

/// Creates a service with such a store. Its mails are tuples of user id, address and token.
async fn service(lenient: bool, addresses: &[&str]) -> (PasswordReset, Loose, Mails) {
    let user = |(id, email): (usize, &&str)| StoredUser::new(id, *email, Some("a hash".to_owned()));
    let store = Loose(Arc::new(addresses.iter().enumerate().map(user).collect()));
    let mails = Mails::default();
    let outbox = Arc::clone(&mails);
    let handler = move |event: Arc<ResetTokenCreated>| {
        let (user, token) = (event.user(), event.token().expose().to_owned());
        outbox.lock().unwrap().push((user.id().to_owned(), user.email().to_owned(), token));
        async {}
    };
    let builder =
        builder(store.clone()).international_addresses(true).lenient_addresses(lenient).on_reset_token_created(handler);
    (builder.build().await.unwrap(), store, mails)
}

async fn mails_for(reset: &PasswordReset, mails: &Mails, asked: &str) -> Option<Vec<(String, String, String)>> {
    reset.request(asked, Client::none()).await.ok()?;
    until(|| reset.ledger().waiting == 0).await;
    Some(std::mem::take(&mut *mails.lock().unwrap()))
}

/// Returns every code point with a form that contains a visible ASCII character, and that character.
fn look_alikes() -> Vec<(char, char)> {
    let mut found = Vec::new();
    for letter in (char::from(0x80)..=char::MAX).filter(|letter| !letter.is_ascii()) {
        let ascii: BTreeSet<_> = forms(letter.encode_utf8(&mut [0; 4]))
            .iter()
            .flat_map(|form| form.chars())
            .filter(char::is_ascii_graphic)
            .collect();
        found.extend(ascii.into_iter().map(|ascii| (letter, ascii)));
    }
    found
}

#[tokio::test]
async fn address_with_look_alike_of_ascii_sends_no_mail_to_the_ascii_address() {
    // The store has an address for each replaced character, so that every look-up can find one.
    let look_alikes = look_alikes();
    assert!(look_alikes.len() > 2_000, "{} from the Unicode data", look_alikes.len());
    let (mut accepted, mut found) = (0, 0);
    let modes = [false, true].into_iter();
    for (ascii, lenient) in (b'!'..=b'~').map(char::from).flat_map(|ascii| modes.clone().map(move |mode| (ascii, mode)))
    {
        let (local, domain) = (format!("an{ascii}n@example.com"), format!("ann@ex{ascii}mple.com"));
        let (reset, store, mails) = service(lenient, &[&local.to_lowercase(), &domain.to_lowercase()]).await;
        for (letter, _) in look_alikes.iter().filter(|(_, folded)| *folded == ascii) {
            for asked in [format!("an{letter}n@example.com"), format!("ann@ex{letter}mple.com")] {
                found += usize::from(!store.find_by_email(&asked).await.unwrap().is_empty());
                let Some(mails) = mails_for(&reset, &mails, &asked).await else { continue };
                accepted += 1;
                assert_eq!(mails, [], "{letter:?} for {ascii:?}: {asked:?}");
            }
        }
    }
    assert!(accepted > 2_000, "{accepted} addresses were accepted");
    assert!(found > 2_000, "the store found {found}");
}

/// Users whose addresses are the same to the store: each gets mail at his own address alone, with a token for himself, and
/// only when it was his address that was asked for.
#[tokio::test]
async fn users_with_colliding_addresses_receive_only_their_own_mail() {
    let letters: &[&[&str]] = &[
        &["k", "K", "\u{212a}", "\u{ff4b}"],
        &["s", "S", "\u{17f}", "\u{ff53}", "\u{24e2}"],
        &["i", "I", "\u{131}", "\u{130}", "\u{ed}"],
        &["ss", "\u{df}", "\u{1e9e}"],
        &["e", "\u{e9}", "e\u{301}", "\u{ff45}"],
        &["fi", "\u{fb01}"],
    ];
    let mut random = Random::seeded();
    let mut mailed = 0;
    for _ in 0..400 {
        let shape: Vec<&[&str]> = (0..1 + random.below(4)).map(|_| random.pick(letters)).collect();
        let in_domain = random.once_in(3);
        let addresses: BTreeSet<String> = (0..5)
            .map(|_| {
                let part: String = shape.iter().map(|spellings| random.pick(spellings)).collect();
                if in_domain { format!("ann@{part}x.example.com") } else { format!("x{part}@example.com") }
            })
            .collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let (reset, store, mails) = service(random.once_in(2), &addresses).await;
        for asked in &addresses {
            let mails = mails_for(&reset, &mails, asked).await.expect("an address");
            mailed += mails.len();
            for (id, address, token) in &mails {
                assert_eq!(address, addresses[id.parse::<usize>().unwrap()], "the address on record");
                assert_eq!(reset.validate(token).await.unwrap().user().id(), id, "the token of that user");
                assert_eq!(address.is_ascii(), asked.is_ascii(), "{asked:?} for {address:?}");
                if asked.is_ascii() {
                    assert!(address.eq_ignore_ascii_case(asked), "{asked:?} for {address:?}");
                }
            }
            assert!(mails.iter().any(|(_, address, _)| address == asked), "{asked:?} gets no mail");
            assert!(!store.find_by_email(asked).await.unwrap().is_empty());
        }
    }
    assert!(mailed > 1_000, "{mailed} mails");
}
