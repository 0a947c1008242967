//! [`Templates`]: the templates of every mail, rendered with minijinja.

use std::fmt::{self, Write as _};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Output, State, UndefinedBehavior, Value};
use serde::Serialize;

use super::MailKind;
use super::error::MailError;

/// The parts of a mail that have a template each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MailPart {
    /// The subject. White space at its ends is dropped, and a line break becomes a space.
    Subject,
    /// The text part.
    Text,
    /// The HTML part. Variables are escaped.
    Html,
}

impl MailPart {
    const ALL: [Self; 3] = [Self::Subject, Self::Text, Self::Html];
}

/// Returns the name of a template in errors. Only names that end in `.html` are escaped.
fn name(kind: MailKind, part: MailPart) -> String {
    let kind = kind.as_str();
    match part {
        MailPart::Subject => format!("{kind}.subject.txt"),
        MailPart::Text => format!("{kind}.txt"),
        MailPart::Html => format!("{kind}.html"),
    }
}

fn built_in(kind: MailKind, part: MailPart) -> &'static str {
    match (kind, part) {
        (MailKind::Reset, MailPart::Subject) => include_str!("templates/reset.subject.txt"),
        (MailKind::Reset, MailPart::Text) => include_str!("templates/reset.txt"),
        (MailKind::Reset, MailPart::Html) => include_str!("templates/reset.html"),
        (MailKind::Changed, MailPart::Subject) => include_str!("templates/changed.subject.txt"),
        (MailKind::Changed, MailPart::Text) => include_str!("templates/changed.txt"),
        (MailKind::Changed, MailPart::Html) => include_str!("templates/changed.html"),
    }
}

/// The variables of the templates. [`Mailer::template`](super::Mailer::template) documents them.
#[derive(Clone, Default, Serialize)]
pub(super) struct Variables<'a> {
    pub(super) brand: Option<&'a str>,
    pub(super) language: &'a str,
    pub(super) name: Option<&'a str>,
    pub(super) email: &'a str,
    pub(super) origin: Option<String>,
    pub(super) address: Option<String>,
    pub(super) browser: Option<String>,
    /// Variables of the mail `reset` only.
    #[serde(flatten)]
    pub(super) reset: Option<ResetVariables<'a>>,
    /// Variables of the mail `changed` only.
    #[serde(flatten)]
    pub(super) changed: Option<ChangedVariables<'a>>,
    /// Set once the subject is rendered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<String>,
}

#[derive(Clone, Serialize)]
pub(super) struct ResetVariables<'a> {
    pub(super) link: &'a str,
    pub(super) expires_in: String,
    pub(super) expires_in_minutes: i64,
    pub(super) expires_at: String,
}

#[derive(Clone, Serialize)]
pub(super) struct ChangedVariables<'a> {
    pub(super) changed_at: String,
    pub(super) forgot_password: Option<&'a str>,
}

/// A rendered mail.
pub(super) struct Rendered {
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) html: String,
}

/// The templates of every mail, parsed.
pub(super) struct Templates(Environment<'static>);

impl Templates {
    /// Parses the templates: the given ones, and the built-in ones for the others. The last of several for the same part
    /// counts.
    ///
    /// # Errors
    ///
    /// The name of each broken template, with the reason.
    pub(super) fn new(given: Vec<(MailKind, MailPart, String)>) -> Result<Self, Vec<(String, String)>> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
        environment.set_syntax(syntax.expect("the delimiters are the default ones"));
        environment.set_formatter(format_value);
        let mut broken = Vec::new();
        let mut add = |kind, part, source: String| {
            let name = name(kind, part);
            if let Err(error) = environment.add_template_owned(name.clone(), source) {
                broken.push((name, in_words(&error)));
            }
        };
        for kind in MailKind::ALL {
            for part in MailPart::ALL {
                add(kind, part, built_in(kind, part).to_owned());
            }
        }
        for (kind, part, source) in given {
            add(kind, part, source);
        }
        let templates = Self(environment);
        // Renders each mail with every optional variable and with none.
        for kind in MailKind::ALL {
            for variables in [sample(kind, true), sample(kind, false)] {
                for part in MailPart::ALL {
                    let name = name(kind, part);
                    if let Some(reason) = templates.problem(&name, part, &variables)
                        && !broken.iter().any(|(known, _)| *known == name)
                    {
                        broken.push((name, reason));
                    }
                }
            }
        }
        if broken.is_empty() { Ok(templates) } else { Err(broken) }
    }

    /// Renders a mail.
    pub(super) fn render(&self, kind: MailKind, mut variables: Variables<'_>) -> Result<Rendered, MailError> {
        let part = |part, variables: &Variables<'_>| {
            let template = name(kind, part);
            let rendered = self.render_part(&template, variables);
            rendered.map_err(|error| MailError::Template { template, kind: error.kind(), line: error.line() })
        };
        let subject = one_line(&part(MailPart::Subject, &variables)?);
        variables.subject = Some(subject.clone());
        Ok(Rendered { subject, text: part(MailPart::Text, &variables)?, html: part(MailPart::Html, &variables)? })
    }

    fn render_part(&self, name: &str, variables: &Variables<'_>) -> Result<String, minijinja::Error> {
        self.0.get_template(name)?.render(Serde(variables))
    }

    /// Renders a template with sample values, and returns what is wrong with it.
    fn problem(&self, name: &str, part: MailPart, variables: &Variables<'_>) -> Option<String> {
        let mut variables = variables.clone();
        if part != MailPart::Subject {
            variables.subject = Some("the subject".to_owned());
        }
        let rendered = match self.render_part(name, &variables) {
            Ok(rendered) => rendered,
            Err(error) => return Some(in_words(&error)),
        };
        let lacks_link = || variables.reset.as_ref().is_some_and(|reset| !rendered.contains(reset.link));
        match part {
            MailPart::Subject if one_line(&rendered).is_empty() => Some("the subject is empty".to_owned()),
            MailPart::Text | MailPart::Html if lacks_link() => Some("it does not contain {{ link }}".to_owned()),
            _ => None,
        }
    }
}

