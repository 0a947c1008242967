//! Checks of new passwords by the password policy. The strength estimator is a dependency with tables and tries of its own.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use poem_password_reset::{PasswordPolicy, PasswordRefusal, StoredUser, Strength};

use crate::input::Input;

static DEFAULT: LazyLock<PasswordPolicy> = LazyLock::new(|| PasswordPolicy::default().context_words(["Acme", "é"]));
static WITHOUT_STRENGTH: LazyLock<PasswordPolicy> = LazyLock::new(|| PasswordPolicy::default().strength(Strength::Any));

/// Every password is checked within five seconds, and the result agrees with the rules that are checked in one line.
///
/// The input holds the password, the email address and the username, separated by NUL.
pub fn holds(input: &[u8]) {
    let mut input = Input::new(input);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (password, email, username) = (text(input.until(0)), text(input.until(0)), text(input.rest()));
    let user = StoredUser::new(1, email.as_str(), None).with_username(username.clone());
    let start = Instant::now();
    let refusals = DEFAULT.check_built_in(&password, &user).err().unwrap_or_default();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?} for {password:?}", start.elapsed());

    let count = password.chars().count();
    if count > 256 {
        let too_long = PasswordRefusal::TooLong { max_chars: 256 };
        return assert_eq!(refusals, [too_long], "no other check runs on a password that is too long");
    }
    let has = |refusal: PasswordRefusal| refusals.contains(&refusal);
    let is_numeric = count > 0 && password.chars().all(char::is_numeric);
    assert_eq!(has(PasswordRefusal::TooShort { min_chars: 8 }), count < 8, "{password:?}");
    assert_eq!(has(PasswordRefusal::DigitsOnly), is_numeric, "{password:?}");
    for (known, refusal) in [(email, PasswordRefusal::SimilarToEmail), (username, PasswordRefusal::SimilarToUsername)] {
        let is_known = !known.is_empty() && known.to_lowercase() == password.to_lowercase();
        assert!(!is_known || has(refusal), "{password:?} is {known:?}");
    }
    for refusal in &refusals {
        let is_built_in = matches!(
            refusal,
            PasswordRefusal::TooShort { .. }
                | PasswordRefusal::DigitsOnly
                | PasswordRefusal::SimilarToEmail
                | PasswordRefusal::SimilarToUsername
                | PasswordRefusal::TooEasyToGuess
        );
        assert!(is_built_in, "{refusal:?} for {password:?}");
    }
    let without_strength = WITHOUT_STRENGTH.check_built_in(&password, &user).err().unwrap_or_default();
    let expected = refusals.iter().filter(|refusal| **refusal != PasswordRefusal::TooEasyToGuess);
    assert!(without_strength.iter().eq(expected), "{without_strength:?}, {refusals:?} for {password:?}");
}
