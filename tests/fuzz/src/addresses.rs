//! Email addresses: one that is typed and one that is on record, through a request. Judged by the rule as it is documented.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use poem_password_reset::{
    Client, IssueError, PasswordHash, PasswordReset, ResetError, ResetTokenCreated, StoredUser, Swap, UserStore,
};
use tokio::runtime::Runtime;
use unicode_normalization::char::is_combining_mark;

use crate::http::doubles::builder;
use crate::http::{trimmed, until};
use crate::input::Input;

thread_local! {
    static SERVICES: [Service; 4] = [
        Rules { international: false, lenient: false },
        Rules { international: true, lenient: false },
        Rules { international: false, lenient: true },
        Rules { international: true, lenient: true },
    ]
    .map(Service::new);
}

/// The two settings that widen which addresses are accepted.
#[derive(Clone, Copy, Debug)]
struct Rules {
    international: bool,
    lenient: bool,
}

/// What is not an address is refused, what is one reaches the store as it was typed, and mail goes to the address on record
/// and only if it is the same.
///
/// Before the first NUL stands what is typed, behind it what is on record: the same, if there is no NUL; or, if the digit
/// before it all says so, which letters of it are others that look like them. The digit also chooses the settings: its low
/// bit is `international_addresses`, the third bit `lenient_addresses`.
pub fn holds(input: &[u8]) {
    let mut input = Input::new(input);
    let choice = input.digit(8);
    let service = choice % 2 + choice / 4 * 2;
    let typed = String::from_utf8_lossy(input.until(0)).into_owned();
    let stored = match input.rest() {
        [] => trimmed(&typed).to_owned(),
        which if choice & 2 != 0 => {
            let changes = which.iter().map(|byte| byte % 2 == 1).cycle();
            let letters = trimmed(&typed).chars().zip(changes);
            letters.map(|(letter, change)| if change { look_alike(letter) } else { letter }).collect()
        }
        stored => String::from_utf8_lossy(stored).into_owned(),
    };
    SERVICES.with(|services| check(&services[service], &typed, &stored));
}

/// A letter that some stores take for this one.
fn look_alike(letter: char) -> char {
    match letter {
        'k' => '\u{212a}',
        's' => '\u{17f}',
        'i' => '\u{131}',
        'å' => '\u{212b}',
        'a'..='z' => char::from_u32(letter as u32 - 'a' as u32 + 0xff41).unwrap_or(letter),
        _ if letter.is_lowercase() => letter.to_uppercase().next().unwrap_or(letter),
        _ => letter.to_lowercase().next().unwrap_or(letter),
    }
}

fn check(service: &Service, typed: &str, stored: &str) {
    let rules = service.rules;
    let on_record = Rules { international: true, ..rules };
    let expected = address_in(typed, rules);
    let asked = service.ask(typed, stored);
    assert_eq!(asked.is_some(), expected.is_some(), "{typed:?}");
    for text in [typed, stored] {
        assert_eq!(service.can_be_mailed(text), address_in(text, on_record) == Some(text), "{text:?}");
    }
    let (Some(asked), Some(address)) = (asked, expected) else { return };

    assert_eq!(asked.of_the_store, address, "what was typed, and nothing made of it");
    assert!(address.len() <= 254 && !address.contains(|letter: char| letter.is_control() || letter.is_whitespace()));
    assert!(service.can_be_mailed(address));
    let again = service.ask(address, stored).expect("an address is an address");
    assert_eq!(again, asked, "{address:?}");
    for other in [address.to_ascii_uppercase(), address.to_ascii_lowercase(), format!("\r\n\u{a0}{address}\t\u{200b}")]
    {
        let other = service.ask(&other, stored).expect("the same address");
        assert_eq!(other.mailed, asked.mailed, "{address:?} {stored:?}");
    }

    if stored == address {
        assert!(asked.mailed, "{address:?}");
    }
    if asked.mailed {
        assert!(service.can_be_mailed(stored), "{stored:?}");
        let parts = [address, stored].map(|text| text.split_once('@').expect("an address has two parts"));
        let [labels, other_labels] = [parts[0].1, parts[1].1].map(|domain| domain.split('.'));
        let is_punycode = |label: &str| label.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("xn--"));
        for (one, other) in labels.zip(other_labels).chain([(parts[0].0, parts[1].0)]) {
            if one.is_ascii() != other.is_ascii() && (is_punycode(one) || is_punycode(other)) {
                continue; // one label in Punycode and in Unicode
            }
            assert_eq!(one.is_ascii(), other.is_ascii(), "a look-alike: {address:?} {stored:?}");
            assert!(!one.is_ascii() || one.eq_ignore_ascii_case(other), "another address: {address:?} {stored:?}");
        }
    }
    // Who is the same as somebody is so the other way round.
    if let Some(other) = service.ask(stored, address).filter(|_| address_in(stored, rules) == Some(stored)) {
        assert_eq!(other.mailed, asked.mailed, "{address:?} {stored:?}");
    }
}

