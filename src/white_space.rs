//! Removal of white space around text that people copy and paste.

/// Returns whether `character` is removed around an address or a token: White_Space of Unicode, and five zero-width characters.
///
/// Chats, mail programs and word processors put these around text that is copied. None of them belongs to an address
/// or a token.
fn is_removed(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
}

/// Returns `text` without the white space and zero-width characters around it.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(is_removed)
}

/// Removes the white space and zero-width characters around `text`. Moves the text within its buffer, so that no copy of a
/// secret is left behind.
pub(crate) fn trim_in_place(text: &mut String) {
    text.truncate(text.trim_end_matches(is_removed).len());
    text.drain(..text.len() - text.trim_start_matches(is_removed).len());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// White_Space as PropList.txt of the Unicode character database lists it, and the zero-width characters.
    fn is_listed(character: char) -> bool {
        matches!(character as u32,
            0x09..=0x0d | 0x20 | 0x85 | 0xa0 | 0x1680 | 0x2000..=0x200a | 0x2028 | 0x2029 | 0x202f | 0x205f | 0x3000
            | 0x200b | 0x200c | 0x200d | 0x2060 | 0xfeff)
    }

    #[test]
    fn trim_removes_exactly_the_listed_characters() {
        for character in '\0'..=char::MAX {
            let around = format!("{character}a{character}b{character}{character}");
            let expected = if is_listed(character) { format!("a{character}b") } else { around.clone() };
            assert_eq!(trim(&around), expected, "{character:?}");
            let mut text = around;
            trim_in_place(&mut text);
            assert_eq!(text, expected, "{character:?}");
        }
    }

    #[test]
    fn trim_of_white_space_only_is_empty() {
        let mut text = " \u{200b}\u{a0}\u{feff}\n".to_owned();
        assert_eq!(trim(&text), "");
        let buffer = text.as_ptr();
        trim_in_place(&mut text);
        assert_eq!(text, "");
        assert_eq!(text.as_ptr(), buffer, "the text stays in its buffer");
    }
}
