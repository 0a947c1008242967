//! [`MountPath`]: the path of the endpoints within a service.

/// The path of the three endpoints within a service that has other endpoints too. See [`ResetApi::at`](crate::ResetApi::at).
///
/// The path is an associated constant because poem-openapi reads the paths of an API from its type. The path of the
/// service itself is a prefix of it.
///
/// ```
/// use poem_password_reset::MountPath;
///
/// struct AuthReset;
///
/// impl MountPath for AuthReset {
///     const PATH: &'static str = "/auth/reset";
/// }
/// ```
pub trait MountPath: Send + Sync + 'static {
    /// The path: each segment begins with a slash, and there is no slash at the end. Segments contain ASCII letters, digits,
    /// `-`, `.`, `_` and `~`. Use of any other path is a compile error:
    ///
    /// ```compile_fail
    /// # use poem_password_reset::{HttpContract, MountPath};
    /// struct AuthReset;
    ///
    /// impl MountPath for AuthReset {
    ///     const PATH: &'static str = "/auth/reset/";
    /// }
    ///
    /// let contract = HttpContract::at::<AuthReset>();
    /// ```
    const PATH: &'static str;
}

/// The root of the service: the endpoints are at `/`, `/validate_token` and `/confirm`. The default of
/// [`ResetApi`](crate::ResetApi).
#[derive(Clone, Copy, Debug, Default)]
pub struct AtRoot;

impl MountPath for AtRoot {
    const PATH: &'static str = "/";
}

/// Returns whether `path` has plain segments only: no parameters of the router, and only unreserved characters, which have a
/// single spelling (RFC 3986, section 2.3).
pub(super) const fn is_mountable(path: &str) -> bool {
    let bytes = path.as_bytes();
    if bytes.is_empty() || bytes[0] != b'/' {
        return false;
    }
    let mut at = 1;
    while at < bytes.len() {
        let is_slash = bytes[at] == b'/';
        let is_after_slash = bytes[at - 1] == b'/';
        let is_segment = bytes[at].is_ascii_alphanumeric() || matches!(bytes[at], b'-' | b'.' | b'_' | b'~');
        if is_slash && (is_after_slash || at + 1 == bytes.len()) || !is_slash && !is_segment {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_mountable_accepts_plain_segments_only() {
        for path in ["/", "/reset", "/auth/reset", "/v1.0/auth_reset/~a-b"] {
            assert!(is_mountable(path), "{path}");
        }
        for path in [
            "", "reset", "//", "/reset/", "//reset", "/a//b", "/:id", "/{id}", "/*", "/a b", "/a%20", "/a?b", "/\u{e9}",
        ] {
            assert!(!is_mountable(path), "{path}");
        }
    }
}
