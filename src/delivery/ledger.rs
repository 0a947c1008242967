//! [`Ledger`]: the account of what became of each piece of work, its [`Outcome`].

use crate::metrics;

/// What became of all requests so far. True at any moment:
/// accepted = delivered + failed + ineligible + suppressed + lost + waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ledger {
    /// Requests that were answered with "OK".
    pub accepted: u64,
    /// Every handler has run without an error, for each user with the address.
    pub delivered: u64,
    /// A handler failed, panicked or took too long.
    pub failed: u64,
    /// Nobody has the address, or nobody who may reset a password.
    pub ineligible: u64,
    /// The address was over its quota: no mail.
    pub suppressed: u64,
    /// The store did not answer, again and again, or the service shut down before it was their turn.
    pub lost: u64,
    /// Waiting for their turn, or being handled.
    pub waiting: u64,
}

impl Ledger {
    /// Counts one piece of work that was accepted and waits.
    pub(super) fn accept(&mut self) {
        self.accepted += 1;
        self.waiting += 1;
    }

    /// Counts what became of one piece of work.
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

/// What became of one request.
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

    /// Tells operators. Never while the state is locked: what they listen with may ask for the ledger.
    pub(super) fn tell(self) {
        metrics::finished_request(self.name());
        if self == Self::Lost {
            tracing::warn!(reason = "lost", "no mail for a reset request");
        }
    }
}
