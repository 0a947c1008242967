//! Users in a database, a password reset that reaches them through a proxy, and the checks of a history.

use std::time::{Duration, Instant};

use poem_password_reset::store::{MySqlUsers, PostgresUsers, UserStore};
use poem_password_reset::{
    Client, NewPassword, PasswordPolicy, PasswordReset, ResetError, ResetTokenCreated, StoredUser, Strength,
};
use sqlx::AssertSqlSafe;
use sqlx::mysql::{MySqlPool, MySqlPoolOptions};
use sqlx::postgres::{PgPool, PgPoolOptions};

use crate::doubles::{builder, cheap_hash, no_mail, verifies};
use crate::proxy::Proxy;

/// Time limit for each wait. Long, because machines that run tests are busy.
pub(crate) const STEP_TIMEOUT: Duration = Duration::from_secs(120);

pub(crate) const OLD_PASSWORD: &str = "the old password";

/// Statements for a table of users, and a table with a row for each reset.
pub(crate) const TABLES: &str = "CREATE TABLE users (id VARCHAR(64) PRIMARY KEY, email VARCHAR(254) NOT NULL, \
    password_hash VARCHAR(255)); CREATE TABLE resets (user_id VARCHAR(64))";

/// Whether the writes of a reset are one statement, or a transaction with several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    OneStatement,
    Transaction,
}

/// A pool of connections to a database, with the tables.
#[derive(Clone)]
pub(crate) enum Database {
    Postgres(PgPool),
    MariaDb(MySqlPool),
}

impl Database {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "PostgreSQL",
            Self::MariaDb(_) => "MariaDB",
        }
    }

    /// Returns the same database on another port, with at most this many connections.
    pub(crate) fn at_port(&self, port: u16, connections: u32) -> Self {
        let acquire_timeout = Duration::from_secs(5);
        match self {
            Self::Postgres(pool) => {
                let options = (*pool.connect_options()).clone().port(port);
                let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(acquire_timeout);
                Self::Postgres(pool.connect_lazy_with(options))
            }
            Self::MariaDb(pool) => {
                let options = (*pool.connect_options()).clone().port(port);
                let pool = MySqlPoolOptions::new().max_connections(connections).acquire_timeout(acquire_timeout);
                Self::MariaDb(pool.connect_lazy_with(options))
            }
        }
    }

    /// Returns a password reset over the table, with a cheap hasher.
    pub(crate) async fn password_reset(&self, writes: Writes) -> PasswordReset {
        match self {
            Self::Postgres(pool) => {
                let users = PostgresUsers::new(pool.clone()).username_column(None).active_column(None);
                build(if writes == Writes::Transaction { users.also_on_reset(ALSO) } else { users }).await
            }
            Self::MariaDb(pool) => {
                let users = MySqlUsers::new(pool.clone()).username_column(None).active_column(None);
                build(if writes == Writes::Transaction { users.also_on_reset(ALSO) } else { users }).await
            }
        }
    }

    /// Runs statements, separated by semicolons.
    async fn run(&self, sql: String) {
        match self {
            Self::Postgres(pool) => sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.map(drop).unwrap(),
            Self::MariaDb(pool) => sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.map(drop).unwrap(),
        }
    }

    /// Returns the hash of a user, and the number of rows that the user's resets have added, at one moment.
    async fn hash_and_resets(&self, id: &str) -> (String, i64) {
        let sql = format!(
            "SELECT password_hash, (SELECT count(*) FROM resets WHERE user_id = '{id}') FROM users WHERE id = '{id}'"
        );
        match self {
            Self::Postgres(pool) => sqlx::query_as(AssertSqlSafe(sql)).fetch_one(pool).await.unwrap(),
            Self::MariaDb(pool) => sqlx::query_as(AssertSqlSafe(sql)).fetch_one(pool).await.unwrap(),
        }
    }

    /// Returns the number of the process or thread of the server that serves a connection.
    async fn backend(&self) -> i64 {
        match self {
            Self::Postgres(pool) => {
                sqlx::query_scalar("SELECT pg_backend_pid()::bigint").fetch_one(pool).await.unwrap()
            }
            Self::MariaDb(pool) => {
                sqlx::query_scalar("SELECT CAST(CONNECTION_ID() AS SIGNED)").fetch_one(pool).await.unwrap()
            }
        }
    }

    async fn serves(&self, backend: i64) -> bool {
        let count: i64 = match self {
            Self::Postgres(pool) => {
                let sql = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1";
                sqlx::query_scalar(sql).bind(backend).fetch_one(pool).await.unwrap()
            }
            Self::MariaDb(pool) => {
                let sql = "SELECT count(*) FROM information_schema.processlist WHERE id = ?";
                sqlx::query_scalar(sql).bind(backend).fetch_one(pool).await.unwrap()
            }
        };
        count > 0
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Postgres(pool) => pool.close().await,
            Self::MariaDb(pool) => pool.close().await,
        }
    }
}

/// The statement that belongs to a reset.
const ALSO: &str = "INSERT INTO resets VALUES ({id})";

