//! Email addresses: which text is one, and when two are the same.
//!
//! Deliberately stricter than RFC 5321: no quoted local parts, no domain literals, nothing that means something in a
//! mail header. An address that passes here reaches a store and a handler.

mod domain;

use std::borrow::Cow;
use std::fmt;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::white_space;

/// The longest address there is, in bytes (RFC 5321, section 4.5.3.1.3, less the angle brackets).
pub(crate) const MAX_EMAIL_BYTES: usize = 254;

/// The longest label of a domain name, in characters (RFC 1035, section 2.3.4).
const MAX_LABEL_CHARS: usize = 63;

/// Settings that widen which addresses are accepted. All are off by default.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AddressRules {
    /// Accepts letters beyond ASCII in the local part (RFC 6531).
    pub(crate) international: bool,
    /// Accepts stray dots in the local part, hosts of one label, and underscores in host labels.
    pub(crate) lenient: bool,
}

/// Text that is an email address. `Debug` does not show it.
#[derive(Clone)]
pub(crate) struct EmailAddress(Box<str>);

impl EmailAddress {
    /// Reads an address. White space and zero-width characters around it are dropped. Letters beyond ASCII are always
    /// allowed in the domain.
    pub(crate) fn parse(text: &str, rules: AddressRules) -> Option<Self> {
        let text = white_space::trim(text);
        is_address(text, rules).then(|| Self(text.into()))
    }

    /// Returns whether mail can be sent to `text` as it stands. Letters of any script are allowed, because an
    /// address on record was accepted by the application. Syntax of mail headers is refused.
    pub(crate) fn is_mailable(text: &str, rules: AddressRules) -> bool {
        is_address(text, AddressRules { international: true, ..rules })
    }

    /// The address as it was typed.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the other spellings of the address to ask a store for: with the domain in Punycode, in Unicode, or both.
    /// Nearly every address has none. They depend on the text alone, never on whether somebody has the address.
    pub(crate) fn other_spellings(&self) -> Vec<String> {
        let Some((local, domain)) = self.0.split_once('@') else { return Vec::new() };
        let spellings = domain::other_spellings(domain).filter(|domain| is_domain(domain, true));
        spellings.map(|domain| format!("{local}@{domain}")).filter(|text| text.len() <= MAX_EMAIL_BYTES).collect()
    }

    /// The [rate-limit form](folded) of the address.
    pub(crate) fn folded(&self) -> Cow<'_, str> {
        folded(&self.0)
    }

    /// Returns whether mail for this address may go to `stored`: equal without regard to case and to Unicode's compatibility
    /// forms, and ASCII where the other is. A domain in Unicode equals the same domain in Punycode.
    ///
    /// A store that compares more loosely, and finds `ann` for `ａnn` or `kim` for a Kelvin sign, must not make us answer a
    /// stranger's request with somebody else's mail.
    pub(crate) fn is_same(&self, stored: &str) -> bool {
        // Nearly always true.
        if &*self.0 == stored {
            return true;
        }
        match (self.0.split_once('@'), stored.split_once('@')) {
            (Some((local, domain)), Some((stored_local, stored_domain))) => {
                local.is_ascii() == stored_local.is_ascii()
                    && fold(local) == fold(stored_local)
                    && domain::is_same(domain, stored_domain)
            }
            _ => false,
        }
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmailAddress(..)")
    }
}

/// Normalized form of an address, used as a rate-limit key only: one form for all spellings that a store might take for the
/// same address, Punycode included. Mail goes to the address on record.
pub(crate) fn folded(address: &str) -> Cow<'_, str> {
    if let Some((local, domain)) = address.split_once('@')
        && let Cow::Owned(decoded) = domain::decoded(domain)
    {
        return fold(&format!("{local}@{decoded}")).into_owned().into();
    }
    fold(address)
}

