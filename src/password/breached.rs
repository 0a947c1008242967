//! [`BreachedPasswords`]: a list of breached passwords that is asked without revealing the password.

use std::fmt::Write as _;
use std::future::Future;

use sha1::{Digest as _, Sha1};
use zeroize::Zeroizing;

use crate::error::{BoxError, PasswordRefusal};
use crate::secret::NewPassword;

/// The number of hexadecimal digits that the list learns of a password's SHA-1.
const PREFIX_DIGITS: usize = 5;

/// The number of hexadecimal digits of a SHA-1.
const DIGITS: usize = 40;

/// A list of breached passwords, asked by range (k-anonymity): the list learns five of the forty hexadecimal digits of the
/// password's SHA-1 and returns all entries that begin with them. Feature `breached`.
///
/// NIST SP 800-63B-4 (section 3.1.1.2) and OWASP ASVS 6.2.12 require a comparison with breached passwords. The service "Have I
/// Been Pwned" and its downloads have this form. The library itself opens no connection: implement the trait with the HTTP
/// client of the application, or over a local copy of the list.
///
/// ```
/// use poem_password_reset::breached::{BreachedPasswords, IfUnavailable};
/// use poem_password_reset::{BoxError, PasswordPolicy};
///
/// /// Stands for an HTTP client.
/// struct Ranges;
///
/// impl BreachedPasswords for Ranges {
///     type Error = BoxError;
///
///     async fn range(&self, prefix: &str) -> Result<String, BoxError> {
///         // let url = format!("https://api.pwnedpasswords.com/range/{prefix}");
///         // Ok(self.client.get(url).send().await?.error_for_status()?.text().await?)
/// #       let _ = prefix;
///         Ok("1E4C9B93F3F0682250B6CF8331B7EE68FD8:3861493".to_owned())
///     }
/// }
///
/// let policy = PasswordPolicy::default().breached_passwords(Ranges, IfUnavailable::Accept);
/// # let ann = poem_password_reset::StoredUser::new(1, "ann@example.com", None);
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
/// # let policy = policy.strength(poem_password_reset::Strength::Any);
/// # let check = |password| runtime.block_on(policy.check(&poem_password_reset::NewPassword::new(password), &ann));
/// # assert!(check("password").is_err());
/// # assert!(check("purple tractor hums at dawn").is_ok());
/// ```
pub trait BreachedPasswords: Send + Sync + 'static {
    /// The error if the list does not answer. [`IfUnavailable`] decides what happens then.
    type Error: Into<BoxError> + Send;

    /// Returns the entries whose SHA-1 begins with `prefix`, five upper-case hexadecimal digits. One entry a line: the other 35
    /// digits, a colon and a count. An entry with the count 0 is ignored: some servers add such entries as padding.
    fn range(&self, prefix: &str) -> impl Future<Output = Result<String, Self::Error>> + Send;
}

/// The result of a check if the list of breached passwords fails, panics or exceeds the
/// [`rule_timeout`](crate::PasswordPolicy::rule_timeout).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfUnavailable {
    /// The password passes the check. The failure is logged. Resets work while the list is away.
    Accept,
    /// The confirmation fails with [`ResetError::Failed`](crate::ResetError::Failed), and the token stays valid. No password
    /// is set without the check.
    Fail,
}

/// Returns an error that refuses the password if it is in the list.
pub(super) async fn check(list: &impl BreachedPasswords, password: &NewPassword) -> Result<(), BoxError> {
    let digits = sha1_digits(password);
    let (prefix, suffix) = digits.split_at(PREFIX_DIGITS);
    let range = list.range(prefix).await.map_err(Into::into)?;
    if is_in_range(&range, suffix)? { Err(PasswordRefusal::Breached.into()) } else { Ok(()) }
}

/// Returns the SHA-1 of the password in upper-case hexadecimal digits. They are wiped: they reveal a weak password.
fn sha1_digits(password: &NewPassword) -> Zeroizing<String> {
    let mut digits = Zeroizing::new(String::with_capacity(DIGITS));
    for byte in Sha1::digest(password.expose().as_bytes()) {
        // Writing to a `String` cannot fail.
        let _ = write!(digits, "{byte:02X}");
    }
    digits
}

/// Returns whether the range contains the suffix. A line that is not an entry, as in the page of a failing proxy, is an error.
fn is_in_range(range: &str, suffix: &str) -> Result<bool, &'static str> {
    let mut is_found = false;
    for line in range.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let entry = line.split_once(':').and_then(|(suffix, count)| Some((suffix, count.trim().parse::<u64>().ok()?)));
        let (entry, count) = entry.ok_or("the list of breached passwords returned a line that is not an entry")?;
        is_found |= count > 0 && entry.eq_ignore_ascii_case(suffix);
    }
    Ok(is_found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha1_has_the_digits_of_the_standard() {
        // FIPS 180-2, appendix A.1.
        assert_eq!(*sha1_digits(&NewPassword::new("abc")), "A9993E364706816ABA3E25717850C26C9CD0D89D");
    }

    #[test]
    fn suffix_is_found_in_any_case_unless_its_count_is_zero() {
        let range = "0018A45C4D1DEF81644B54AB7F969B88D65:1\r\n00D4F6E8FA6EECAD2A3AA415EEC418D38EC:0\r\n\r\n";
        assert_eq!(is_in_range(range, "0018A45C4D1DEF81644B54AB7F969B88D65"), Ok(true));
        assert_eq!(is_in_range(&range.to_lowercase(), "0018A45C4D1DEF81644B54AB7F969B88D65"), Ok(true));
        assert_eq!(is_in_range(range, "00D4F6E8FA6EECAD2A3AA415EEC418D38EC"), Ok(false));
        assert_eq!(is_in_range("", "0018A45C4D1DEF81644B54AB7F969B88D65"), Ok(false));
    }

    #[test]
    fn range_that_is_not_a_list_of_entries_is_an_error() {
        for range in ["<html>502 Bad Gateway</html>", "0018A45C4D1DEF81644B54AB7F969B88D65", "0018A4:many"] {
            assert!(is_in_range(range, "0018A45C4D1DEF81644B54AB7F969B88D65").is_err(), "{range}");
        }
    }
}
