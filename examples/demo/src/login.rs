//! `POST /api/login` checks a password. A real application would start a session here.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use poem::error::ReadBodyError;
use poem::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use poem::http::{HeaderValue, Method, StatusCode};
use poem::web::headers::{ContentType, HeaderMapExt};
use poem::{Endpoint, IntoResponse, Request, Response};
use poem_password_reset::store::UserStore;
use poem_password_reset::throttle::{MemoryThrottle, Quota, RedisThrottle, Throttle as _, ThrottleKey, Verdict};
use poem_password_reset::{Argon2id, BoxError, Client, PasswordHash, PasswordHasher, PasswordReset, StoredUser};
use serde_json::{Map, Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::attempts::Attempts;
use crate::database::Users;

/// Maximum size of a body, in bytes.
const MAX_BODY: usize = 16 * 1024;
/// Timeout for receiving a body.
const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// Sign-ins per client: the same quota as for confirmations.
pub(crate) const QUOTA: Quota = match Quota::per_minute(20) {
    Ok(quota) => quota,
    Err(_) => panic!("20 is a valid quota"),
};
/// Maximum number of queued password checks: about two seconds of work on two cores.
const MAX_QUEUED: usize = 256;

/// The endpoint.
pub(crate) struct Login {
    users: Users,
    /// A hash that is checked if there is no user, so that the response takes as long as for a user.
    decoy: Arc<str>,
    argon2id: Argon2id,
    /// Permits for running checks, one per core: each check needs 19 MiB.
    running: Arc<Semaphore>,
    /// Permits for queued and running checks.
    queued: Arc<Semaphore>,
    /// Determines the client's address, with the configured trusted proxies.
    reset: PasswordReset,
    quota: Option<Quota>,
    /// Counts for all instances together, if `--throttle` names a server.
    shared: Option<RedisThrottle>,
    /// Counts otherwise, and while the server fails.
    memory: MemoryThrottle,
    /// Failed sign-ins per address, from all clients together.
    attempts: Arc<Attempts>,
}

impl Login {
    pub(crate) fn new(
        users: Users,
        argon2id: Argon2id,
        reset: PasswordReset,
        quota: Option<Quota>,
        shared: Option<RedisThrottle>,
        attempts: Arc<Attempts>,
    ) -> Result<Self, BoxError> {
        let cores = available_parallelism().map_or(1, usize::from);
        Ok(Self {
            users,
            decoy: argon2id.hash("decoy")?.into(),
            argon2id,
            running: Arc::new(Semaphore::new(cores)),
            queued: Arc::new(Semaphore::new(MAX_QUEUED)),
            reset,
            quota,
            shared,
            memory: MemoryThrottle::new(),
            attempts,
        })
    }

    /// Counts an attempt of this client, successful or not.
    async fn count(&self, client: &Client) -> Result<(), Rejected> {
        let Some(quota) = self.quota else { return Ok(()) };
        let key = ThrottleKey::of_client("demo", "login", client.address());
        let shared = match &self.shared {
            Some(shared) => shared.count(&key, quota).await.ok(),
            None => None,
        };
        match shared.unwrap_or_else(|| self.memory.count_now(&key, quota)) {
            Verdict::Within => Ok(()),
            Verdict::Over { retry_after } => {
                tracing::info!("a client has reached its sign-in quota");
                Err(Rejected::Throttled(retry_after))
            }
        }
    }

    async fn sign_in(&self, request: Request) -> Result<(), Rejected> {
        let peer = request.remote_addr().as_socket_addr().map(SocketAddr::ip);
        let client = self.reset.client(peer, request.headers());
        let Credentials { email, password } = read(request).await?;
        // An attempt that a full queue rejects does not count.
        let queued = self.queued.clone().try_acquire_owned().map_err(|_| Rejected::Busy)?;
        self.count(&client).await?;
        let users = self.users.find_by_email(&email).await.map_err(|error| {
            tracing::error!(%error, "the user store failed");
            Rejected::Busy
        })?;
        // Addresses that differ only in case may belong to two people, so an exact match wins.
        let user = users.iter().find(|user| user.email() == email).or_else(|| users.first());
        self.attempts.count(&email, user.map(StoredUser::id)).map_err(|retry_after| {
            tracing::info!(user = user.map(StoredUser::id), "too many failed sign-ins for one address");
            Rejected::Throttled(retry_after)
        })?;
        // Every failure gets the same response after one password check. A different or faster response would reveal who
        // has an account.
        let hash = user.filter(|user| user.is_active()).and_then(StoredUser::password_hash);
        let matches = self.check(password, hash, queued).await;
        match user.filter(|_| matches && hash.is_some()) {
            Some(user) => {
                self.attempts.clear(user.id());
                tracing::info!(user = user.id(), "signed in");
                Ok(())
            }
            None => {
                tracing::info!("sign-in rejected");
                Err(Rejected::Credentials)
            }
        }
    }

    /// Checks the password against the hash, or against the decoy if there is none.
    async fn check(&self, password: String, hash: Option<&PasswordHash>, queued: OwnedSemaphorePermit) -> bool {
        let hash = hash.map_or_else(|| self.decoy.clone(), |hash| hash.expose().into());
        let running = self.running.clone().acquire_owned().await.expect("the semaphore is never closed");
        let argon2id = self.argon2id.clone();
        let check = move || {
            // The permits are released after the check, not when the client disconnects: the check occupies its thread.
            let _permits = (queued, running);
            argon2id.verify(&password, &hash)
        };
        match tokio::task::spawn_blocking(check).await {
            Ok(Ok(matches)) => matches,
            Ok(Err(error)) => {
                tracing::error!(%error, "a stored password hash is not valid");
                false
            }
            Err(error) => {
                tracing::error!(%error, "the password check panicked");
                false
            }
        }
    }
}

impl Endpoint for Login {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        Ok(match self.sign_in(request).await {
            Ok(()) => respond(StatusCode::OK, &json!({ "status": "OK" })),
            Err(rejected) => rejected.into_response(),
        })
    }
}