/// NFKC and full case folding, by way of upper case so that `ß` and `SS` meet, as they do in some stores.
fn fold(text: &str) -> Cow<'_, str> {
    // Fast path: most addresses are lower-case ASCII, which normalization does not change.
    if text.is_ascii() {
        let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        return if is_lower { text.into() } else { text.to_ascii_lowercase().into() };
    }
    let folded = text.nfkc().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    folded.nfkc().collect()
}

/// Returns whether `text` is an address as it stands.
fn is_address(text: &str, rules: AddressRules) -> bool {
    // Not by `split_once`: in so short a text a search takes longer to begin than to look at every byte.
    let Some(at) = text.bytes().position(|byte| byte == b'@') else { return false };
    let (local, domain) = (&text[..at], &text[at + 1..]);
    text.len() <= MAX_EMAIL_BYTES && is_local_part(local, rules) && is_domain(domain, rules.lenient)
}

/// Returns whether `local` is atoms with a dot between any two; if lenient, with dots anywhere.
fn is_local_part(local: &str, rules: AddressRules) -> bool {
    let (mut in_an_atom, mut has_atom, mut has_stray_dot) = (false, false, false);
    for letter in local.chars() {
        match letter {
            '.' if in_an_atom => in_an_atom = false,
            '.' if rules.lenient => has_stray_dot = true,
            _ if is_atom_character(letter) => (in_an_atom, has_atom) = (true, true),
            _ if rules.international && !letter.is_ascii() && is_word_character(letter) => {
                (in_an_atom, has_atom) = (true, true);
            }
            _ => return false,
        }
    }
    if in_an_atom && !has_stray_dot {
        return true;
    }
    // A slash beside stray dots could spell `../`, a path out of a folder in a program that names files after addresses.
    rules.lenient && has_atom && !local.contains('/')
}

/// Returns whether an ASCII character may stand in an atom: letters, digits, and some punctuation (RFC 5322, section
/// 3.2.3).
fn is_atom_character(letter: char) -> bool {
    letter.is_ascii_alphanumeric()
        || matches!(letter, '!' | '#'..='\'' | '*' | '+' | '-' | '/' | '=' | '?' | '^'..='`' | '{'..='~')
}

