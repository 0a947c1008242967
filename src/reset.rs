//! [`PasswordReset`]: the operations request, validate and confirm; issue and send from code; shutdown.
//!
//! No HTTP in here. No other module reads the clock.

mod attempt;
mod builder;
mod confirm;
mod deliver;
mod diagnose;
mod failures;
mod link;
mod mailing;
mod no_mail;
mod request;
mod results;
mod start_check;
#[cfg(feature = "graphile")]
mod worker;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderMap;
use time::OffsetDateTime;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

pub use self::builder::PasswordResetBuilder;
pub use self::diagnose::{DiagnosedUser, Diagnosis, MailQuota, Obstacle};
use self::failures::Failures;
pub use self::failures::LastFailure;
use self::link::Link;
use self::mailing::Mailing;
use self::no_mail::NoMail;
pub use self::request::SendError;
pub use self::results::{Confirmed, Requested, Sent, Validated};
#[cfg(feature = "graphile")]
pub use self::worker::QueueWorker;
#[cfg(feature = "graphile")]
use self::worker::WorkerRuns;
use crate::client::{Client, TrustedProxies};
use crate::delivery::{CustomDelivery, Ledger, MemoryQueue};
use crate::email::{AddressRules, EmailAddress};
use crate::error::{InvalidToken, IssueError, Refusal, ResetError, Unavailable};
use crate::event::ResetTokenCreated;
use crate::handler::Handlers;
use crate::metrics;
use crate::password::{PasswordHasher, PasswordPolicy, Workers};
use crate::redact::redacted_error;
#[cfg(feature = "graphile")]
use crate::secret::Sealer;
use crate::secret::{FieldMac, KeyRing};
use crate::store::{UserStore, Users};
use crate::throttle::{Counter, Scope, ThrottleKey, Throttles, Verdict};
use crate::token::{BoundUser, SignedClaims, TokenCodec, is_user_id};
use crate::user::StoredUser;

/// The time after which a client should try again if the service is busy, down or shutting down.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A password reset service: request, validate, confirm.
///
/// Cheap to clone; clones share all state. Give one clone to [`ResetApi`](crate::ResetApi) and keep one for
/// [`shutdown`](Self::shutdown), [`issue`](Self::issue) and [`send`](Self::send). Call the operations on a tokio runtime.
///
/// # Logs and metrics
///
/// The service logs an event, through `tracing`, for each
///
/// * accepted request; and for each request that ends without mail, the `reason` (`unknown`, `inactive`, `no_password`,
///   `another_address`, `over_quota`, `failed`, `lost`) with the id of the `user` if there is one,
/// * throttled client, refused token (with the [`Refusal`]), replaced password and refused password,
/// * failed handler, failed call of the store or the throttle, and begin and end of an outage of the store.
///
/// No event contains a token, a password, a key or an email address.
///
/// The feature `metrics` adds counters, through the `metrics` facade. Install the program's recorder before `build()`.
///
/// | counter | labels | counts |
/// | --- | --- | --- |
/// | `password_reset_operations_total` | `operation`: `request`, `validate`, `confirm`; `result`: `ok` or [`ResetError::as_str`] | results of operations |
/// | `password_reset_refused_tokens_total` | `refusal`: [`Refusal::as_str`] | refused tokens |
/// | `password_reset_requests_total` | `outcome`: `delivered`, `failed`, `ineligible`, `suppressed`, `lost` | completed requests, as in the [ledger](Self::ledger) |
/// | `password_reset_requests_waiting` (gauge) | | accepted requests that are not completed |
/// | `password_reset_failed_handlers_total` | `event`, `handler` | handlers that failed, panicked or timed out |
/// | `password_reset_throttle_failures_total` | | failed calls of the application's throttle |
#[derive(Clone)]
pub struct PasswordReset {
    inner: Arc<Inner>,
}

/// Returns the current time.
type Clock = Arc<dyn Fn() -> OffsetDateTime + Send + Sync>;

/// Returns the system clock.
fn system_clock() -> Clock {
    Arc::new(OffsetDateTime::now_utc)
}

