//! Settings for quotas, throttles and client addresses.

use std::borrow::Cow;

use super::PasswordResetBuilder;
use crate::throttle::{Quotas, Throttle};

impl PasswordResetBuilder {
    /// Sets the quotas of clients and addresses. Default: [`Quotas::default()`].
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

    /// Adds proxies in front of the application, as networks (`10.0.0.0/8`) or single addresses. Default: none.
    ///
    /// The client's address is that of the peer. If the peer is a trusted proxy, the client's address is the rightmost one
    /// in `X-Forwarded-For` or `Forwarded` that is not a trusted proxy: the client can forge all entries further left.
    ///
    /// If an untrusted peer on this machine or in a private network sends a forwarding header, the library logs a warning
    /// that names this setting, at most once an hour.
    pub fn trusted_proxies<C: Into<String>>(mut self, networks: impl IntoIterator<Item = C>) -> Self {
        self.trusted_proxies.extend(networks.into_iter().map(Into::into));
        self
    }

    /// Sets the header with the client's address, such as `CF-Connecting-IP`, `X-Real-IP`, `True-Client-IP` or
    /// `Fly-Client-IP`. Default: none; the library reads `X-Forwarded-For` and `Forwarded`.
    ///
    /// The header is read only if the peer is one of the [`trusted_proxies`](Self::trusted_proxies). It must hold one
    /// address. If it is missing or repeated, or holds anything else, the client's address is that of the proxy. **The
    /// proxy must overwrite the header**: otherwise every client can choose its own address.
    ///
    /// [`build`](Self::build) refuses an invalid header name, and `X-Forwarded-For` and `Forwarded`, which are lists.
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
}
