//! The syntax of email addresses.
//!
//! Stricter than RFC 5321: no quoted local parts, no domain literals, and no character with a meaning in a mail header,
//! because an accepted address reaches the store and the handlers.

use unicode_normalization::char::is_combining_mark;

/// The longest address, in bytes (RFC 5321, section 4.5.3.1.3, less the angle brackets).
pub(crate) const MAX_EMAIL_BYTES: usize = 254;

/// The longest label of a domain name, in characters (RFC 1035, section 2.3.4).
const MAX_LABEL_CHARS: usize = 63;

/// Settings that widen which addresses are accepted. All are off by default.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AddressRules {
    /// Accepts non-ASCII letters in the local part (RFC 6531).
    pub(crate) international: bool,
    /// Accepts stray dots in the local part, hosts of one label, and underscores in host labels.
    pub(crate) lenient: bool,
}

/// Returns whether `text` is an address, without white space around it.
pub(super) fn is_address(text: &str, rules: AddressRules) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    text.len() <= MAX_EMAIL_BYTES && is_local_part(local, rules) && is_domain(domain, rules.lenient)
}

/// Returns whether `local` is atoms separated by single dots. The lenient rules allow dots anywhere.
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
    // A slash with stray dots could spell `../`, which leaves the folder in a program that names files after addresses.
    rules.lenient && has_atom && !local.contains('/')
}

/// Returns whether an ASCII character is allowed in an atom: letters, digits, and some punctuation (RFC 5322, section
/// 3.2.3).
fn is_atom_character(letter: char) -> bool {
    letter.is_ascii_alphanumeric()
        || matches!(letter, '!' | '#'..='\'' | '*' | '+' | '-' | '/' | '=' | '?' | '^'..='`' | '{'..='~')
}

/// Returns whether `domain` is `localhost`, or two or more labels separated by dots. The last label must have two or more
/// characters. The lenient rules also allow one label, and underscores where hyphens are allowed.
pub(super) fn is_domain(domain: &str, lenient: bool) -> bool {
    if domain.eq_ignore_ascii_case("localhost") {
        return true;
    }
    // The state of the current label: its length in characters, and whether it can end here.
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

/// Returns whether a character is a letter or digit of any script, or a combining mark. Separators, control and format
/// characters are not.
pub(super) fn is_word_character(letter: char) -> bool {
    if letter.is_ascii() {
        return letter.is_ascii_alphanumeric();
    }
    letter.is_alphanumeric() || is_combining_mark(letter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::email::EmailAddress;

    const DEFAULT: AddressRules = AddressRules { international: false, lenient: false };
    const INTERNATIONAL: AddressRules = AddressRules { international: true, lenient: false };
    const LENIENT: AddressRules = AddressRules { international: false, lenient: true };
    const ALL: AddressRules = AddressRules { international: true, lenient: true };

    #[test]
    fn default_rules_accept_ordinary_addresses() {
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
        assert!(
            EmailAddress::parse("a/b.c@example.com", ALL).is_some(),
            "a slash without stray dots is allowed by default"
        );
        let long = format!("root@{}", "a".repeat(MAX_LABEL_CHARS));
        assert!(EmailAddress::parse(&long, ALL).is_some());
        assert!(EmailAddress::parse(&(long + "a"), ALL).is_none());
    }

    /// Checked for every character, in the local part and in the domain.
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
    fn default_rules_refuse_malformed_addresses() {
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
    fn ascii_in_local_part_is_limited_to_atoms_and_dots() {
        for letter in '\0'..='\x7f' {
            let may = letter.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(letter);
            for rules in [INTERNATIONAL, ALL] {
                let address = EmailAddress::parse(&format!("a{letter}b@example.com"), rules);
                assert_eq!(address.is_some(), may, "{letter:?}");
            }
        }
    }

    #[test]
    fn labels_longer_than_63_characters_are_refused() {
        let is_address = |domain: String| EmailAddress::parse(&format!("ann@{domain}"), DEFAULT).is_some();
        for label in ["a".repeat(63), "a-".repeat(31) + "a"] {
            assert!(is_address(format!("{label}.com")) && is_address(format!("example.{label}")));
            assert!(!is_address(format!("a{label}.com")) && !is_address(format!("example.a{label}")));
        }
    }
}
