//! Normalization of request paths.

use http::Uri;
use http::uri::PathAndQuery;

/// Returns `uri` with repeated slashes of the path merged and the last slash removed, or `None` if its path is normal.
pub(crate) fn normalize(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let has_empty_segment = || path.as_bytes().windows(2).any(|pair| pair == b"//");
    let is_normal = path.len() < 2 || !(path.ends_with('/') || has_empty_segment());
    if is_normal {
        return None;
    }
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    let mut normal = segments.fold(String::with_capacity(path.len()), |normal, segment| normal + "/" + segment);
    if normal.is_empty() {
        normal.push('/');
    }
    if let Some(query) = uri.query() {
        normal = normal + "?" + query;
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(normal).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalize_merges_slashes_of_the_path_and_keeps_the_query() {
        for (path, expected) in [
            ("/confirm/", "/confirm"),
            ("//confirm", "/confirm"),
            ("///a//b///", "/a/b"),
            ("//", "/"),
            ("/confirm/?a=/b//c/", "/confirm?a=/b//c/"),
            ("http://example.com/confirm/?a", "http://example.com/confirm?a"),
        ] {
            let normal = normalize(&path.parse().unwrap()).expect("the path changes");
            assert_eq!(normal.to_string(), expected);
        }
        for path in ["/", "/confirm", "/a/b", "/?a=//", "*", "http://example.com", "http://example.com/a"] {
            assert_eq!(normalize(&path.parse().unwrap()), None, "{path}");
        }
    }
}
