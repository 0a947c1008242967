//! [`PasswordPolicy`]: what a new password must be like.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::time::Duration;

use strsim::normalized_damerau_levenshtein;
use tokio::task::spawn_blocking;
use zxcvbn::{Score, zxcvbn};

use super::known_words::KnownWords;
use super::rule::Rules;
use crate::catch_panic::catch_panic;
use crate::error::{ApplicationError, BoxError, PasswordRefusal, Problem, ResetError};
use crate::secret::NewPassword;
use crate::user::StoredUser;

/// From which likeness on (1 is equal) a password is too similar to something that is known of its user.
const TOO_SIMILAR: f64 = 0.7;

/// How much of a password is estimated at once, in code points. The estimator counts guesses in 64 bits, which the ways
/// across 28 keys of a keypad overflow: a panic where overflow is checked, a wrong number elsewhere.
const STRETCH: usize = 24;

/// Rules for a new password. Every rule that it breaks is reported at once.
///
/// # Defaults
///
/// | rule | default | from |
/// | --- | --- | --- |
/// | length, in code points | 8 to 256 | NIST SP 800-63B-4, 3.1.1.2 (which asks for 15 where the password is all there is) |
/// | length, in bytes | no limit of its own | [`max_bytes(72)`](Self::max_bytes) for bcrypt |
/// | not digits only | on | OWASP ASVS 6.2.4 |
/// | not like the email address or the username | on | OWASP ASVS 6.2.11 |
/// | strength, by `zxcvbn` | [`Strength::Fair`] | OWASP ASVS 6.2.4, 6.2.12 |
/// | strength without known words | on, with the strength | OWASP ASVS 6.2.11 |
/// | [`rule`](Self::rule), [`async_rule`](Self::async_rule) | none; 5 seconds each | |
///
/// No kind of character is demanded and none is forbidden (NIST SP 800-63B-4, 3.1.1.2), but for NUL. A password is
/// stored exactly as sent: it is never trimmed, cut or normalized. The [guide](crate::guide::passwords) shows a hasher that
/// normalizes.
///
/// # Known words
///
/// A password must be strong enough after these words are removed, in any order, case and separation, with the usual digits
/// for letters:
///
/// * the parts of the email address, without the top-level domain, and the parts of the username;
/// * the [`context_words`](Self::context_words);
/// * words for "password", and a few others that are as common, in fifty languages, and rows of keys of eighteen keyboard
///   layouts (the [guide](crate::guide::passwords) names them);
/// * years from 1930 to 2049, beside one of the above.
///
/// This is not a dictionary. The estimator's own lists are English, and no maintained crate has lists of common passwords of
/// other languages. A common word of another language passes if it is not in the short list above. Add a
/// [`rule`](Self::rule) that looks passwords up in a list of breached ones where that matters.
///
/// ```
/// use poem_password_reset::{PasswordPolicy, StoredUser, Strength};
///
/// let policy = PasswordPolicy::default().min_chars(15).strength(Strength::Strong).context_words(["Examplecorp"]);
/// let ann = StoredUser::new(1, "ann@example.com", None);
/// assert_eq!(policy.check_built_in("Examplecorp1", &ann).unwrap_err().len(), 2);
/// assert_eq!(policy.check_built_in("purple tractor hums at dawn", &ann), Ok(()));
/// ```
#[derive(Clone)]
pub struct PasswordPolicy {
    min_chars: usize,
    max_chars: usize,
    max_bytes: Option<usize>,
    allow_digits_only: bool,
    allow_similar: bool,
    strength: Strength,
    context_words: Vec<String>,
    rules: Rules,
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

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self {
            min_chars: 8,
            max_chars: 256,
            max_bytes: None,
            allow_digits_only: false,
            allow_similar: false,
            strength: Strength::Fair,
            context_words: Vec::new(),
            rules: Rules::default(),
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

    /// Sets the most bytes of a password in UTF-8; no limit by default. Longer ones are refused as early as by
    /// [`max_chars`](Self::max_chars).
    ///
    /// For hashers that read only the beginning of a password: bcrypt ignores everything after 72 bytes, so that two
    /// passwords with the same beginning are the same password to it.
    ///
    /// ```
    /// use poem_password_reset::{PasswordPolicy, StoredUser};
    ///
    /// let policy = PasswordPolicy::default().max_bytes(72);
    /// let ann = StoredUser::new(1, "ann@example.com", None);
    /// let password = "пурпурный трактор гудит на рассвете у реки";
    /// assert_eq!((password.chars().count(), password.len()), (42, 78));
    /// assert!(policy.check_built_in(password, &ann).is_err());
    /// ```
    #[must_use]
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Allows passwords of digits only.
    #[must_use]
    pub fn allow_digits_only(mut self, allow: bool) -> Self {
        self.allow_digits_only = allow;
        self
    }

    /// Allows passwords that are like the email address or the username.
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

    /// Adds words that an attacker tries first: the names of the application and of the company. A password must be
    /// strong enough without them.
    ///
    /// Words of fewer than three characters count only in a password that has no other letters. Each word costs time in
    /// every check: give a few, not a dictionary.
    ///
    /// ```
    /// use poem_password_reset::{PasswordPolicy, StoredUser};
    ///
    /// let policy = PasswordPolicy::default().context_words(["Acme", "Rocket Skates"]);
    /// let ann = StoredUser::new(1, "ann@example.com", None);
    /// assert!(policy.check_built_in("acme2026!", &ann).is_err());
    /// assert!(policy.check_built_in("Skates-Rocket-1999", &ann).is_err());
    /// assert!(policy.check_built_in("acme purple tractor hums", &ann).is_ok());
    /// ```
    #[must_use]
    pub fn context_words<W: Into<String>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.context_words.extend(words.into_iter().map(Into::into));
        self
    }

