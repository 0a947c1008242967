//! The checks of a new password: the built-in rules, and the result of the application's rules.

use strsim::normalized_damerau_levenshtein;
use tokio::task::spawn_blocking;

use super::policy::PasswordPolicy;
use crate::catch_panic::catch_panic;
use crate::error::{ApplicationError, BoxError, PasswordRefusal, ResetError};
use crate::redact::redacted_error;
use crate::secret::NewPassword;
use crate::user::{StoredUser, secrets_of};

/// Similarity (1.0 = identical) from which a password is too similar to the email address or the username.
const TOO_SIMILAR: f64 = 0.7;

impl PasswordPolicy {
    /// Checks a password as a confirmation does, with the built-in rules, the comparison with the user's other
    /// passwords, and every [`rule`](Self::rule) and [`async_rule`](Self::async_rule). Call it wherever else the application sets a password, such as a registration.
    ///
    /// It must be called in a tokio runtime, because the built-in checks run on a blocking thread.
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
        let mut refusals = match built_in {
            Ok(Ok(checked)) => checked.err().unwrap_or_default(),
            Ok(Err(_)) => return Err(failed("a check of the password policy panicked")),
            Err(_) => return Err(failed("the runtime is shutting down")),
        };
        if let Some(compare) = self.reuse_check(&refusals, password, user).await? {
            let compared = spawn_blocking(move || catch_panic(compare)).await;
            refusals.extend(compared.ok().and_then(Result::ok).flatten());
        }
        self.check_rules(refusals, password, user).await
    }

    /// Returns the comparison with the user's current and earlier passwords, which must run on a blocking thread. Returns
    /// `None` if it is switched off, or if another check refused the password already.
    pub(crate) async fn reuse_check(
        &self,
        refusals: &[PasswordRefusal],
        password: &NewPassword,
        user: &StoredUser,
    ) -> Result<Option<impl FnOnce() -> Option<PasswordRefusal> + Send + 'static + use<>>, ResetError> {
        let Some(reuse) = self.reuse.clone().filter(|_| refusals.is_empty()) else { return Ok(None) };
        let earlier = reuse.earlier_hashes(user, self.rules.timeout()).await.map_err(|error| {
            let reason = redacted_error(&error, secrets_of(user).chain([password.expose()]));
            tracing::error!(user = user.id(), reason, "the password history failed");
            failed(error)
        })?;
        let (password, user) = (password.clone(), user.clone());
        Ok(Some(move || reuse.refusal(&password, &user, &earlier)))
    }

    /// Runs the application's rules and adds their refusals to those of the built-in checks.
    pub(crate) async fn check_rules(
        &self,
        mut refusals: Vec<PasswordRefusal>,
        password: &NewPassword,
        user: &StoredUser,
    ) -> Result<(), ResetError> {
        let outcome = self.rules.check(password, user).await;
        refusals.extend(outcome.refusals);
        match outcome.failure {
            // A failed rule cannot change that the password is refused, and the user can choose another one.
            _ if !refusals.is_empty() => Err(ResetError::PasswordRefused(refusals)),
            Some(error) => Err(ResetError::Failed(ApplicationError::new(error))),
            None => Ok(()),
        }
    }

    /// Checks a password with the built-in rules only. Takes milliseconds, so it should not run on an async thread.
    ///
    /// # Errors
    ///
    /// A [`PasswordRefusal`] for each rule that the password breaks. A password that is too long is not checked any further.
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
        if !self.strength.accepts(password, user, &self.context_words) {
            refusals.push(PasswordRefusal::TooEasyToGuess);
        }
        if refusals.is_empty() { Ok(()) } else { Err(refusals) }
    }

    /// Returns the refusal of a password that is too long. This is the only rule that needs no user.
    pub(crate) fn too_long(&self, password: &str) -> Option<PasswordRefusal> {
        if password.chars().count() > self.max_chars {
            return Some(PasswordRefusal::TooLong { max_chars: self.max_chars });
        }
        let max_bytes = self.max_bytes.filter(|max_bytes| password.len() > *max_bytes)?;
        Some(PasswordRefusal::TooManyBytes { max_bytes })
    }

    /// Makes the strength estimator build its tables. This takes milliseconds, which would delay the first request.
    pub(crate) fn warm_up(&self) {
        self.strength.accepts("warm-up", &StoredUser::new("", "", None), &self.context_words);
    }
}

fn failed(error: impl Into<BoxError>) -> ResetError {
    ResetError::Failed(ApplicationError::new(error))
}