/// Returns sample values: with or without everything that may be unknown.
fn sample(kind: MailKind, complete: bool) -> Variables<'static> {
    let reset = || ResetVariables {
        link: "https://app.example.com/reset-password#token=sample",
        expires_in: "60 minutes".to_owned(),
        expires_in_minutes: 60,
        expires_at: "22 November 2026, 21:26 UTC".to_owned(),
    };
    let changed = || ChangedVariables {
        changed_at: "22 November 2026, 21:26 UTC".to_owned(),
        forgot_password: complete.then_some("https://app.example.com/forgot-password"),
    };
    Variables {
        brand: complete.then_some("Acme"),
        language: "en",
        name: complete.then_some("ann"),
        email: "ann@example.com",
        origin: complete.then(|| "the address 192.0.2.7 (Firefox on Windows)".to_owned()),
        address: complete.then(|| "192.0.2.7".to_owned()),
        browser: complete.then(|| "Firefox on Windows".to_owned()),
        reset: (kind == MailKind::Reset).then(reset),
        changed: (kind == MailKind::Changed).then(changed),
        subject: None,
    }
}

/// Describes a broken template to the developer: the reason and the line.
fn in_words(error: &minijinja::Error) -> String {
    let mut text = error.kind().to_string();
    if let Some(detail) = error.detail() {
        let _ = write!(text, ": {detail}");
    }
    if let Some(line) = error.line() {
        let _ = write!(text, ", line {line}");
    }
    text
}

/// Replaces runs of white space and control characters by one space. A line break in a subject would add headers to the
/// mail.
fn one_line(text: &str) -> String {
    let words = text.split(|letter: char| letter.is_whitespace() || letter.is_control());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Writes a value. Unlike minijinja's own formatter, it does not escape `/`, which would make every link in the source of the
/// HTML part unreadable.
fn format_value(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), minijinja::Error> {
    match value.as_str() {
        Some(text) if *state.auto_escape() == AutoEscape::Html && !value.is_safe() => {
            write!(out, "{}", EscapedHtml(text)).map_err(minijinja::Error::from)
        }
        _ => minijinja::escape_formatter(out, state, value),
    }
}

/// Text with the characters escaped that mean something in HTML text or in a quoted attribute.
struct EscapedHtml<'a>(&'a str);

