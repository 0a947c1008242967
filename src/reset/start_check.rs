//! The checks of store, throttle and delivery at start.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;

use super::Inner;
use crate::delivery::CustomDelivery;
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

/// Runs the checks and returns the problems.
pub(super) async fn problems(users: &Users, throttles: &Throttles, delivery: Option<&CustomDelivery>) -> Vec<Problem> {
    let text = |error: BoxError| redacted_error_in_full(&error);
    let store = users.check_at_start(CHECK_TIMEOUT).await.map_err(text);
    let throttle = throttles.check(CHECK_TIMEOUT).await.map_err(text);
    let delivery = match delivery {
        Some(delivery) => delivery.check_at_start(CHECK_TIMEOUT).await.map_err(text),
        None => Ok(()),
    };
    let store = store.err().map(|reason| Problem::StoreFails { reason });
    let throttle = throttle.err().map(|reason| Problem::ThrottleFails { reason });
    let delivery = delivery.err().map(|reason| Problem::DeliveryFails { reason });
    [store, throttle, delivery].into_iter().flatten().collect()
}

/// Repeats the checks in a task until they succeed. Without a runtime there is no task.
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
        let problems = problems(&inner.users, &inner.throttles, inner.delivery.as_ref()).await;
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
                Problem::DeliveryFails { reason } => tracing::error!(
                    reason,
                    "the delivery fails its check at start, so requests are answered 503: fix it or its settings"
                ),
                _ => {}
            }
        }
        if problems.is_empty() {
            if !logged.is_empty() {
                tracing::info!("the user store, the throttle and the delivery pass their checks now");
            }
            return;
        }
        logged = problems;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
