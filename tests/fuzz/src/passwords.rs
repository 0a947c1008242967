//! New passwords, as the policy judges them: with tables and tries of a library that is not ours, on whatever was sent.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use poem_password_reset::{PasswordPolicy, StoredUser, Strength};

use crate::input::Input;

static DEFAULT: LazyLock<PasswordPolicy> = LazyLock::new(|| PasswordPolicy::default().context_words(["Acme", "é"]));
static WITHOUT_STRENGTH: LazyLock<PasswordPolicy> = LazyLock::new(|| PasswordPolicy::default().strength(Strength::Any));

/// What is said of passwords that break one rule each, or almost.
static SENTENCES: LazyLock<[String; 6]> = LazyLock::new(|| {
    let user = user("some@example.com", "somebody");
    let last = |policy: &PasswordPolicy, password: &str| {
        policy.check_built_in(password, &user).expect_err("it is bad").pop().expect("for a reason")
    };
    let too_long = last(&WITHOUT_STRENGTH, &"zq".repeat(200));
    let words = ["zq", "1029384756", "some@example.com", "somebody"].map(|password| last(&WITHOUT_STRENGTH, password));
    let [too_short, digits, address, username] = words;
    [too_long, too_short, digits, address, username, last(&DEFAULT, "zqzqzqzq")]
});

/// Every password is judged, in our words and in good time, and the rules that can be checked in one line hold.
///
/// Before the first NUL stands the password, before the second the address of its user, behind that the username.
pub fn holds(input: &[u8]) {
    let mut input = Input::new(input);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (password, email, username) = (text(input.until(0)), text(input.until(0)), text(input.rest()));
    let user = user(&email, &username);
    let start = Instant::now();
    let reasons = DEFAULT.check_built_in(&password, &user).err().unwrap_or_default();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?} for {password:?}", start.elapsed());

    let [too_long, too_short, digits, like_address, like_username, too_easy] = &*SENTENCES;
    let ours = reasons.iter().all(|reason| SENTENCES.contains(reason));
    assert!(ours, "{reasons:?} for {password:?}");
    let count = password.chars().count();
    if count > 256 {
        return assert_eq!(reasons, [too_long.as_str()], "nothing else is looked at");
    }
    let says = |sentence: &String| reasons.contains(sentence);
    assert!(!says(too_long));
    assert_eq!(says(too_short), count < 8, "{password:?}");
    assert_eq!(says(digits), count > 0 && password.chars().all(char::is_numeric), "{password:?}");
    for (known, sentence) in [(email, like_address), (username, like_username)] {
        let is_known = !known.is_empty() && known.to_lowercase() == password.to_lowercase();
        assert!(!is_known || says(sentence), "{password:?} is {known:?}");
    }
    let without_strength = WITHOUT_STRENGTH.check_built_in(&password, &user).err().unwrap_or_default();
    let expected: Vec<&String> = reasons.iter().filter(|reason| *reason != too_easy).collect();
    assert_eq!(without_strength.iter().collect::<Vec<_>>(), expected, "{password:?}");
}

fn user(email: &str, username: &str) -> StoredUser {
    StoredUser::new(1, email, None).with_username(username.to_owned())
}
