//! [`PasswordResetBuilder`]: the settings of a password reset.

mod build;
mod clients;
#[cfg(feature = "mail")]
mod mailer;
mod users;

use std::future::Future;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

#[cfg(doc)]
use super::PasswordReset;
use super::{Clock, UsableHash, is_usable, system_clock};
use crate::delivery::{CustomDelivery, Delivery};
use crate::email::AddressRules;
use crate::event::{PostPasswordReset, PrePasswordReset, ResetTokenCreated};
use crate::handler::{HandlerOutput, HandlersBuilder};
#[cfg(feature = "mail")]
use crate::mail::Mailer;
use crate::password::{Argon2id, PasswordHasher, PasswordPolicy};
use crate::secret::KeyRing;
use crate::store::{UserStore, Users};
#[cfg(doc)]
use crate::throttle::Throttle;
use crate::throttle::{Quotas, Throttles};
use crate::token::DEFAULT_LIFETIME;

/// Builds a [`PasswordReset`].
///
/// # Defaults
///
/// | setting | default |
/// | --- | --- |
/// | [`link`](Self::link) | none: must be given |
/// | [`insecure_link`](Self::insecure_link) | `false` |
/// | [`lifetime`](Self::lifetime) | 1 hour |
/// | [`hasher`](Self::hasher) | [`Argon2id`] |
/// | [`policy`](Self::policy) | [`PasswordPolicy::default()`] |
/// | [`linked_handlers`](Self::linked_handlers) | `true` |
/// | [`handler_timeout`](Self::handler_timeout) | 30 seconds |
/// | [`queue`](Self::queue) | 4,096 requests waiting |
/// | [`handled_at_once`](Self::handled_at_once) | 64 requests |
/// | [`delivery`](Self::delivery) | the queue in memory |
/// | [`max_age`](Self::max_age) | 1 hour |
/// | [`quotas`](Self::quotas) | [`Quotas::default()`] |
/// | [`throttle`](Self::throttle) | in memory |
/// | [`throttle_namespace`](Self::throttle_namespace) | `password-reset` |
/// | [`trusted_proxies`](Self::trusted_proxies) | none |
/// | [`client_address_header`](Self::client_address_header) | none: `X-Forwarded-For` and `Forwarded` |
/// | [`allow_first_password`](Self::allow_first_password) | `false` |
/// | [`usable_hash`](Self::usable_hash) | not empty, no `!` or `*` in front |
/// | [`users_per_address`](Self::users_per_address) | 5 |
/// | [`international_addresses`](Self::international_addresses) | `false` |
/// | [`lenient_addresses`](Self::lenient_addresses) | `false` |
/// | [`check_at_start`](Self::check_at_start) | `true` |
/// | [`user_details_on_validation`](Self::user_details_on_validation) | `false` |
/// | [`reveal_unknown_users`](Self::reveal_unknown_users) | `false` |
#[must_use]
pub struct PasswordResetBuilder {
    clock: Clock,
    users: Users,
    keys: KeyRing,
    link: Option<String>,
    insecure_link: bool,
    lifetime: time::Duration,
    handlers: HandlersBuilder,
    #[cfg(feature = "mail")]
    mailer: Option<(Mailer, &'static Location<'static>)>,
    hasher: Arc<dyn PasswordHasher>,
    policy: PasswordPolicy,
    queue: usize,
    handled_at_once: usize,
    delivery: Option<CustomDelivery>,
    max_age: Duration,
    throttles: Throttles,
    trusted_proxies: Vec<String>,
    client_address_header: Option<String>,
    usable_hash: UsableHash,
    allow_first_password: bool,
    users_per_address: usize,
    addresses: AddressRules,
    reveal_unknown_users: bool,
    user_details_on_validation: bool,
    check_at_start: bool,
}

impl PasswordResetBuilder {
    pub(super) fn new(users: impl UserStore, keys: KeyRing) -> Self {
        Self {
            clock: system_clock(),
            users: Users::new(users),
            keys,
            link: None,
            insecure_link: false,
            lifetime: DEFAULT_LIFETIME,
            handlers: HandlersBuilder::default(),
            #[cfg(feature = "mail")]
            mailer: None,
            hasher: Arc::new(Argon2id::default()),
            policy: PasswordPolicy::default(),
            queue: 4096,
            handled_at_once: 64,
            delivery: None,
            max_age: Duration::from_secs(60 * 60),
            throttles: Throttles::new(Quotas::default()),
            trusted_proxies: Vec::new(),
            client_address_header: None,
            usable_hash: Box::new(is_usable),
            allow_first_password: false,
            users_per_address: 5,
            addresses: AddressRules::default(),
            reveal_unknown_users: false,
            user_details_on_validation: false,
            check_at_start: true,
        }
    }

