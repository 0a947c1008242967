//! [`KnownWords`]: removes from a password the words that an attacker who knows the user tries first.

use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;
use zeroize::Zeroizing;

use super::common_words::{ROWS, WORDS};
use crate::user::StoredUser;

/// Maximum number of characters that are read from a local part, a username or a context word, and from a domain. The time of
/// a check grows with the length of the password times the length of all words, so a long address must not add many.
const MAX_LOCAL: usize = 64;
const MAX_DOMAIN: usize = 190;

/// Maximum number of words for the estimator, which looks them up for every part of a password.
const MAX_INPUTS: usize = 32;

/// Minimum length of a word that is removed from any position.
const MIN_WORD: usize = 3;

/// Minimum length of a word that is also found reversed, with separators between its letters, or with digits in place of
/// letters. Shorter words are found by chance too often.
const MIN_DISGUISED: usize = 4;

/// Minimum number of adjacent keys of a row, at its start (`qwer`) and elsewhere. The ordinary word `property` contains four.
const MIN_ROW_START: usize = 4;
const MIN_ROW: usize = 5;

/// Maximum number of characters that one character is folded to. A few code points have a compatibility form of 18.
const MAX_FOLDED: usize = 4;

static COMMON_WORDS: LazyLock<Vec<Vec<char>>> =
    LazyLock::new(|| WORDS.iter().copied().flatten().map(|word| fold(word).collect()).collect());

static KEY_ROWS: LazyLock<Vec<Vec<char>>> = LazyLock::new(|| {
    let rows = ROWS.iter().map(|row| fold(row).collect::<Vec<char>>());
    rows.flat_map(|row| [row.iter().rev().copied().collect(), row]).collect()
});

/// Folded words that are known about a user and the application.
pub(super) struct KnownWords {
    words: Vec<Vec<char>>,
    /// Words of two letters. They are removed only from a password that has no letters outside known words.
    short: Vec<Vec<char>>,
    inputs: Vec<String>,
}

impl KnownWords {
    pub(super) fn new(user: &StoredUser, context: &[String]) -> Self {
        let (local, domain) = user.email().rsplit_once('@').unwrap_or((user.email(), ""));
        let mut found = words_of(local, MAX_LOCAL);
        found.extend(words_of(user.username().unwrap_or_default(), MAX_LOCAL));
        for text in context {
            found.extend(words_of(text, MAX_LOCAL));
        }
        // A top-level domain is shared by too many users to be a known word.
        let labels = domain.rsplit_once('.').map_or(domain, |(labels, _)| labels);
        found.extend(parts(&fold(labels).take(MAX_DOMAIN).collect::<Vec<_>>()));
        found.sort_unstable();
        found.dedup();

        let (mut words, mut short): (Vec<_>, Vec<_>) =
            found.into_iter().filter(|word| word.len() >= 2).partition(|word| word.len() >= MIN_WORD);
        short.shrink_to_fit();
        // The estimator gets the longest words, because the number is limited.
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        let inputs = words.iter().take(MAX_INPUTS).map(|word| word.iter().collect()).collect();
        let long_words = words.iter().filter(|word| word.len() >= MIN_DISGUISED);
        let reversed: Vec<Vec<char>> = long_words.map(|word| word.iter().rev().copied().collect()).collect();
        words.extend(reversed);
        Self { words, short, inputs }
    }

    /// Returns the words as inputs for the estimator.
    pub(super) fn estimator_inputs(&self) -> impl Iterator<Item = &str> {
        self.inputs.iter().map(String::as_str)
    }

    /// Returns the password without known words, common words of other languages, rows of keys and years.
    ///
    /// Returns `None` if it contains no such word or row. The estimator handles a year alone.
    pub(super) fn remainder(&self, password: &str) -> Option<Zeroizing<String>> {
        let mut text = Folded::new(password);
        let is_ascii = text.letters.iter().all(char::is_ascii);
        // Fast path: an ASCII password cannot contain the many words and rows of other scripts.
        let can_occur = |word: &&Vec<char>| !is_ascii || word.iter().all(char::is_ascii);
        for word in self.words.iter().chain(&*COMMON_WORDS).filter(can_occur) {
            text.cover_word(word);
        }
        for row in KEY_ROWS.iter().filter(can_occur) {
            text.cover_row(row);
        }
        if !text.is_covered.contains(&true) {
            return None;
        }
        text.cover_years();
        text.cover_short_words(&self.short);
        Some(text.remainder(password))
    }
}

/// A folded password, with a mark on each character that belongs to a known word.
struct Folded {
    letters: Zeroizing<Vec<char>>,
    /// For each letter, the index of its character in the password.
    indices: Vec<usize>,
    /// For each character of the password, whether it belongs to a known word.
    is_covered: Vec<bool>,
}

