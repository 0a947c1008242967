//! Content negotiation.

use http::HeaderMap;
use http::header::ACCEPT;

/// Returns whether `Accept` allows `application/json`. The most specific matching range decides (RFC 9110, section 12.5.1).
pub(super) fn accepts_json(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(ACCEPT).iter().map(|line| line.to_str().unwrap_or_default());
    let ranges = lines.flat_map(|line| line.split(',')).filter(|range| !range.trim().is_empty());
    let mut has_ranges = false;
    // Specificity of the best match so far, and whether its weight allows JSON.
    let mut best: Option<(u8, bool)> = None;
    for range in ranges {
        has_ranges = true;
        let mut parts = range.split(';').map(str::trim);
        let specificity = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "application/json" => 3,
            "application/*" => 2,
            "*/*" | "*" => 1,
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let is_allowed = weight.is_none_or(|weight| weight.trim().parse::<f32>() != Ok(0.0));
        if best.is_none_or(|(best, _)| best <= specificity) {
            best = Some((specificity, is_allowed));
        }
    }
    !has_ranges || best.is_some_and(|(_, is_allowed)| is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, value.parse().unwrap());
        accepts_json(&headers)
    }

    #[test]
    fn accepts_json_honors_specificity_and_weight() {
        assert!(accepts_json(&HeaderMap::new()));
        for value in [
            "",
            "*/*",
            "application/*",
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "text/html, application/xhtml+xml, */*;q=0.8",
            "application/xml, application/json;q=0.1",
            "*/*;q=0, application/json",
        ] {
            assert!(accepts(value), "{value}");
        }
        for value in [
            "application/xml",
            "text/html",
            "text/*",
            "application/json;q=0",
            "application/json; q=0.0, */*",
            "nonsense",
        ] {
            assert!(!accepts(value), "{value}");
        }
    }
}
