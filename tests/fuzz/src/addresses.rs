//! Requests for a typed email address while another one is on record, checked against the documented rule for addresses.

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

/// The two settings that accept more addresses.
#[derive(Clone, Copy, Debug)]
struct Rules {
    international: bool,
    lenient: bool,
}

/// A malformed address is refused. A valid one reaches the store as typed, and mail goes to the address on record, only if both
/// are the same address.
///
/// The input is a digit, the typed address, NUL, and the address on record. If the last is empty, both are the same. If bit 1
/// of the digit is set, the bytes after NUL instead choose which letters of the typed address are replaced by look-alikes. Bit
/// 0 sets `international_addresses`, bit 2 `lenient_addresses`.
pub fn holds(input: &[u8]) {
    let mut input = Input::new(input);
    let choice = input.digit(8);
    let service = choice % 2 + choice / 4 * 2;
    let typed = String::from_utf8_lossy(input.until(0)).into_owned();
    let stored = match input.rest() {
        [] => trimmed(&typed).to_owned(),
        selection if choice & 2 != 0 => {
            let changes = selection.iter().map(|byte| byte % 2 == 1).cycle();
            let letters = trimmed(&typed).chars().zip(changes);
            letters.map(|(letter, change)| if change { look_alike(letter) } else { letter }).collect()
        }
        stored => String::from_utf8_lossy(stored).into_owned(),
    };
    SERVICES.with(|services| check(&services[service], &typed, &stored));
}

/// Returns a letter that some stores treat as equal to this one.
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
    let outcome = service.request(typed, stored);
    assert_eq!(outcome.is_some(), expected.is_some(), "{typed:?}");
    for text in [typed, stored] {
        assert_eq!(service.can_be_mailed(text), address_in(text, on_record) == Some(text), "{text:?}");
    }
    let (Some(outcome), Some(address)) = (outcome, expected) else { return };

    assert_eq!(outcome.looked_up, address, "the store receives the address as typed");
    assert!(address.len() <= 254 && !address.contains(|letter: char| letter.is_control() || letter.is_whitespace()));
    assert!(service.can_be_mailed(address));
    let again = service.request(address, stored).expect("the trimmed address is valid");
    assert_eq!(again, outcome, "{address:?}");
    for other in [address.to_ascii_uppercase(), address.to_ascii_lowercase(), format!("\r\n\u{a0}{address}\t\u{200b}")]
    {
        let other = service.request(&other, stored).expect("the same address");
        assert_eq!(other.mailed, outcome.mailed, "{address:?} {stored:?}");
    }

    if stored == address {
        assert!(outcome.mailed, "{address:?}");
    }
    if outcome.mailed {
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
    // The comparison is symmetric.
    if let Some(other) = service.request(stored, address).filter(|_| address_in(stored, rules) == Some(stored)) {
        assert_eq!(other.mailed, outcome.mailed, "{address:?} {stored:?}");
    }
}

/// Returns the address in a text without white space around it, or `None` if it breaks the documented rule: at most 254 bytes,
/// an unquoted local part, and a domain name of several labels or `localhost`. The lenient setting also accepts any dots in a
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

/// Outcome of a request.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// Address that the store was asked for first.
    looked_up: String,
    mailed: bool,
}

/// A password reset whose store returns the same user for every address.
struct Service {
    rules: Rules,
    runtime: Runtime,
    reset: PasswordReset,
    store: Store,
    mailed: Arc<Mutex<Vec<String>>>,
}

impl Service {
    fn new(rules: Rules) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the runtime starts");
        let (store, mailed) = (Store::default(), Arc::new(Mutex::new(Vec::new())));
        let outbox = Arc::clone(&mailed);
        let mail = move |event: Arc<ResetTokenCreated>| {
            outbox.lock().expect("no thread panics while it holds the lock").push(event.user().email().to_owned());
            async {}
        };
        let builder = builder(store.clone())
            .international_addresses(rules.international)
            .lenient_addresses(rules.lenient)
            .on_reset_token_created(mail);
        let reset = runtime.block_on(builder.build()).expect("the settings are complete");
        Self { rules, runtime, reset, store, mailed }
    }

    /// Requests a reset for `typed` while `stored` is on record. Returns `None` if `typed` is refused as malformed.
    fn request(&self, typed: &str, stored: &str) -> Option<Outcome> {
        *self.store.stored.lock().expect("no thread panics while it holds the lock") = stored.to_owned();
        let answer = self.runtime.block_on(async {
            let answer = self.reset.request(typed, Client::none()).await;
            until(|| self.reset.ledger().waiting == 0).await;
            answer
        });
        let lookups =
            std::mem::take(&mut *self.store.lookups.lock().expect("no thread panics while it holds the lock"));
        let mailed = std::mem::take(&mut *self.mailed.lock().expect("no thread panics while it holds the lock"));
        match answer {
            Ok(_) => {
                assert!(mailed.is_empty() || mailed == [stored], "mail goes to the address on record: {mailed:?}");
                // The same address with its domain in Punycode, in Unicode, or in both.
                let [looked_up, spellings @ ..] = &lookups[..] else { panic!("no lookup: {typed:?}") };
                assert!(spellings.len() <= 2, "{lookups:?}");
                for spelling in spellings {
                    let rules = Rules { international: true, ..self.rules };
                    assert_eq!(address_in(spelling, rules), Some(&**spelling), "{lookups:?}");
                    assert!(!spelling.is_ascii() || spelling.contains("xn--"), "a look-alike: {lookups:?}");
                }
                Some(Outcome { looked_up: looked_up.clone(), mailed: !mailed.is_empty() })
            }
            Err(ResetError::InvalidEmail) => {
                assert!(lookups.is_empty() && mailed.is_empty(), "no lookup and no mail: {typed:?}");
                None
            }
            Err(error) => panic!("{error} for {typed:?}"),
        }
    }

    /// Returns whether a token can be issued to a user with this address.
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
    lookups: Arc<Mutex<Vec<String>>>,
}

impl UserStore for Store {
    type Error = Infallible;

    async fn find_by_email(&self, email: &str) -> Result<Vec<StoredUser>, Infallible> {
        self.lookups.lock().expect("no thread panics while it holds the lock").push(email.to_owned());
        Ok(vec![user(&self.stored.lock().expect("no thread panics while it holds the lock"))])
    }

    async fn find_by_id(&self, _: &str) -> Result<Option<StoredUser>, Infallible> {
        Ok(None)
    }

    async fn replace_password(&self, _: &StoredUser, _: &PasswordHash) -> Result<Swap, Infallible> {
        Ok(Swap::Stale)
    }

    /// The default check looks up an address, which would be counted as a lookup of the request.
    async fn check(&self) -> Result<(), Infallible> {
        Ok(())
    }
}
