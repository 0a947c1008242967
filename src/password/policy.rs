//! [`PasswordPolicy`]: the settings of the rules for new passwords.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::time::Duration;

use super::reuse::{PasswordHistory, PasswordVerifier, Reuse};
use super::rule::Rules;
use super::strength::Strength;
use crate::error::{BoxError, Problem};
use crate::secret::NewPassword;
use crate::user::StoredUser;

/// Rules for a new password. All rules are checked, and every broken one is reported at once.
///
/// # Defaults
///
/// | rule | default | source |
/// | --- | --- | --- |
/// | length, in code points | 8 to 256 | NIST SP 800-63B-4, 3.1.1.2 (which requires 15 if the password is the only factor) |
/// | length, in bytes | no limit | [`max_bytes(72)`](Self::max_bytes) for bcrypt |
/// | not only digits | on | OWASP ASVS 6.2.4 |
/// | not similar to the email address or the username | on | OWASP ASVS 6.2.11 |
/// | strength, estimated by `zxcvbn` | [`Strength::Fair`] | OWASP ASVS 6.2.4, 6.2.12 |
/// | strength without known words | on, unless the strength is [`Strength::Any`] | OWASP ASVS 6.2.11 |
/// | [`refuse_current`](Self::refuse_current), [`refuse_earlier`](Self::refuse_earlier) | off | PCI DSS 8.3.7 |
/// | breached passwords (feature `breached`) | none | NIST SP 800-63B-4, 3.1.1.2; OWASP ASVS 6.2.12 |
/// | [`rule`](Self::rule), [`async_rule`](Self::async_rule) | none; 5 seconds each | |
///
/// No kind of character is required, and only NUL is forbidden (NIST SP 800-63B-4, 3.1.1.2). A password is hashed exactly as
/// it was sent: it is never trimmed, truncated or normalized. The [guide](crate::guide::passwords) shows a hasher that
/// normalizes.
///
/// # Known words
///
/// A password must be strong enough after these words are removed. They are found in any order, case and separation, and with
/// the usual digits in place of letters:
///
/// * the parts of the email address without its top-level domain, and the parts of the username;
/// * the [`context_words`](Self::context_words);
/// * words for "password" and a few other common words in fifty languages, and rows of keys of eighteen keyboard layouts (the
///   [guide](crate::guide::passwords) lists them);
/// * years from 1930 to 2049, if the password also contains one of the above.
///
/// These lists are not a dictionary. The lists of the estimator are English, and no maintained crate has lists of common
/// passwords in other languages. A common password of another language is accepted if it is not in the lists above. To refuse
/// breached passwords, enable the feature `breached` and connect a list.
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
    pub(super) min_chars: usize,
    pub(super) max_chars: usize,
    pub(super) max_bytes: Option<usize>,
    pub(super) allow_digits_only: bool,
    pub(super) allow_similar: bool,
    pub(super) strength: Strength,
    pub(super) context_words: Vec<String>,
    pub(super) reuse: Option<Reuse>,
    pub(super) rules: Rules,
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
            reuse: None,
            rules: Rules::default(),
        }
    }
}

impl PasswordPolicy {
    /// Sets the minimum number of characters, counted in code points; 8 by default.
    #[must_use]
    pub fn min_chars(mut self, chars: usize) -> Self {
        self.min_chars = chars;
        self
    }

    /// Sets the maximum number of characters, counted in code points; 256 by default.
    ///
    /// A longer password is refused before any other work, in the same way for every user. OWASP ASVS 6.2.9 requires a
    /// maximum of at least 64.
    #[must_use]
    pub fn max_chars(mut self, chars: usize) -> Self {
        self.max_chars = chars;
        self
    }

    /// Sets the maximum number of bytes in UTF-8; no limit by default. A longer password is refused as early as one over
    /// [`max_chars`](Self::max_chars).
    ///
    /// Set it for a hasher that reads only the beginning of a password. bcrypt ignores everything after 72 bytes, so two
    /// passwords with the same first 72 bytes are equal to it.
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

    /// Sets whether passwords that contain only digits are allowed; `false` by default.
    #[must_use]
    pub fn allow_digits_only(mut self, allow: bool) -> Self {
        self.allow_digits_only = allow;
        self
    }

    /// Sets whether passwords similar to the email address or the username are allowed; `false` by default.
    #[must_use]
    pub fn allow_similar(mut self, allow: bool) -> Self {
        self.allow_similar = allow;
        self
    }

    /// Sets the required strength; [`Strength::Fair`] by default.
    #[must_use]
    pub fn strength(mut self, strength: Strength) -> Self {
        self.strength = strength;
        self
    }

    /// Adds words that an attacker tries first, such as the names of the application and of the company. A password must be
    /// strong enough without them.
    ///
    /// A word of two characters counts only in a password that has no letters outside known words. Each word adds time to
    /// every check, so add a few words, not a dictionary.
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

