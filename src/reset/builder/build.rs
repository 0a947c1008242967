//! [`PasswordResetBuilder::build`]: checks every setting and starts the service.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::header::{FORWARDED, HeaderName};
use ipnet::IpNet;
use tokio_util::task::TaskTracker;

use super::PasswordResetBuilder;
use crate::client::{TrustedProxies, X_FORWARDED_FOR};
use crate::delivery::MemoryQueue;
use crate::error::{BuildError, Problem};
use crate::metrics;
use crate::password::{PasswordHasher, PasswordPolicy, Workers};
use crate::reset::failures::Failures;
use crate::reset::link::Link;
#[cfg(feature = "graphile")]
use crate::reset::worker::WorkerRuns;
use crate::reset::{Inner, PasswordReset, start_check};
use crate::secret::Purpose;
#[cfg(feature = "graphile")]
use crate::secret::Sealer;
use crate::throttle::is_namespace;
use crate::token::{TokenCodec, is_lifetime};

impl PasswordResetBuilder {
    /// Checks every setting, the store, the throttle and the delivery, and starts the password reset.
    ///
    /// Hashes one word twice, which takes as long as two sign-ins. Waits up to five seconds each for the store, the
    /// throttle and the delivery. Must be awaited on the tokio runtime of the server.
    ///
    /// # Errors
    ///
    /// [`BuildError`] with every [`Problem`] found, so that one start shows them all.
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
        if self.max_age < SHORTEST_MAX_AGE {
            problems.push(Problem::MaxAge { max_age: self.max_age });
        }
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
        let handlers = self.handlers;
        #[cfg(feature = "mail")]
        let handlers = super::mailer::add(self.mailer, &self.clock, handlers, &mut problems);
        let handlers = handlers.build(&mut problems);
        if self.check_at_start {
            problems.extend(start_check::problems(&self.users, &self.throttles, self.delivery.as_ref()).await);
        }
        let Some(link) = link.filter(|_| problems.is_empty()) else {
            return Err(BuildError::new(problems));
        };

        self.policy.warm_up();
        let address_mac = self.keys.current().field_mac(Purpose::Throttle);
        #[cfg(feature = "graphile")]
        let sealer = Arc::new(Sealer::new(&self.keys));
        let codec = TokenCodec::new(self.keys);
        metrics::describe();
        if link.is_insecure() {
            tracing::warn!("the link in the mails is http: anyone on the network can read its token");
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
            queue: MemoryQueue::new(self.queue, self.handled_at_once),
            delivery: self.delivery,
            #[cfg(feature = "graphile")]
            sealer,
            #[cfg(feature = "graphile")]
            worker_runs: WorkerRuns::default(),
            max_age: self.max_age,
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

/// The shortest age at which a request may be dropped. A request with a shorter one could be too old before its first try.
const SHORTEST_MAX_AGE: Duration = Duration::from_secs(1);

/// The number of bytes of a password that bcrypt uses.
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

/// Hashes one word twice. Equal hashes show that the hasher uses no salt. A hash that begins with `$2` is a bcrypt hash, and
/// bcrypt ignores all but the first 72 bytes of a password.
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
