//! [`PasswordPolicy`]: what a new password must be like.

use std::fmt;
use std::sync::Arc;

use strsim::normalized_damerau_levenshtein;
use zxcvbn::{Score, zxcvbn};

use crate::error::Problem;
use crate::user::StoredUser;

/// From which likeness on (1 is equal) a password is too similar to something that is known of its user.
const TOO_SIMILAR: f64 = 0.7;

/// How much of a password is estimated at once, in code points. The estimator counts guesses in 64 bits, which the ways
/// across 28 keys of a keypad overflow: a panic where overflow is checked, a wrong number elsewhere.
const STRETCH: usize = 24;

/// What a new password must be like. Every rule that it breaks is reported at once.
///
/// # Defaults
///
/// | rule | default | from |
/// | --- | --- | --- |
/// | length, in code points | 8 to 256 | NIST SP 800-63B-4, 3.1.1.2 (which asks for 15 where the password is all there is) |
/// | not digits only | on | OWASP ASVS 6.2.4 |
/// | not like the e-mail address or the username | on | OWASP ASVS 6.2.11 |
/// | strength, by `zxcvbn` | [`Strength::Fair`] | OWASP ASVS 6.2.4, 6.2.12 |
///
/// No kind of character is demanded and none is forbidden (NIST SP 800-63B-4, 3.1.1.2), but for NUL. A password is
/// stored exactly as sent: it is never trimmed, cut or normalised.
///
/// ```
/// use poem_password_reset::{PasswordPolicy, StoredUser, Strength};
///
/// let policy = PasswordPolicy::default()
///     .min_chars(15)
///     .strength(Strength::Strong)
///     .rule(|password, _user| match password.contains("Examplecorp") {
///         true => Err("The name of the company is the first thing that is tried.".to_owned()),
///         false => Ok(()),
///     });
/// let ann = StoredUser::new(1, "ann@example.com", None);
/// assert_eq!(policy.check("Examplecorp1", &ann).unwrap_err().len(), 3);
/// assert_eq!(policy.check("purple tractor hums at dawn", &ann), Ok(()));
/// ```
#[derive(Clone)]
pub struct PasswordPolicy {
    min_chars: usize,
    max_chars: usize,
    allow_digits_only: bool,
    allow_similar: bool,
    strength: Strength,
    rules: Vec<Rule>,
}

/// How well a password must withstand guessing, as `zxcvbn` estimates it. Of a long password the best of its stretches of
/// 24 characters counts: whoever guesses the whole has guessed that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strength {
    /// The rule is off.
    Any,
    /// A million guesses or more: none of the well-known ones. The default.
    Fair,
    /// A hundred million guesses or more.
    Good,
    /// Ten thousand million guesses or more.
    Strong,
}

type Rule = Arc<dyn Fn(&str, &StoredUser) -> Result<(), String> + Send + Sync>;

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self {
            min_chars: 8,
            max_chars: 256,
            allow_digits_only: false,
            allow_similar: false,
            strength: Strength::Fair,
            rules: Vec::new(),
        }
    }
}

impl PasswordPolicy {
    /// The fewest characters, counted in code points.
    #[must_use]
    pub fn min_chars(mut self, chars: usize) -> Self {
        self.min_chars = chars;
        self
    }

    /// The most characters, counted in code points. Longer ones are refused before anything else is done, alike for
    /// everybody. OWASP ASVS 6.2.9 asks for 64 at least.
    #[must_use]
    pub fn max_chars(mut self, chars: usize) -> Self {
        self.max_chars = chars;
        self
    }

    /// Allows passwords of digits only.
    #[must_use]
    pub fn allow_digits_only(mut self, allow: bool) -> Self {
        self.allow_digits_only = allow;
        self
    }

    /// Allows passwords that are like the e-mail address or the username.
    #[must_use]
    pub fn allow_similar(mut self, allow: bool) -> Self {
        self.allow_similar = allow;
        self
    }

    /// How well a password must withstand guessing.
    #[must_use]
    pub fn strength(mut self, strength: Strength) -> Self {
        self.strength = strength;
        self
    }

    /// Adds a rule of the application's: `Err` with a sentence for the user. It runs on a blocking thread and may take
    /// its time, to ask a list of breached passwords for example.
    #[must_use]
    pub fn rule(mut self, rule: impl Fn(&str, &StoredUser) -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.rules.push(Arc::new(rule));
        self
    }