struct Inner {
    clock: Clock,
    users: Users,
    codec: TokenCodec,
    link: Link,
    lifetime: time::Duration,
    handlers: Handlers,
    hasher: Arc<dyn PasswordHasher>,
    policy: PasswordPolicy,
    workers: Workers,
    /// Requests and sent events that wait in this process.
    queue: MemoryQueue<Mailing>,
    /// Where requests wait instead of in the queue.
    delivery: Option<CustomDelivery>,
    /// Seals requests for a durable queue, and opens them.
    #[cfg(feature = "graphile")]
    sealer: Arc<Sealer>,
    #[cfg(feature = "graphile")]
    worker_runs: WorkerRuns,
    max_age: Duration,
    failures: Failures,
    confirms: TaskTracker,
    throttles: Throttles,
    /// Computes the MAC of an address for its throttle key, so that the key does not reveal the address.
    address_mac: FieldMac,
    shutting_down: AtomicBool,
    trusted_proxies: TrustedProxies,
    usable_hash: UsableHash,
    allow_first_password: bool,
    users_per_address: usize,
    addresses: AddressRules,
    reveal_unknown_users: bool,
    user_details_on_validation: bool,
}

/// Returns whether a stored hash belongs to a password.
type UsableHash = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// The default rule: an empty hash, or one that begins with `!` or `*`, belongs to no password. Django marks users without
/// a password with `!`, and `/etc/shadow` uses both marks (shadow(5)).
fn is_usable(hash: &str) -> bool {
    !hash.is_empty() && !hash.starts_with(['!', '*'])
}

impl PasswordReset {
    /// Creates a builder with the user store and the signing keys: one [`SigningKey`](crate::SigningKey), or a [`KeyRing`]
    /// during a key rotation.
    pub fn builder(users: impl UserStore, keys: impl Into<KeyRing>) -> PasswordResetBuilder {
        PasswordResetBuilder::new(users, keys.into())
    }

    /// Checks a token and returns the user to whom it was issued. Writes nothing, counts no quota, and can be repeated.
    ///
    /// [`validate_for`](Self::validate_for) does the same and also counts the client's quota, as the endpoint does.
    ///
    /// # Errors
    ///
    /// * [`ResetError::InvalidToken`]: forged, expired, used or stale, or its user may not reset a password.
    /// * [`ResetError::Unavailable`]: the store does not answer, or the service is shutting down.
    pub async fn validate(&self, token: &str) -> Result<Validated, ResetError> {
        answered(Scope::Validate, self.inner.check(token).await)
    }

    /// Counts one use of the client's quota, and then does the same as [`validate`](Self::validate).
    ///
    /// The endpoint of [`ResetApi`](crate::ResetApi) calls this method. Call it from an endpoint of your own, with
    /// [`client`](Self::client). The quota is [`Quotas::validate_per_client`](crate::throttle::Quotas::validate_per_client).
    ///
    /// ```
    /// use poem_password_reset::store::MemoryUsers;
    /// use poem_password_reset::throttle::{Quota, Quotas};
    /// use poem_password_reset::{Client, PasswordReset, ResetError, SigningKey, StoredUser};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let ann = StoredUser::new(7, "ann@example.com", Some("her hash".to_owned()));
    /// let reset = PasswordReset::builder(MemoryUsers::new([ann.clone()]), SigningKey::generate()?)
    ///     .link("https://app.example.com/reset-password#token={token}")
    ///     .on_reset_token_created(async |_| {})
    /// #   .linked_handlers(false)
    ///     .quotas(Quotas::default().validate_per_client(Quota::per_minute(1)?))
    ///     .build()
    ///     .await?;
    /// let event = reset.issue(&ann, None)?;
    /// let (token, client) = (event.token().expose(), Client::none());
    ///
    /// assert_eq!(reset.validate_for(token, &client).await?.user().id(), "7");
    /// assert!(matches!(reset.validate_for(token, &client).await, Err(ResetError::Throttled { .. })));
    /// assert_eq!(reset.validate(token).await?.user().id(), "7");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The errors of [`validate`](Self::validate), and [`ResetError::Throttled`] if the client is over its quota.
    /// [`ResetError::Unavailable`] comes first and counts no use.
    pub async fn validate_for(&self, token: &str, client: &Client) -> Result<Validated, ResetError> {
        let checked = async {
            self.inner.is_available()?;
            self.inner.count_client(Scope::Validate, client).await?;
            self.inner.check(token).await
        };
        answered(Scope::Validate, checked.await)
    }

