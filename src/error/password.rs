//! [`PasswordRefusal`]: the reasons to refuse a new password.

use std::fmt;

/// Reason to refuse a new password.
///
/// `Display` is an English text for the user, and the text that the HTTP endpoints send. [`as_str`](Self::as_str) is a key
/// for programs. Neither quotes the password.
///
/// A front end of the application can map the reasons to its own texts:
///
/// ```
/// use poem_password_reset::{PasswordPolicy, PasswordRefusal, StoredUser};
///
/// fn in_german(refusal: &PasswordRefusal) -> String {
///     match refusal {
///         PasswordRefusal::TooShort { min_chars } => format!("Bitte mindestens {min_chars} Zeichen."),
///         PasswordRefusal::TooEasyToGuess => "Dieses Passwort ist zu leicht zu erraten.".to_owned(),
///         PasswordRefusal::Custom(text) => text.clone(),
///         other => other.to_string(),
///     }
/// }
///
/// let ann = StoredUser::new(1, "ann@example.com", None);
/// let refusals = PasswordPolicy::default().check_built_in("rosebud", &ann).unwrap_err();
/// let texts: Vec<String> = refusals.iter().map(in_german).collect();
/// assert_eq!(texts, ["Bitte mindestens 8 Zeichen.", "Dieses Passwort ist zu leicht zu erraten."]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PasswordRefusal {
    /// The password has fewer characters than [`min_chars`](crate::PasswordPolicy::min_chars).
    TooShort {
        /// Minimum number of characters, in code points.
        min_chars: usize,
    },
    /// The password has more characters than [`max_chars`](crate::PasswordPolicy::max_chars).
    TooLong {
        /// Maximum number of characters, in code points.
        max_chars: usize,
    },
    /// The password has more bytes than [`max_bytes`](crate::PasswordPolicy::max_bytes).
    TooManyBytes {
        /// Maximum number of bytes in UTF-8.
        max_bytes: usize,
    },
    /// The password contains only digits.
    DigitsOnly,
    /// The password is too similar to the user's email address.
    SimilarToEmail,
    /// The password is too similar to the user's username.
    SimilarToUsername,
    /// The password is weaker than the required [`Strength`](crate::Strength).
    TooEasyToGuess,
    /// The password is the user's current one: [`refuse_current`](crate::PasswordPolicy::refuse_current).
    Current,
    /// The password is an earlier one of the user: [`refuse_earlier`](crate::PasswordPolicy::refuse_earlier).
    Earlier,
    /// The password is in a list of breached passwords.
    Breached,
    /// The application refused the password with this text: a [`rule`](crate::PasswordPolicy::rule) or a
    /// [`Veto`](crate::Veto).
    Custom(String),
}

impl PasswordRefusal {
    /// Returns the key of the reason, for programs and for catalogs of translated texts.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::TooShort { .. } => "too_short",
            Self::TooLong { .. } => "too_long",
            Self::TooManyBytes { .. } => "too_many_bytes",
            Self::DigitsOnly => "digits_only",
            Self::SimilarToEmail => "similar_to_email",
            Self::SimilarToUsername => "similar_to_username",
            Self::TooEasyToGuess => "too_easy_to_guess",
            Self::Current => "current",
            Self::Earlier => "earlier",
            Self::Breached => "breached",
            Self::Custom(_) => "custom",
        }
    }
}

impl fmt::Display for PasswordRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { min_chars } => {
                let characters = if *min_chars == 1 { "character" } else { "characters" };
                write!(f, "This password is too short. It must contain at least {min_chars} {characters}.")
            }
            Self::TooLong { max_chars } => {
                let characters = if *max_chars == 1 { "character" } else { "characters" };
                write!(f, "This password is too long. It must contain at most {max_chars} {characters}.")
            }
            Self::TooManyBytes { max_bytes } => write!(
                f,
                "This password is too long. It must contain at most {max_bytes} bytes, and an accented letter or an \
                 emoji counts as 2 to 4."
            ),
            Self::DigitsOnly => f.write_str("This password contains only digits. Add letters or other characters."),
            Self::SimilarToEmail => f.write_str("This password is too similar to your email address."),
            Self::SimilarToUsername => f.write_str("This password is too similar to your username."),
            Self::TooEasyToGuess => f.write_str("This password is too easy to guess. Try a few random words."),
            Self::Current => f.write_str("This is your current password. Choose a new one."),
            Self::Earlier => f.write_str("You have used this password before. Choose a new one."),
            Self::Breached => f.write_str("This password was stolen from another website. Choose a different one."),
            Self::Custom(text) => f.write_str(text),
        }
    }
}

/// An [`async_rule`](crate::PasswordPolicy::async_rule) can return a refusal as its error.
impl std::error::Error for PasswordRefusal {}

#[cfg(test)]
mod tests {
    use super::PasswordRefusal::{self, *};

    #[test]
    fn every_password_refusal_has_its_key_and_text() {
        let expected: [(PasswordRefusal, &str, &str); 13] = [
            (
                TooShort { min_chars: 8 },
                "too_short",
                "This password is too short. It must contain at least 8 characters.",
            ),
            (
                TooShort { min_chars: 1 },
                "too_short",
                "This password is too short. It must contain at least 1 character.",
            ),
            (
                TooLong { max_chars: 256 },
                "too_long",
                "This password is too long. It must contain at most 256 characters.",
            ),
            (TooLong { max_chars: 1 }, "too_long", "This password is too long. It must contain at most 1 character."),
            (
                TooManyBytes { max_bytes: 72 },
                "too_many_bytes",
                "This password is too long. It must contain at most 72 bytes, and an accented letter or an emoji \
                 counts as 2 to 4.",
            ),
            (DigitsOnly, "digits_only", "This password contains only digits. Add letters or other characters."),
            (SimilarToEmail, "similar_to_email", "This password is too similar to your email address."),
            (SimilarToUsername, "similar_to_username", "This password is too similar to your username."),
            (TooEasyToGuess, "too_easy_to_guess", "This password is too easy to guess. Try a few random words."),
            (Current, "current", "This is your current password. Choose a new one."),
            (Earlier, "earlier", "You have used this password before. Choose a new one."),
            (Breached, "breached", "This password was stolen from another website. Choose a different one."),
            (Custom("Not before noon.".to_owned()), "custom", "Not before noon."),
        ];
        for (refusal, key, text) in expected {
            assert_eq!((refusal.as_str(), refusal.to_string().as_str()), (key, text));
        }
    }
}