    /// Adds a synchronous rule of the application: `Err` refuses the password with a sentence for the user.
    ///
    /// Each call runs on a thread of its own, never on a hashing thread, so it may block. At most 64 calls run at once, over
    /// all clones of the policy. A call that panics, exceeds the [timeout](Self::rule_timeout) or finds no free thread
    /// fails its own confirmation with [`ResetError::Failed`]; the token stays good. Nothing can stop a call that hangs: it
    /// keeps its thread. The log names a rule by the line of code that added it.
    ///
    /// Rules run after the built-in checks, all at the same time, also for a password that these refused. A password over
    /// the [most characters](Self::max_chars) or [bytes](Self::max_bytes) reaches no rule. Tests with tokio's paused clock:
    /// tokio does not know of these threads, so it may advance to the timeout while a rule works.
    ///
    /// ```
    /// use poem_password_reset::PasswordPolicy;
    ///
    /// let policy = PasswordPolicy::default().rule(|password, _user| match password.contains("rosebud") {
    ///     true => Err("Everybody knows that one.".to_owned()),
    ///     false => Ok(()),
    /// });
    /// # let _ = policy;
    /// ```
    #[must_use]
    #[track_caller]
    pub fn rule(mut self, rule: impl Fn(&str, &StoredUser) -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.rules.add_sync(rule, Location::caller());
        self
    }

