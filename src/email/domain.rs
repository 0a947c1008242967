//! The spellings of an international domain: in Unicode (`bücher.example`) and in Punycode (`xn--bcher-kva.example`).
//!
//! Browsers send Punycode for a domain typed in Unicode, so the spelling of a request and the one on record can differ.
//! The mapping is non-transitional UTS #46, as in browsers: `straße.example` and `strasse.example` are two domains.

use std::borrow::Cow;

use super::fold;

/// The start of a label in Punycode (RFC 5890, section 2.3.2.1).
const PREFIX: &str = "xn--";

fn is_punycode(label: &str) -> bool {
    label.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// Returns whether a domain can have another spelling. Nearly every domain has none.
fn may_differ(domain: &str) -> bool {
    !domain.is_ascii() || domain.split('.').any(is_punycode)
}

/// Returns the domain with its Punycode labels decoded and the other labels unchanged. Returns an invalid domain
/// unchanged.
pub(super) fn decoded(domain: &str) -> Cow<'_, str> {
    if !domain.split('.').any(is_punycode) {
        return domain.into();
    }
    let (unicode, valid) = idna::domain_to_unicode(domain);
    if valid.is_err() || unicode.split('.').count() != domain.split('.').count() {
        return domain.into();
    }
    let labels = domain.split('.').zip(unicode.split('.'));
    let labels: Vec<&str> = labels.map(|(label, decoded)| if is_punycode(label) { decoded } else { label }).collect();
    labels.join(".").into()
}

/// Returns the other spellings of a domain, in Punycode and in Unicode, that are the [same domain](is_same).
pub(super) fn other_spellings(domain: &str) -> impl Iterator<Item = String> {
    let spellings = may_differ(domain).then(|| {
        let (unicode, valid) = idna::domain_to_unicode(domain);
        [idna::domain_to_ascii(domain).ok(), valid.is_ok().then_some(unicode)]
    });
    let spellings = spellings.into_iter().flatten().flatten();
    spellings.filter(move |spelling| !spelling.eq_ignore_ascii_case(domain) && is_same(domain, spelling))
}

/// Returns whether two domains are equal, label by label. ASCII labels are compared without regard to case. Non-ASCII
/// labels are compared without regard to case and to Unicode's compatibility forms. A non-ASCII label equals an ASCII
/// label only if the ASCII label is its Punycode, so a look-alike never equals a label of ASCII letters.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    if one.is_ascii() && other.is_ascii() {
        return one.eq_ignore_ascii_case(other);
    }
    let count = one.split('.').count();
    if count != other.split('.').count() {
        return false;
    }
    let (one, other) = (Spellings::of(one, count), Spellings::of(other, count));
    (0..count).all(|index| match (one.label(index), other.label(index)) {
        (one, other) if one.is_ascii() && other.is_ascii() => one.eq_ignore_ascii_case(other),
        (label, _) if label.is_ascii() => other.is_punycode(index, &one),
        (_, label) if label.is_ascii() => one.is_punycode(index, &other),
        (one, other) => fold(one) == fold(other),
    })
}

/// A domain and its spellings, all with the same number of labels.
struct Spellings<'d> {
    domain: &'d str,
    decoded: Cow<'d, str>,
    in_ascii: Option<String>,
}

impl<'d> Spellings<'d> {
    fn of(domain: &'d str, count: usize) -> Self {
        let in_ascii = idna::domain_to_ascii(domain).ok().filter(|spelling| spelling.split('.').count() == count);
        Self { domain, decoded: decoded(domain), in_ascii }
    }

    fn label(&self, index: usize) -> &str {
        self.domain.split('.').nth(index).unwrap_or_default()
    }

    /// Returns whether the label of `punycode` is the Punycode of the label of this domain.
    ///
    /// UTS #46 drops some invisible characters, so it maps two domains with different rate-limit keys to one. Therefore the
    /// decoded labels must be equal as well.
    fn is_punycode(&self, index: usize, punycode: &Spellings<'_>) -> bool {
        let label = punycode.label(index);
        let in_ascii = self.in_ascii.as_deref().and_then(|spelling| spelling.split('.').nth(index));
        let decoded = punycode.decoded.split('.').nth(index).unwrap_or_default();
        is_punycode(label)
            && in_ascii.is_some_and(|in_ascii| in_ascii.eq_ignore_ascii_case(label))
            && fold(decoded) == fold(self.label(index))
    }
}

#[cfg(test)]
mod tests {
    use unicode_normalization::char::is_combining_mark;

    use super::*;
    use crate::email::syntax::is_word_character;

    fn spellings(domain: &str) -> Vec<String> {
        other_spellings(domain).collect()
    }

