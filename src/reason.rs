//! An error of the application's code as the log may have it.

use crate::error::BoxError;

/// How much of an error's text is logged, in characters.
const MAX_CHARS: usize = 500;

/// An error and its sources in one line, without the secrets that it was given: mail servers, databases and HTTP clients
/// like to quote what they were to work with.
pub(crate) fn reason<'s>(error: &BoxError, secrets: impl IntoIterator<Item = &'s str>) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    for secret in secrets.into_iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "[..]").replace(&secret.replace('@', "%40"), "[..]");
    }
    // Only now is it cut: half a token would not be found.
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_one_line_with_its_sources_cut_and_without_secrets() {
        #[derive(Debug, thiserror::Error)]
        #[error("no row for ann%40example.com\r\nERROR forged line")]
        struct Outer(#[source] std::io::Error);
        let error: BoxError = Outer(std::io::Error::other("ann@example.com, ".repeat(1000))).into();
        let text = reason(&error, ["", "ann@example.com"]);
        assert!(text.starts_with("no row for [..]  ERROR forged line: [..], [..], "), "{text}");
        assert_eq!(text.chars().count(), MAX_CHARS);
    }
}