/// An email address and a password. No `Debug`.
struct Credentials {
    email: String,
    password: String,
}

async fn read(mut request: Request) -> Result<Credentials, Rejected> {
    if request.method() != Method::POST {
        return Err(Rejected::Method);
    }
    let content_type = request.headers().typed_get::<ContentType>();
    let body = timeout(BODY_DEADLINE, request.take_body().into_bytes_limit(MAX_BODY)).await;
    let body = match body {
        Ok(Ok(body)) => body,
        Ok(Err(ReadBodyError::PayloadTooLarge)) => return Err(Rejected::TooLarge),
        Ok(Err(_)) => return Err(Rejected::NotJson),
        Err(_) => return Err(Rejected::TooSlow),
    };
    // Forms of other sites cannot send JSON: the browser would send a CORS preflight first.
    let json = |content_type: ContentType| {
        let content_type = content_type.to_string();
        content_type.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
    };
    if !body.is_empty() && !content_type.is_some_and(json) {
        return Err(Rejected::MediaType);
    }
    let body = if body.is_empty() { Ok(Value::Object(Map::new())) } else { serde_json::from_slice(&body) };
    let Ok(Value::Object(mut body)) = body else { return Err(Rejected::NotJson) };

    let mut errors = Map::new();
    let mut field = |name: &str| match body.remove(name) {
        Some(Value::String(text)) if !text.trim().is_empty() => text,
        other => {
            let error = match other {
                None => "This field is missing.",
                Some(Value::Null) => "This must not be null.",
                Some(Value::String(_)) => "This must not be blank.",
                Some(_) => "This must be text.",
            };
            errors.insert(name.to_owned(), json!([error]));
            String::new()
        }
    };
    let (email, password) = (field("email"), field("password"));
    if !errors.is_empty() {
        return Err(Rejected::Fields(errors));
    }
    Ok(Credentials { email: email.trim_ascii().to_owned(), password })
}

