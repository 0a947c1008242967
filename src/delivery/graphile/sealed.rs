//! [`SealedRequest`]: the form in which PostgreSQL holds an accepted request.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use crate::delivery::AcceptedRequest;
use crate::error::BoxError;
use crate::secret::{OpenError, Sealer};

/// The version of this form. A change that an older version of this library would misread needs another number.
const VERSION: u32 = 1;

/// The length of the sealed JSON is a multiple of this, in bytes.
const PADDING: usize = 512;

/// An accepted request, sealed with a signing key.
#[derive(Serialize, Deserialize)]
pub(crate) struct SealedRequest {
    version: u32,
    /// In seconds since 1970. Not sealed, so that a worker without the key knows when the request is too old.
    accepted_at: i64,
    /// The id of the key.
    key: String,
    /// The JSON form of the request, sealed, in base64url.
    sealed: String,
}

/// The reason why a job cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Another instance may be able to read it: it has another key or a newer version of this library.
    Here { accepted_at: OffsetDateTime },
    /// No instance can read it: it was changed.
    Anywhere,
}

impl SealedRequest {
    /// Seals the request with the key of the service that accepted it.
    ///
    /// # Errors
    ///
    /// The request was not accepted by a service of this process, or the random source of the operating system fails.
    pub(super) fn seal(request: &AcceptedRequest) -> Result<Self, BoxError> {
        let sealer = request.sealer.as_deref().ok_or("only the service that accepted a request can store it here")?;
        let accepted_at = request.accepted_at.unix_timestamp();
        let mut plain = serde_json::to_vec(request)?;
        // White space after the JSON: otherwise the length of the row would tell the length of the address.
        plain.resize(plain.len().next_multiple_of(PADDING), b' ');
        let sealed = sealer.seal(&plain, beside(accepted_at).as_bytes())?;
        let bytes = BASE64_URL_SAFE_NO_PAD.encode(&sealed.bytes);
        Ok(Self { version: VERSION, accepted_at, key: sealed.key, sealed: bytes })
    }

    /// Reads a job of the queue.
    pub(crate) fn open(job: &Value, sealer: &Sealer) -> Result<AcceptedRequest, Unreadable> {
        let accepted_at = job.get("accepted_at").and_then(Value::as_i64);
        let accepted_at = accepted_at.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
        let accepted_at = accepted_at.ok_or(Unreadable::Anywhere)?;
        match job.get("version").and_then(Value::as_u64) {
            Some(version) if version == u64::from(VERSION) => {}
            Some(_) => return Err(Unreadable::Here { accepted_at }),
            None => return Err(Unreadable::Anywhere),
        }
        let job = Self::deserialize(job).map_err(|_| Unreadable::Anywhere)?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&job.sealed).map_err(|_| Unreadable::Anywhere)?;
        let opened =
            sealer.open(&job.key, &bytes, beside(job.accepted_at).as_bytes()).map_err(|error| match error {
                OpenError::UnknownKey => Unreadable::Here { accepted_at },
                OpenError::Changed => Unreadable::Anywhere,
            })?;
        // Sealed, so written by a service with this key, perhaps by a newer version of it.
        serde_json::from_slice(&opened).map_err(|_| Unreadable::Here { accepted_at })
    }
}

/// Returns the fields that are not sealed. They cannot be changed either.
fn beside(accepted_at: i64) -> String {
    format!("{VERSION} {accepted_at}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::email::{AddressRules, EmailAddress};
    use crate::secret::{KeyRing, SigningKey};

    fn sealer(seed: u8) -> Arc<Sealer> {
        let key = SigningKey::from_bytes(&(0..32).map(|i| seed.wrapping_add(i)).collect::<Vec<u8>>()).unwrap();
        Arc::new(Sealer::new(&KeyRing::new(key)))
    }

    fn request(sealer: &Arc<Sealer>) -> AcceptedRequest {
        let request = json!({
            "version": 1, "email": "ann@example.com", "client_address": "192.0.2.7", "accepted_at": 1_796_083_200,
            "over_quota": false, "counted_in": "custom",
        });
        let mut request: AcceptedRequest = serde_json::from_value(request).unwrap();
        request.sealer = Some(Arc::clone(sealer));
        request
    }

    fn job() -> Value {
        serde_json::to_value(SealedRequest::seal(&request(&sealer(1))).unwrap()).unwrap()
    }

    fn with(field: &str, value: Value) -> Value {
        let mut job = job();
        job[field] = value;
        job
    }

    fn accepted_at() -> OffsetDateTime {
        request(&sealer(1)).accepted_at()
    }

    #[test]
    fn sealed_request_is_read_again_and_shows_only_time_and_key() {
        let job = job();
        let mut names: Vec<_> = job.as_object().unwrap().keys().collect();
        names.sort();
        assert_eq!(names, ["accepted_at", "key", "sealed", "version"]);
        assert!(!job.to_string().contains("ann") && !job.to_string().contains("192.0.2.7"), "{job}");
        let opened = SealedRequest::open(&job, &sealer(1)).unwrap();
        assert_eq!(serde_json::to_value(opened).unwrap(), serde_json::to_value(request(&sealer(1))).unwrap());
    }

    #[test]
    fn rows_of_a_short_and_a_long_address_have_the_same_length() {
        let mut long = request(&sealer(1));
        let any = AddressRules::default();
        long.address = EmailAddress::parse(&format!("{}@example.com", "a".repeat(64)), any).unwrap();
        let [short, long] = [request(&sealer(1)), long].map(|request| SealedRequest::seal(&request).unwrap().sealed);
        assert_eq!(short.len(), long.len());
    }

    #[test]
    fn request_of_another_process_is_not_sealed() {
        let mut request = request(&sealer(1));
        request.sealer = None;
        assert!(SealedRequest::seal(&request).is_err());
    }

    #[test]
    fn job_of_another_key_or_a_newer_version_may_be_read_elsewhere() {
        let here = Unreadable::Here { accepted_at: accepted_at() };
        assert_eq!(SealedRequest::open(&job(), &sealer(2)).unwrap_err(), here);
        assert_eq!(SealedRequest::open(&with("version", json!(2)), &sealer(1)).unwrap_err(), here);
    }

    #[test]
    fn changed_job_can_be_read_nowhere() {
        for job in [
            json!(null),
            json!([1]),
            json!({}),
            with("accepted_at", json!(1_796_083_201)),
            with("accepted_at", json!("soon")),
            with("accepted_at", json!(i64::MAX)),
            with("version", json!(null)),
            with("key", json!(7)),
            with("sealed", json!("no base64!")),
            with("sealed", json!("")),
            with("sealed", json!(job()["sealed"].as_str().unwrap().replacen(|_| true, "A", 40))),
        ] {
            assert_eq!(SealedRequest::open(&job, &sealer(1)).unwrap_err(), Unreadable::Anywhere, "{job}");
        }
    }
}
