//! The name that a mail greets its recipient by.

use unicode_normalization::char::is_combining_mark;

use crate::user::StoredUser;

/// Maximum length of a name in a mail, in characters.
const MAX_NAME: usize = 64;
/// Maximum number of digits of a name in a mail. Mail programs turn longer numbers into phone links.
const MAX_DIGITS: usize = 6;
/// Words that start a link and are not names.
const LINK_WORDS: [&str; 9] = ["http", "https", "ftp", "www", "mailto", "tel", "sms", "javascript", "data"];

/// Returns the name to greet a user by, or `None` if the username does not look like a name.
///
/// Anyone can choose a username when signing up with the address of someone else. If the mail repeated it, a username
/// such as `win at evil.example` would be sent to that person by a trusted sender, and mail programs would turn the host
/// into a link. A name has letters and marks of any script, digits, single spaces, apostrophes and hyphens. A dot must
/// follow a letter and end a word, as in "Dr. J. Smith".
pub(super) fn name(user: &StoredUser) -> Option<&str> {
    let name = user.username()?.trim_matches(' ');
    let mut digits = 0;
    let mut letters = 0;
    let mut previous = ' ';
    let mut rest = name.chars().peekable();
    while let Some(letter) = rest.next() {
        let allowed = match letter {
            // These count as letters or marks, but they are invisible.
            _ if is_invisible(letter) => false,
            '0'..='9' => {
                digits += 1;
                true
            }
            '-' | '\u{2010}' | '\'' | '\u{2019}' => true,
            ' ' => previous != ' ',
            '.' => is_letter(previous) && rest.peek().is_none_or(|next| *next == ' '),
            _ if letter.is_alphabetic() => {
                letters += 1;
                true
            }
            // A mark belongs to the letter before it.
            _ if is_combining_mark(letter) => is_letter(previous),
            _ => false,
        };
        if !allowed {
            return None;
        }
        previous = letter;
    }
    let starts_link = |word: &str| LINK_WORDS.iter().any(|link| word.eq_ignore_ascii_case(link));
    let fits = letters > 0 && digits <= MAX_DIGITS && name.chars().count() <= MAX_NAME;
    (fits && !name.split([' ', '-', '.', '\'']).any(starts_link)).then_some(name)
}

fn is_letter(letter: char) -> bool {
    letter.is_alphabetic() || is_combining_mark(letter)
}

/// Letters and marks that have no shape of their own (`Default_Ignorable_Code_Point` in Unicode).
fn is_invisible(letter: char) -> bool {
    matches!(
        letter,
        '\u{034f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{e0100}'..='\u{e01ef}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: impl Into<String>) -> StoredUser {
        StoredUser::new(1, "ann@example.com", None).with_username(name.into())
    }

    #[test]
    fn username_that_looks_like_a_name_is_shown() {
        for shown in [
            "ann",
            "Ann Smith",
            "Ann-Marie O'Neill",
            "Ann\u{2010}Marie O\u{2019}Neill",
            "Dr. J. R. Smith Jr.",
            "'t Hooft",
            "petra2026",
            "httpd",
            "Zo\u{eb}",
            "Zoe\u{308}",
            "Nguye\u{302}\u{303}n V\u{103}n A",
            "Владимир",
            "山田太郎",
            "יוסי",
            "نور",
            "प्रिया",
            "ณัฐ",
            &"a".repeat(64),
            &"太".repeat(64),
        ] {
            assert_eq!(name(&user(shown)), Some(shown), "{shown:?}");
        }
        assert_eq!(name(&user("  ann ")), Some("ann"), "spaces around a name are dropped");
    }

    #[test]
    fn username_that_does_not_look_like_a_name_is_not_shown() {
        assert_eq!(name(&StoredUser::new(1, "ann@example.com", None)), None);
        for hidden in [
            "",
            " ",
            "\n",
            "2026",
            "-",
            "...",
            // Links, and text that mail programs turn into links.
            "http://evil.example/",
            "HTTPS://evil.example",
            "//evil.example",
            "evil.example",
            "www.evil",
            "evil.example.",
            "win at evil.example",
            "evil.example/login",
            "evil .example",
            "192.0.2.7",
            "[::1]",
            "localhost:3000",
            "eve@evil.example",
            "mailto:eve@evil.example",
            "mailto",
            "http",
            "Http evil",
            "www",
            "tel 911",
            "javascript:alert(1)",
            "call 0800 1234567",
            // Markup.
            "[click](http://evil.example)",
            "[click]",
            "<b>ann</b>",
            "**ann**",
            "_ann_",
            "`ann`",
            "&#97;nn",
            "=?utf-8?q?ann?=",
            "{{ann}}",
            "%2F",
            // Characters that look like a dot, slash, colon or at sign.
            "evil\u{3002}example",
            "evil\u{ff0e}example",
            "evil\u{ff61}example",
            "evil\u{2024}example",
            "evil\u{b7}example",
            "evil\u{2215}login",
            "http\u{ff1a}",
            "eve\u{ff20}evil",
            // Direction, invisible characters, line breaks and other white space.
            "ann\u{202e}",
            "\u{202d}ann",
            "\u{2066}ann\u{2069}",
            "ann\u{200f}",
            "an\u{200b}n",
            "an\u{200d}n",
            "an\u{ad}n",
            "\u{feff}ann",
            "an\u{fe0f}n",
            "an\u{34f}n",
            "\u{3164}",
            "\u{115f}",
            "\u{ffa0}",
            "\u{308}ann",
            "ann\u{a0}smith",
            "ann\u{2028}smith",
            "ann\u{3000}smith",
            "ann  smith",
            "ann\r\nsmith",
            "ann\tsmith",
            "ann\0",
            "ann\u{1b}[31m",
            "ann\u{e000}",
            "ann \u{1f600}",
            "\u{e0041}ann",
            "ann!",
            "ann, you won",
            &"a".repeat(65),
        ] {
            assert_eq!(name(&user(hidden)), None, "{hidden:?}");
        }
    }
}