impl Folded {
    fn new(password: &str) -> Self {
        let mut letters = Zeroizing::new(Vec::with_capacity(password.len()));
        let mut indices = Vec::with_capacity(password.len());
        let mut count = 0;
        for (index, letter) in password.chars().enumerate() {
            for letter in fold_char(letter) {
                letters.push(letter);
                indices.push(index);
            }
            count = index + 1;
        }
        Self { letters, indices, is_covered: vec![false; count] }
    }

    fn cover(&mut self, start: usize, end: usize) {
        for index in self.indices.get(start..end).unwrap_or_default() {
            if let Some(is_covered) = self.is_covered.get_mut(*index) {
                *is_covered = true;
            }
        }
    }

    /// Covers every occurrence of a word. Occurrences may overlap, so the order of the words does not matter.
    fn cover_word(&mut self, word: &[char]) {
        for start in 0..self.letters.len() {
            if let Some(end) = end_of_word(&self.letters, start, word) {
                self.cover(start, end);
            }
        }
    }

    /// Covers every run of adjacent keys in the row.
    fn cover_row(&mut self, row: &[char]) {
        let (mut start, mut last) = (0, None);
        for at in 0..=self.letters.len() {
            let letter = self.letters.get(at);
            // The next key is compared before the row is searched, because a folded row can contain a letter twice: the `ü`
            // at the end of `qwertzuiopü` becomes a second `u`.
            let next = last.map(|last: usize| last + 1).filter(|next| letter.is_some() && row.get(*next) == letter);
            if next.is_some() {
                last = next;
                continue;
            }
            let key = letter.and_then(|letter| row.iter().position(|key| key == letter));
            let length = at - start;
            let begins_row = last.is_some_and(|last| last + 1 == length);
            if length >= MIN_ROW || begins_row && length >= MIN_ROW_START {
                self.cover(start, at);
            }
            (start, last) = (at, key);
        }
    }

    /// Covers years from 1930 to 2049.
    fn cover_years(&mut self) {
        let digits: Vec<Option<u32>> = self.letters.iter().map(|letter| letter.to_digit(10)).collect();
        for (start, window) in digits.windows(4).enumerate() {
            let year = window.iter().try_fold(0, |year, digit| Some(year * 10 + (*digit)?));
            if year.is_some_and(|year| (1930..=2049).contains(&year)) {
                self.cover(start, start + 4);
            }
        }
    }

    /// Covers the short words, if no other letters remain.
    fn cover_short_words(&mut self, short: &[Vec<char>]) {
        let before = self.is_covered.clone();
        for word in short {
            self.cover_word(word);
        }
        let is_letter_left = self.letters.iter().zip(&self.indices).any(|(letter, index)| {
            letter.is_alphabetic() && !self.is_covered.get(*index).is_some_and(|is_covered| *is_covered)
        });
        if is_letter_left {
            self.is_covered = before;
        }
    }

    /// Returns the characters that are not covered.
    fn remainder(&self, password: &str) -> Zeroizing<String> {
        let mut remainder = Zeroizing::new(String::with_capacity(password.len()));
        let mut was_covered = false;
        for (letter, is_covered) in password.chars().zip(&self.is_covered) {
            // A combining mark is removed with its letter.
            was_covered = *is_covered || was_covered && is_combining_mark(letter);
            if !was_covered {
                remainder.push(letter);
            }
        }
        remainder
    }
}

/// Returns the end of the word at `start`, or `None` if it does not occur there.
fn end_of_word(letters: &[char], start: usize, word: &[char]) -> Option<usize> {
    let may_be_disguised = word.len() >= MIN_DISGUISED;
    let is_same = |letter: char, expected: char| {
        letter == expected || may_be_disguised && replaced_letters(letter).contains(&expected)
    };
    let mut at = start;
    for (index, expected) in word.iter().enumerate() {
        let letter = *letters.get(at)?;
        // Skips one separator between two letters, as in `p.e.t.r.a`.
        if index > 0 && may_be_disguised && !is_same(letter, *expected) && !letter.is_alphanumeric() {
            at += 1;
        }
        if !is_same(*letters.get(at)?, *expected) {
            return None;
        }
        at += 1;
    }
    Some(at)
}

/// Returns the letters that a digit or a sign commonly replaces.
fn replaced_letters(letter: char) -> &'static [char] {
    match letter {
        '4' | '@' => &['a'],
        '8' => &['b'],
        '3' => &['e'],
        '6' | '9' => &['g'],
        '1' | '!' | '|' => &['i', 'l'],
        '0' => &['o'],
        '5' | '$' => &['s'],
        '7' | '+' => &['t'],
        '2' => &['z'],
        _ => &[],
    }
}

/// Returns the parts of a text, and the whole text as one word without separators.
fn words_of(text: &str, max_chars: usize) -> Vec<Vec<char>> {
    let folded: Vec<char> = fold(text).take(max_chars).collect();
    let mut words = parts(&folded);
    words.push(folded.into_iter().filter(|letter| letter.is_alphanumeric()).collect());
    words
}

