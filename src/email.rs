//! E-mail addresses: which text is one, and when two are the same.
//!
//! Deliberately stricter than RFC 5321: no quoted local parts, no domain literals, nothing that means something in a
//! mail header. What passes here reaches a store and a handler.

use std::borrow::Cow;
use std::fmt;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// The longest address there is, in bytes (RFC 5321, section 4.5.3.1.3, less the angle brackets).
pub(crate) const MAX_EMAIL_BYTES: usize = 254;

/// The longest label of a domain name, in characters (RFC 1035, section 2.3.4).
const MAX_LABEL_CHARS: usize = 63;

/// Text that is an e-mail address. `Debug` does not show it.
#[derive(Clone)]
pub(crate) struct EmailAddress(Box<str>);

impl EmailAddress {
    /// Reads an address. ASCII white space around it is dropped. Letters beyond ASCII are allowed in the domain, and in
    /// the local part if `international` (RFC 6531).
    pub(crate) fn parse(text: &str, international: bool) -> Option<Self> {
        let text = text.trim_ascii();
        is_address(text, international).then(|| Self(text.into()))
    }

    /// Whether `text` is, as it stands, an address that mail can be sent to: letters of any script, and nothing that
    /// means something in the header of a mail.
    pub(crate) fn is_mailable(text: &str) -> bool {
        is_address(text, true)
    }

    /// The address as it was typed.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The one form of all spellings that a store might take for the same address: for counting, never for mailing.
    pub(crate) fn folded(&self) -> Cow<'_, str> {
        fold(&self.0)
    }

    /// Whether mail for this address may go to `stored`: equal without regard to case and to Unicode's compatibility
    /// forms, and ASCII where the other is. A store that compares more loosely, and finds `ann` for `ａnn` or `kim` for
    /// a Kelvin sign, must not make us answer a stranger's request with somebody else's mail.
    pub(crate) fn is_same(&self, stored: &str) -> bool {
        // As it nearly always is.
        if &*self.0 == stored {
            return true;
        }
        let parts_alike = match (self.0.split_once('@'), stored.split_once('@')) {
            (Some((local, domain)), Some((stored_local, stored_domain))) => {
                local.is_ascii() == stored_local.is_ascii() && domain.is_ascii() == stored_domain.is_ascii()
            }
            _ => false,
        };
        parts_alike && fold(&self.0) == fold(stored)
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmailAddress(..)")
    }
}

/// The form in which two spellings of one address meet: NFKC and full case folding, by way of upper case, so that `ß` and `SS` meet, as they do in some stores.
pub(crate) fn fold(text: &str) -> Cow<'_, str> {
    // Of ASCII nothing changes but the case, and nearly every address is ASCII, most of them in lower case.
    if text.is_ascii() {
        let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        return if is_lower { text.into() } else { text.to_ascii_lowercase().into() };
    }
    let folded = text.nfkc().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    folded.nfkc().collect()
}

/// Whether this is an address as it stands.
fn is_address(text: &str, international: bool) -> bool {
    // Not by `split_once`: in so short a text a search takes longer to begin than to look at every byte.
    let Some(at) = text.bytes().position(|byte| byte == b'@') else { return false };
    let (local, domain) = (&text[..at], &text[at + 1..]);
    text.len() <= MAX_EMAIL_BYTES && is_local_part(local, international) && is_domain(domain)
}

/// Atoms between dots.
fn is_local_part(local: &str, international: bool) -> bool {
    let mut in_an_atom = false;
    for letter in local.chars() {
        match letter {
            '.' if in_an_atom => in_an_atom = false,
            _ if is_atom_character(letter) => in_an_atom = true,
            _ if international && !letter.is_ascii() && is_word_character(letter) => in_an_atom = true,
            _ => return false,
        }
    }
    in_an_atom
}

/// What may stand in a local part, of ASCII: letters, digits, and some punctuation (RFC 5322, section 3.2.3).
fn is_atom_character(letter: char) -> bool {
    letter.is_ascii_alphanumeric()
        || matches!(letter, '!' | '#'..='\'' | '*' | '+' | '-' | '/' | '=' | '?' | '^'..='`' | '{'..='~')
}

/// `localhost`, or labels between dots, of which the last has two characters or more.
fn is_domain(domain: &str) -> bool {
    if domain.eq_ignore_ascii_case("localhost") {
        return true;
    }
    // Of the label that is read: how many characters, and whether it may end here.
    let (mut chars, mut may_end) = (0, false);
    let mut is_first_label = true;
    for letter in domain.chars() {
        match letter {
            _ if is_word_character(letter) => (chars, may_end) = (chars + 1, true),
            '-' if chars > 0 => (chars, may_end) = (chars + 1, false),
            '.' if may_end && chars <= MAX_LABEL_CHARS => (chars, may_end, is_first_label) = (0, false, false),
            _ => return false,
        }
    }
    may_end && (2..=MAX_LABEL_CHARS).contains(&chars) && !is_first_label
}

