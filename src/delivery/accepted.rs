//! [`AcceptedRequest`]: a request that waits for its mail, and its stored form.

use std::fmt;
use std::net::IpAddr;
#[cfg(feature = "graphile")]
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, UtcDateTime};

use crate::client::Client;
use crate::email::{AddressRules, EmailAddress};
#[cfg(feature = "graphile")]
use crate::secret::Sealer;
use crate::throttle::Counter;

/// The version of the stored form. A change that an older version of this library would misread needs another number.
const VERSION: u32 = 1;

/// A request for a reset that was answered with "OK" and waits for its mail.
///
/// A [`Delivery`](super::Delivery) stores it, and passes it to
/// [`PasswordReset::deliver`](crate::PasswordReset::deliver), in any instance of the application. It contains the address
/// as it was typed, the client and the time, and **no token**: a token is issued when the mail is sent. `Debug` does not
/// show the address.
///
/// # Stored form
///
/// It implements serde's traits. As JSON:
///
/// ```json
/// {
///   "version": 1,
///   "email": "ann@example.com",
///   "client_address": "192.0.2.7",
///   "user_agent": "Mozilla/5.0",
///   "accepted_at": 1796083200,
///   "over_quota": false,
///   "counted_in": "custom"
/// }
/// ```
///
/// `accepted_at` is in seconds since 1970. `client_address`, `user_agent` and `counted_in` may be missing or null. Unknown
/// fields are ignored. Another `version`, or an `email` that is not an address, is an error.
///
/// The stored form holds a person's address. A process that can write it can make the application send reset mails, to its users
/// only. Delete it once the mail is sent.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "StoredForm", into = "StoredForm")]
pub struct AcceptedRequest {
    pub(crate) address: EmailAddress,
    pub(crate) client: Client,
    /// Without an offset, which would make each waiting request larger.
    pub(crate) accepted_at: UtcDateTime,
    /// Whether the address is over its quota. It comes with the request so that a retry never counts again.
    pub(crate) is_over_quota: bool,
    /// The counter that holds this request's use of the address's quota, until it is known whether a mail was sent.
    pub(crate) counted_in: Option<Counter>,
    /// Seals this request for a durable queue, with the keys of the service that accepted it. `None` in the queue in memory
    /// and in a request that was read again.
    #[cfg(feature = "graphile")]
    pub(crate) sealer: Option<Arc<Sealer>>,
}

impl AcceptedRequest {
    /// Returns the time at which the request was accepted.
    pub fn accepted_at(&self) -> OffsetDateTime {
        self.accepted_at.into()
    }

    /// Returns the client that asked for the reset.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

impl fmt::Debug for AcceptedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcceptedRequest")
            .field("client", &self.client)
            .field("accepted_at", &self.accepted_at)
            .field("is_over_quota", &self.is_over_quota)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct StoredForm {
    version: u32,
    email: String,
    client_address: Option<IpAddr>,
    user_agent: Option<String>,
    accepted_at: i64,
    over_quota: bool,
    counted_in: Option<StoredCounter>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredCounter {
    Memory,
    Custom,
}

impl From<AcceptedRequest> for StoredForm {
    fn from(request: AcceptedRequest) -> Self {
        Self {
            version: VERSION,
            email: request.address.as_str().to_owned(),
            client_address: request.client.address(),
            user_agent: request.client.user_agent().map(str::to_owned),
            accepted_at: request.accepted_at.unix_timestamp(),
            over_quota: request.is_over_quota,
            counted_in: request.counted_in.map(|counter| match counter {
                Counter::Memory => StoredCounter::Memory,
                Counter::Custom => StoredCounter::Custom,
            }),
        }
    }
}

impl TryFrom<StoredForm> for AcceptedRequest {
    type Error = &'static str;

    fn try_from(stored: StoredForm) -> Result<Self, Self::Error> {
        if stored.version != VERSION {
            return Err("an accepted request of an unknown version");
        }
        // The settings of the service decided when the request was accepted.
        let any = AddressRules { international: true, lenient: true };
        Ok(Self {
            address: EmailAddress::parse(&stored.email, any).ok_or("an accepted request without a valid address")?,
            client: Client::new(stored.client_address, stored.user_agent.as_deref()),
            accepted_at: UtcDateTime::from_unix_timestamp(stored.accepted_at)
                .map_err(|_| "an accepted request with an invalid time")?,
            is_over_quota: stored.over_quota,
            counted_in: stored.counted_in.map(|counter| match counter {
                StoredCounter::Memory => Counter::Memory,
                StoredCounter::Custom => Counter::Custom,
            }),
            #[cfg(feature = "graphile")]
            sealer: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn stored() -> Value {
        json!({
            "version": 1, "email": "Ann@Example.com", "client_address": "192.0.2.7", "user_agent": "a browser",
            "accepted_at": 1_796_083_200, "over_quota": true, "counted_in": "custom",
        })
    }

    fn with(field: &str, value: Value) -> Value {
        let mut stored = stored();
        stored[field] = value;
        stored
    }

    #[test]
    fn stored_form_survives_a_round_trip() {
        let request: AcceptedRequest = serde_json::from_value(stored()).unwrap();
        assert_eq!((request.address.as_str(), request.is_over_quota), ("Ann@Example.com", true));
        assert_eq!(request.counted_in, Some(Counter::Custom));
        assert_eq!(serde_json::to_value(&request).unwrap(), stored());
    }

    #[test]
    fn optional_fields_may_be_missing_and_unknown_ones_are_ignored() {
        let least = json!({
            "version": 1, "email": "ann@example.com", "accepted_at": 0, "over_quota": false, "later": [1],
        });
        let request: AcceptedRequest = serde_json::from_value(least).unwrap();
        assert_eq!((request.client, request.counted_in), (Client::none(), None));
    }

    #[test]
    fn stored_form_with_another_version_or_invalid_values_is_an_error() {
        for (field, value) in [
            ("version", json!(2)),
            ("email", json!("nobody")),
            ("email", json!("ann@example.com\r\nBcc: bob@example.com")),
            ("accepted_at", json!(i64::MAX)),
            ("client_address", json!("192.0.2")),
            ("counted_in", json!("elsewhere")),
            ("over_quota", json!(null)),
        ] {
            let error = serde_json::from_value::<AcceptedRequest>(with(field, value)).unwrap_err();
            assert!(!error.to_string().contains("example.com"), "{error}");
        }
    }

    #[test]
    fn debug_of_request_shows_no_address() {
        let request: AcceptedRequest = serde_json::from_value(stored()).unwrap();
        let shown = format!("{request:?}");
        assert!(shown.contains("192.0.2.7") && !shown.to_lowercase().contains("example"), "{shown}");
    }
}
