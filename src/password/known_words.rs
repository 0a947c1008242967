//! [`KnownWords`]: the words that an attacker who knows the user tries first, and the password without them.

use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;
use zeroize::Zeroizing;

use super::common_words::{ROWS, WORDS};
use crate::user::StoredUser;

/// The most characters that are read of a local part, of a username and of a domain. They bound the work for a hostile
/// address: it grows with the length of the password times the length of all words.
const MAX_LOCAL: usize = 64;
const MAX_DOMAIN: usize = 190;

/// The most words that are given to the estimator, which looks them up for every part of a password.
const MAX_INPUTS: usize = 32;

/// The fewest letters of a word that is removed wherever it stands.
const MIN_WORD: usize = 3;

/// The fewest letters of a word that is also found backwards, with separators between its letters, or with digits in their
/// place. Shorter ones are found by chance too often.
const MIN_DISGUISED: usize = 4;

/// The fewest keys of a row side by side: from its beginning, as in `qwer`, and elsewhere. `prop-erty` has four of them.
const MIN_ROW_START: usize = 4;
const MIN_ROW: usize = 5;

/// The most folded characters that one character counts for. A few code points have a compatibility form of 18.
const MAX_FOLDED: usize = 4;

static COMMON_WORDS: LazyLock<Vec<Vec<char>>> =
    LazyLock::new(|| WORDS.iter().copied().flatten().map(|word| fold(word).collect()).collect());

static KEY_ROWS: LazyLock<Vec<Vec<char>>> = LazyLock::new(|| {
    let rows = ROWS.iter().map(|row| fold(row).collect::<Vec<char>>());
    rows.flat_map(|row| [row.iter().rev().copied().collect(), row]).collect()
});

/// The words that are known of a user and of the application, folded.
pub(super) struct KnownWords {
    words: Vec<Vec<char>>,
    /// Words of two letters: removed only from a password whose other letters are all in known words.
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
        // The top-level domain says nothing about the user.
        let labels = domain.rsplit_once('.').map_or(domain, |(labels, _)| labels);
        found.extend(parts(&fold(labels).take(MAX_DOMAIN).collect::<Vec<_>>()));
        found.sort_unstable();
        found.dedup();

        let (mut words, mut short): (Vec<_>, Vec<_>) =
            found.into_iter().filter(|word| word.len() >= 2).partition(|word| word.len() >= MIN_WORD);
        short.shrink_to_fit();
        // The longest ones say most.
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        let inputs = words.iter().take(MAX_INPUTS).map(|word| word.iter().collect()).collect();
        let backwards = words.iter().filter(|word| word.len() >= MIN_DISGUISED);
        let backwards: Vec<Vec<char>> = backwards.map(|word| word.iter().rev().copied().collect()).collect();
        words.extend(backwards);
        Self { words, short, inputs }
    }

    /// The words as the estimator takes them.
    pub(super) fn estimator_inputs(&self) -> impl Iterator<Item = &str> {
        self.inputs.iter().map(String::as_str)
    }

    /// The password without known words, common words of other languages, rows of keys and years. `None` if it has no such
    /// word or row: a year alone is the estimator's business.
    pub(super) fn remainder(&self, password: &str) -> Option<Zeroizing<String>> {
        let mut text = Folded::new(password);
        let is_ascii = text.letters.iter().all(char::is_ascii);
        // Most words and rows are in other scripts than most passwords.
        let can_stand_in_it = |word: &&Vec<char>| !is_ascii || word.iter().all(char::is_ascii);
        for word in self.words.iter().chain(&*COMMON_WORDS).filter(can_stand_in_it) {
            text.cover_word(word);
        }
        for row in KEY_ROWS.iter().filter(can_stand_in_it) {
            text.cover_row(row);
        }
        if !text.is_covered.contains(&true) {
            return None;
        }
        text.cover_years();
        text.cover_rest(&self.short);
        Some(text.remainder(password))
    }
}

/// A password, folded, and which of its characters belong to known words.
struct Folded {
    letters: Zeroizing<Vec<char>>,
    /// For each letter, the index of the character of the password that it is from.
    places: Vec<usize>,
    /// For each character of the password.
    is_covered: Vec<bool>,
}

impl Folded {
    fn new(password: &str) -> Self {
        let mut letters = Zeroizing::new(Vec::with_capacity(password.len()));
        let mut places = Vec::with_capacity(password.len());
        let mut count = 0;
        for (place, letter) in password.chars().enumerate() {
            for letter in fold_char(letter) {
                letters.push(letter);
                places.push(place);
            }
            count = place + 1;
        }
        Self { letters, places, is_covered: vec![false; count] }
    }

    fn cover(&mut self, start: usize, end: usize) {
        for place in self.places.get(start..end).unwrap_or_default() {
            if let Some(is_covered) = self.is_covered.get_mut(*place) {
                *is_covered = true;
            }
        }
    }

    /// Every occurrence, also where several overlap: then the order in which words are looked for does not matter.
    fn cover_word(&mut self, word: &[char]) {
        for start in 0..self.letters.len() {
            if let Some(end) = end_of_word(&self.letters, start, word) {
                self.cover(start, end);
            }
        }
    }