    /// Issues a token to `user` from code, for an administrator's page or a job. Sends no mail and calls no handler: the
    /// caller delivers the [link](ResetTokenCreated::link).
    ///
    /// `None` as `lifetime` is [`lifetime()`](Self::lifetime).
    ///
    /// # Errors
    ///
    /// * [`IssueError::Ineligible`]: the user may not reset a password.
    /// * [`IssueError::Address`]: the user's address is not a valid mail address.
    /// * [`IssueError::Lifetime`]: the lifetime is under a second or over 24 hours.
    /// * [`IssueError::Id`]: the user's id is too long for a token or has control characters.
    pub fn issue(&self, user: &StoredUser, lifetime: Option<time::Duration>) -> Result<ResetTokenCreated, IssueError> {
        if !self.inner.is_eligible(user) {
            return Err(IssueError::Ineligible);
        }
        self.inner.issue(user.clone(), lifetime.unwrap_or(self.inner.lifetime), Client::none())
    }

    /// Returns how long tokens are valid, unless a call of [`issue`](Self::issue) or [`send`](Self::send) sets another
    /// lifetime.
    pub fn lifetime(&self) -> time::Duration {
        self.inner.lifetime
    }

    /// Returns the number of requests with each outcome so far.
    pub fn ledger(&self) -> Ledger {
        self.inner.queue.ledger()
    }

    /// Refuses new work, waits at most `deadline` for accepted work, and returns the number of lost requests and unfinished
    /// confirmations.
    ///
    /// Call it after the server has stopped. From the first call on, every operation returns
    /// [`Unavailable::ShuttingDown`].
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        let inner = &self.inner;
        inner.shutting_down.store(true, Ordering::SeqCst);
        inner.confirms.close();
        let confirmed = timeout(deadline, inner.confirms.wait());
        let drained = inner.queue.drain(deadline);
        #[cfg(feature = "graphile")]
        let drained = async { tokio::join!(drained, inner.worker_runs.stop(deadline)).0 };
        let (_, lost_requests) = tokio::join!(confirmed, drained);
        let report = ShutdownReport { lost_requests, unfinished_confirms: inner.confirms.len() };
        tracing::info!(
            lost_requests = report.lost_requests,
            unfinished_confirms = report.unfinished_confirms,
            "password reset has shut down"
        );
        report
    }

    /// Returns the client of an HTTP request from its peer address and headers. Uses the same
    /// [trusted proxies](PasswordResetBuilder::trusted_proxies) as the endpoints, for quotas and logs of the application's
    /// own.
    pub fn client(&self, peer: Option<std::net::IpAddr>, headers: &HeaderMap) -> Client {
        Client::of_request(peer, headers, &self.inner.trusted_proxies)
    }

    /// Returns whether the validation endpoint returns username and email address.
    pub(crate) fn user_details_on_validation(&self) -> bool {
        self.inner.user_details_on_validation
    }
}