    /// Checks every rule. Takes milliseconds: not for an async thread.
    ///
    /// # Errors
    ///
    /// A sentence for each rule that the password breaks. None of them quotes it.
    pub fn check(&self, password: &str, user: &StoredUser) -> Result<(), Vec<String>> {
        // The bound comes first: what follows takes longer the longer the password is.
        if let Some(reason) = self.too_long(password) {
            return Err(vec![reason]);
        }
        let mut reasons = Vec::new();
        if password.chars().count() < self.min_chars {
            reasons.push(format!("The password must have at least {} characters.", self.min_chars));
        }
        if !self.allow_digits_only && !password.is_empty() && password.chars().all(char::is_numeric) {
            reasons.push("The password must not consist of digits only.".to_owned());
        }
        if !self.allow_similar {
            if is_similar(password, user.email()) {
                reasons.push("The password is too similar to the e-mail address.".to_owned());
            }
            if user.username().is_some_and(|username| is_similar(password, username)) {
                reasons.push("The password is too similar to the username.".to_owned());
            }
        }
        if !self.is_strong_enough(password, user) {
            reasons.push("The password is too easy to guess.".to_owned());
        }
        reasons.extend(self.rules.iter().filter_map(|rule| rule(password, user).err()));
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    /// What is said of a password over the upper limit, the one rule that needs no user.
    pub(crate) fn too_long(&self, password: &str) -> Option<String> {
        // A code point has at most four bytes: what is far too long is not even counted.
        let is_too_long =
            password.len() > self.max_chars.saturating_mul(4) || password.chars().count() > self.max_chars;
        is_too_long.then(|| format!("The password must have at most {} characters.", self.max_chars))
    }

    /// What makes this a policy that no password can meet.
    pub(crate) fn problem(&self) -> Option<Problem> {
        let (min, max) = (self.min_chars, self.max_chars);
        (min > max || max == 0).then_some(Problem::PolicyLength { min, max })
    }

    /// The first estimate builds tables, which takes milliseconds: better at start than in a request.
    pub(crate) fn warm_up(&self) {
        self.is_strong_enough("warm-up", &StoredUser::new("", "", None));
    }

    fn is_strong_enough(&self, password: &str, user: &StoredUser) -> bool {
        let least = match self.strength {
            Strength::Any => return true,
            Strength::Fair => Score::Two,
            Strength::Good => Score::Three,
            Strength::Strong => Score::Four,
        };
        let known: Vec<&str> = user.email().split('@').chain([user.email()]).chain(user.username()).collect();
        stretches(password).any(|stretch| zxcvbn(stretch, &known).score() >= least)
    }
}

impl fmt::Debug for PasswordPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordPolicy")
            .field("min_chars", &self.min_chars)
            .field("max_chars", &self.max_chars)
            .field("allow_digits_only", &self.allow_digits_only)
            .field("allow_similar", &self.allow_similar)
            .field("strength", &self.strength)
            .field("rules", &self.rules.len())
            .finish()
    }
}

/// A text in pieces that the estimator can count.
fn stretches(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = rest.char_indices().nth(STRETCH).map_or(rest.len(), |(end, _)| end);
        let (stretch, after) = rest.split_at(end);
        rest = after;
        (!stretch.is_empty()).then_some(stretch)
    })
}

