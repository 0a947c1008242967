//! The flags.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use poem_password_reset::{KeyError, SigningKey};

use crate::site::{self, SiteError};
use crate::smtp::{Server, ServerError};

/// A password reset with poem, whole: a database, mails and pages.
///
/// Nothing needs to be installed or configured: without flags the users are in memory, the signing key is generated,
/// and the mails are shown in the browser.
//
// No `Debug`: one of the values is a key, and another may have a password in it.
#[derive(Parser)]
#[command(name = "demo", version)]
pub(crate) struct Options {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000", value_parser = listen_address)]
    pub(crate) listen: SocketAddr,

    // Text, for the reason below: a wrong paste may have a password in it.
    /// The address at which browsers reach the demo, for the links in mails: https://HOST[:PORT]
    #[arg(long, value_name = "URL", allow_hyphen_values = true)]
    public_url: Option<String>,

    /// Whether mailed links carry the token behind #token= or ?token=: some mail scanners strip everything behind the #
    #[arg(long, value_name = "STYLE", value_enum, default_value_t = LinkStyle::Fragment)]
    pub(crate) link_style: LinkStyle,

    /// Where the users are: sqlite::memory: or sqlite://FILE?mode=rwc
    #[arg(long, value_name = "URL", default_value = "sqlite::memory:")]
    pub(crate) database: String,

    /// Write each mail to this directory, as one .eml file
    #[arg(long, value_name = "DIR")]
    pub(crate) outbox: Option<PathBuf>,

    // Text, for the reason below: this may have a password in it.
    /// Send each mail through this mail server, in the clear: smtp://[USER:PASSWORD@]HOST[:PORT]
    #[arg(long, value_name = "URL", allow_hyphen_values = true, conflicts_with = "outbox")]
    smtp: Option<String>,

    // Text, not parsed by clap, which quotes what it cannot parse; and a key may well begin with a hyphen.
    /// The signing key, standard or URL-safe base64, padded or not; without it one is generated
    #[arg(long, value_name = "BASE64", allow_hyphen_values = true)]
    key: Option<String>,

    /// Switch all quotas off
    #[arg(long)]
    pub(crate) no_throttle: bool,

    /// Believe what this proxy, or these, say of a client's address; may be repeated
    #[arg(long = "trusted-proxy", value_name = "CIDR")]
    pub(crate) trusted_proxies: Vec<String>,

    /// Take the client's address from this header of a trusted proxy, such as CF-Connecting-IP
    #[arg(long, value_name = "NAME")]
    pub(crate) client_address_header: Option<String>,

    /// Let every mail handler sleep first, to see that no client notices
    #[arg(long, value_name = "N", default_value_t = 0)]
    mail_delay_ms: u64,

    /// Let every mail handler fail, to see that no client notices
    #[arg(long)]
    pub(crate) mail_fail: bool,
}

/// The place of the token in a mailed link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LinkStyle {
    /// Behind `#`: the token reaches no server and no log of one.
    Fragment,
    /// Behind `?`: for recipients whose mail scanner strips fragments.
    Query,
}

impl LinkStyle {
    /// The link to the page that asks for the new password, with `{token}` in it.
    pub(crate) fn link(self, site: &str) -> String {
        let mark = match self {
            Self::Fragment => '#',
            Self::Query => '?',
        };
        format!("{site}/reset-password{mark}token={{token}}")
    }
}

impl Options {
    /// The signing key that was given, or a new one.
    pub(crate) fn signing_key(&self) -> Result<SigningKey, KeyError> {
        self.key.as_deref().map_or_else(SigningKey::generate, SigningKey::from_base64)
    }

    pub(crate) fn key_was_given(&self) -> bool {
        self.key.is_some()
    }

    /// The public address that was given, without a slash at its end.
    pub(crate) fn public_url(&self) -> Result<Option<String>, SiteError> {
        self.public_url.as_deref().map(site::public).transpose()
    }

    /// The mail server that was given.
    pub(crate) fn smtp(&self) -> Result<Option<Server>, ServerError> {
        self.smtp.as_deref().map(Server::parse).transpose()
    }

    pub(crate) fn mail_delay(&self) -> Duration {
        Duration::from_millis(self.mail_delay_ms)
    }
}

fn listen_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "expected an IP address and a port, such as 127.0.0.1:3000 or [::1]:3000")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(flags: &[&str]) -> Result<Options, clap::Error> {
        Options::try_parse_from(["demo"].iter().chain(flags))
    }

    #[test]
    fn the_flags_are_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn without_flags_everything_has_a_value() {
        let options = parse(&[]).unwrap();
        assert_eq!(options.listen.to_string(), "127.0.0.1:3000");
        assert_eq!(options.database, "sqlite::memory:");
        assert_eq!(options.link_style.link("http://x"), "http://x/reset-password#token={token}");
        assert!(options.outbox.is_none() && options.smtp().unwrap().is_none());
        assert_eq!(options.public_url(), Ok(None));
        assert!(!options.key_was_given() && options.trusted_proxies.is_empty());
        assert_eq!(options.client_address_header, None);
        assert!(!options.no_throttle && !options.mail_fail && options.mail_delay().is_zero());
        assert_ne!(options.signing_key().unwrap().id(), options.signing_key().unwrap().id());
    }

    #[test]
    fn a_key_may_begin_with_a_hyphen() {
        let key = "-_Jc0Tr1dVvX3cZ5nqFq0Wk2pQm9yA7sLhUuE4iB8oGM";
        let id = SigningKey::from_base64(key).unwrap().id().to_owned();
        for flags in [&["--key", key][..], &[&format!("--key={key}")]] {
            assert_eq!(parse(flags).unwrap().signing_key().unwrap().id(), id);
        }
    }

    #[test]
    fn mails_go_one_way() {
        let server = parse(&["--smtp", "smtp://localhost:2525"]).unwrap().smtp().unwrap();
        assert_eq!(server.map(|server| server.to_string()).as_deref(), Some("localhost:2525"));
        let both = parse(&["--smtp", "smtp://user:hunter2@localhost", "--outbox", "mails"]).map(|_| ()).unwrap_err();
        assert_eq!(both.kind(), ErrorKind::ArgumentConflict);
        assert!(!both.to_string().contains("hunter2"), "{both}");
    }

    #[test]
    fn bad_values_are_refused() {
        for flags in [
            &["--listen", "3000"][..],
            &["--listen", "example.com"],
            &["--mail-delay-ms", "-1"],
            &["--mail-delay-ms", "soon"],
            &["--link-style", "path"],
        ] {
            let error = parse(flags).map(|_| ()).unwrap_err();
            let kinds = [ErrorKind::ValueValidation, ErrorKind::InvalidValue, ErrorKind::UnknownArgument];
            assert!(kinds.contains(&error.kind()), "{flags:?}");
        }
    }
}