impl fmt::Debug for PasswordReset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordReset")
            .field("codec", &self.inner.codec)
            .field("ledger", &self.ledger())
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// Checks that the service is not shutting down and the store is not down. Comes before any check of the request, so the
    /// answer is the same for every request.
    fn is_available(&self) -> Result<(), ResetError> {
        if self.shutting_down.load(Ordering::SeqCst) {
            return Err(unavailable(Unavailable::ShuttingDown));
        }
        if self.users.is_down() {
            return Err(unavailable(Unavailable::StoreDown));
        }
        Ok(())
    }

    /// Counts an operation of a client. Comes after all checks that are answered 400 or 503, so these use no quota.
    ///
    /// Returns the throttle that counted it.
    async fn count_client(&self, scope: Scope, client: &Client) -> Result<Option<Counter>, ResetError> {
        let key = || self.throttles.client_key(scope, client.address());
        let (verdict, counter) = self.throttles.count(scope, key).await;
        match verdict {
            Verdict::Within => Ok(counter),
            Verdict::Over { retry_after } => {
                let client = client.address().map(tracing::field::display);
                tracing::info!(operation = scope.name(), client, "a client is over its quota");
                Err(ResetError::Throttled { retry_after })
            }
        }
    }

    async fn check(&self, token: &str) -> Result<Validated, ResetError> {
        self.is_available()?;
        let claims = self.verify(token)?;
        let expires_at = claims.expires_at();
        Ok(Validated { user: self.bind(claims).await?.into_user(), expires_at })
    }

    fn verify(&self, token: &str) -> Result<SignedClaims, ResetError> {
        Ok(self.codec.verify(token, (self.clock)()).map_err(refused)?)
    }

    /// Looks up the user to whom the token was issued, and checks binding and eligibility.
    async fn bind(&self, claims: SignedClaims) -> Result<BoundUser, ResetError> {
        let found = self.users.find_by_id(claims.user_id()).await;
        let user = found.map_err(|error| {
            tracing::error!(reason = redacted_error(&error, []), "the user store failed to look up a user");
            unavailable(Unavailable::StoreDown)
        })?;
        let user = user.ok_or_else(|| refused(InvalidToken::new(Refusal::UnknownUser)))?;
        let bound = self.codec.bind(claims, user).map_err(refused)?;
        if !self.is_eligible(bound.user()) {
            return Err(refused(InvalidToken::new(Refusal::Ineligible)).into());
        }
        Ok(bound)
    }

    fn is_eligible(&self, user: &StoredUser) -> bool {
        self.ineligibility(user).is_none()
    }

    /// Returns the reason why this user may not reset a password, or `None` if the user may.
    fn ineligibility(&self, user: &StoredUser) -> Option<NoMail> {
        if !user.is_active() {
            return Some(NoMail::Inactive);
        }
        let has_password = || user.password_hash().is_some_and(|hash| (self.usable_hash)(hash.expose()));
        (!self.allow_first_password && !has_password()).then_some(NoMail::NoPassword)
    }

    /// Returns the throttle key of an address from its folded form.
    fn address_key(&self, folded: &str) -> ThrottleKey {
        self.throttles.address_key(&self.address_mac.of([Some(folded.as_bytes())], &[]))
    }

    /// Returns whether the user's id can be in a token and mail can be sent to the user's address.
    fn is_issuable(&self, user: &StoredUser) -> bool {
        EmailAddress::is_mailable(user.email(), self.addresses) && is_user_id(user.id())
    }

    fn issue(
        &self,
        user: StoredUser,
        lifetime: time::Duration,
        client: Client,
    ) -> Result<ResetTokenCreated, IssueError> {
        // An attacker may control the row's address, which must not inject a header into the mail.
        if !EmailAddress::is_mailable(user.email(), self.addresses) {
            return Err(IssueError::Address);
        }
        // Whole seconds, as in the token, so that the expiry in the mail is not later than the token's.
        let now = (self.clock)().truncate_to_second();
        let lifetime = time::Duration::seconds(lifetime.whole_seconds());
        let token = self.codec.issue(&user, now, lifetime)?;
        let link = self.link.with(&token);
        Ok(ResetTokenCreated::new(user, token, link, now + lifetime, client))
    }
}

/// The work that [`PasswordReset::shutdown`] did not complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// The number of accepted requests that were not completed. Their users get no mail and have to ask again.
    pub lost_requests: u64,
    /// The number of confirmations still running. They continue until the process ends.
    pub unfinished_confirms: usize,
}

/// Counts the result of an operation, and logs the errors that are not logged at their origin.
fn answered<T>(operation: Scope, answer: Result<T, ResetError>) -> Result<T, ResetError> {
    let operation = operation.name();
    match &answer {
        Ok(_) => metrics::answered(operation, "ok"),
        Err(error) => {
            metrics::answered(operation, error.as_str());
            match error {
                ResetError::Unavailable { reason, .. } => tracing::warn!(operation, %reason, "not available now"),
                ResetError::PasswordRefused(_) => tracing::info!(operation, "a new password was refused"),
                _ => {}
            }
        }
    }
    answer
}

/// Logs and counts the reason of a refusal. The client must not see it.
fn refused(error: InvalidToken) -> InvalidToken {
    tracing::info!(refusal = %error.refusal(), "a reset token was refused");
    metrics::refused_token(error.refusal().as_str());
    error
}

fn unavailable(reason: Unavailable) -> ResetError {
    ResetError::Unavailable { reason, retry_after: RETRY_AFTER }
}
