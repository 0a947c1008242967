//! The client that sent a request, in words.

use crate::client::Client;

/// Parts of user agents and the browsers that send them. Most browsers also name the ones they are compatible with, so the
/// most specific part comes first.
const BROWSERS: [(&str, &str); 10] = [
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
    ("Wget/", "Wget"),
];

/// Parts of user agents and the devices or systems that they stand for. Android names Linux too, and an iPhone macOS.
const SYSTEMS: [(&str, &str); 8] = [
    ("iPhone", "an iPhone"),
    ("iPad", "an iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Mac OS X", "a Mac"),
    ("Macintosh", "a Mac"),
    ("Linux", "Linux"),
];

/// Describes a client for the user who reads the mail: `the address 192.0.2.7 (Firefox on Windows)`.
///
/// The client chooses its user agent. The description is therefore made of fixed words and never quotes it: an attacker
/// could put a text or a link for the user there.
pub(super) fn origin(client: &Client) -> Option<String> {
    match (client.address(), browser(client)) {
        (Some(address), Some(browser)) => Some(format!("the address {address} ({browser})")),
        (Some(address), None) => Some(format!("the address {address}")),
        (None, browser) => browser,
    }
}

/// Returns the client's browser and system in fixed words: `Firefox on Windows`.
pub(super) fn browser(client: &Client) -> Option<String> {
    let user_agent = client.user_agent()?;
    let find = |parts: &[(&str, &'static str)]| {
        parts.iter().find(|(part, _)| user_agent.contains(part)).map(|(_, name)| *name)
    };
    let browser = find(&BROWSERS)?;
    Some(find(&SYSTEMS).map_or_else(|| browser.to_owned(), |system| format!("{browser} on {system}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_browsers_are_recognized() {
        for (user_agent, expected) in [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 \
                 Safari/537.36 Edg/143.0.0.0",
                "Edge on Windows",
            ),
            ("Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0", "Firefox on Linux"),
            (
                "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Mobile \
                 Safari/537.36",
                "Chrome on Android",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                 Version/18.6 Mobile/15E148 Safari/604.1",
                "Safari on an iPhone",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 \
                 Safari/605.1.15",
                "Safari on a Mac",
            ),
            ("curl/8.5.0", "curl"),
        ] {
            assert_eq!(browser(&Client::new(None, Some(user_agent))).as_deref(), Some(expected), "{user_agent}");
        }
    }

    #[test]
    fn user_agent_is_never_quoted() {
        let address = Some([192, 0, 2, 7].into());
        for (user_agent, expected) in [
            (None, "the address 192.0.2.7"),
            (Some("call 0800 1234567 or see https://evil.example"), "the address 192.0.2.7"),
            (Some("Firefox/1 https://evil.example"), "the address 192.0.2.7 (Firefox)"),
        ] {
            assert_eq!(origin(&Client::new(address, user_agent)).as_deref(), Some(expected));
        }
        assert_eq!(origin(&Client::new(None, Some("Firefox/145.0 (Windows)"))).as_deref(), Some("Firefox on Windows"));
        assert_eq!(origin(&Client::none()), None);
    }
}