/// A letter or digit of any script, or a mark that belongs to one; no separator, control or format character.
fn is_word_character(letter: char) -> bool {
    if letter.is_ascii() {
        return letter.is_ascii_alphanumeric();
    }
    letter.is_alphanumeric() || is_combining_mark(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_address() {
        for good in [
            "ann@example.com",
            " ann@example.com\r\n",
            "Ann.O'Brien+reset@mail.example.co.uk",
            "a@b.de",
            "1234567890@example.com",
            "_______@example.com",
            "ann@localhost",
            "ann@sub-domain.example.museum",
            "ann@bücher.example",
            "ann@xn--bcher-kva.example",
            "ann@example.例え",
        ] {
            assert!(EmailAddress::parse(good, false).is_some(), "{good:?}");
        }
        let longest = "a".repeat(242) + "@example.com";
        assert_eq!(longest.len(), MAX_EMAIL_BYTES);
        assert!(EmailAddress::parse(&longest, false).is_some());
        assert!(EmailAddress::parse(&("a".to_owned() + &longest), false).is_none());
    }

    #[test]
    fn what_is_not() {
        for bad in [
            "",
            "ann",
            "@",
            "ann@",
            "@example.com",
            "ann@example",
            "ann@example.c",
            "ann@@example.com",
            "ann@bob@example.com",
            ".ann@example.com",
            "ann.@example.com",
            "a..b@example.com",
            "ann@.example.com",
            "ann@example.com.",
            "ann@example..com",
            "ann@-example.com",
            "ann@example-.com",
            "ann @example.com",
            "ann@exa mple.com",
            "ann@exam\u{a0}ple.com",
            "\"ann\"@example.com",
            "<ann@example.com>",
            "Ann <ann@example.com>",
            "ann@example.com>",
            "ann@[127.0.0.1]",
            "ann(comment)@example.com",
            "ann,bob@example.com",
            "ann;bob@example.com",
            "ann:bob@example.com",
            "ann\\bob@example.com",
            "ann@example.com\r\nBcc: bob@example.com",
            "ann\0@example.com",
            "ann@example.com\0",
            "ann@exa\u{202e}mple.com",
            "ann@exa\u{200b}mple.com",
            "ann@\u{feff}example.com",
            "änn@example.com",
            "\u{2007}ann@example.com",
        ] {
            assert!(EmailAddress::parse(bad, false).is_none(), "{bad:?}");
        }
        assert!(EmailAddress::parse("änn@example.com", true).is_some());
        assert!(EmailAddress::parse("ä\u{202e}nn@example.com", true).is_none());
    }

    #[test]
    fn of_ascii_no_more_may_stand_in_a_local_part_than_the_specification_says() {
        for letter in '\0'..='\x7f' {
            let may = letter.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(letter);
            let address = EmailAddress::parse(&format!("a{letter}b@example.com"), true);
            assert_eq!(address.is_some(), may, "{letter:?}");
        }
    }

    #[test]
    fn no_label_is_longer_than_a_name_server_takes() {
        let is_address = |domain: String| EmailAddress::parse(&format!("ann@{domain}"), false).is_some();
        for label in ["a".repeat(63), "a-".repeat(31) + "a"] {
            assert!(is_address(format!("{label}.com")) && is_address(format!("example.{label}")));
            assert!(!is_address(format!("a{label}.com")) && !is_address(format!("example.a{label}")));
        }
    }

    #[test]
    fn the_same_address_is_one_that_differs_in_case_only() {
        let same = |typed: &str, stored: &str| EmailAddress::parse(typed, true).unwrap().is_same(stored);
        assert!(same("Ann@Example.COM", "ann@example.com"));
        assert!(same("ÄNN@example.com", "änn@example.com"));
        assert!(same("a\u{308}nn@example.com", "\u{e4}nn@example.com"), "composed or not is the same letter");
        for (typed, stored) in [
            ("ann@example.com", "bob@example.com"),
            ("\u{ff41}nn@example.com", "ann@example.com"),
            ("mi\u{212a}e@example.com", "mike@example.com"),
            ("mike@example.com", "mi\u{212a}e@example.com"),
            ("ann@ex\u{ff41}mple.com", "ann@example.com"),
            ("\u{17f}am@example.com", "sam@example.com"),
            ("m\u{131}ke@example.com", "mike@example.com"),
            ("ann@example.com", "not an address"),
        ] {
            assert!(!same(typed, stored), "{typed:?} {stored:?}");
        }
    }

    /// No character beyond ASCII can stand for one of a known address, in either part: derived from the Unicode data.
    #[test]
    fn no_look_alike_reaches_an_ascii_address() {
        let mut folding = 0;
        for letter in (char::from(0x80)..=char::MAX).filter(|letter| is_word_character(*letter)) {
            let text = letter.to_string();
            let folded = fold(&text);
            if !folded.chars().any(|letter| letter.is_ascii_alphanumeric()) {
                continue;
            }
            folding += 1;
            for (local, domain) in
                [(format!("a{folded}n"), "example.com".to_owned()), ("ann".to_owned(), format!("e{folded}e.com"))]
            {
                let stored = format!("{local}@{domain}");
                let typed = stored.replacen(&*folded, &letter.to_string(), 1);
                if let Some(typed) = EmailAddress::parse(&typed, true) {
                    assert!(!stored.is_ascii() || !typed.is_same(&stored), "{letter:?} for {folded:?}");
                }
            }
        }
        assert!(folding > 500, "{folding} characters fold into ASCII");
    }

    #[test]
    fn spellings_that_a_store_may_take_for_one_count_as_one() {
        let folded = |text| EmailAddress::parse(text, true).unwrap().folded().into_owned();
        for text in ["ANN@EXAMPLE.COM", " ann@example.com", "\u{ff41}nn@example.com", "ann@ex\u{ff41}mple.com"] {
            assert_eq!(folded(text), "ann@example.com");
        }
        assert_eq!(folded("stra\u{df}e@example.com"), folded("STRASSE@example.com"));
    }
}
