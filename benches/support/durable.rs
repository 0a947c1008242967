//! `POST /` with a durable queue in PostgreSQL, against a bare endpoint that inserts a row of the same size on the same pool.

use std::time::{Duration, Instant};

use poem_openapi::OpenApi;
use poem_openapi::payload::Json;
use poem_password_reset::delivery::GraphileDelivery;
use sqlx::PgPool;
use tokio::runtime::Runtime;

use super::http::{Effort, known_requests, known_users};
use super::interleave::{Comparison, interleave};
use super::load::Load;
use super::server::{self, Email, StatusBody, bare_with, ok};
use super::users::builder;

/// The length of a job's JSON, in bytes.
const ROW: usize = 780;

/// Compares the responses per second. Elapsed time, because most of the work is that of PostgreSQL.
///
/// No worker runs: the row is about the request. Both tables are emptied before each session, so that they stay of one size.
pub fn throughput(runtime: &Runtime, pool: &PgPool, effort: Effort) -> Comparison {
    Comparison::of_sessions(effort.sessions, || {
        let (mut ours, mut bare) = runtime.block_on(async {
            let queue = GraphileDelivery::new(pool.clone()).workers_elsewhere();
            let builder = builder(&known_users()).on_reset_token_created(async |_| {}).delivery(queue);
            let ours = server::ours(builder.build().await.expect("the settings are complete"));
            sqlx::raw_sql(
                "CREATE TABLE IF NOT EXISTS bare (id bigserial PRIMARY KEY, payload json NOT NULL);
                 TRUNCATE bare, password_reset_queue._private_jobs CASCADE",
            )
            .execute(pool)
            .await
            .expect("the tables can be emptied");
            let bare = bare_with(Bare(pool.clone()));
            let (ours, bare) = (server::serve(ours).await, server::serve(bare).await);
            (Load::open(ours, known_requests()).await, Load::open(bare, known_requests()).await)
        });
        runtime.block_on(async { (rate(&mut ours, effort.sample).await, rate(&mut bare, effort.sample).await) });
        interleave(
            effort.samples,
            || runtime.block_on(rate(&mut ours, effort.sample)),
            || runtime.block_on(rate(&mut bare, effort.sample)),
        )
    })
}

async fn rate(load: &mut Load, duration: Duration) -> f64 {
    let started = Instant::now();
    f64::from(load.run(duration).await) / started.elapsed().as_secs_f64()
}

struct Bare(PgPool);

#[OpenApi]
impl Bare {
    #[oai(path = "/", method = "post")]
    async fn request(&self, body: Json<Email>) -> Json<StatusBody> {
        let payload = format!("{{\"email\":\"{:1$}\"}}", body.email, ROW - 12);
        let inserted = sqlx::query("INSERT INTO bare (payload) VALUES ($1::json)").bind(payload).execute(&self.0).await;
        inserted.expect("the server answers");
        ok(&body.email)
    }
}