impl fmt::Display for EscapedHtml<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
            f.write_str(&rest[..at])?;
            f.write_str(match rest.as_bytes()[at] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(kind: MailKind, part: MailPart, source: &str) -> Result<Templates, Vec<(String, String)>> {
        Templates::new(vec![(kind, part, source.to_owned())])
    }

    #[test]
    fn built_in_templates_render_with_and_without_optional_variables() {
        let templates = Templates::new(Vec::new()).ok().unwrap();
        let mail = |kind, complete| templates.render(kind, sample(kind, complete)).unwrap();
        let complete = mail(MailKind::Reset, true);
        assert_eq!(complete.subject, "Reset your Acme password");
        assert!(complete.text.starts_with("Hello ann,\n"), "{}", complete.text);
        assert!(complete.text.contains("your Acme account\nfrom the address 192.0.2.7 (Firefox on Windows).\n"));
        assert!(complete.text.contains("\n\nhttps://app.example.com/reset-password#token=sample\n\n"));
        assert!(complete.html.contains("<p>Hello ann,</p>"), "{}", complete.html);
        assert!(complete.html.contains(">https://app.example.com/reset-password#token=sample</a>"));
        let bare = mail(MailKind::Reset, false);
        assert_eq!(bare.subject, "Reset your password");
        assert!(bare.text.starts_with("Hello,\n") && bare.text.contains("of your account.\n"), "{}", bare.text);
        assert!(bare.html.contains("<p>Hello,</p>"));

        let complete = mail(MailKind::Changed, true);
        assert_eq!(complete.subject, "Your Acme password was changed");
        assert!(complete.text.ends_with("reset your password:\n\nhttps://app.example.com/forgot-password\n"));
        let bare = mail(MailKind::Changed, false);
        assert_eq!(bare.subject, "Your password was changed");
        assert!(bare.text.ends_with("then reset your password.\n"), "{}", bare.text);
        for mail in [complete, bare] {
            assert!(!mail.text.contains("none") && !mail.html.contains("none,"));
        }
    }

    #[test]
    fn html_part_escapes_values_and_text_part_does_not() {
        let source = "{{ link }} {{ brand }} <a title=\"{{ brand }}\" title='{{ brand }}'>";
        let given = vec![
            (MailKind::Reset, MailPart::Html, source.to_owned()),
            (MailKind::Reset, MailPart::Text, source.to_owned()),
        ];
        let templates = Templates::new(given).ok().unwrap();
        let variables = Variables { brand: Some("<b>\"R&D\" 'x'/y</b>"), ..sample(MailKind::Reset, true) };
        let mail = templates.render(MailKind::Reset, variables).unwrap();
        assert_eq!(
            mail.html.matches("&lt;b&gt;&quot;R&amp;D&quot; &#39;x&#39;/y&lt;/b&gt;").count(),
            3,
            "{}",
            mail.html
        );
        assert_eq!(mail.text.matches("<b>\"R&D\" 'x'/y</b>").count(), 3, "{}", mail.text);
        // `safe` and numbers are written as they are.
        let source = "{{ link }}{{ '<hr>'|safe }}{{ expires_in_minutes }}{{ ['<'] }}";
        let templates = with(MailKind::Reset, MailPart::Html, source).ok().unwrap();
        let mail = templates.render(MailKind::Reset, sample(MailKind::Reset, true)).unwrap();
        assert!(mail.html.contains("<hr>60") && mail.html.contains("&lt;"), "{}", mail.html);
    }

    #[test]
    fn subject_becomes_one_line() {
        let source = "  {{ brand }}\r\nBcc: eve@example.com\n\t\u{2028}x\u{7}\n";
        let templates = with(MailKind::Reset, MailPart::Subject, source).ok().unwrap();
        let variables = Variables { brand: Some("A\r\nB"), ..sample(MailKind::Reset, true) };
        assert_eq!(templates.render(MailKind::Reset, variables).unwrap().subject, "A B Bcc: eve@example.com x");
    }

    #[test]
    fn broken_template_is_reported_once_with_name_and_line() {
        let problem = |kind, part, source| {
            let mut broken = with(kind, part, source).err().unwrap();
            assert_eq!(broken.len(), 1, "{broken:?}");
            broken.remove(0)
        };
        for (kind, part, source, name, reason) in [
            (MailKind::Reset, MailPart::Text, "{{ link }}\n{{ nmae }}", "reset.txt", "undefined value, line 2"),
            (
                MailKind::Reset,
                MailPart::Html,
                "{{ link }}{% if nmae %}{% endif %}",
                "reset.html",
                "undefined value, line 1",
            ),
            (MailKind::Reset, MailPart::Html, "{{ link", "reset.html", "syntax error"),
            (MailKind::Reset, MailPart::Text, "open it", "reset.txt", "it does not contain {{ link }}"),
            (MailKind::Reset, MailPart::Subject, " \n", "reset.subject.txt", "the subject is empty"),
            (MailKind::Changed, MailPart::Text, "{{ link }}", "changed.txt", "undefined value"),
            // Fails only if the variable is unknown.
            (MailKind::Changed, MailPart::Text, "{{ name|upper }}{{ address.x.y }}", "changed.txt", "undefined value"),
            (MailKind::Changed, MailPart::Html, "{% include 'x' %}", "changed.html", "syntax error"),
        ] {
            let (broken, text) = problem(kind, part, source);
            assert_eq!(broken, name);
            assert!(text.contains(reason), "{source}: {text}");
        }
    }
}
