//! [`Ledger`]: counts the requests by their [`Outcome`].

use crate::metrics;

/// Counts of all requests so far, by outcome. At any moment,
/// accepted = delivered + failed + ineligible + suppressed + lost + waiting.
///
/// With a [`Delivery`](crate::delivery::Delivery) of the application, the ledger counts the requests that this instance
/// [delivers](crate::PasswordReset::deliver), whichever instance accepted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ledger {
    /// Requests that were accepted and answered with "OK".
    pub accepted: u64,
    /// Requests whose handlers succeeded for every eligible user with the address.
    pub delivered: u64,
    /// Requests for which a handler failed on every retry or with [`Permanent`](crate::Permanent), or no token could be
    /// issued.
    pub failed: u64,
    /// Requests whose address belongs to no user who may reset a password.
    pub ineligible: u64,
    /// Requests without mail because the address was over its quota.
    pub suppressed: u64,
    /// Requests that ended unfinished: the user store failed on every retry, the job panicked, or the service shut down.
    pub lost: u64,
    /// Requests that wait in the queue, for a worker or for a retry, or are being handled.
    pub waiting: u64,
}

impl Ledger {
    /// Counts a job that was accepted.
    pub(super) fn accept(&mut self) {
        self.accepted += 1;
        self.waiting += 1;
    }

    /// Uncounts a job that did not end and that a job engine runs again.
    pub(super) fn withdraw(&mut self) {
        self.accepted -= 1;
        self.waiting -= 1;
    }

    /// Counts the outcome of a job that was waiting or running.
    pub(super) fn close(&mut self, outcome: Outcome) {
        self.waiting -= 1;
        match outcome {
            Outcome::Delivered => self.delivered += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Ineligible => self.ineligible += 1,
            Outcome::Suppressed => self.suppressed += 1,
            Outcome::Lost => self.lost += 1,
        }
    }
}

/// The outcome of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    Failed,
    Ineligible,
    Suppressed,
    Lost,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Ineligible => "ineligible",
            Self::Suppressed => "suppressed",
            Self::Lost => "lost",
        }
    }

    /// Updates the metrics and the log. Must not be called under the queue's lock: a recorder or subscriber may read the
    /// ledger.
    pub(super) fn report(self) {
        metrics::finished_request(self.name());
        if self == Self::Lost {
            tracing::warn!(reason = "lost", "no mail for a reset request");
        }
    }
}
