//! Mails, parsed as a mail program parses them.

use mail_parser::{MessageParser, MimeHeaders};

/// The parts of a mail that tests check.
pub(crate) struct Eml {
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: String,
}

impl Eml {
    pub(crate) fn parse(raw: &[u8]) -> Self {
        let mail = MessageParser::default().parse(raw).expect("the file is a mail");
        assert_eq!(address(mail.from()), "no-reply@example.com");
        assert!(mail.date().is_some() && mail.message_id().is_some(), "the mail has a date and an id");
        let kind = mail.content_type().expect("the mail has a content type");
        assert_eq!((kind.ctype(), kind.subtype()), ("multipart", Some("alternative")));
        assert_eq!((mail.text_body_count(), mail.html_body_count(), mail.attachment_count()), (1, 1, 0));
        // The text part comes first, because a mail program shows the last alternative that it supports (RFC 2046, 5.1.4).
        assert!(mail.text_body < mail.html_body);
        let part = |kind: &str, part: u32| {
            let part = mail.part(part).expect("the part exists");
            assert_eq!(part.content_type().and_then(|content| content.subtype()), Some(kind));
            // Mail programs end lines with CR LF.
            part.text_contents().expect("the part is text").replace("\r\n", "\n")
        };
        Self {
            to: address(mail.to()),
            subject: mail.subject().expect("the mail has a subject").to_owned(),
            text: part("plain", mail.text_body[0]),
            html: part("html", mail.html_body[0]),
        }
    }

    /// Returns the token of the link in the text. The HTML part must have the same link.
    pub(crate) fn token(&self) -> &str {
        let link = self.text.lines().find(|line| line.contains("#token=")).expect("the text has a link");
        assert!(self.html.contains(&format!("href=\"{link}\"")), "{}", self.html);
        let (page, token) = link.split_once("#token=").expect("the line contains #token=");
        assert!(page.ends_with("/reset-password"));
        token
    }
}

fn address(header: Option<&mail_parser::Address<'_>>) -> String {
    let addresses: Vec<_> = header.expect("the header exists").iter().filter_map(|address| address.address()).collect();
    assert_eq!(addresses.len(), 1, "{addresses:?}");
    addresses[0].to_owned()
}
