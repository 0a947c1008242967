//! The link that is mailed.

use http::Uri;

use crate::error::Problem;
use crate::secret::ResetToken;

const PLACEHOLDER: &str = "{token}";

/// An address with a place for the token in it.
pub(super) struct Link {
    /// What stands before, between and after the places for the token.
    pieces: Vec<String>,
}

impl Link {
    /// Reads a link. It must be `https`, unless its host is this machine: a token must not cross a network unencrypted.
    pub(super) fn parse(template: Option<String>) -> Result<Self, Problem> {
        let template = template.ok_or(Problem::NoLink)?;
        if !template.contains(PLACEHOLDER) {
            return Err(Problem::LinkWithoutToken { link: template });
        }
        // Braces and the fragment are not for `Uri`; what counts here stands before them.
        let uri = template.replace(PLACEHOLDER, "token").parse::<Uri>().ok();
        let Some((scheme, authority)) = uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.authority()?))) else {
            return Err(Problem::LinkNotAbsolute { link: template });
        };
        // What stands before an @ looks like a host to a reader and is none.
        let is_host = !authority.host().is_empty() && !authority.as_str().contains('@');
        let link = || Self { pieces: template.split(PLACEHOLDER).map(str::to_owned).collect() };
        match scheme {
            _ if !is_host => Err(Problem::LinkNotAbsolute { link: template }),
            "https" => Ok(link()),
            "http" if is_loopback(authority.host()) => Ok(link()),
            "http" => Err(Problem::LinkNotHttps { link: template }),
            _ => Err(Problem::LinkNotAbsolute { link: template }),
        }
    }

    /// The link with this token. A token has no character that a URL would want escaped.
    pub(super) fn with(&self, token: &ResetToken) -> ResetToken {
        ResetToken::new(self.pieces.join(token.expose()))
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_will_do() {
        for link in [
            "https://app.example.com/reset-password#token={token}",
            "https://app.example.com/reset/{token}/",
            "https://app.example.com:8443/?t={token}",
            "http://localhost:3000/reset-password#token={token}",
            "http://127.0.0.1/{token}",
            "http://[::1]:3000/{token}",
            "https://app.example.com/{token}/?again={token}",
        ] {
            let made = Link::parse(Some(link.to_owned())).ok().unwrap().with(&ResetToken::new("a.b.c"));
            assert_eq!(made.expose(), link.replace("{token}", "a.b.c"));
        }
    }

    #[test]
    fn links_that_will_not() {
        let problem = |link: &str| Link::parse(Some(link.to_owned())).err().unwrap();
        assert_eq!(Link::parse(None).err().unwrap(), Problem::NoLink);
        for link in ["https://app.example.com/reset", "", "https://app.example.com/{ token }"] {
            assert!(matches!(problem(link), Problem::LinkWithoutToken { .. }), "{link}");
        }
        for link in [
            "/reset/{token}",
            "app.example.com/{token}",
            "ftp://app.example.com/{token}",
            "{token}",
            "https:///{token}",
            "https://localhost@example.com/{token}",
            "javascript:alert('{token}')",
        ] {
            assert!(matches!(problem(link), Problem::LinkNotAbsolute { .. }), "{link}");
        }
        for link in
            ["http://app.example.com/{token}", "http://localhost.example.com/{token}", "http://10.0.0.1/{token}"]
        {
            assert!(matches!(problem(link), Problem::LinkNotHttps { .. }), "{link}");
        }
    }
}
