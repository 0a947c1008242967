//! The command-line flags.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use poem_password_reset::KeyRing;
use poem_password_reset::mail::{SmtpConfigError, SmtpTransport};

use crate::keys::{self, KeyListError};
use crate::site::{self, SiteError};

/// A complete password reset with poem: database, mails and pages.
///
/// Without flags, the demo needs no installation and no configuration: the users are in memory, the signing key is
/// generated, and a page shows the mails.
//
// No `Debug`: the key is a secret, and the URL of the mail server may contain a password.
#[derive(Parser)]
#[command(name = "demo", version)]
pub(crate) struct Options {
    /// Address to listen on; port 0 selects a free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000", value_parser = listen_address)]
    pub(crate) listen: SocketAddr,

    // Parsed after clap, which quotes invalid values in its errors: a pasted URL may contain a password.
    /// Address of the demo in browsers, used for links in mails: https://HOST[:PORT]
    #[arg(long, value_name = "URL", allow_hyphen_values = true)]
    public_url: Option<String>,

    /// Put the token of mailed links behind #token= or behind ?token= (some mail scanners remove the part after #)
    #[arg(long, value_name = "STYLE", value_enum, default_value_t = LinkStyle::Fragment)]
    pub(crate) link_style: LinkStyle,

    // Parsed after clap, for the same reason.
    /// Database of the users: sqlite::memory:, sqlite://FILE?mode=rwc, postgres://USER[:PASSWORD]@HOST[:PORT]/NAME or mysql://..
    #[arg(long, value_name = "URL", default_value = "sqlite::memory:")]
    pub(crate) database: String,

    // Parsed after clap, for the same reason.
    /// Where quotas are counted: memory: or redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]
    #[arg(long, value_name = "URL", default_value = "memory:")]
    pub(crate) throttle: String,

    // Parsed after clap, for the same reason.
    /// Where accepted requests wait for their mail: memory: or postgres://USER[:PASSWORD]@HOST[:PORT]/NAME (survives the process)
    #[arg(long, value_name = "URL", default_value = "memory:")]
    pub(crate) queue: String,

    /// Write each mail to this directory as an .eml file
    #[arg(long, value_name = "DIR")]
    pub(crate) outbox: Option<PathBuf>,

    // Parsed after clap, for the same reason.
    /// Send mails through this server: smtps://[USER:PASSWORD@]HOST[:PORT], or smtp:// for STARTTLS (none on this machine)
    #[arg(long, value_name = "URL", allow_hyphen_values = true, conflicts_with = "outbox")]
    smtp: Option<String>,

    // Parsed after clap, for the same reason. URL-safe base64 may begin with a hyphen.
    /// Signing key in standard or URL-safe base64, with or without padding, and behind commas further keys whose links are
    /// accepted as well; default: generated at start
    #[arg(long = "key", value_name = "BASE64[,BASE64..]", allow_hyphen_values = true)]
    keys: Option<String>,

    /// Turn off all quotas
    #[arg(long)]
    pub(crate) no_throttle: bool,

    /// Take the client's address from the headers of these proxies; may be repeated
    #[arg(long = "trusted-proxy", value_name = "CIDR")]
    pub(crate) trusted_proxies: Vec<String>,

    /// Header in which a trusted proxy names the client's address, for example CF-Connecting-IP
    #[arg(long, value_name = "NAME")]
    pub(crate) client_address_header: Option<String>,

    /// Delay every mail by N milliseconds, to see that responses are not delayed
    #[arg(long, value_name = "N", default_value_t = 0)]
    mail_delay_ms: u64,

    /// Make every mail fail, to see that responses do not change
    #[arg(long)]
    pub(crate) mail_fail: bool,
}

/// Position of the token in a mailed link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LinkStyle {
    /// Behind `#`: browsers do not send the token to servers, so no server log contains it.
    Fragment,
    /// Behind `?`: for recipients whose mail scanner removes fragments.
    Query,
}