/// Splits a text into runs of letters and runs of digits: `ann77.miller` into `ann`, `77`, `miller`.
fn parts(text: &[char]) -> Vec<Vec<char>> {
    let same_kind = |one: &char, other: &char| {
        one.is_alphanumeric() && other.is_alphanumeric() && one.is_numeric() == other.is_numeric()
    };
    let parts = text.chunk_by(same_kind).filter(|part| part.iter().all(|letter| letter.is_alphanumeric()));
    parts.map(<[char]>::to_vec).collect()
}

/// Folds a text for the comparison of passwords with words: lower case, compatibility decomposition, no combining marks.
fn fold(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(fold_char)
}

fn fold_char(letter: char) -> impl Iterator<Item = char> {
    let folded = letter.to_lowercase().nfkd().filter(|letter| !is_combining_mark(*letter));
    // NFKD of a full-width or mathematical capital is a capital.
    folded.flat_map(char::to_lowercase).take(MAX_FOLDED).map(|letter| match letter {
        // Letters that have no decomposition, and the final sigma.
        'ł' => 'l',
        'ø' => 'o',
        'đ' | 'ð' => 'd',
        'ı' => 'i',
        'ς' => 'σ',
        _ => letter,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remainder(email: &str, username: &str, context: &[&str], password: &str) -> Option<String> {
        let user = StoredUser::new(1, email, None).with_username(username.to_owned());
        let context: Vec<String> = context.iter().map(|word| (*word).to_owned()).collect();
        KnownWords::new(&user, &context).remainder(password).map(|remainder| remainder.to_string())
    }

    #[track_caller]
    fn assert_remainder(password: &str, expected: &str) {
        let found = remainder("petra.muster@mail-firma.example", "jolly77roger", &["Rocket Skates"], password);
        assert_eq!(found.as_deref(), Some(expected), "{password}");
    }

    #[test]
    fn known_words_are_removed_in_any_order_case_and_separation() {
        assert_remainder("muster.petra", ".");
        assert_remainder("PetraMuster2026", "");
        assert_remainder("PETRA_MUSTER-1999!", "-!");
        assert_remainder("Firma2026!", "!");
        assert_remainder("mail.firma", ".");
        assert_remainder("rogerJolly 77x", " 77x");
        assert_remainder("rogerJolly 77", " ");
        assert_remainder("skates-for-rockets", "-for-s");
        assert_remainder("m-u-s-t-e-r p.e.t.r.a", " ");
        assert_remainder("p3tr@Mu5ter", "");
        assert_remainder("artepretsum", "");
        assert_remainder("Pe\u{301}traMu\u{308}ster", "");
        assert_remainder("ｐｅｔｒａ9", "9");
        assert_remainder("petrapurple tractor", "purple tractor");
    }

    #[test]
    fn password_without_known_words_has_no_remainder() {
        for password in ["", "purple tractor", "summer 1999", "example.com", "2026", "m.u.s", "pet", "property"] {
            assert_eq!(remainder("petra.muster@mail-firma.example", "jolly77roger", &[], password), None, "{password}");
        }
    }

    #[test]
    fn two_letter_words_are_removed_only_if_no_other_letters_remain() {
        let rest = |password| remainder("jo.li.muster@x.example", "", &[], password);
        assert_eq!(rest("lijomuster7").as_deref(), Some("7"));
        assert_eq!(rest("musterlijoy").as_deref(), Some("lijoy"));
        assert_eq!(rest("joli7xq"), None);
    }

    #[test]
    fn rows_of_keys_are_removed_in_both_directions() {
        for (password, expected) in [
            ("qwertz12", "12"),
            ("ztrewq12", "12"),
            ("xazerx", "xx"),
            ("йцукен123", "123"),
            ("фыва1", "1"),
            ("некуцй", ""),
            ("йЦуКеН", ""),
            ("azertyuiopqsdfghjklm", ""),
        ] {
            assert_eq!(remainder("a@b", "", &[], password).as_deref(), Some(expected), "{password}");
        }
        for password in ["erty", "жэдл", "qwe", "azqwsx"] {
            assert_eq!(remainder("a@b", "", &[], password), None, "{password}");
        }
    }

    #[test]
    fn every_common_word_and_row_is_removed_and_ascii_words_have_five_letters() {
        for word in WORDS.iter().copied().flatten().chain(ROWS) {
            for typed in [(*word).to_owned(), word.to_uppercase(), word.nfd().collect(), word.nfc().collect()] {
                let rest = remainder("a@b", "", &[], &typed);
                assert_eq!(rest.as_deref(), Some(""), "{typed}");
            }
            assert!(!word.is_ascii() || word.len() >= 5, "{word}");
        }
    }

    #[test]
    fn character_folds_to_at_most_four_characters() {
        let text = Folded::new(&"\u{fdfa}".repeat(10));
        assert_eq!(text.letters.len(), 10 * MAX_FOLDED);
    }
}
