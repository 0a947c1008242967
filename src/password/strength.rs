//! [`Strength`]: how hard a password is to guess.

use zxcvbn::{Score, zxcvbn};

use super::known_words::KnownWords;
use crate::user::StoredUser;

/// Number of code points that the estimator reads at once. It counts guesses in 64 bits, and the paths over 28 keys of a
/// keypad overflow them. The overflow panics in builds with overflow checks, and returns a wrong number in others.
const SEGMENT: usize = 24;

/// Required strength of a password, as estimated by `zxcvbn`.
///
/// A long password is split into segments of 24 characters. The strongest segment counts, because an attacker who guesses the
/// whole password has guessed that segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strength {
    /// Any password. The strength is not checked.
    Any,
    /// At least a million guesses. Refuses all well-known passwords. The default.
    Fair,
    /// At least a hundred million guesses.
    Good,
    /// At least ten thousand million guesses.
    Strong,
}

impl Strength {
    /// Returns whether the password is as strong as required, both whole and without known words.
    pub(super) fn accepts(self, password: &str, user: &StoredUser, context_words: &[String]) -> bool {
        let minimum = match self {
            Self::Any => return true,
            Self::Fair => Score::Two,
            Self::Good => Score::Three,
            Self::Strong => Score::Four,
        };
        let known = KnownWords::new(user, context_words);
        let whole = user.email().split('@').chain([user.email()]).chain(user.username());
        let inputs: Vec<&str> = whole.chain(known.estimator_inputs()).collect();
        let is_strong = |text: &str| segments(text).any(|segment| zxcvbn(segment, &inputs).score() >= minimum);
        // The estimator multiplies the guesses by ten thousand for each further word, even for a word that it was given.
        is_strong(password) && known.remainder(password).is_none_or(|remainder| is_strong(&remainder))
    }
}

/// Splits a text into segments that the estimator can read.
fn segments(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = rest.char_indices().nth(SEGMENT).map_or(rest.len(), |(end, _)| end);
        let (segment, after) = rest.split_at(end);
        rest = after;
        (!segment.is_empty()).then_some(segment)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::password::PasswordPolicy;

    fn is_fair(password: &str) -> bool {
        let ann = StoredUser::new(1, "ann.miller@example.com", None).with_username("millerann77".to_owned());
        Strength::Fair.accepts(password, &ann, &[])
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
            assert!(!is_fair(password), "{password}");
            refused += 1;
        }
        assert!(refused > 100, "{refused}");
    }

    #[test]
    fn pattern_of_any_length_is_refused_without_a_panic() {
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
                let spelled_with_digits = password.replace('a', "4");
                let user =
                    StoredUser::new(1, format!("{password:.200}@example.com"), None).with_username(password.clone());
                for password in [&password, &spelled_with_digits] {
                    let checked = PasswordPolicy::default().check_built_in(password, &user);
                    assert!(checked.is_err(), "{password}");
                }
            }
        }
    }

    #[test]
    fn strongest_segment_of_a_long_password_counts() {
        let weak = "a".repeat(24);
        let strong = "purple tractor hums at d";
        assert!(!is_fair(&weak.repeat(3)));
        for password in [format!("{weak}{strong}"), format!("{strong}{weak}"), format!("{weak}{weak}{strong}{weak}")] {
            assert!(is_fair(&password), "{password}");
        }
        assert_eq!(segments("").count(), 0);
        assert_eq!(segments(&"é".repeat(49)).map(|segment| segment.chars().count()).collect::<Vec<_>>(), [24, 24, 1]);
    }
}
