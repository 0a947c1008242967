//! The id of a user, as a token carries it.

use std::fmt;

use super::MAX_ID_BYTES;

/// How many bytes need no allocation: a UUID has 36.
const SHORT: usize = 38;

/// An id that may stand in a token: not empty, not too long, without control characters.
#[derive(PartialEq, Eq)]
pub(super) enum UserId {
    /// Bytes of text, and so many of them.
    Short([u8; SHORT], u8),
    Long(Box<str>),
}

impl UserId {
    /// `None` for text that may not stand in a token.
    pub(super) fn new(id: &str) -> Option<Self> {
        let may = (1..=MAX_ID_BYTES).contains(&id.len()) && !id.chars().any(char::is_control);
        may.then(|| Self::short(id.as_bytes()).unwrap_or_else(|| Self::Long(id.into())))
    }

    /// The id that JSON spells so, if it is in ASCII without escapes, as nearly every id is.
    pub(super) fn from_plain_json(text: &[u8]) -> Option<Self> {
        // Without an early exit: so the compiler looks at many bytes at a time.
        let is_plain = text
            .iter()
            .fold(true, |plain, byte| plain & (b' '..=b'~').contains(byte) & (*byte != b'\\') & (*byte != b'"'));
        if !is_plain || text.is_empty() {
            return None;
        }
        Self::short(text).or_else(|| Self::new(std::str::from_utf8(text).ok()?))
    }

    /// `None` if it is not short.
    fn short(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; SHORT];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        Some(Self::Short(bytes, u8::try_from(text.len()).ok()?))
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Short(bytes, length) => {
                std::str::from_utf8(&bytes[..usize::from(*length)]).expect("it was text when it was put there")
            }
            Self::Long(id) => id,
        }
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_stand_in_a_token() {
        let (long, too_long) = ("é".repeat(64), "é".repeat(64) + "x");
        for id in ["7", " ", "a\"b\\c", "\u{feff}", &long, &"x".repeat(128)] {
            assert_eq!(UserId::new(id).as_ref().map(UserId::as_str), Some(id));
        }
        for id in ["", "\0", "a\nb", "\u{7f}", "\u{85}", &too_long, &"x".repeat(129), &"x".repeat(1000)] {
            assert_eq!(UserId::new(id), None, "{id:?}");
        }
    }

    #[test]
    fn what_is_written_as_it_is() {
        for id in ["7", " ~", "01890a5d-ac96-774b-bcce-b302099a8057", &"x".repeat(SHORT + 1), &"x".repeat(128)] {
            assert_eq!(UserId::from_plain_json(id.as_bytes()), UserId::new(id));
            assert!(UserId::new(id).is_some());
        }
        for id in ["", "\\", "\"", "\0", "\n", "\u{7f}", "é", &"x".repeat(129), &"x".repeat(1000)] {
            assert_eq!(UserId::from_plain_json(id.as_bytes()), None, "{id:?}");
        }
    }
}