/// Returns whether `domain` is `localhost`, or two or more labels with dots between them. The last label has two
/// characters or more. If lenient, one label is enough, and an underscore counts like a hyphen.
fn is_domain(domain: &str, lenient: bool) -> bool {
    if domain.eq_ignore_ascii_case("localhost") {
        return true;
    }
    // The label being read: its length in characters, and whether it may end here.
    let (mut chars, mut may_end) = (0, false);
    let mut is_first_label = true;
    for letter in domain.chars() {
        match letter {
            _ if is_word_character(letter) => (chars, may_end) = (chars + 1, true),
            '-' if chars > 0 => (chars, may_end) = (chars + 1, false),
            '_' if chars > 0 && lenient => (chars, may_end) = (chars + 1, false),
            '.' if may_end && chars <= MAX_LABEL_CHARS => (chars, may_end, is_first_label) = (0, false, false),
            _ => return false,
        }
    }
    may_end && (2..=MAX_LABEL_CHARS).contains(&chars) && (lenient || !is_first_label)
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

    const DEFAULT: AddressRules = AddressRules { international: false, lenient: false };
    const INTERNATIONAL: AddressRules = AddressRules { international: true, lenient: false };
    const LENIENT: AddressRules = AddressRules { international: false, lenient: true };
    const ALL: AddressRules = AddressRules { international: true, lenient: true };

    #[test]
    fn what_is_an_address() {
        for good in [
            "ann@example.com",
            " ann@example.com\r\n",
            "\u{2007}\u{200b}ann@example.com\u{a0}\u{feff}",
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
            assert!(EmailAddress::parse(good, DEFAULT).is_some(), "{good:?}");
        }
        let longest = "a".repeat(242) + "@example.com";
        assert_eq!(longest.len(), MAX_EMAIL_BYTES);
        assert!(EmailAddress::parse(&longest, DEFAULT).is_some());
        assert!(EmailAddress::parse(&("a".to_owned() + &longest), DEFAULT).is_none());
    }

    /// Addresses that exist and that only the lenient setting accepts.
    const LENIENT_ONLY: [&str; 10] = [
        "ann@example",
        "root@intranet",
        "root@mail_1",
        "ops@mail_host.example",
        "ops@a__b.example",
        ".ann@example.com",
        "ann.@example.com",
        "a..b@example.com",
        "...taro...suzuki...@example.ne.jp",
        "taro.@mail_host",
    ];

    #[test]
    fn lenient_rules_accept_stray_dots_one_label_hosts_and_underscores() {
        for good in LENIENT_ONLY {
            for rules in [LENIENT, ALL] {
                let address = EmailAddress::parse(&format!(" {good}\r\n"), rules);
                assert_eq!(address.as_ref().map(EmailAddress::as_str), Some(good));
                assert!(EmailAddress::is_mailable(good, rules), "{good:?}");
            }
            assert!(!EmailAddress::is_mailable(good, DEFAULT), "{good:?}");
        }
        assert!(EmailAddress::parse("ä..nn@example", ALL).is_some());
        assert!(EmailAddress::parse("ä..nn@example", LENIENT).is_none());
        assert!(EmailAddress::is_mailable("ä..nn@example", LENIENT));
    }

    #[test]
    fn lenient_rules_refuse_everything_else() {
        for bad in [
            ".@example.com",
            "...@example.com",
            "@intranet",
            "root@",
            "root@i",
            "root@example.c",
            "root@-intranet",
            "root@intranet-",
            "root@_intranet",
            "root@intranet_",
            "root@_dmarc.example.com",
            "root@mail_.example.com",
            "root@.intranet",
            "root@intranet.",
            "root@mail..intranet",
            "root@in tranet",
            "root@in\u{ff3f}tranet",
            "../../etc/passwd@example.com",
            "a/../b@example.com",
            "./a@example.com",
            "\"a..b\"@example.com",
            "a..b@[127.0.0.1]",
            "a..b@bob@example",
            "a\u{2025}b@example.com",
            "a\u{2024}@example.com",
        ] {
            assert!(EmailAddress::parse(bad, ALL).is_none(), "{bad:?}");
        }
        assert!(EmailAddress::parse("a/b.c@example.com", ALL).is_some(), "a slash without stray dots, as by default");
        let long = format!("root@{}", "a".repeat(MAX_LABEL_CHARS));
        assert!(EmailAddress::parse(&long, ALL).is_some());
        assert!(EmailAddress::parse(&(long + "a"), ALL).is_none());
    }

    /// Every character, in every part: nothing with a meaning in a mail header, no white space, and no control.
    #[test]
    fn no_rules_accept_header_syntax_white_space_or_controls() {
        let refused = |letter: char| letter.is_control() || letter.is_whitespace() || "\"<>(),:;\\[]@".contains(letter);
        for letter in ('\0'..=char::MAX).filter(|letter| refused(*letter)) {
            for bad in [
                format!(".{letter}a.@example.com"),
                format!("a..{letter}..b@example.com"),
                format!("a@mail_{letter}host"),
                format!("a@mail{letter}_host.example"),
                format!("a@intranet.{letter}xample"),
            ] {
                assert!(!EmailAddress::is_mailable(&bad, ALL), "{bad:?}");
            }
        }
    }

    #[test]
    fn what_is_not() {
        for bad in [
            "",
            "ann",
            "@",
            "ann@",
            "@example.com",
            "ann@example.c",
            "ann@@example.com",
            "ann@bob@example.com",
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
            "\u{ad}ann@example.com",
            "ann\u{200b}@example.com",
        ] {
            assert!(EmailAddress::parse(bad, DEFAULT).is_none(), "{bad:?}");
            assert!(EmailAddress::parse(bad, LENIENT).is_none(), "{bad:?}");
        }
        for accepted_if_lenient in LENIENT_ONLY {
            assert!(EmailAddress::parse(accepted_if_lenient, DEFAULT).is_none(), "{accepted_if_lenient:?}");
            assert!(EmailAddress::parse(accepted_if_lenient, INTERNATIONAL).is_none(), "{accepted_if_lenient:?}");
        }
        assert!(EmailAddress::parse("änn@example.com", INTERNATIONAL).is_some());
        assert!(EmailAddress::parse("ä\u{202e}nn@example.com", INTERNATIONAL).is_none());
    }

    #[test]
    fn of_ascii_no_more_may_stand_in_a_local_part_than_the_specification_says() {
        for letter in '\0'..='\x7f' {
            let may = letter.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(letter);
            for rules in [INTERNATIONAL, ALL] {
                let address = EmailAddress::parse(&format!("a{letter}b@example.com"), rules);
                assert_eq!(address.is_some(), may, "{letter:?}");
            }
        }
    }

    #[test]
    fn no_label_is_longer_than_a_name_server_takes() {
        let is_address = |domain: String| EmailAddress::parse(&format!("ann@{domain}"), DEFAULT).is_some();
        for label in ["a".repeat(63), "a-".repeat(31) + "a"] {
            assert!(is_address(format!("{label}.com")) && is_address(format!("example.{label}")));
            assert!(!is_address(format!("a{label}.com")) && !is_address(format!("example.a{label}")));
        }
    }

    #[test]
    fn the_same_address_is_one_that_differs_in_case_only() {
        let same = |typed: &str, stored: &str| EmailAddress::parse(typed, INTERNATIONAL).unwrap().is_same(stored);
        assert!(same("Ann@Example.COM", "ann@example.com"));
        assert!(same("Ann@B\u{dc}CHER.example", "ann@xn--bcher-kva.example"));
        assert!(same("ann@XN--bcher-KVA.example", "Ann@b\u{fc}cher.example"));
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
            ("\u{ff41}nn@b\u{fc}cher.example", "ann@xn--bcher-kva.example"),
            ("bob@b\u{fc}cher.example", "ann@xn--bcher-kva.example"),
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
                if let Some(typed) = EmailAddress::parse(&typed, INTERNATIONAL) {
                    assert!(!stored.is_ascii() || !typed.is_same(&stored), "{letter:?} for {folded:?}");
                }
            }
        }
        assert!(folding > 500, "{folding} characters fold into ASCII");
    }

    #[test]
    fn spellings_that_a_store_may_take_for_one_count_as_one() {
        let folded = |text| EmailAddress::parse(text, INTERNATIONAL).unwrap().folded().into_owned();
        for text in ["ANN@EXAMPLE.COM", " ann@example.com", "\u{ff41}nn@example.com", "ann@ex\u{ff41}mple.com"] {
            assert_eq!(folded(text), "ann@example.com");
        }
        assert_eq!(folded("stra\u{df}e@example.com"), folded("STRASSE@example.com"));
        assert_eq!(folded("Ann@XN--bcher-kva.example"), folded("ann@B\u{dc}CHER.example"));
        assert_ne!(folded("ann@xn--bcher-kvb.example"), folded("ann@b\u{fc}cher.example"));
    }

    #[test]
    fn other_spellings_are_addresses_of_legal_length() {
        let spellings = |text: &str| EmailAddress::parse(text, ALL).unwrap().other_spellings();
        assert_eq!(spellings("Ann@b\u{fc}cher.example"), ["Ann@xn--bcher-kva.example"]);
        assert_eq!(spellings("Ann@xn--bcher-kva.example"), ["Ann@b\u{fc}cher.example"]);
        assert!(spellings("Ann@Example.com").is_empty());
        // 63 characters, but more in Punycode.
        assert!(spellings(&format!("ann@{}.example", "\u{fc}".repeat(63))).is_empty());
        // 254 bytes in Unicode, but more in Punycode.
        let local = "a".repeat(254 - "@b\u{fc}cher.example".len());
        assert!(spellings(&format!("{local}@b\u{fc}cher.example")).is_empty());
        assert_eq!(spellings(&format!("{}@b\u{fc}cher.example", &local[6..])).len(), 1);
    }
}
