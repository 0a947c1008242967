//! [`Health`]: whether the store is down, decided by a probe that depends on no user.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::users::Store;
use crate::redact::redacted_error;

/// The timeout of a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause between two probes of a store that is down.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// Whether the store is down.
///
/// A failed call only starts a probe. Otherwise one unreadable row, or one address that the database cannot represent,
/// would stop the service for all users. The store is down from the first probe that fails until one succeeds. One probe runs
/// at a time, however many calls fail.
#[derive(Debug, Default)]
pub(super) struct Health {
    is_down: AtomicBool,
    is_probing: AtomicBool,
}

impl Health {
    /// Returns whether the last probe failed.
    pub(super) fn is_down(&self) -> bool {
        self.is_down.load(Ordering::Relaxed)
    }

    /// Starts to probe the store after a failed call, unless a probe is running.
    pub(super) fn suspect(&self, store: &Arc<Store>) {
        if self.is_probing.swap(true, Ordering::SeqCst) {
            return;
        }
        let probing = Probing(Arc::downgrade(store));
        // Runs outside the span of the failed request, because it outlives that request.
        tokio::spawn(async move { probing.run().await });
    }
}

/// The task that probes. It holds the store weakly, so that it ends soon after the service is dropped.
struct Probing(Weak<Store>);

impl Probing {
    async fn run(self) {
        loop {
            let Some(store) = self.0.upgrade() else { return };
            let probed = store.probe(PROBE_TIMEOUT).await;
            let was_down = store.health().is_down.swap(probed.is_err(), Ordering::SeqCst);
            match probed {
                Ok(()) => {
                    if was_down {
                        tracing::info!("the user store answers again");
                    }
                    return;
                }
                Err(error) if !was_down => {
                    let reason = redacted_error(&error, []);
                    tracing::error!(reason, "the user store is down; every request gets 503 until it answers");
                }
                Err(_) => {}
            }
            drop(store);
            tokio::time::sleep(PROBE_PAUSE).await;
        }
    }
}

impl Drop for Probing {
    /// Resets the state even if the runtime drops the task, so that a failed call on another runtime can start a new probe.
    fn drop(&mut self) {
        if let Some(store) = self.0.upgrade() {
            store.health().is_down.store(false, Ordering::SeqCst);
            store.health().is_probing.store(false, Ordering::SeqCst);
        }
    }
}
