//! [`UserId`]: a user id that is allowed in a token.

use super::MAX_ID_BYTES;

/// A user id that is not empty, has at most [`MAX_ID_BYTES`] bytes and contains no control characters.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UserId(Box<str>);

impl UserId {
    /// Returns `None` if the id is not allowed in a token.
    pub(super) fn new(id: &str) -> Option<Self> {
        is_user_id(id).then(|| Self(id.into()))
    }

    /// Reads an id that JSON spells without escapes and beyond ASCII without anything: printable ASCII but quotes and
    /// backslashes. Returns `None` for any other id.
    pub(super) fn from_plain_json(text: &[u8]) -> Option<Self> {
        let is_plain = text.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'));
        if !is_plain || !(1..=MAX_ID_BYTES).contains(&text.len()) {
            return None;
        }
        str::from_utf8(text).ok().map(|id| Self(id.into()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns whether an id is allowed in a token.
pub(crate) fn is_user_id(id: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&id.len()) && !id.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_of_1_to_128_bytes_without_control_characters_is_allowed() {
        let (longest, too_long) = ("é".repeat(64), "é".repeat(64) + "x");
        for id in ["7", " ", "a\"b\\c", "\u{feff}", &longest, &"x".repeat(128)] {
            assert_eq!(UserId::new(id).as_ref().map(UserId::as_str), Some(id));
        }
        for id in ["", "\0", "a\nb", "\u{7f}", "\u{85}", &too_long, &"x".repeat(129), &"x".repeat(1000)] {
            assert_eq!(UserId::new(id), None, "{id:?}");
        }
    }
}
