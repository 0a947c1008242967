//! Where quotas are counted: in memory, or in Redis for several instances.

use std::time::Duration;

use poem_password_reset::BoxError;
use poem_password_reset::throttle::{RedisThrottle, Throttle as _};
use thiserror::Error;
use tokio::time::timeout;

/// Time limit for the check at start.
const CHECK_DEADLINE: Duration = Duration::from_secs(5);

/// Why quotas cannot be counted. The error does not repeat the URL, which may contain a password.
#[derive(Debug, Error)]
pub(crate) enum ThrottleError {
    #[error("expected memory: or redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]")]
    Url,
    #[error("the server does not answer within {CHECK_DEADLINE:?}")]
    NoAnswer,
    #[error("{0}")]
    Redis(BoxError),
}

/// Opens the throttle of `--throttle`, or returns `None` for the one in memory. Checks that the server counts.
pub(crate) async fn open(url: &str) -> Result<Option<RedisThrottle>, ThrottleError> {
    if url == "memory:" {
        return Ok(None);
    }
    if !url.starts_with("redis://") {
        return Err(ThrottleError::Url);
    }
    let throttle = RedisThrottle::open(url).map_err(|_| ThrottleError::Url)?;
    let checked = timeout(CHECK_DEADLINE, throttle.check()).await;
    checked.map_err(|_| ThrottleError::NoAnswer)?.map_err(ThrottleError::Redis)?;
    Ok(Some(throttle))
}