/// Why a sign-in failed.
enum Rejected {
    Method,
    MediaType,
    TooLarge,
    TooSlow,
    NotJson,
    Fields(Map<String, Value>),
    Credentials,
    Throttled(Duration),
    Busy,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Method => "Use POST to sign in.",
            Self::MediaType => "The content type must be application/json.",
            Self::TooLarge => "The body is too large.",
            Self::TooSlow => "The body took too long to arrive.",
            Self::NotJson => "The body is not a JSON object.",
            Self::Fields(_) => "Some fields are missing.",
            Self::Credentials => "The email address or password is wrong.",
            Self::Throttled(_) => "Too many attempts. Try again later, or reset your password.",
            Self::Busy => "The server is busy. Try again in a moment.",
        })
    }
}

impl IntoResponse for Rejected {
    fn into_response(self) -> Response {
        let detail = json!({ "detail": self.to_string() });
        match self {
            Self::Method => respond(StatusCode::METHOD_NOT_ALLOWED, &detail).with_header(ALLOW, "POST").into_response(),
            Self::MediaType => respond(StatusCode::UNSUPPORTED_MEDIA_TYPE, &detail),
            Self::TooLarge => respond(StatusCode::PAYLOAD_TOO_LARGE, &detail),
            Self::TooSlow => respond(StatusCode::REQUEST_TIMEOUT, &detail),
            Self::NotJson => respond(StatusCode::BAD_REQUEST, &detail),
            Self::Fields(errors) => respond(StatusCode::BAD_REQUEST, &Value::Object(errors)),
            Self::Credentials => respond(StatusCode::UNAUTHORIZED, &detail),
            Self::Throttled(after) => {
                // Rounds up, so that a retry after this time is not too early.
                let seconds = (after.as_secs() + u64::from(after.subsec_nanos() > 0)).max(1);
                respond(StatusCode::TOO_MANY_REQUESTS, &detail).with_header(RETRY_AFTER, seconds).into_response()
            }
            Self::Busy => {
                respond(StatusCode::SERVICE_UNAVAILABLE, &detail).with_header(RETRY_AFTER, "2").into_response()
            }
        }
    }
}

fn respond(status: StatusCode, body: &Value) -> Response {
    let mut response = body.to_string().into_response();
    response.set_status(status);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use poem_password_reset::SigningKey;

    use super::*;
    use crate::database::Database;

    async fn login() -> Login {
        let database = Database::open("sqlite::memory:", &Argon2id::default()).await.unwrap();
        let users = database.users();
        let reset = PasswordReset::builder(users.clone(), SigningKey::generate().unwrap())
            .link("https://example.com/#{token}")
            .linked_handlers(false)
            .on_reset_token_created(async |_| {})
            .build()
            .await;
        Login::new(users, Argon2id::default(), reset.unwrap(), Some(QUOTA), None, Arc::new(Attempts::new(true)))
            .unwrap()
    }

    async fn status(login: &Login, email: &str) -> u16 {
        let body = json!({ "email": email, "password": "wrong" }).to_string();
        let request = Request::builder().method(Method::POST).header(CONTENT_TYPE, "application/json").body(body);
        login.call(request).await.unwrap().status().as_u16()
    }

    #[test]
    fn retry_after_is_rounded_up_to_seconds() {
        for (milliseconds, seconds) in [(0, "1"), (1, "1"), (1_000, "1"), (59_001, "60"), (60_000, "60")] {
            let response = Rejected::Throttled(Duration::from_millis(milliseconds)).into_response();
            assert_eq!(response.header("Retry-After"), Some(seconds), "{milliseconds} ms");
        }
    }

    #[tokio::test]
    async fn full_queue_rejects_sign_ins_without_counting_them() {
        let login = login().await;
        let others = login.queued.clone().acquire_many_owned(MAX_QUEUED as u32).await.unwrap();
        for _ in 0..30 {
            assert_eq!(status(&login, "ann@example.com").await, 503);
        }
        drop(others);
        for count in 0..20 {
            assert_eq!(status(&login, &format!("{count}@example.com")).await, 401);
        }
        assert_eq!(status(&login, "20@example.com").await, 429);
        assert_eq!(login.queued.available_permits(), MAX_QUEUED, "every permit is released");
    }
}
