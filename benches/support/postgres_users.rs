//! `POST /validate_token/` with users in PostgreSQL, against a bare endpoint that runs the same `SELECT` on the same pool.

use std::time::Duration;

use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use poem_password_reset::store::PostgresUsers;
use poem_password_reset::throttle::{Quota, Quotas};
use poem_password_reset::{PasswordReset, SigningKey, StoredUser};
use sqlx::PgPool;
use tokio::runtime::Runtime;

use super::http::{Effort, compare};
use super::interleave::Comparison;
use super::load::post;
use super::server::{StatusBody, bare_with, ok};
use super::tokens::{MASTER_KEY, sample_user};

/// The number of clients, each with a user of its own.
const CLIENTS: i64 = 64;

/// The statement of the store.
const SELECT: &str = "SELECT id, email, username, active, password_hash FROM users WHERE id = $1";

/// Compares the responses per second of processor time, that of PostgreSQL not included.
pub fn throughput(runtime: &Runtime, pool: &PgPool, effort: Effort) -> Comparison {
    runtime.block_on(fill(pool));
    Comparison::of_sessions(effort.sessions, || {
        let reset = runtime.block_on(service(pool));
        let requests = (1..=CLIENTS).map(|id| post("/validate_token", &body(&reset, id))).collect();
        compare(runtime, &reset, bare_with(Bare(pool.clone())), requests, effort)
    })
}

async fn fill(pool: &PgPool) {
    sqlx::raw_sql(
        "CREATE TABLE users (
             id bigint PRIMARY KEY, email text NOT NULL, username text, active boolean NOT NULL, password_hash text
         );
         CREATE INDEX users_email ON users (lower(email))",
    )
    .execute(pool)
    .await
    .expect("the table can be created");
    let sql =
        "INSERT INTO users SELECT n, 'user-' || n || '@example.com', NULL, true, $1 FROM generate_series(1, 10000) n";
    sqlx::query(sql).bind(hash()).execute(pool).await.expect("the users can be inserted");
}

fn hash() -> String {
    sample_user().password_hash().map(|hash| hash.expose().to_owned()).unwrap_or_default()
}

async fn service(pool: &PgPool) -> PasswordReset {
    let quota = Quota::per(u16::MAX, Duration::from_secs(1)).expect("a window of one second is valid");
    PasswordReset::builder(PostgresUsers::new(pool.clone()), SigningKey::from_bytes(MASTER_KEY).unwrap())
        .link("https://app.example.com/reset-password#token={token}")
        .linked_handlers(false)
        .quotas(Quotas::default().validate_per_client(quota))
        .on_reset_token_created(async |_| {})
        .build()
        .await
        .expect("the settings are complete")
}

fn body(reset: &PasswordReset, id: i64) -> String {
    let user = StoredUser::new(id, format!("user-{id}@example.com"), Some(hash()));
    let event = reset.issue(&user, None).expect("the user may reset");
    // The number is for the bare endpoint, which cannot read it from the token.
    format!(r#"{{"token":"{}","id":{id}}}"#, event.token().expose())
}

#[derive(Object)]
struct Token {
    token: String,
    id: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    email: String,
    username: Option<String>,
    active: bool,
    password_hash: Option<String>,
}

struct Bare(PgPool);

#[OpenApi]
impl Bare {
    #[oai(path = "/validate_token", method = "post")]
    async fn validate(&self, body: Json<Token>) -> Json<StatusBody> {
        let row: Row = sqlx::query_as(SELECT).bind(body.id).fetch_one(&self.0).await.expect("the user exists");
        assert!(row.id == body.id && row.active && row.username.is_none() && row.password_hash.is_some());
        drop(row.email);
        ok(&body.token)
    }
}
