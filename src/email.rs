//! [`EmailAddress`]: an address that passed the [syntax] check, its spellings, and whether two addresses are equal.

mod domain;
mod syntax;

use std::borrow::Cow;
use std::fmt;

use unicode_normalization::UnicodeNormalization;

pub(crate) use self::syntax::{AddressRules, MAX_EMAIL_BYTES};
use self::syntax::{is_address, is_domain};
use crate::white_space;

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

    /// Returns whether mail can be sent to `text` unchanged. Letters of any script are allowed, because an
    /// address on record was accepted by the application. Syntax of mail headers is refused.
    pub(crate) fn is_mailable(text: &str, rules: AddressRules) -> bool {
        is_address(text, AddressRules { international: true, ..rules })
    }

    /// Returns the address as it was typed.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the other spellings of the address to look up: with the domain in Punycode, in Unicode, or both. Nearly
    /// every address has none. The spellings depend on the text alone, not on whether a user has the address.
    pub(crate) fn other_spellings(&self) -> Vec<String> {
        let Some((local, domain)) = self.0.split_once('@') else { return Vec::new() };
        let spellings = domain::other_spellings(domain).filter(|domain| is_domain(domain, true));
        spellings.map(|domain| format!("{local}@{domain}")).filter(|text| text.len() <= MAX_EMAIL_BYTES).collect()
    }

    /// Returns the [rate-limit form](folded) of the address.
    pub(crate) fn folded(&self) -> Cow<'_, str> {
        folded(&self.0)
    }

    /// Returns whether mail for this address may go to `stored`, as [`is_same`] compares them.
    pub(crate) fn is_same(&self, stored: &str) -> bool {
        is_same(&self.0, stored)
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmailAddress(..)")
    }
}

/// Returns whether two addresses are equal without regard to case and to Unicode's compatibility forms. Their local parts must
/// both be ASCII or both not. A domain in Unicode equals the same domain in Punycode.
///
/// A store may compare more loosely and find `ann` for `ａnn`, or `kim` for a Kelvin sign. Without this check an attacker's
/// request for the look-alike address would send mail to another user.
pub(crate) fn is_same(typed: &str, stored: &str) -> bool {
    match (typed.split_once('@'), stored.split_once('@')) {
        (Some((local, domain)), Some((stored_local, stored_domain))) => {
            local.is_ascii() == stored_local.is_ascii()
                && fold(local) == fold(stored_local)
                && domain::is_same(domain, stored_domain)
        }
        _ => false,
    }
}

/// Returns the normalized form of an address, used as a rate-limit key only. All spellings that a store might find the same
/// user for, Punycode included, have one form. Mail goes to the address on record.
pub(crate) fn folded(address: &str) -> Cow<'_, str> {
    if let Some((local, domain)) = address.split_once('@')
        && let Cow::Owned(decoded) = domain::decoded(domain)
    {
        return fold(&format!("{local}@{decoded}")).into_owned().into();
    }
    fold(address)
}

/// Applies NFKC and full case folding. Converts to upper case first, because some stores treat `ß` and `SS` as equal.
fn fold(text: &str) -> Cow<'_, str> {
    // Fast path: most addresses are lower-case ASCII, which normalization does not change. To copy them all the same takes
    // 2.9 % more instructions of `POST /` with its mail.
    if text.is_ascii() {
        let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        return if is_lower { text.into() } else { text.to_ascii_lowercase().into() };
    }
    let folded = text.nfkc().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    folded.nfkc().collect()
}

#[cfg(test)]
mod tests {
    use super::syntax::is_word_character;
    use super::*;

    const INTERNATIONAL: AddressRules = AddressRules { international: true, lenient: false };
    const ALL: AddressRules = AddressRules { international: true, lenient: true };

    #[test]
    fn addresses_that_differ_only_in_case_are_the_same() {
        let same = |typed: &str, stored: &str| EmailAddress::parse(typed, INTERNATIONAL).unwrap().is_same(stored);
        assert!(same("Ann@Example.COM", "ann@example.com"));
        assert!(same("Ann@B\u{dc}CHER.example", "ann@xn--bcher-kva.example"));
        assert!(same("ann@XN--bcher-KVA.example", "Ann@b\u{fc}cher.example"));
        assert!(same("ÄNN@example.com", "änn@example.com"));
        assert!(same("a\u{308}nn@example.com", "\u{e4}nn@example.com"), "composed and decomposed forms are equal");
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

    /// No non-ASCII character equals an ASCII character of a stored address, in either part. Checked for every character.
    #[test]
    fn non_ascii_look_alike_never_equals_an_ascii_address() {
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
    fn spellings_that_a_store_may_treat_as_equal_have_one_rate_limit_key() {
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
