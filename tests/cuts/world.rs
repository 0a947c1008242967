//! Users in PostgreSQL, a password reset that reaches them through a proxy, and the checks of a history.

use std::time::{Duration, Instant};

use poem_password_reset::store::PostgresUsers;
use poem_password_reset::{
    Client, NewPassword, PasswordPolicy, PasswordReset, ResetError, ResetTokenCreated, Strength, UserStore as _,
};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use crate::doubles::{builder, cheap_hash, no_mail, verifies};
use crate::proxy::Proxy;

/// Time limit for each wait. Long, because machines that run tests are busy.
pub(crate) const STEP_TIMEOUT: Duration = Duration::from_secs(120);

pub(crate) const OLD_PASSWORD: &str = "the old password";

/// Statements for a table of users, and a table with a row for each reset.
pub(crate) const TABLES: &str = "CREATE TABLE users (id text PRIMARY KEY, email text NOT NULL, password_hash text); \
    CREATE TABLE resets (user_id text)";

/// Whether the writes of a reset are one statement, or a transaction with several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    OneStatement,
    Transaction,
}

/// A store over a pool, whose resets add a row to a second table if they are a transaction.
pub(crate) fn store(pool: PgPool, writes: Writes) -> PostgresUsers {
    let users = PostgresUsers::new(pool).username_column(None).active_column(None);
    match writes {
        Writes::OneStatement => users,
        Writes::Transaction => users.also_on_reset("INSERT INTO resets VALUES ({id})"),
    }
}

/// A password reset over a store, with a cheap hasher. It starts without a check.
pub(crate) async fn password_reset(users: PostgresUsers) -> PasswordReset {
    let policy = PasswordPolicy::default().strength(Strength::Any).allow_similar(true);
    let builder = builder(users).policy(policy).on_reset_token_created(no_mail);
    builder.check_at_start(false).build().await.unwrap()
}

/// The password of a user, as the database has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Password {
    Old,
    New,
}

/// The users, read without a proxy.
pub(crate) struct World {
    pub(crate) direct: PgPool,
    pub(crate) writes: Writes,
}

impl World {
    /// Gives a user the old password.
    pub(crate) async fn prepare(&self, id: &str) {
        let hash = cheap_hash(OLD_PASSWORD).unwrap();
        sqlx::query("INSERT INTO users VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET password_hash = $3")
            .bind(id)
            .bind(format!("{id}@example.com"))
            .bind(hash)
            .execute(&self.direct)
            .await
            .unwrap();
        sqlx::query("DELETE FROM resets WHERE user_id = $1").bind(id).execute(&self.direct).await.unwrap();
    }

    /// Issues a token for a user.
    pub(crate) async fn issue(&self, reset: &PasswordReset, id: &str) -> ResetTokenCreated {
        let user = store(self.direct.clone(), self.writes).find_by_id(id).await.unwrap().unwrap();
        reset.issue(&user, None).unwrap()
    }

    /// Returns which password a user has. Panics if it is neither, or if the rows of the reset do not agree with it.
    pub(crate) async fn password(&self, id: &str, new: &str, context: &str) -> Password {
        // One snapshot, so that both are of one moment.
        let sql = "SELECT (SELECT count(*) FROM resets WHERE user_id = $1)";
        let mut transaction = self.direct.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
        let resets: i64 = sqlx::query_scalar(sql).bind(id).fetch_one(&mut *transaction).await.unwrap();
        let hash: String = sqlx::query_scalar("SELECT password_hash FROM users WHERE id = $1")
            .bind(id)
            .fetch_one(&mut *transaction)
            .await
            .unwrap();
        let user = poem_password_reset::StoredUser::new(id, "", Some(hash));
        let password = match (verifies(&user, OLD_PASSWORD), verifies(&user, new)) {
            (true, false) => Password::Old,
            (false, true) => Password::New,
            _ => panic!("{context}: user {id} has neither the old nor the new password"),
        };
        if self.writes == Writes::Transaction {
            assert_eq!(
                resets == 1,
                password == Password::New,
                "{context}: {password:?} and {resets} rows of the reset"
            );
        }
        password
    }

    /// Waits until no connection of this application is left, so that no write is under way.
    pub(crate) async fn wait_until_gone(&self, backend: i32) {
        let begun = Instant::now();
        let sql = "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE pid = $1)";
        while sqlx::query_scalar(sql).bind(backend).fetch_one(&self.direct).await.unwrap() {
            assert!(begun.elapsed() < STEP_TIMEOUT, "the server does not notice the end of a connection");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// A password reset that reaches the database through a proxy, with one connection.
pub(crate) struct Site {
    pub(crate) proxy: Proxy,
    pub(crate) reset: PasswordReset,
    pub(crate) pool: PgPool,
    /// The process of the server that serves the first connection.
    pub(crate) backend: i32,
}

impl Site {
    /// Connects, and resets the password of another user, so that the statements are prepared.
    pub(crate) async fn warm(world: &World, port: u16, connections: u32) -> Self {
        let proxy = Proxy::start(port).await;
        let options = (*world.direct.connect_options()).clone().port(proxy.port);
        let pool = PgPoolOptions::new().max_connections(connections).connect_with(options).await.unwrap();
        let reset = password_reset(store(pool.clone(), world.writes)).await;
        // Several sites can warm up at once, so each port has a user of its own.
        let id = format!("warm-{}", proxy.port);
        world.prepare(&id).await;
        let event = world.issue(&reset, &id).await;
        confirm(&reset, &event, "the warm password").await.unwrap();
        let backend = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&pool).await.unwrap();
        Self { proxy, reset, pool, backend }
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

/// Returns the connection options for the same database on another port.
pub(crate) fn at_port(pool: &PgPool, port: u16) -> PgConnectOptions {
    (*pool.connect_options()).clone().port(port)
}
