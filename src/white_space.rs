//! White space around text that people copy and paste.

/// Returns whether `letter` is dropped around an address or a token: White_Space of Unicode, and five zero-width characters.
///
/// Chats, mail programs and word processors put these around text that is copied. None of them belongs to an address
/// or a token.
fn is_dropped(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
}

/// Returns `text` without the white space and zero-width characters around it.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(is_dropped)
}

/// Drops the white space and zero-width characters around `text`. Moves the text within its buffer, so that no copy of a
/// secret is left behind.
pub(crate) fn trim_in_place(text: &mut String) {
    text.truncate(text.trim_end_matches(is_dropped).len());
    text.drain(..text.len() - text.trim_start_matches(is_dropped).len());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// White_Space as PropList.txt of the Unicode character database lists it, and the zero-width characters.
    fn is_listed(letter: char) -> bool {
        matches!(letter as u32,
            0x09..=0x0d | 0x20 | 0x85 | 0xa0 | 0x1680 | 0x2000..=0x200a | 0x2028 | 0x2029 | 0x202f | 0x205f | 0x3000
            | 0x200b | 0x200c | 0x200d | 0x2060 | 0xfeff)
    }

    #[test]
    fn exactly_the_listed_characters_are_dropped() {
        for letter in '\0'..=char::MAX {
            let around = format!("{letter}a{letter}b{letter}{letter}");
            let expected = if is_listed(letter) { format!("a{letter}b") } else { around.clone() };
            assert_eq!(trim(&around), expected, "{letter:?}");
            let mut text = around;
            trim_in_place(&mut text);
            assert_eq!(text, expected, "{letter:?}");
        }
    }

    #[test]
    fn text_of_white_space_alone_becomes_empty() {
        let mut text = " \u{200b}\u{a0}\u{feff}\n".to_owned();
        assert_eq!(trim(&text), "");
        let buffer = text.as_ptr();
        trim_in_place(&mut text);
        assert_eq!(text, "");
        assert_eq!(text.as_ptr(), buffer, "it is the same buffer");
    }
}
