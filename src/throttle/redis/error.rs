//! The text of an error of Redis.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Describes an error without quoting the server. A reply may contain the address of another server, and the port may belong
/// to another program.
pub(super) fn reason(error: &RedisError) -> String {
    let is_code = |code: &&str| code.len() <= 20 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    match (error.kind(), error.code().filter(is_code)) {
        (ErrorKind::Server(ServerErrorKind::ReadOnly), _) => "Redis is a read-only replica (READONLY)".to_owned(),
        (ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask), _) => {
            "Redis is one node of a cluster (MOVED): connect to a server with all keys".to_owned()
        }
        (ErrorKind::AuthenticationFailed, _) => {
            "authentication failed: check the user name and the password".to_owned()
        }
        (ErrorKind::Parse, _) => "the server sent a reply that is not one of Redis".to_owned(),
        (_, Some("NOAUTH")) => "Redis asks for a password (NOAUTH)".to_owned(),
        (_, Some("OOM")) => "the memory of Redis is full (OOM)".to_owned(),
        (_, Some(code)) => format!("Redis answered with the error {code}"),
        // The text of the operating system, such as "Connection refused".
        (ErrorKind::Io, None) => format!("the connection to Redis failed: {error}"),
        (_, None) => format!("the call of Redis failed: {}", error.category()),
    }
}