async fn build(users: impl UserStore) -> PasswordReset {
    let policy = PasswordPolicy::default().strength(Strength::Any).allow_similar(true);
    builder(users).policy(policy).on_reset_token_created(no_mail).build().await.unwrap()
}

/// The password of a user, as the database has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Password {
    Old,
    New,
}

/// The users, read without a proxy.
pub(crate) struct World {
    pub(crate) direct: Database,
    pub(crate) writes: Writes,
}

impl World {
    /// Gives a user the old password.
    pub(crate) async fn prepare(&self, id: &str) {
        let hash = cheap_hash(OLD_PASSWORD).unwrap();
        let sql = format!(
            "DELETE FROM resets WHERE user_id = '{id}'; DELETE FROM users WHERE id = '{id}'; \
             INSERT INTO users VALUES ('{id}', '{id}@example.com', '{hash}')"
        );
        self.direct.run(sql).await;
    }

    /// Issues a token for a user.
    pub(crate) async fn issue(&self, reset: &PasswordReset, id: &str) -> ResetTokenCreated {
        let (hash, _) = self.direct.hash_and_resets(id).await;
        reset.issue(&StoredUser::new(id, format!("{id}@example.com"), Some(hash)), None).unwrap()
    }

    /// Returns which password a user has. Panics if it is neither, or if the rows of the reset do not agree with it.
    pub(crate) async fn password(&self, id: &str, new: &str, context: &str) -> Password {
        match self.stored(id, &[OLD_PASSWORD, new], context).await {
            OLD_PASSWORD => Password::Old,
            _ => Password::New,
        }
    }

    /// Returns which of these passwords is stored.
    pub(crate) async fn stored<'p>(&self, id: &str, passwords: &[&'p str], context: &str) -> &'p str {
        let (hash, resets) = self.direct.hash_and_resets(id).await;
        let user = StoredUser::new(id, "", Some(hash));
        let stored = passwords.iter().find(|password| verifies(&user, password));
        let stored = stored.unwrap_or_else(|| panic!("{context}: user {id} has another password"));
        if self.writes == Writes::Transaction {
            assert_eq!(resets, i64::from(*stored != OLD_PASSWORD), "{context}: rows of the reset, {stored}");
        }
        stored
    }

    /// Waits until the server has noticed the end of a connection, so that no write is under way.
    pub(crate) async fn wait_until_gone(&self, backend: i64) {
        let begun = Instant::now();
        while self.direct.serves(backend).await {
            assert!(begun.elapsed() < STEP_TIMEOUT, "the server does not notice the end of a connection");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// A password reset that reaches the database through a proxy.
pub(crate) struct Site {
    pub(crate) proxy: Proxy,
    pub(crate) reset: PasswordReset,
    pub(crate) database: Database,
    /// The process or thread of the server that serves the first connection.
    pub(crate) backend: i64,
}

impl Site {
    /// Connects, and resets the password of another user, so that the statements are prepared.
    pub(crate) async fn warm(world: &World, port: u16, connections: u32) -> Self {
        let proxy = Proxy::start(port).await;
        let database = world.direct.at_port(proxy.port, connections);
        let reset = database.password_reset(world.writes).await;
        // Several sites can warm up at once, so each port has a user of its own.
        let id = format!("warm-{}", proxy.port);
        world.prepare(&id).await;
        let event = world.issue(&reset, &id).await;
        confirm(&reset, &event, "the warm password").await.unwrap();
        let backend = database.backend().await;
        Self { proxy, reset, database, backend }
    }
}

pub(crate) async fn confirm(
    reset: &PasswordReset,
    event: &ResetTokenCreated,
    password: &str,
) -> Result<(), ResetError> {
    reset.confirm(event.token().expose(), NewPassword::new(password), Client::none()).await.map(drop)
}

/// Checks the result of a confirmation that something disturbed, and returns whether it was acknowledged.
pub(crate) fn is_acknowledged(result: &Result<(), ResetError>, context: &str) -> bool {
    match result {
        Ok(()) => true,
        Err(ResetError::Unavailable { .. }) => false,
        Err(error) => panic!("{context}: {error:?}"),
    }
}

/// Confirms again until the answer is not 503, and checks that it agrees with the password before it.
pub(crate) async fn confirm_again(
    world: &World,
    reset: &PasswordReset,
    event: &ResetTokenCreated,
    id: &str,
    new: &str,
    context: &str,
) {
    let begun = Instant::now();
    loop {
        match confirm(reset, event, new).await {
            Err(ResetError::Unavailable { .. }) => {
                assert!(begun.elapsed() < STEP_TIMEOUT, "{context}: the service does not recover");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok(()) | Err(ResetError::InvalidToken(_)) => break,
            Err(error) => panic!("{context}: second try: {error:?}"),
        }
    }
    assert_eq!(world.password(id, new, context).await, Password::New, "{context}: after the second try");
    let third = confirm(reset, event, "a third password").await;
    assert!(matches!(third, Err(ResetError::InvalidToken(_))), "{context}: the token is used: {third:?}");
}