/// Whether a password is like `known` or a part of it, without regard to case.
fn is_similar(password: &str, known: &str) -> bool {
    let (password, known) = (password.to_lowercase(), known.to_lowercase());
    let parts = known.split(|letter: char| !letter.is_alphanumeric()).filter(|part| !part.is_empty());
    parts.chain([known.as_str()]).any(|part| normalized_damerau_levenshtein(&password, part) >= TOO_SIMILAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> StoredUser {
        StoredUser::new(1, "ann.miller@example.com", None).with_username("millerann77".to_owned())
    }

    fn length_only() -> PasswordPolicy {
        PasswordPolicy::default().strength(Strength::Any).allow_similar(true).allow_digits_only(true)
    }

    #[test]
    fn length_is_counted_in_code_points() {
        for letter in ['a', 'é', '\u{301}', '中', '\u{1f600}'] {
            for (count, fits) in [(7, false), (8, true), (256, true), (257, false)] {
                let password = letter.to_string().repeat(count);
                assert_eq!(length_only().check(&password, &ann()).is_ok(), fits, "{count} times {letter:?}");
            }
        }
    }

    #[test]
    fn what_is_too_long_is_not_looked_at() {
        let policy = PasswordPolicy::default().rule(|_, _| panic!("a rule saw it"));
        assert_eq!(policy.check(&"1".repeat(257), &ann()).unwrap_err().len(), 1);
        assert_eq!(policy.check(&"1".repeat(16_000), &ann()).unwrap_err().len(), 1);
    }

    #[test]
    fn every_broken_rule_is_reported_at_once() {
        let user = StoredUser::new(1, "1234@example.com", None).with_username("12345".to_owned());
        let policy = PasswordPolicy::default().rule(|_, _| Err("Never.".to_owned()));
        assert_eq!(
            policy.check("12345", &user).unwrap_err(),
            [
                "The password must have at least 8 characters.",
                "The password must not consist of digits only.",
                "The password is too similar to the e-mail address.",
                "The password is too similar to the username.",
                "The password is too easy to guess.",
                "Never.",
            ]
        );
    }

    #[test]
    fn likeness_to_what_is_known_of_the_user() {
        let policy = PasswordPolicy::default().strength(Strength::Any);
        for password in ["Ann.Miller@Example.com", "ann.miller@example.com1", "MILLERANN7", "millerann77!", "examples"]
        {
            assert!(policy.check(password, &ann()).is_err(), "{password}");
        }
        for password in ["correct horse battery", "a miller grinds at night", "annual report 2031"] {
            assert_eq!(policy.check(password, &ann()), Ok(()), "{password}");
        }
    }

    #[test]
    fn well_known_passwords_are_refused() {
        let well_known = "password password1 Password1 Passw0rd P@ssw0rd password123 passw0rd1 iloveyou iloveyou1 ilovegod \
            qwertyuiop qwerty123 qwerty12345 1q2w3e4r 1q2w3e4r5t 1qaz2wsx zaq12wsx qazwsxedc asdfghjkl asdfasdf zxcvbnm1 \
            abcdefgh abcdefgh1 abcd1234 abc12345 a1b2c3d4 12345678 123456789 1234567890 87654321 987654321 11111111 \
            11111111a 00000000 88888888 12121212 123123123 football football1 baseball basketball superman superman1 \
            batman123 spiderman starwars pokemon1 sunshine sunshine1 princess princess1 michael1 jennifer jessica1 \
            charlie1 chocolate butterfly computer computer1 internet trustno1 letmein1 welcome1 welcome123 Welcome1 \
            admin123 administrator changeme secret123 whatever mustang1 corvette liverpool liverpool1 arsenal1 \
            chelsea1 manchester barcelona realmadrid juventus samsung1 blink182 metallica slipknot greenday \
            september december summer2024 winter2024 babygirl1 lovelove1 forever1 hellohello \
            qqqqqqqq aaaaaaaa zzzzzzzz asdf1234 qwer1234 q1w2e3r4 testtest test1234 guest123 monkey123 dragon123 \
            shadow123 master123 killer123 ashley123 daniel123 hunter12 ninja123 access14 elephant mercedes marlboro";
        let mut refused = 0;
        for password in well_known.split_whitespace() {
            assert!(PasswordPolicy::default().check(password, &ann()).is_err(), "{password}");
            refused += 1;
        }
        assert!(refused > 100, "{refused}");
    }

    #[test]
    fn no_pattern_is_too_long_for_the_estimator() {
        let patterns = [
            "147896321",
            "1236987",
            "qwertfdsazxcvgyujm",
            "QwErTyUiOp",
            "a",
            "p4ssw0rd",
            "0O1lI!|",
            "abcdefghijklm",
            "31121999",
        ];
        for pattern in patterns {
            for length in [8, 23, 24, 25, 27, 28, 29, 48, 49, 100, 256] {
                let password: String = pattern.chars().cycle().take(length).collect();
                let spelt = password.replace('a', "4");
                let known_as =
                    StoredUser::new(1, format!("{password:.200}@example.com"), None).with_username(password.clone());
                for password in [&password, &spelt] {
                    assert!(PasswordPolicy::default().check(password, &known_as).is_err(), "{password}");
                }
            }
        }
    }

    #[test]
    fn the_best_stretch_of_a_long_password_counts() {
        let dull = "a".repeat(24);
        let good = "purple tractor hums at d";
        let check = |password: &str| PasswordPolicy::default().check(password, &ann());
        assert!(check(&dull.repeat(3)).is_err());
        for password in [format!("{dull}{good}"), format!("{good}{dull}"), format!("{dull}{dull}{good}{dull}")] {
            assert_eq!(check(&password), Ok(()), "{password}");
        }
        assert_eq!(stretches("").count(), 0);
        assert_eq!(stretches(&"é".repeat(49)).map(|stretch| stretch.chars().count()).collect::<Vec<_>>(), [24, 24, 1]);
    }

    #[test]
    fn spaces_unicode_and_punctuation_are_welcome() {
        for password in
            ["correct horse battery staple", "  leading and trailing  ", "пароль не угадать 9", "~!@#$%^&*()_+ jkl"]
        {
            assert_eq!(PasswordPolicy::default().check(password, &ann()), Ok(()), "{password}");
        }
    }
}
