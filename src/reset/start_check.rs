//! The checks of store and throttle at start.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;

use super::Inner;
use crate::error::{BoxError, Problem};
use crate::redact::redacted_error_in_full;
use crate::store::Users;
use crate::throttle::Throttles;

/// The timeout of a check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause after the first check that fails. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause between two checks.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Runs both checks and returns the problems.
pub(super) async fn problems(users: &Users, throttles: &Throttles) -> Vec<Problem> {
    let text = |error: BoxError| redacted_error_in_full(&error);
    let store = users.check_at_start(CHECK_TIMEOUT).await.map_err(text);
    let throttle = throttles.check(CHECK_TIMEOUT).await.map_err(text);
    let store = store.err().map(|reason| Problem::StoreFails { reason });
    store.into_iter().chain(throttle.err().map(|reason| Problem::ThrottleFails { reason })).collect()
}

/// Repeats both checks in a task until they succeed. Without a runtime there is no task.
pub(super) fn in_background(inner: &Arc<Inner>) {
    if let Ok(runtime) = Handle::try_current() {
        // A weak reference, so that the task ends soon after the service is dropped.
        runtime.spawn(repeat(Arc::downgrade(inner)));
    }
}

async fn repeat(inner: Weak<Inner>) {
    let (mut pause, mut logged) = (FIRST_PAUSE, Vec::new());
    loop {
        let Some(inner) = inner.upgrade() else { return };
        let problems = problems(&inner.users, &inner.throttles).await;
        drop(inner);
        // Logs each problem once, not at each try.
        for problem in problems.iter().filter(|problem| !logged.contains(*problem)) {
            match problem {
                Problem::StoreFails { reason } => tracing::error!(
                    reason,
                    "the user store fails its check at start, so requests are lost: fix the store or its settings"
                ),
                Problem::ThrottleFails { reason } => tracing::error!(
                    reason,
                    "the throttle fails its check at start, so each process counts alone: fix it or its settings"
                ),
                _ => {}
            }
        }
        if problems.is_empty() {
            if !logged.is_empty() {
                tracing::info!("the user store and the throttle pass their checks now");
            }
            return;
        }
        logged = problems;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