    /// Every run of neighbors in the row.
    fn cover_row(&mut self, row: &[char]) {
        let (mut start, mut last) = (0, None);
        for at in 0..=self.letters.len() {
            let letter = self.letters.get(at);
            // Looked at first, because a folded row can have a letter twice: `ü` at the end of `qwertzuiopü` is a `u`.
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

    /// Years from 1930 to 2049.
    fn cover_years(&mut self) {
        let digits: Vec<Option<u32>> = self.letters.iter().map(|letter| letter.to_digit(10)).collect();
        for (start, window) in digits.windows(4).enumerate() {
            let year = window.iter().try_fold(0, |year, digit| Some(year * 10 + (*digit)?));
            if year.is_some_and(|year| (1930..=2049).contains(&year)) {
                self.cover(start, start + 4);
            }
        }
    }

    /// The short words, if no letter is left without them.
    fn cover_rest(&mut self, short: &[Vec<char>]) {
        let before = self.is_covered.clone();
        for word in short {
            self.cover_word(word);
        }
        let is_letter_left = self.letters.iter().zip(&self.places).any(|(letter, place)| {
            letter.is_alphabetic() && !self.is_covered.get(*place).is_some_and(|is_covered| *is_covered)
        });
        if is_letter_left {
            self.is_covered = before;
        }
    }

    fn remainder(&self, password: &str) -> Zeroizing<String> {
        let mut remainder = Zeroizing::new(String::with_capacity(password.len()));
        let mut was_covered = false;
        for (letter, is_covered) in password.chars().zip(&self.is_covered) {
            // The mark over a letter goes with the letter.
            was_covered = *is_covered || was_covered && is_combining_mark(letter);
            if !was_covered {
                remainder.push(letter);
            }
        }
        remainder
    }
}

/// Where the word ends that begins at `start`, if there is one.
fn end_of_word(letters: &[char], start: usize, word: &[char]) -> Option<usize> {
    let may_be_disguised = word.len() >= MIN_DISGUISED;
    let is_same =
        |letter: char, expected: char| letter == expected || may_be_disguised && stands_for(letter).contains(&expected);
    let mut at = start;
    for (index, expected) in word.iter().enumerate() {
        let letter = *letters.get(at)?;
        // One separator between two letters: `p.e.t.r.a`.
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

/// The letters that a digit or sign is written for.
fn stands_for(letter: char) -> &'static [char] {
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

/// All of a text in one word without separators, and its parts.
fn words_of(text: &str, most: usize) -> Vec<Vec<char>> {
    let folded: Vec<char> = fold(text).take(most).collect();
    let mut words = parts(&folded);
    words.push(folded.into_iter().filter(|letter| letter.is_alphanumeric()).collect());
    words
}

/// Letters and digits, each kind by itself: `ann77.miller` is `ann`, `77`, `miller`.
fn parts(text: &[char]) -> Vec<Vec<char>> {
    let same_kind = |one: &char, other: &char| {
        one.is_alphanumeric() && other.is_alphanumeric() && one.is_numeric() == other.is_numeric()
    };
    let parts = text.chunk_by(same_kind).filter(|part| part.iter().all(|letter| letter.is_alphanumeric()));
    parts.map(<[char]>::to_vec).collect()
}

/// The text in the form in which passwords and words are compared: lower case, compatibility forms resolved, no marks.
fn fold(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(fold_char)
}

fn fold_char(letter: char) -> impl Iterator<Item = char> {
    let folded = letter.to_lowercase().nfkd().filter(|letter| !is_combining_mark(*letter));
    // NFKD of a full-width or mathematical capital is a capital.
    folded.flat_map(char::to_lowercase).take(MAX_FOLDED).map(|letter| match letter {
        // Letters with a stroke have no decomposition.
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
    fn leaves(password: &str, expected: &str) {
        let found = remainder("petra.muster@mail-firma.example", "jolly77roger", &["Rocket Skates"], password);
        assert_eq!(found.as_deref(), Some(expected), "{password}");
    }

    #[test]
    fn known_words_are_removed_in_every_order_case_and_separation() {
        leaves("muster.petra", ".");
        leaves("PetraMuster2026", "");
        leaves("PETRA_MUSTER-1999!", "-!");
        leaves("Firma2026!", "!");
        leaves("mail.firma", ".");
        leaves("rogerJolly 77x", " 77x");
        leaves("rogerJolly 77", " ");
        leaves("skates-for-rockets", "-for-s");
        leaves("m-u-s-t-e-r p.e.t.r.a", " ");
        leaves("p3tr@Mu5ter", "");
        leaves("artepretsum", "");
        leaves("Pe\u{301}traMu\u{308}ster", "");
        leaves("ｐｅｔｒａ9", "9");
        leaves("petrapurple tractor", "purple tractor");
    }

    #[test]
    fn what_holds_no_known_word_is_left_alone() {
        for password in ["", "purple tractor", "summer 1999", "example.com", "2026", "m.u.s", "pet", "property"] {
            assert_eq!(remainder("petra.muster@mail-firma.example", "jolly77roger", &[], password), None, "{password}");
        }
    }

    #[test]
    fn short_words_count_only_where_no_other_letter_is_left() {
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
    fn every_common_word_and_row_is_found_and_latin_words_are_long() {
        for word in WORDS.iter().copied().flatten().chain(ROWS) {
            for typed in [(*word).to_owned(), word.to_uppercase(), word.nfd().collect(), word.nfc().collect()] {
                let rest = remainder("a@b", "", &[], &typed);
                assert_eq!(rest.as_deref(), Some(""), "{typed}");
            }
            assert!(!word.is_ascii() || word.len() >= 5, "{word}");
        }
    }

    #[test]
    fn a_character_counts_for_few_letters() {
        let text = Folded::new(&"\u{fdfa}".repeat(10));
        assert_eq!(text.letters.len(), 10 * MAX_FOLDED);
    }
}