/// Returns whether a password is similar to `known` or to a part of it. Ignores case.
fn is_similar(password: &str, known: &str) -> bool {
    let (password, known) = (password.to_lowercase(), known.to_lowercase());
    let parts = known.split(|letter: char| !letter.is_alphanumeric()).filter(|part| !part.is_empty());
    parts.chain([known.as_str()]).any(|part| normalized_damerau_levenshtein(&password, part) >= TOO_SIMILAR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Veto;
    use crate::password::Strength;

    fn ann() -> StoredUser {
        StoredUser::new(1, "ann.miller@example.com", None).with_username("millerann77".to_owned())
    }

    /// A policy that checks nothing but the length.
    fn length_only() -> PasswordPolicy {
        PasswordPolicy::default().strength(Strength::Any).allow_similar(true).allow_digits_only(true)
    }

    async fn refusals(policy: &PasswordPolicy, password: &str, user: &StoredUser) -> Vec<PasswordRefusal> {
        match policy.check(&NewPassword::new(password), user).await {
            Err(ResetError::PasswordRefused(refusals)) => refusals,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn length_is_counted_in_code_points() {
        for letter in ['a', 'é', '\u{301}', '中', '\u{1f600}'] {
            for (count, is_accepted) in [(7, false), (8, true), (256, true), (257, false)] {
                let password = letter.to_string().repeat(count);
                let checked = length_only().check_built_in(&password, &ann());
                assert_eq!(checked.is_ok(), is_accepted, "{count} times {letter:?}");
            }
        }
    }

    #[tokio::test]
    async fn password_that_is_too_long_reaches_no_other_rule() {
        let policy = PasswordPolicy::default().rule(|_, _| panic!("the rule was called"));
        let too_long = [PasswordRefusal::TooLong { max_chars: 256 }];
        for length in [257, 16_000] {
            assert_eq!(refusals(&policy, &"1".repeat(length), &ann()).await, too_long);
        }
        assert_eq!(policy.check_built_in(&"1".repeat(257), &ann()).unwrap_err(), too_long);
    }

    #[test]
    fn max_bytes_counts_bytes() {
        let policy = length_only().max_bytes(72);
        for (password, is_accepted) in
            [("a".repeat(72), true), ("a".repeat(73), false), ("é".repeat(36), true), ("é".repeat(37), false)]
        {
            let expected =
                if is_accepted { Ok(()) } else { Err(vec![PasswordRefusal::TooManyBytes { max_bytes: 72 }]) };
            assert_eq!(policy.check_built_in(&password, &ann()), expected, "{password}");
        }
    }

    #[tokio::test]
    async fn check_reports_every_broken_rule_at_once() {
        let user = StoredUser::new(1, "1234@example.com", None).with_username("12345".to_owned());
        let policy = PasswordPolicy::default()
            .rule(|_, _| Err("Never.".to_owned()))
            .async_rule(|_, _| async { Err(Veto::new("Not now either.")) });
        assert_eq!(
            refusals(&policy, "12345", &user).await,
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
    fn each_broken_rule_has_its_own_refusal() {
        let any_strength = PasswordPolicy::default().strength(Strength::Any);
        for (policy, password, refusal) in [
            (any_strength.clone().min_chars(9), "xqzkvwpj", PasswordRefusal::TooShort { min_chars: 9 }),
            (any_strength.clone().max_chars(8), "xqzkvwpjb", PasswordRefusal::TooLong { max_chars: 8 }),
            (any_strength.clone().max_bytes(9), "xqzkvwpjéb", PasswordRefusal::TooManyBytes { max_bytes: 9 }),
            (any_strength.clone(), "83610592", PasswordRefusal::DigitsOnly),
            (any_strength.clone(), "ann.miller@example.org", PasswordRefusal::SimilarToEmail),
            (any_strength, "millerann78", PasswordRefusal::SimilarToUsername),
            (PasswordPolicy::default(), "qwertyuiop", PasswordRefusal::TooEasyToGuess),
        ] {
            assert_eq!(policy.check_built_in(password, &ann()), Err(vec![refusal]), "{password}");
        }
    }

    #[test]
    fn password_similar_to_email_address_or_username_is_refused() {
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
    fn spaces_unicode_and_punctuation_are_accepted() {
        for password in
            ["correct horse battery staple", "  leading and trailing  ", "пароль не угадать 9", "~!@#$%^&*()_+ jkl"]
        {
            assert_eq!(PasswordPolicy::default().check_built_in(password, &ann()), Ok(()), "{password}");
        }
    }
}
