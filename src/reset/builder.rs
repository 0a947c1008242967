//! [`PasswordResetBuilder`]: settings, and everything that is checked at start.

use std::borrow::Cow;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::header::{FORWARDED, HeaderName};
use ipnet::IpNet;
use tokio_util::task::TaskTracker;

use super::failures::Failures;
use super::link::Link;
use super::{Clock, Inner, PasswordReset, UsableHash, is_usable, start_check, system_clock};
use crate::client::{TrustedProxies, X_FORWARDED_FOR};
use crate::delivery::Delivery;
use crate::email::AddressRules;
use crate::error::{BuildError, Problem};
use crate::event::{PostPasswordReset, PrePasswordReset, ResetTokenCreated};
use crate::handler::{HandlerOutput, HandlersBuilder};
use crate::metrics;
use crate::password::{Argon2id, PasswordHasher, PasswordPolicy, Workers};
use crate::secret::{KeyRing, Purpose};
use crate::store::{UserStore, Users};
use crate::throttle::{Quotas, Throttle, Throttles, is_namespace};
use crate::token::{DEFAULT_LIFETIME, TokenCodec, is_lifetime};

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
    hasher: Arc<dyn PasswordHasher>,
    policy: PasswordPolicy,
    queue: usize,
    handled_at_once: usize,
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
            hasher: Arc::new(Argon2id::default()),
            policy: PasswordPolicy::default(),
            queue: 4096,
            handled_at_once: 64,
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

    /// The page that asks for the new password, with `{token}` where the token goes:
    /// `https://app.example.com/reset-password#token={token}`.
    ///
    /// Behind a `#` the token stays in the browser: it reaches no server log and no `Referer`. The link is made from
    /// this text alone, never from a header of the request (OWASP Forgot Password Cheat Sheet). It must be `https`
    /// unless its host is this machine. The token must not be part of the host.
    pub fn link(mut self, link: impl Into<String>) -> Self {
        self.link = Some(link.into());
        self
    }

    /// Sets whether the [link](Self::link) may be `http` to a private host: an address of RFC 1918 (`192.168.1.5`) or RFC 4193
    /// (`fd00::1`), a name of one label (`intranet`), or a name that ends in `.local` or `.internal`.
    ///
    /// For development on a phone and for networks without certificates. **Everybody on the network between the user and
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

    /// For how long a token is good: a second to 24 hours.
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
    /// It is named after the closure's place in the code and has priority 0.
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

    /// Whether the annotated handlers of the whole program are used. Two services in one process, and tests, switch
    /// that off and add theirs here.
    pub fn linked_handlers(mut self, linked: bool) -> Self {
        self.handlers.linked(linked);
        self
    }

    /// How long a handler may take. After that it is stopped at its next `.await`, and counts as failed.
    pub fn handler_timeout(mut self, timeout: Duration) -> Self {
        self.handlers.timeout(timeout);
        self
    }

    /// What hashes new passwords: it must make what the application's sign-in verifies.
    pub fn hasher(mut self, hasher: impl PasswordHasher) -> Self {
        self.hasher = Arc::new(hasher);
        self
    }

    /// What a new password must be like.
    pub fn policy(mut self, policy: PasswordPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// How many requests may wait for their turn; over that, everybody is answered 503.
    pub fn queue(mut self, requests: usize) -> Self {
        self.queue = requests;
        self
    }

    /// How many requests are handled at once: look-ups and mails under way.
    pub fn handled_at_once(mut self, requests: usize) -> Self {
        self.handled_at_once = requests;
        self
    }

    /// How often a client may ask, and how often an address gets mail.
    pub fn quotas(mut self, quotas: Quotas) -> Self {
        self.throttles.set_quotas(quotas);
        self
    }

    /// Sets a throttle of your own, for example one that all instances share. If it fails, the throttle in memory counts
    /// instead for up to five seconds. Default: in memory.
    pub fn throttle(mut self, throttle: impl Throttle) -> Self {
        self.throttles.set_custom(throttle);
        self
    }

    /// Sets the first part of every [`ThrottleKey`](crate::throttle::ThrottleKey). Default: `password-reset`.
    ///
    /// Services that share one throttle, for example one Redis server, need different namespaces: otherwise a client's
    /// requests to one service count in the other as well. Instances of one service need the same namespace.
    ///
    /// A namespace is 1 to 64 ASCII letters, digits, `-`, `_` and `.`. [`build`](Self::build) refuses any other text.
    ///
    /// ```
    /// use poem_password_reset::store::MemoryUsers;
    /// use poem_password_reset::throttle::{MemoryThrottle, Quota, ThrottleKey, Verdict};
    /// use poem_password_reset::{Client, PasswordReset, SigningKey};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let shared = MemoryThrottle::new();
    /// let reset = PasswordReset::builder(MemoryUsers::default(), SigningKey::generate()?)
    ///     .link("https://staff.example.com/reset-password#token={token}")
    ///     .on_reset_token_created(async |_| {})
    /// #   .linked_handlers(false)
    ///     .throttle(shared.clone())
    ///     .throttle_namespace("staff")
    ///     .build()
    ///     .await?;
    /// reset.request("ann@example.com", Client::none()).await?;
    ///
    /// let (key, once) = (ThrottleKey::of_client("staff", "request", None), Quota::per_hour(1)?);
    /// assert!(matches!(shared.peek_now(&key, once), Verdict::Over { .. }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn throttle_namespace(mut self, namespace: impl Into<Cow<'static, str>>) -> Self {
        self.throttles.set_namespace(namespace.into());
        self
    }

    /// The proxies in front of the application, as CIDR (`10.0.0.0/8`) or single addresses.
    ///
    /// A client is its peer's address. Only if the peer is one of these is it the rightmost address in
    /// `X-Forwarded-For` or `Forwarded` that is not one of these; what stands further left anybody could have written.
    ///
    /// If a peer that is not one of these sends a forwarding header from this machine or a private network, the log has a
    /// warning that names this setting, once an hour at most.
    pub fn trusted_proxies<C: Into<String>>(mut self, networks: impl IntoIterator<Item = C>) -> Self {
        self.trusted_proxies.extend(networks.into_iter().map(Into::into));
        self
    }

    /// Reads the client's address from this header instead of `X-Forwarded-For` and `Forwarded`: `CF-Connecting-IP`,
    /// `X-Real-IP`, `True-Client-IP`, `Fly-Client-IP`, or another one that your proxy sets. Without it, the lists are read.
    ///
    /// The header is read only if the peer is one of the [`trusted_proxies`](Self::trusted_proxies). It must hold one
    /// address. If it is missing, is there twice, or holds a list or something else, the client counts as the proxy. **The
    /// proxy must overwrite the header**: if it passes on the header of a client, every client chooses its own address.
    ///
    /// [`build`](Self::build) refuses a text that is not a header name, and `X-Forwarded-For` and `Forwarded`, which are
    /// lists.
    ///
    /// ```
    /// # use poem_password_reset::{PasswordReset, SigningKey, store::MemoryUsers};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (users, key) = (MemoryUsers::default(), SigningKey::generate()?);
    /// let reset = PasswordReset::builder(users, key)
    ///     .link("https://app.example.com/reset-password#token={token}")
    ///     .on_reset_token_created(async |_| {})
    /// #   .linked_handlers(false)
    ///     .trusted_proxies(["173.245.48.0/20", "2400:cb00::/32"])
    ///     .client_address_header("CF-Connecting-IP")
    ///     .build()
    ///     .await?;
    ///
    /// let mut headers = poem::http::HeaderMap::new();
    /// headers.insert("CF-Connecting-IP", "192.0.2.7".parse()?);
    /// let client = reset.client("173.245.48.1".parse().ok(), &headers);
    /// assert_eq!(client.address(), "192.0.2.7".parse().ok());
    /// # Ok(())
    /// # }
    /// ```
    pub fn client_address_header(mut self, name: impl Into<String>) -> Self {
        self.client_address_header = Some(name.into());
        self
    }

    /// Whether a user who has no password can get a first one this way. By default only a password that exists can be
    /// reset, so that nobody who signs in by other means acquires one unasked.
    ///
    /// A user has no password if the hash is `None`, or if [`usable_hash`](Self::usable_hash) says so.
    pub fn allow_first_password(mut self, allow: bool) -> Self {
        self.allow_first_password = allow;
        self
    }

    /// Replaces the rule that says whether a stored hash is that of a password.
    ///
    /// By default an empty hash, or one that begins with `!` or `*`, is not: Django writes `!` and a random text for users
    /// without a password, and `/etc/shadow` uses both marks. Such a user gets no mail and cannot use a token unless
    /// [first passwords are allowed](Self::allow_first_password). Tokens are bound to the stored text in any case.
    ///
    /// ```
    /// # use poem_password_reset::{PasswordReset, SigningKey, store::MemoryUsers};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (users, key) = (MemoryUsers::default(), SigningKey::generate()?);
    /// let reset = PasswordReset::builder(users, key)
    ///     .link("https://app.example.com/reset-password#token={token}")
    ///     .on_reset_token_created(async |_| {})
    /// #   .linked_handlers(false)
    ///     .usable_hash(|hash| hash.starts_with("$argon2id$"))
    ///     .build()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn usable_hash(mut self, is_usable: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.usable_hash = Box::new(is_usable);
        self
    }

    /// How many users get mail for one request if several share the address: 5 by default. The store's order decides
    /// which; the log says how many were left out.
    ///
    /// The quota of an address counts requests, so an address gets at most
    /// [`mails_per_address`](Quotas::mails_per_address) times this many mails in a window.
    pub fn users_per_address(mut self, users: usize) -> Self {
        self.users_per_address = users;
        self
    }

    /// Whether the part of an address before the `@` may have letters beyond ASCII (RFC 6531). By default such an
    /// address is malformed, as it is to most mail servers.
    pub fn international_addresses(mut self, allow: bool) -> Self {
        self.addresses.international = allow;
        self
    }

    /// Sets whether three kinds of address are accepted that RFC 5321 or public DNS do not allow, but that people have:
    ///
    /// * stray dots in the local part (`taro..suzuki@example.ne.jp`, `taro.@docomo.example`, `.taro@docomo.example`),
    ///   which Japanese carriers gave out;
    /// * hosts of one label (`root@intranet`), which private networks use;
    /// * underscores within a host label (`ops@mail_host.example`).
    ///
    /// The setting applies to addresses that are typed and to addresses on record, so [`PasswordReset::issue`] accepts
    /// them too. It is off by default, because these addresses are more often a typing error than an address: a request for
    /// `ann@example` is then answered 400 instead of being accepted without a mail. Some mail servers and mail
    /// libraries refuse them; check yours before you switch it on.
    ///
    /// Quoted local parts, domain literals, controls, white space and the characters ``"<>(),:;\[]`` stay refused:
    /// they have a meaning in a mail header. A local part with stray dots and a `/` stays refused too, because it could
    /// spell the path `../`.
    ///
    /// ```
    /// use poem_password_reset::store::MemoryUsers;
    /// use poem_password_reset::{Client, PasswordReset, ResetError, SigningKey};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let builder = || -> Result<_, Box<dyn std::error::Error>> {
    ///     Ok(PasswordReset::builder(MemoryUsers::new([]), SigningKey::generate()?)
    ///         .link("https://app.example.com/reset-password#token={token}")
    ///         .on_reset_token_created(async |_| {})
    /// #       .linked_handlers(false)
    ///     )
    /// };
    /// let lenient = builder()?.lenient_addresses(true).build().await?;
    /// assert!(lenient.request("root@intranet", Client::none()).await.is_ok());
    ///
    /// let strict = builder()?.build().await?;
    /// let refused = strict.request("root@intranet", Client::none()).await;
    /// assert!(matches!(refused, Err(ResetError::InvalidEmail)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn lenient_addresses(mut self, allow: bool) -> Self {
        self.addresses.lenient = allow;
        self
    }

    /// Whether a validation answers with username and email address. Whoever holds the link sees them then.
    pub fn user_details_on_validation(mut self, tell: bool) -> Self {
        self.user_details_on_validation = tell;
        self
    }

    /// Whether a request for an address of nobody who may reset a password is answered 400 instead of 200.
    ///
    /// **This is an enumeration oracle**: anybody can find out who has an account. It exists for applications that tell
    /// so anyway.
    pub fn reveal_unknown_users(mut self, reveal: bool) -> Self {
        self.reveal_unknown_users = reveal;
        self
    }

    /// Sets whether [`build()`](Self::build) waits for the checks of [store](UserStore::check_at_start) and
    /// [throttle](Throttle::check), and refuses to start if one fails. Default: `true`.
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

    /// What says what time it is, for tests of what happens when a token expires (feature `testing`). Quotas and timeouts
    /// go by the clock of tokio, which a test can move too.
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
        self.clock = Box::new(now);
        self
    }

    /// Checks every setting, the store and the throttle, and starts the password reset.
    ///
    /// Hashes one word twice, which takes as long as two sign-ins, and waits up to five seconds each for store and
    /// throttle. Await it on the tokio runtime of the server.
    ///
    /// # Errors
    ///
    /// [`BuildError`] with every [`Problem`] at once, so that one start is enough to find them all.
    pub async fn build(self) -> Result<PasswordReset, BuildError> {
        let mut problems = Vec::new();
        let link = Link::parse(self.link, self.insecure_link).map_err(|problem| problems.push(problem)).ok();
        if !is_lifetime(self.lifetime) {
            problems.push(Problem::Lifetime { lifetime: self.lifetime });
        }
        let zeros = [
            ("queue", self.queue),
            ("handled_at_once", self.handled_at_once),
            ("users_per_address", self.users_per_address),
        ];
        problems.extend(zeros.iter().filter(|(_, value)| *value == 0).map(|(setting, _)| Problem::Zero { setting }));
        if !is_namespace(self.throttles.namespace()) {
            problems.push(Problem::ThrottleNamespace { namespace: self.throttles.namespace().to_owned() });
        }
        let networks = read_networks(&self.trusted_proxies, &mut problems);
        let header = self.client_address_header.and_then(|name| read_header(name, &mut problems));
        if let Some(header) = header.as_ref().filter(|_| networks.is_empty()) {
            tracing::warn!(%header, "client_address_header has no effect without .trusted_proxies([..])");
        }
        let trusted_proxies = TrustedProxies::new(networks, header);
        problems.extend(self.policy.problems());
        problems.extend(hasher_problem(&*self.hasher, &self.policy));
        let handlers = self.handlers.build(&mut problems);
        if self.check_at_start {
            problems.extend(start_check::problems(&self.users, &self.throttles).await);
        }
        let Some(link) = link.filter(|_| problems.is_empty()) else {
            return Err(BuildError::new(problems));
        };

        self.policy.warm_up();
        let address_mac = self.keys.current().field_mac(Purpose::Throttle);
        let codec = TokenCodec::new(self.keys);
        metrics::describe();
        if link.is_insecure() {
            tracing::warn!("the link in the mails is http: everybody on the network can read the token in it");
        }
        tracing::info!(handlers = %handlers.names(), keys = ?codec, "password reset is ready");
        let inner = Inner {
            clock: self.clock,
            users: self.users,
            codec,
            link,
            lifetime: self.lifetime,
            handlers,
            hasher: self.hasher,
            policy: self.policy,
            workers: Workers::new(),
            delivery: Delivery::new(self.queue, self.handled_at_once),
            failures: Failures::default(),
            confirms: TaskTracker::new(),
            throttles: self.throttles,
            address_mac,
            shutting_down: AtomicBool::new(false),
            trusted_proxies,
            usable_hash: self.usable_hash,
            allow_first_password: self.allow_first_password,
            users_per_address: self.users_per_address,
            addresses: self.addresses,
            reveal_unknown_users: self.reveal_unknown_users,
            user_details_on_validation: self.user_details_on_validation,
        };
        let inner = Arc::new(inner);
        if !self.check_at_start {
            start_check::in_background(&inner);
        }
        Ok(PasswordReset { inner })
    }
}