    #[test]
    fn unicode_and_punycode_are_one_domain() {
        for (unicode, punycode) in [
            ("bücher.example", "xn--bcher-kva.example"),
            ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
            ("straße.example", "xn--strae-oqa.example"),
            ("mail.пример.example", "mail.xn--e1afmkfd.example"),
            ("bücher.例え.example", "xn--bcher-kva.xn--r8jz45g.example"),
        ] {
            assert_eq!(spellings(unicode), [punycode], "{unicode}");
            assert_eq!(spellings(punycode), [unicode], "{unicode}");
            let upper = punycode.to_uppercase();
            assert!(is_same(unicode, &upper) && is_same(&upper, unicode), "{unicode}");
            assert!(decoded(&upper).eq_ignore_ascii_case(unicode), "{unicode}");
        }
        let both = ["xn--bcher-kva.xn--r8jz45g.example", "bücher.例え.example"];
        assert_eq!(spellings("bücher.xn--r8jz45g.example"), both, "a mixed spelling has two others");
        assert!(is_same("bücher.xn--r8jz45g.example", "xn--bcher-kva.例え.example"));
        assert_eq!(spellings("BÜCHER.example"), ["xn--bcher-kva.example", "bücher.example"]);
        assert!(is_same("bu\u{308}cher.example", "xn--bcher-kva.example"));
    }

    #[test]
    fn ascii_domain_has_one_spelling() {
        for domain in ["example.com", "EXAMPLE.com", "localhost", "mail_host.example", "xn.example", "a--b.example", ""]
        {
            assert!(spellings(domain).is_empty(), "{domain}");
            assert_eq!(decoded(domain), domain);
        }
    }

    /// Domains with mixed scripts have both spellings and equal no ASCII look-alike.
    #[test]
    fn look_alikes_and_mixed_scripts_equal_no_other_domain() {
        // Latin with a Cyrillic letter; all Cyrillic; full-width; a Kelvin sign; a long s; a ligature.
        for (typed, ascii) in [
            ("b\u{430}nk.example", "bank.example"),
            ("\u{440}\u{430}\u{443}.example", "pay.example"),
            ("\u{ff42}ank.example", "bank.example"),
            ("ban\u{212a}.example", "bank.example"),
            ("\u{17f}ale.example", "sale.example"),
            ("\u{fb01}sh.example", "fish.example"),
            ("stra\u{df}e.example", "strasse.example"),
            ("bücher.ex\u{ff41}mple", "xn--bcher-kva.example"),
            ("bücher.ex\u{ff41}mple", "bücher.example"),
            ("1\u{2488}bücher.example", "11.bücher.example"),
            ("bü\u{34f}cher.example", "xn--bcher-kva.example"),
        ] {
            assert!(!is_same(typed, ascii) && !is_same(ascii, typed), "{typed} {ascii}");
            assert!(spellings(typed).iter().all(|spelling| spelling != ascii), "{typed}");
        }
        assert_eq!(spellings("b\u{430}nk.example"), ["xn--bnk-6cd.example"]);
        // One Punycode label for `fass-ü` and another for `faß-ü`.
        let [ss, sharp] = ["fass-ü.example", "faß-ü.example"].map(|domain| idna::domain_to_ascii(domain).unwrap());
        assert!(!is_same("fass-ü.example", &sharp) && !is_same("faß-ü.example", &ss) && !is_same(&ss, &sharp));
    }

    #[test]
    fn invalid_labels_have_one_spelling() {
        for domain in [
            "xn--.example",
            "xn--a.example",
            "xn--zzzzzzzz99999.example",
            "xn--bcher-kva\u{fc}.example",
            "xn--ANN-.example",
            // Punycode of text that no browser encodes: full-width letters, an upper-case letter, plain ASCII.
            &format!("xn--{}.example", idna::punycode::encode_str("\u{ff42}ank").unwrap()),
            &format!("xn--{}.example", idna::punycode::encode_str("BÜcher").unwrap()),
            "xn--bank-.example",
            "\u{301}a.example",
        ] {
            assert!(spellings(domain).is_empty(), "{domain}: {:?}", spellings(domain));
            assert_eq!(decoded(domain), domain);
        }
    }

    /// Each spelling equals its domain and has the same rate-limit key, and an ASCII spelling is always Punycode. Checked for
    /// every character that case folding changes, combining marks, Hangul fillers, and a sample of the rest.
    #[test]
    fn spellings_of_one_domain_have_one_rate_limit_key() {
        let mut checked = 0;
        let letters = (char::from(0x80)..=char::MAX).filter(|letter| is_word_character(*letter));
        for letter in letters.filter(|letter| {
            let text = letter.to_string();
            let is_special = is_combining_mark(*letter) || matches!(letter, '\u{1100}'..='\u{11ff}');
            is_special || (*letter as u32).is_multiple_of(256) || fold(&text) != text
        }) {
            let to_ascii = fold(&letter.to_string()).is_ascii().then(|| format!("b{letter}k.example"));
            for domain in to_ascii.into_iter().chain([format!("bü{letter}k.example")]) {
                for spelling in spellings(&domain) {
                    checked += 1;
                    assert!(is_same(&spelling, &domain), "{letter:?}");
                    assert!(!spelling.is_ascii() || spelling.starts_with(PREFIX), "{letter:?} {spelling}");
                    assert_eq!(fold(&decoded(&spelling)), fold(&decoded(&domain)), "{letter:?} {spelling}");
                }
            }
        }
        assert!(checked > 2_000, "{checked} spellings");
    }
}