impl LinkStyle {
    /// Returns the link to the page that sets the new password, with the placeholder `{token}`.
    pub(crate) fn link(self, site: &str) -> String {
        let mark = match self {
            Self::Fragment => '#',
            Self::Query => '?',
        };
        format!("{site}/reset-password{mark}token={{token}}")
    }
}

impl Options {
    /// Returns the keys of `--key`, or a new random key.
    pub(crate) fn key_ring(&self) -> Result<KeyRing, KeyListError> {
        keys::ring(self.keys.as_deref())
    }

    pub(crate) fn key_was_given(&self) -> bool {
        self.keys.is_some()
    }

    /// Returns the address of `--public-url`, without a slash at its end.
    pub(crate) fn public_url(&self) -> Result<Option<String>, SiteError> {
        self.public_url.as_deref().map(site::public).transpose()
    }

    /// Returns the mail server of `--smtp`. The demo sends a mail now and then, so it keeps no connection for the next one.
    pub(crate) fn smtp(&self) -> Result<Option<SmtpTransport>, SmtpConfigError> {
        let transport = self.smtp.as_deref().map(SmtpTransport::from_url).transpose()?;
        Ok(transport.map(|transport| transport.idle_timeout(Duration::ZERO)))
    }

    pub(crate) fn mail_delay(&self) -> Duration {
        Duration::from_millis(self.mail_delay_ms)
    }
}

fn listen_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "expected an IP address and a port, for example 127.0.0.1:3000 or [::1]:3000")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;
    use poem_password_reset::SigningKey;

    use super::*;

    fn parse(flags: &[&str]) -> Result<Options, clap::Error> {
        Options::try_parse_from(["demo"].iter().chain(flags))
    }

    #[test]
    fn flags_pass_the_checks_of_clap() {
        Options::command().debug_assert();
    }

    #[test]
    fn defaults_need_no_flags() {
        let options = parse(&[]).unwrap();
        assert_eq!(options.listen.to_string(), "127.0.0.1:3000");
        assert_eq!((&*options.database, &*options.throttle), ("sqlite::memory:", "memory:"));
        assert_eq!(options.queue, "memory:");
        assert_eq!(options.link_style.link("http://x"), "http://x/reset-password#token={token}");
        assert!(options.outbox.is_none() && options.smtp().unwrap().is_none());
        assert_eq!(options.public_url(), Ok(None));
        assert!(!options.key_was_given() && options.trusted_proxies.is_empty());
        assert_eq!(options.client_address_header, None);
        assert!(!options.no_throttle && !options.mail_fail && options.mail_delay().is_zero());
        let generated = || options.key_ring().unwrap().ids().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(generated().len(), 1);
        assert_ne!(generated(), generated());
    }

    #[test]
    fn key_may_begin_with_a_hyphen() {
        let key = "-_Jc0Tr1dVvX3cZ5nqFq0Wk2pQm9yA7sLhUuE4iB8oGM";
        let id = SigningKey::from_base64(key).unwrap().id().to_owned();
        for flags in [&["--key", key][..], &[&format!("--key={key}")]] {
            assert!(parse(flags).unwrap().key_ring().unwrap().ids().eq([&*id]));
        }
    }

    #[test]
    fn smtp_and_outbox_exclude_each_other() {
        let server = parse(&["--smtp", "smtp://localhost:2525"]).unwrap().smtp().unwrap();
        assert_eq!(server.map(|server| server.to_string()).as_deref(), Some("localhost:2525"));
        let both = parse(&["--smtp", "smtp://user:hunter2@localhost", "--outbox", "mails"]).map(|_| ()).unwrap_err();
        assert_eq!(both.kind(), ErrorKind::ArgumentConflict);
        assert!(!both.to_string().contains("hunter2"), "{both}");
    }

    #[test]
    fn invalid_values_are_rejected() {
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