/// The address that a text is, by the documented rule: at most 254 bytes, without the white space around it; a local
/// part without quotes, a domain name that is none of a machine, or `localhost`. The lenient setting adds stray dots in a
/// local part without a slash, hosts of one label, and underscores within a label.
fn address_in(text: &str, rules: Rules) -> Option<&str> {
    let text = trimmed(text);
    let mut parts = text.split('@');
    let (local, domain) = (parts.next()?, parts.next()?);
    let beyond_ascii = |letter: char| !letter.is_ascii() && (letter.is_alphanumeric() || is_combining_mark(letter));
    let in_atom = |letter: char| match letter {
        '"' | '(' | ')' | ',' | ':' | ';' | '<' | '>' | '[' | '\\' | ']' | '.' => false,
        '!'..='~' => true,
        _ => rules.international && beyond_ascii(letter),
    };
    let in_label = |letter: char| {
        matches!(letter, '-' | '0'..='9' | 'A'..='Z' | 'a'..='z')
            || beyond_ascii(letter)
            || (rules.lenient && letter == '_')
    };
    let is_atom = |atom: &str| !atom.is_empty() && atom.chars().all(in_atom);
    let is_lenient_local = rules.lenient
        && local.chars().any(|letter| letter != '.')
        && local.chars().all(|letter| letter == '.' || (in_atom(letter) && letter != '/'));
    let is_label = |label: &str| {
        let edges = [label.chars().next(), label.chars().next_back()];
        label.chars().all(in_label)
            && !edges.contains(&None)
            && !edges.contains(&Some('-'))
            && !edges.contains(&Some('_'))
            && label.chars().count() < 64
    };
    let labels: Vec<&str> = domain.split('.').collect();
    let is_name = (labels.len() > 1 || rules.lenient)
        && labels.iter().all(|label| is_label(label))
        && labels.last().is_some_and(|last| last.chars().count() > 1);
    let is_address = parts.next().is_none()
        && text.len() <= 254
        && (local.split('.').all(is_atom) || is_lenient_local)
        && (is_name || domain.eq_ignore_ascii_case("localhost"));
    is_address.then_some(text)
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    of_the_store: String,
    mailed: bool,
}

/// A password reset whose store finds one user, whatever it is asked for.
struct Service {
    rules: Rules,
    runtime: Runtime,
    reset: PasswordReset,
    store: Store,
    mailed: Arc<Mutex<Vec<String>>>,
}

impl Service {
    fn new(rules: Rules) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (store, mailed) = (Store::default(), Arc::new(Mutex::new(Vec::new())));
        let outbox = Arc::clone(&mailed);
        let mail = move |event: Arc<ResetTokenCreated>| {
            outbox.lock().expect("nobody panics with it").push(event.user().email().to_owned());
            async {}
        };
        let builder = builder(store.clone())
            .international_addresses(rules.international)
            .lenient_addresses(rules.lenient)
            .on_reset_token_created(mail);
        let reset = runtime.block_on(builder.build()).expect("nothing is missing");
        Self { rules, runtime, reset, store, mailed }
    }

    /// Asks for a reset for `typed` while `stored` is on record. `None` if it is no address.
    fn ask(&self, typed: &str, stored: &str) -> Option<Asked> {
        *self.store.stored.lock().expect("nobody panics with it") = stored.to_owned();
        let answer = self.runtime.block_on(async {
            let answer = self.reset.request(typed, Client::none()).await;
            until(|| self.reset.ledger().waiting == 0).await;
            answer
        });
        let asked = std::mem::take(&mut *self.store.asked.lock().expect("nobody panics with it"));
        let mailed = std::mem::take(&mut *self.mailed.lock().expect("nobody panics with it"));
        match answer {
            Ok(()) => {
                assert!(mailed.is_empty() || mailed == [stored], "mail goes to the address on record: {mailed:?}");
                // The same address with its domain in Punycode, in Unicode, or in both.
                let [of_the_store, spellings @ ..] = &asked[..] else { panic!("no look-up: {typed:?}") };
                assert!(spellings.len() <= 2, "{asked:?}");
                for spelling in spellings {
                    let rules = Rules { international: true, ..self.rules };
                    assert_eq!(address_in(spelling, rules), Some(&**spelling), "{asked:?}");
                    assert!(!spelling.is_ascii() || spelling.contains("xn--"), "a look-alike: {asked:?}");
                }
                Some(Asked { of_the_store: of_the_store.clone(), mailed: !mailed.is_empty() })
            }
            Err(ResetError::InvalidEmail) => {
                assert!(asked.is_empty() && mailed.is_empty(), "nothing happens: {typed:?}");
                None
            }
            Err(error) => panic!("{error} for {typed:?}"),
        }
    }

    /// Whether somebody with this address can be sent a token.
    fn can_be_mailed(&self, email: &str) -> bool {
        match self.reset.issue(&user(email), None) {
            Ok(event) => event.user().email() == email,
            Err(error) => error != IssueError::Address,
        }
    }
}

fn user(email: &str) -> StoredUser {
    StoredUser::new(1, email, Some("a hash".to_owned()))
}

#[derive(Clone, Default)]
struct Store {
    stored: Arc<Mutex<String>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl UserStore for Store {
    type Error = Infallible;

    async fn find_by_email(&self, email: &str) -> Result<Vec<StoredUser>, Infallible> {
        self.asked.lock().expect("nobody panics with it").push(email.to_owned());
        Ok(vec![user(&self.stored.lock().expect("nobody panics with it"))])
    }

    async fn find_by_id(&self, _: &str) -> Result<Option<StoredUser>, Infallible> {
        Ok(None)
    }

    async fn replace_password(&self, _: &StoredUser, _: &PasswordHash) -> Result<Swap, Infallible> {
        Ok(Swap::Stale)
    }

    /// The check at start is none of the look-ups that are asked for.
    async fn check(&self) -> Result<(), Infallible> {
        Ok(())
    }
}
