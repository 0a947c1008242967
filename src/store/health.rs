//! [`Health`]: whether the store is down, decided by a probe that depends on no user.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::users::Store;
use crate::redact::redacted_error;

/// How long the store may take to answer a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause between two probes of a store that is down.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// Whether the store is down.
///
/// A call that failed says nothing about it: one unreadable row or one address that the database cannot represent would
/// otherwise stop the service for everybody. A failed call only starts a probe. The store is down from the first probe
/// that fails until one succeeds. One probe runs at a time, however many calls fail.
#[derive(Debug, Default)]
pub(super) struct Health {
    is_down: AtomicBool,
    is_probing: AtomicBool,
}

impl Health {
    /// Whether the last probe failed.
    pub(super) fn is_down(&self) -> bool {
        self.is_down.load(Ordering::Relaxed)
    }

    /// Starts to probe the store after a call failed, unless a probe is under way.
    pub(super) fn suspect(&self, store: &Arc<Store>) {
        // A test of its own first: while a store is down, calls that fail must not all write to one cache line.
        if self.is_probing.load(Ordering::Relaxed) || self.is_probing.swap(true, Ordering::SeqCst) {
            return;
        }
        let probing = Probing(Arc::downgrade(store));
        // Detached from the request that failed: it belongs to the service, and outlives that request's span.
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
                    tracing::error!(reason, "the user store is down; everybody is answered 503 until it answers");
                }
                Err(_) => {}
            }
            drop(store);
            tokio::time::sleep(PROBE_PAUSE).await;
        }
    }
}

impl Drop for Probing {
    /// Also if the runtime drops the task: a later failed call, on another runtime, must be able to start a new one.
    fn drop(&mut self) {
        if let Some(store) = self.0.upgrade() {
            store.health().is_down.store(false, Ordering::SeqCst);
            store.health().is_probing.store(false, Ordering::SeqCst);
        }
    }
}
