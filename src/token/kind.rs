//! [`TokenKind`]: everything that distinguishes one kind of token from another, written once.

use time::Duration;

use super::MAX_LIFETIME;
use crate::secret::Purpose;

/// A kind of token. A token of one kind is never accepted as another, because header, audience and sub-keys differ.
#[derive(Debug)]
pub(super) struct TokenKind {
    /// The `typ` of the header (RFC 8725, section 3.11).
    pub(super) typ: &'static str,
    /// The `aud` of the claims. It must need no escape in JSON.
    pub(super) audience: &'static str,
    /// The longest time from issue to expiry.
    pub(super) max_lifetime: Duration,
    /// The sub-key that signs.
    pub(super) signing: Purpose,
    /// The sub-key that binds the token to the state of a user.
    pub(super) binding: Purpose,
}

/// The reset token.
pub(super) const RESET: TokenKind = TokenKind {
    typ: "reset+jwt",
    audience: "password-reset",
    max_lifetime: MAX_LIFETIME,
    signing: Purpose::Signing,
    binding: Purpose::Binding,
};

impl TokenKind {
    /// Returns whether a token may be valid for this long: one second to the longest lifetime.
    pub(super) fn allows_lifetime(&self, lifetime: Duration) -> bool {
        (Duration::SECOND..=self.max_lifetime).contains(&lifetime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typ_and_audience_need_no_escape_in_json() {
        for text in [RESET.typ, RESET.audience] {
            assert_eq!(serde_json::to_string(text).unwrap(), format!("\"{text}\""));
        }
    }
}