    /// Adds an asynchronous rule of the application, for look-ups over the network for example.
    ///
    /// [`Veto`](crate::Veto) refuses the password with its text. **Any other error means that the rule failed**: it fails
    /// its own confirmation with [`ResetError::Failed`], and so do a panic and a call that exceeds the
    /// [timeout](Self::rule_timeout). The token stays good.
    ///
    /// Each call is a task of its own, which is aborted at its next `.await` after the timeout. Code that blocks belongs in
    /// a [`rule`](Self::rule). See there when rules run.
    ///
    /// ```
    /// use poem_password_reset::{BoxError, NewPassword, PasswordPolicy, ResetError, StoredUser, Veto};
    ///
    /// # async fn is_breached(password: &str) -> Result<bool, BoxError> { Ok(password.starts_with("a")) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let policy = PasswordPolicy::default().async_rule(|password: NewPassword, _user| async move {
    ///     match is_breached(password.expose()).await? {
    ///         true => Err(Veto::new("This password is in a list of stolen passwords.").into()),
    ///         false => Ok::<(), BoxError>(()),
    ///     }
    /// });
    /// let ann = StoredUser::new(1, "ann@example.com", None);
    /// let refused = policy.check(&NewPassword::new("a parrot sings in the cellar"), &ann).await;
    /// assert!(matches!(refused, Err(ResetError::PasswordRefused(reasons)) if reasons.len() == 1));
    /// # }
    /// ```
    #[must_use]
    #[track_caller]
    pub fn async_rule<F, Fut, E>(mut self, rule: F) -> Self
    where
        F: Fn(NewPassword, StoredUser) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.rules.add_async(rule, Location::caller());
        self
    }

    /// Sets how long the rules of the application may take for one password; 5 seconds by default. All rules run at the same
    /// time, so it is the limit for all of them together. [`build()`](crate::PasswordResetBuilder::build) refuses zero.
    #[must_use]
    pub fn rule_timeout(mut self, timeout: Duration) -> Self {
        self.rules.set_timeout(timeout);
        self
    }

    /// Checks a password as a confirmation does: the built-in checks and every [`rule`](Self::rule). For other pages where
    /// a password is chosen, such as a registration.
    ///
    /// Must be called in a tokio runtime. The built-in checks run on one of its blocking threads.
    ///
    /// # Errors
    ///
    /// * [`ResetError::PasswordRefused`]: a [`PasswordRefusal`] for each rule that the password breaks. Takes precedence
    ///   over a rule that failed.
    /// * [`ResetError::Failed`]: a rule failed, panicked or exceeded the timeout.
    pub async fn check(&self, password: &NewPassword, user: &StoredUser) -> Result<(), ResetError> {
        if let Some(refusal) = self.too_long(password.expose()) {
            return Err(ResetError::PasswordRefused(vec![refusal]));
        }
        let built_in = {
            let (policy, password, user) = (self.clone(), password.clone(), user.clone());
            spawn_blocking(move || catch_panic(|| policy.check_built_in(password.expose(), &user))).await
        };
        match built_in {
            Ok(Ok(checked)) => self.check_rules(checked.err().unwrap_or_default(), password, user).await,
            Ok(Err(_)) => Err(ResetError::Failed(ApplicationError::new("a check of the password policy panicked"))),
            Err(_) => Err(ResetError::Failed(ApplicationError::new("the runtime is shutting down"))),
        }
    }

    /// Runs the rules of the application. `refusals` are those of the built-in checks.
    pub(crate) async fn check_rules(
        &self,
        mut refusals: Vec<PasswordRefusal>,
        password: &NewPassword,
        user: &StoredUser,
    ) -> Result<(), ResetError> {
        let outcome = self.rules.check(password, user).await;
        refusals.extend(outcome.refusals);
        match outcome.failure {
            // The password is refused whatever the other rule would have said, and its user can choose another one.
            _ if !refusals.is_empty() => Err(ResetError::PasswordRefused(refusals)),
            Some(error) => Err(ResetError::Failed(ApplicationError::new(error))),
            None => Ok(()),
        }
    }

    /// Checks everything but the rules of the application. Takes milliseconds: not for an async thread.
    ///
    /// # Errors
    ///
    /// A [`PasswordRefusal`] for each rule that the password breaks.
    pub fn check_built_in(&self, password: &str, user: &StoredUser) -> Result<(), Vec<PasswordRefusal>> {
        // The length is limited first, because the time of the other checks grows with it.
        if let Some(refusal) = self.too_long(password) {
            return Err(vec![refusal]);
        }
        let mut refusals = Vec::new();
        if password.chars().count() < self.min_chars {
            refusals.push(PasswordRefusal::TooShort { min_chars: self.min_chars });
        }
        if !self.allow_digits_only && !password.is_empty() && password.chars().all(char::is_numeric) {
            refusals.push(PasswordRefusal::DigitsOnly);
        }
        if !self.allow_similar {
            if is_similar(password, user.email()) {
                refusals.push(PasswordRefusal::SimilarToEmail);
            }
            if user.username().is_some_and(|username| is_similar(password, username)) {
                refusals.push(PasswordRefusal::SimilarToUsername);
            }
        }
        if !self.is_strong_enough(password, user) {
            refusals.push(PasswordRefusal::TooEasyToGuess);
        }
        if refusals.is_empty() { Ok(()) } else { Err(refusals) }
    }

    /// The reason to refuse a password over an upper limit, the only rule that needs no user.
    pub(crate) fn too_long(&self, password: &str) -> Option<PasswordRefusal> {
        // A code point has at most four bytes, so a password that is far too long is not counted.
        let has_too_many_chars =
            password.len() > self.max_chars.saturating_mul(4) || password.chars().count() > self.max_chars;
        if has_too_many_chars {
            return Some(PasswordRefusal::TooLong { max_chars: self.max_chars });
        }
        let max_bytes = self.max_bytes.filter(|max_bytes| password.len() > *max_bytes)?;
        Some(PasswordRefusal::TooManyBytes { max_bytes })
    }

    /// Whether no password that the policy accepts is longer than so many bytes. A character has at most four.
    pub(crate) fn is_within(&self, bytes: usize) -> bool {
        self.max_bytes.unwrap_or(usize::MAX).min(self.max_chars.saturating_mul(4)) <= bytes
    }

    /// Settings with which the policy could accept no password.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let (min, max) = (self.min_chars, self.max_chars.min(self.max_bytes.unwrap_or(usize::MAX)));
        let mut problems = Vec::new();
        if min > max || max == 0 {
            problems.push(Problem::PolicyLength { min, max });
        }
        if self.rules.timeout().is_zero() {
            problems.push(Problem::Zero { setting: "rule_timeout" });
        }
        problems
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
        let known = KnownWords::new(user, &self.context_words);
        let whole = user.email().split('@').chain([user.email()]).chain(user.username());
        let inputs: Vec<&str> = whole.chain(known.estimator_inputs()).collect();
        let is_strong = |text: &str| stretches(text).any(|stretch| zxcvbn(stretch, &inputs).score() >= least);
        // The estimator takes every further word for another factor of ten thousand, even one that it was given.
        is_strong(password) && known.remainder(password).is_none_or(|remainder| is_strong(&remainder))
    }
}