/// The number of bytes of a password that bcrypt looks at.
const BCRYPT_BYTES: usize = 72;

fn read_networks(networks: &[String], problems: &mut Vec<Problem>) -> Vec<IpNet> {
    let mut read = Vec::new();
    for network in networks {
        match network.parse().or_else(|_| network.parse().map(|address: std::net::IpAddr| address.into())) {
            Ok(network) => read.push(network),
            Err(_) => problems.push(Problem::TrustedProxy { proxy: network.clone() }),
        }
    }
    read
}

fn read_header(name: String, problems: &mut Vec<Problem>) -> Option<HeaderName> {
    let header = name.parse().ok().filter(|header| *header != X_FORWARDED_FOR && *header != FORWARDED);
    if header.is_none() {
        problems.push(Problem::ClientAddressHeader { header: name });
    }
    header
}

/// Hashes one word twice: a hasher that gives the same hash both times uses no salt. A hash that begins with `$2` is one of
/// bcrypt, which ignores all but the first 72 bytes of a password.
fn hasher_problem(hasher: &dyn PasswordHasher, policy: &PasswordPolicy) -> Option<Problem> {
    let hash = || hasher.hash("a word to try the hasher with");
    match (hash(), hash()) {
        (Ok(one), Ok(other)) if one == other => Some(Problem::UnsaltedHasher),
        (Ok(hash), Ok(_)) => {
            (hash.starts_with("$2") && !policy.is_within(BCRYPT_BYTES)).then_some(Problem::HasherTruncates)
        }
        (Err(error), _) | (_, Err(error)) => Some(Problem::HasherFails { reason: error.to_string() }),
    }
}
