//! [`NoMail`]: why an accepted request ends without mail, for the log.

/// The reason why an accepted request, or one user with its address, gets no mail. The client cannot see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoMail {
    /// No user has the address.
    Unknown,
    /// The user is not active.
    Inactive,
    /// The user has no usable password, and first passwords are not allowed.
    NoPassword,
    /// The store found a user whose address on record is another one: its comparison is too loose.
    AnotherAddress,
    /// The address is over its quota.
    OverQuota,
    /// No token could be issued, or every handler failed.
    Failed,
    /// The request waited longer than `max_age`.
    TooOld,
}

impl NoMail {
    /// Returns the value of the log field `reason`.
    fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Inactive => "inactive",
            Self::NoPassword => "no_password",
            Self::AnotherAddress => "another_address",
            Self::OverQuota => "over_quota",
            Self::Failed => "failed",
            Self::TooOld => "too_old",
        }
    }

    /// Writes the log line, with the id of the user if there is one. The address never appears.
    pub(super) fn log(self, user: Option<&str>) {
        tracing::info!(reason = self.as_str(), user, "no mail for a reset request");
    }
}
