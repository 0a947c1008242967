//! The two instances with their servers.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::task::block_in_place;

use crate::balancer::Balancer;
use crate::client::Client;
use crate::mailbox::Mailbox;
use crate::postgres;
use crate::process::{Demo, Directory, STEP_TIMEOUT};
use crate::redis_server::Redis;
use crate::server::lasting_port;

/// The number of users that can reset their password once.
const USERS: i32 = 20_000;

/// Two instances behind a balancer.
pub(crate) struct Site {
    pub(crate) balancer: Balancer,
    pub(crate) mailbox: Mailbox,
    pub(crate) instances: [SocketAddr; 2],
    demos: Mutex<[Option<Demo>; 2]>,
    flags: Vec<String>,
    next_user: AtomicU32,
    _redis: Redis,
    _outbox: Directory,
}

/// A user, with a client of its own.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) email: String,
    pub(crate) client: Client,
}

impl Site {
    /// Starts two instances with these keys and further flags. Returns `None` if a server is not installed.
    pub(crate) async fn start(keys: &str, flags: &[&str]) -> Option<Self> {
        let database = postgres::postgres().await?.new_database("").await;
        let redis = Redis::start(&[])?;
        let outbox = Directory::new();
        let common = [
            "--outbox",
            outbox.path().to_str().unwrap(),
            "--database",
            &database,
            "--throttle",
            &redis.url(),
            "--public-url",
            "https://app.example.com",
            "--trusted-proxy",
            "127.0.0.1/32",
        ];
        let instances = [0, 1].map(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, lasting_port())));
        let site = Self {
            balancer: Balancer::start(instances).await,
            mailbox: Mailbox::open(outbox.path().to_owned()),
            instances,
            demos: Mutex::default(),
            flags: common.iter().chain(flags).map(|&flag| flag.to_owned()).collect(),
            next_user: AtomicU32::new(0),
            _redis: redis,
            _outbox: outbox,
        };
        site.start_instance(0, keys);
        site.start_instance(1, keys);
        sqlx::query(
            "INSERT INTO users (id, email, active, password_hash)
             SELECT 'u' || n, 'user' || n || '@example.com', true, (SELECT password_hash FROM users WHERE id = '1')
             FROM generate_series(0, $1 - 1) n",
        )
        .bind(USERS)
        .execute(&postgres::pool(&database).await)
        .await
        .unwrap();
        Some(site)
    }

    /// Returns a user who did nothing yet.
    pub(crate) fn new_user(&self) -> User {
        let number = self.next_user.fetch_add(1, Ordering::SeqCst);
        assert!(number < USERS.cast_unsigned(), "the test needs more users");
        let [_, _, high, low] = number.to_be_bytes();
        User { email: format!("user{number}@example.com"), client: Client(Ipv4Addr::new(127, 1, high, low)) }
    }

    /// Starts an instance on its port.
    pub(crate) fn start_instance(&self, instance: usize, keys: &str) {
        let mut command = Demo::command();
        command.args(["--listen", &self.instances[instance].to_string(), "--key", keys]).args(&self.flags);
        let demo = block_in_place(|| Demo::spawn(&mut command));
        self.demos()[instance] = Some(demo);
    }

    /// Stops an instance with SIGTERM, waits for its end, and starts it with these keys.
    pub(crate) fn restart_instance(&self, instance: usize, keys: &str) {
        let demo = self.demos()[instance].take().unwrap();
        demo.terminate();
        let (status, output) = block_in_place(|| demo.ended());
        assert!(status.success(), "{status}: {output}");
        self.start_instance(instance, keys);
    }

    /// Kills an instance with SIGKILL.
    pub(crate) fn kill_instance(&self, instance: usize) {
        self.demos()[instance].take().unwrap();
    }

    /// Returns whether an instance logged this text.
    pub(crate) fn logged(&self, text: &str) -> bool {
        self.demos().iter().flatten().any(|demo| demo.output().contains(text))
    }

    /// Requests a reset at an instance and returns the token of the mail.
    pub(crate) async fn token(&self, user: &User, at: SocketAddr) -> String {
        assert_eq!(user.client.request(at, &user.email).await, 200);
        self.mailbox.wait(&user.email, STEP_TIMEOUT).await.expect("the mail arrives")
    }

    fn demos(&self) -> std::sync::MutexGuard<'_, [Option<Demo>; 2]> {
        self.demos.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