impl fmt::Debug for PasswordPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordPolicy")
            .field("min_chars", &self.min_chars)
            .field("max_chars", &self.max_chars)
            .field("max_bytes", &self.max_bytes)
            .field("allow_digits_only", &self.allow_digits_only)
            .field("allow_similar", &self.allow_similar)
            .field("strength", &self.strength)
            .field("context_words", &self.context_words.len())
            .field("rules", &self.rules.len())
            .field("rule_timeout", &self.rules.timeout())
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
    use crate::event::Veto;

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
                assert_eq!(length_only().check_built_in(&password, &ann()).is_ok(), fits, "{count} times {letter:?}");
            }
        }
    }

    async fn refusal(policy: &PasswordPolicy, password: &str, user: &StoredUser) -> Vec<PasswordRefusal> {
        match policy.check(&NewPassword::new(password), user).await {
            Err(ResetError::PasswordRefused(reasons)) => reasons,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_is_too_long_is_not_looked_at() {
        let policy = PasswordPolicy::default().rule(|_, _| panic!("a rule saw it"));
        assert_eq!(refusal(&policy, &"1".repeat(257), &ann()).await, [PasswordRefusal::TooLong { max_chars: 256 }]);
        assert_eq!(refusal(&policy, &"1".repeat(16_000), &ann()).await.len(), 1);
        assert_eq!(policy.check_built_in(&"1".repeat(257), &ann()).unwrap_err().len(), 1);
    }

    #[test]
    fn max_bytes_counts_bytes() {
        let policy = length_only().max_bytes(72);
        for (password, fits) in
            [("a".repeat(72), true), ("a".repeat(73), false), ("é".repeat(36), true), ("é".repeat(37), false)]
        {
            assert_eq!(policy.check_built_in(&password, &ann()).is_ok(), fits, "{password}");
        }
        assert_eq!(
            policy.check_built_in(&"é".repeat(37), &ann()).unwrap_err(),
            [PasswordRefusal::TooManyBytes { max_bytes: 72 }]
        );
    }

    #[tokio::test]
    async fn every_broken_rule_is_reported_at_once() {
        let user = StoredUser::new(1, "1234@example.com", None).with_username("12345".to_owned());
        let policy = PasswordPolicy::default()
            .rule(|_, _| Err("Never.".to_owned()))
            .async_rule(|_, _| async { Err(Veto::new("Not now either.")) });
        assert_eq!(
            refusal(&policy, "12345", &user).await,
            [
                PasswordRefusal::TooShort { min_chars: 8 },
                PasswordRefusal::DigitsOnly,
                PasswordRefusal::SimilarToEmail,
                PasswordRefusal::SimilarToUsername,
                PasswordRefusal::TooEasyToGuess,
                PasswordRefusal::Custom("Never.".to_owned()),
                PasswordRefusal::Custom("Not now either.".to_owned()),
            ]
        );
    }

    #[test]
    fn likeness_to_what_is_known_of_the_user() {
        let policy = PasswordPolicy::default().strength(Strength::Any);
        for password in ["Ann.Miller@Example.com", "ann.miller@example.com1", "MILLERANN7", "millerann77!", "examples"]
        {
            assert!(policy.check_built_in(password, &ann()).is_err(), "{password}");
        }
        for password in ["correct horse battery", "a miller grinds at night", "annual report 2031"] {
            assert_eq!(policy.check_built_in(password, &ann()), Ok(()), "{password}");
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
            assert!(PasswordPolicy::default().check_built_in(password, &ann()).is_err(), "{password}");
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
                    assert!(PasswordPolicy::default().check_built_in(password, &known_as).is_err(), "{password}");
                }
            }
        }
    }

    #[test]
    fn the_best_stretch_of_a_long_password_counts() {
        let dull = "a".repeat(24);
        let good = "purple tractor hums at d";
        let check = |password: &str| PasswordPolicy::default().check_built_in(password, &ann());
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
            assert_eq!(PasswordPolicy::default().check_built_in(password, &ann()), Ok(()), "{password}");
        }
    }
}