    /// Sets the link in the mails: the page that asks for the new password, with `{token}` in place of the token. Required.
    /// For example `https://app.example.com/reset-password#token={token}`.
    ///
    /// Behind a `#` the token stays in the browser: no server log and no `Referer` header contains it. The host comes from
    /// this text only, never from a header of the request (OWASP Forgot Password Cheat Sheet). The link must be `https`
    /// unless its host is this machine. The token must not be part of the host.
    pub fn link(mut self, link: impl Into<String>) -> Self {
        self.link = Some(link.into());
        self
    }

    /// Sets whether the [link](Self::link) may be `http` to a private host: an address of RFC 1918 (`192.168.1.5`) or RFC 4193
    /// (`fd00::1`), a name of one label (`intranet`), or a name that ends in `.local` or `.internal`.
    ///
    /// For development on a phone and for networks without certificates. **Anyone on the network between the user and
    /// the application can read the token**, and set the user's password with it. `build()` logs a warning at start.
    /// Public hosts stay refused. Links to this machine (`localhost`, `127.0.0.1`, `[::1]`) need no setting. Default:
    /// `false`.
    ///
    /// ```
    /// use poem_password_reset::store::MemoryUsers;
    /// use poem_password_reset::{PasswordReset, SigningKey};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let builder = |link: &str| -> Result<_, Box<dyn std::error::Error>> {
    ///     Ok(PasswordReset::builder(MemoryUsers::new([]), SigningKey::generate()?)
    ///         .link(link)
    ///         .insecure_link(true)
    ///         .on_reset_token_created(async |_| {})
    /// #       .linked_handlers(false)
    ///     )
    /// };
    /// assert!(builder("http://192.168.1.5:3000/reset#token={token}")?.build().await.is_ok());
    /// assert!(builder("http://app.example.com/reset#token={token}")?.build().await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn insecure_link(mut self, allow: bool) -> Self {
        self.insecure_link = allow;
        self
    }

    /// Sets how long a token is valid: 1 second to 24 hours. Default: 1 hour.
    pub fn lifetime(mut self, lifetime: time::Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Adds a value for annotated handlers, which take it as a parameter `&T`. A second value of the same type replaces the
    /// first.
    pub fn data<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.handlers.data(value);
        self
    }

    /// Adds a handler of [`ResetTokenCreated`], beside the annotated ones.
    ///
    /// The log names the handler by file and line of this call. Its priority is 0.
    #[track_caller]
    pub fn on_reset_token_created<F, Fut, O>(mut self, handler: F) -> Self
    where
        F: Fn(Arc<ResetTokenCreated>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = O> + Send + 'static,
        O: HandlerOutput,
    {
        self.handlers.add(handler, Location::caller());
        self
    }

    /// Adds a handler of [`PrePasswordReset`], beside the annotated ones.
    #[track_caller]
    pub fn on_pre_password_reset<F, Fut, O>(mut self, handler: F) -> Self
    where
        F: Fn(Arc<PrePasswordReset>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = O> + Send + 'static,
        O: HandlerOutput,
    {
        self.handlers.add(handler, Location::caller());
        self
    }

    /// Adds a handler of [`PostPasswordReset`], beside the annotated ones.
    #[track_caller]
    pub fn on_post_password_reset<F, Fut, O>(mut self, handler: F) -> Self
    where
        F: Fn(Arc<PostPasswordReset>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = O> + Send + 'static,
        O: HandlerOutput,
    {
        self.handlers.add(handler, Location::caller());
        self
    }

    /// Sets whether the service calls the annotated handlers of the whole program. Default: `true`.
    ///
    /// Set it to `false` for two services in one process, and in tests, and add the handlers with the builder.
    pub fn linked_handlers(mut self, linked: bool) -> Self {
        self.handlers.linked(linked);
        self
    }

    /// Sets the timeout of a handler. After it the handler is dropped at its next `.await` and counts as failed. Default:
    /// 30 seconds.
    pub fn handler_timeout(mut self, timeout: Duration) -> Self {
        self.handlers.timeout(timeout);
        self
    }

    /// Sets the hasher of new passwords. The application's sign-in must be able to verify its hashes. Default:
    /// [`Argon2id`].
    pub fn hasher(mut self, hasher: impl PasswordHasher) -> Self {
        self.hasher = Arc::new(hasher);
        self
    }

    /// Sets the rules for new passwords. Default: [`PasswordPolicy::default()`].
    pub fn policy(mut self, policy: PasswordPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the most requests that wait in the queue. If the queue is full, every request is answered 503. Default: 4,096.
    pub fn queue(mut self, requests: usize) -> Self {
        self.queue = requests;
        self
    }

    /// Sets the most requests that are handled at the same time: look-ups and mails in progress. Default: 64.
    pub fn handled_at_once(mut self, requests: usize) -> Self {
        self.handled_at_once = requests;
        self
    }

    /// Sets where accepted requests wait, for example in a job engine, so that they survive the process. Default: a queue in
    /// memory.
    ///
    /// A worker of the engine passes them to [`PasswordReset::deliver`]. The settings [`queue`](Self::queue) and
    /// [`handled_at_once`](Self::handled_at_once) then apply only to [`PasswordReset::send`].
    pub fn delivery(mut self, delivery: impl Delivery) -> Self {
        self.delivery = Some(CustomDelivery::new(delivery));
        self
    }

    /// Sets how long a request whose look-up or handler fails is tried again. Default: 1 hour. At least 1 second.
    ///
    /// The queue in memory tries again after 1, 2, 4 .. 60 seconds, as long as the first failure is less than this ago. A
    /// request of a [`delivery`](Self::delivery) is dropped if it was accepted longer ago. Later, users do not wait for the
    /// mail any more.
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    /// Sets whether [`build()`](Self::build) waits for the checks of [store](UserStore::check_at_start),
    /// [throttle](Throttle::check) and [delivery](Delivery::check_at_start), and refuses to start if one fails. Default: `true`.
    ///
    /// With `false` the program starts before its database. The same checks then run in the background, at once and
    /// again after 1, 2, 4 .. 60 seconds until they succeed. A failure is logged as an error when it begins, not at
    /// each try.
    ///
    /// ```
    /// use poem_password_reset::store::{Swap, UserStore};
    /// use poem_password_reset::{BoxError, PasswordHash, PasswordReset, SigningKey, StoredUser};
    ///
    /// #[derive(Clone)]
    /// struct Unreachable;
    ///
    /// impl UserStore for Unreachable {
    ///     type Error = BoxError;
    ///
    ///     async fn find_by_email(&self, _: &str) -> Result<Vec<StoredUser>, BoxError> {
    ///         Err("connection refused".into())
    ///     }
    /// #   async fn find_by_id(&self, _: &str) -> Result<Option<StoredUser>, BoxError> {
    /// #       Err("connection refused".into())
    /// #   }
    /// #   async fn replace_password(&self, _: &StoredUser, _: &PasswordHash) -> Result<Swap, BoxError> {
    /// #       Err("connection refused".into())
    /// #   }
    ///     // ..
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let builder = || -> Result<_, Box<dyn std::error::Error>> {
    ///     Ok(PasswordReset::builder(Unreachable, SigningKey::generate()?)
    ///         .link("https://app.example.com/reset-password#token={token}")
    ///         .on_reset_token_created(async |_| {})
    /// #       .linked_handlers(false)
    ///     )
    /// };
    /// let error = builder()?.build().await.unwrap_err();
    /// assert!(error.to_string().contains("connection refused"));
    /// assert!(builder()?.check_at_start(false).build().await.is_ok());
    /// # Ok(())
    /// # }
    /// ```
    pub fn check_at_start(mut self, check: bool) -> Self {
        self.check_at_start = check;
        self
    }

    /// Sets the clock that issues and checks tokens, for tests of expiry (feature `testing`). Default: the system clock.
    /// Quotas and timeouts use tokio's clock, which tests can pause and advance.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicI64, Ordering};
    ///
    /// use poem_password_reset::store::MemoryUsers;
    /// use poem_password_reset::{PasswordReset, SigningKey, StoredUser};
    /// use time::OffsetDateTime;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let ann = StoredUser::new(7, "ann@example.com", Some("her hash".to_owned()));
    /// let seconds = Arc::new(AtomicI64::new(1_800_000_000));
    /// let clock = Arc::clone(&seconds);
    /// let reset = PasswordReset::builder(MemoryUsers::new([ann.clone()]), SigningKey::generate()?)
    ///     .link("https://app.example.com/reset-password#token={token}")
    ///     .on_reset_token_created(async |_| {})
    /// #   .linked_handlers(false)
    ///     .clock(move || OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(clock.load(Ordering::SeqCst)))
    ///     .build()
    ///     .await?;
    /// let event = reset.issue(&ann, None)?;
    ///
    /// seconds.fetch_add(3599, Ordering::SeqCst);
    /// assert!(reset.validate(event.token().expose()).await.is_ok());
    /// seconds.fetch_add(1, Ordering::SeqCst);
    /// assert!(reset.validate(event.token().expose()).await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "testing")]
    pub fn clock(mut self, now: impl Fn() -> time::OffsetDateTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(now);
        self
    }
}