    /// Adds a synchronous rule. An `Err` refuses the password with a text for the user.
    ///
    /// Each call runs on its own thread, never on a hashing thread, so it may block. At most 64 calls run at once for all
    /// clones of the policy. The confirmation fails with [`ResetError::Failed`](crate::ResetError::Failed) if a call panics,
    /// exceeds the [timeout](Self::rule_timeout) or finds 64 calls running; the token remains valid. A call that never
    /// returns keeps its thread, because a thread cannot be stopped. The log identifies a rule by the line of code that added
    /// it.
    ///
    /// All rules run at the same time after the built-in checks, even if these refused the password. No rule runs on a
    /// password that exceeds [`max_chars`](Self::max_chars) or [`max_bytes`](Self::max_bytes).
    ///
    /// In tests with tokio's paused clock, the timeout can elapse while a rule runs, because tokio does not see these
    /// threads.
    ///
    /// ```
    /// use poem_password_reset::PasswordPolicy;
    ///
    /// let policy = PasswordPolicy::default().rule(|password, _user| match password.contains("rosebud") {
    ///     true => Err("This password is well known.".to_owned()),
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

    /// Adds an asynchronous rule, for example a look-up over the network.
    ///
    /// A [`Veto`](crate::Veto) refuses the password with its text, and so does a
    /// [`PasswordRefusal`](crate::PasswordRefusal). **Any other error means that the rule failed.** The
    /// confirmation then fails with [`ResetError::Failed`](crate::ResetError::Failed), as it does if the rule panics or
    /// exceeds the [timeout](Self::rule_timeout); the token remains valid.
    ///
    /// Each call runs in its own task, which is aborted at its next `.await` after the timeout. Use a [`rule`](Self::rule)
    /// for code that blocks; its documentation also says when rules run.
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
        self.rules.add_async(rule, Location::caller(), false);
        self
    }

    /// Refuses the user's current password; off by default. Replaces an earlier call of this method or of
    /// [`refuse_earlier`](Self::refuse_earlier).
    ///
    /// `verifier` compares a password with a stored hash, for example a clone of the [`Argon2id`](crate::Argon2id) that hashes
    /// new passwords. The comparison runs if the other built-in checks accept the password, and takes as long as a sign-in. A
    /// hash that the verifier cannot read is logged, and the password is accepted.
    ///
    /// ```
    /// use poem_password_reset::{Argon2id, NewPassword, PasswordHasher, PasswordPolicy, ResetError, StoredUser};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), poem_password_reset::BoxError> {
    /// let argon2id = Argon2id::default();
    /// let ann = StoredUser::new(1, "ann@example.com", Some(argon2id.hash("purple tractor hums at dawn")?));
    /// let policy = PasswordPolicy::default().refuse_current(argon2id);
    /// let refused = policy.check(&NewPassword::new("purple tractor hums at dawn"), &ann).await;
    /// assert!(matches!(refused, Err(ResetError::PasswordRefused(_))));
    /// assert!(policy.check(&NewPassword::new("green tractor hums at dawn"), &ann).await.is_ok());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn refuse_current(mut self, verifier: impl PasswordVerifier) -> Self {
        self.reuse = Some(Reuse::of_current(verifier));
        self
    }

    /// Refuses the user's current password and the earlier ones in a [`PasswordHistory`]; off by default. Otherwise like
    /// [`refuse_current`](Self::refuse_current).
    ///
    /// NIST SP 800-63B-4 does not ask for a history. Some contracts and audits do, for example PCI DSS 8.3.7 with four
    /// passwords. Each hash takes as long as a sign-in; the first 24 are compared.
    #[must_use]
    pub fn refuse_earlier(mut self, verifier: impl PasswordVerifier, history: impl PasswordHistory) -> Self {
        self.reuse = Some(Reuse::of_history(verifier, history));
        self
    }

    /// Refuses passwords in a list of [breached passwords](crate::breached); off by default. Feature `breached`.
    ///
    /// The list is asked like an [`async_rule`](Self::async_rule). `if_unavailable` decides what happens if it fails.
    #[cfg(feature = "breached")]
    #[must_use]
    #[track_caller]
    pub fn breached_passwords(
        mut self,
        list: impl super::breached::BreachedPasswords,
        if_unavailable: super::breached::IfUnavailable,
    ) -> Self {
        let list = std::sync::Arc::new(list);
        let rule = move |password: crate::secret::NewPassword, _: StoredUser| {
            let list = std::sync::Arc::clone(&list);
            async move { super::breached::check(&*list, &password).await }
        };
        let is_optional = if_unavailable == super::breached::IfUnavailable::Accept;
        self.rules.add_async(rule, Location::caller(), is_optional);
        self
    }

    /// Sets the timeout of the application's rules for one password; 5 seconds by default. All rules run at the same time,
    /// so it limits all of them together. [`build()`](crate::PasswordResetBuilder::build) refuses zero.
    #[must_use]
    pub fn rule_timeout(mut self, timeout: Duration) -> Self {
        self.rules.set_timeout(timeout);
        self
    }

    /// Returns whether every password that the policy accepts fits in `bytes`. A character has at most four bytes.
    pub(crate) fn is_within(&self, bytes: usize) -> bool {
        self.max_bytes.unwrap_or(usize::MAX).min(self.max_chars.saturating_mul(4)) <= bytes
    }

    /// Returns the settings with which no password can be accepted.
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
            .field("refuses_reuse", &self.reuse.is_some())
            .field("rules", &self.rules.len())
            .field("rule_timeout", &self.rules.timeout())
            .finish()
    }
}
