//! `POST /api/login`: says whether a password is the right one. A real application would start a session here.

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
use poem_password_reset::store::{SqliteUsers, UserStore};
use poem_password_reset::throttle::{MemoryThrottle, Quota, ThrottleKey, Verdict};
use poem_password_reset::{Argon2id, BoxError, Client, PasswordHash, PasswordHasher, PasswordReset, StoredUser};
use serde_json::{Map, Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::attempts::Attempts;

/// How large a body may be.
const MAX_BODY: usize = 16 * 1024;
/// How long a client may take to send it.
const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// How often a client may try to sign in: as often as to set a new password.
pub(crate) const QUOTA: Quota = match Quota::per_minute(20) {
    Ok(quota) => quota,
    Err(_) => panic!("twenty is not zero"),
};
/// How many passwords may wait for being checked: about two seconds' worth on two cores.
const MAX_WAITING: usize = 256;

/// The endpoint.
pub(crate) struct Login {
    users: SqliteUsers,
    /// The hash of nothing in particular, checked where there is no user, so that this takes as long.
    decoy: Arc<str>,
    argon2id: Argon2id,
    /// One check a core: each takes 19 MiB.
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// Knows which proxies to believe.
    reset: PasswordReset,
    quota: Option<Quota>,
    throttle: MemoryThrottle,
    /// Failures for each address, from all clients together.
    attempts: Arc<Attempts>,
}

impl Login {
    pub(crate) fn new(
        users: SqliteUsers,
        argon2id: Argon2id,
        reset: PasswordReset,
        quota: Option<Quota>,
        attempts: Arc<Attempts>,
    ) -> Result<Self, BoxError> {
        let cores = available_parallelism().map_or(1, usize::from);
        Ok(Self {
            users,
            decoy: argon2id.hash("decoy")?.into(),
            argon2id,
            running: Arc::new(Semaphore::new(cores)),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            reset,
            quota,
            throttle: MemoryThrottle::new(),
            attempts,
        })
    }

    /// Counts a try of this client, whether or not it will succeed.
    fn count(&self, client: &Client) -> Result<(), Refused> {
        let Some(quota) = self.quota else { return Ok(()) };
        match self.throttle.count_now(&ThrottleKey::of_client("demo", "login", client.address()), quota) {
            Verdict::Within => Ok(()),
            Verdict::Over { retry_after } => {
                tracing::info!("a client tries to sign in too often");
                Err(Refused::Throttled(retry_after))
            }
        }
    }

    async fn sign_in(&self, request: Request) -> Result<(), Refused> {
        let peer = request.remote_addr().as_socket_addr().map(SocketAddr::ip);
        let client = self.reset.client(peer, request.headers());
        let Credentials { email, password } = read(request).await?;
        // Who is turned away because of others does not pay for it.
        let place = self.waiting.clone().try_acquire_owned().map_err(|_| Refused::Busy)?;
        self.count(&client)?;
        let users = self.users.find_by_email(&email).await.map_err(|error| {
            tracing::error!(%error, "the user store does not answer");
            Refused::Busy
        })?;
        // Addresses that differ in nothing but case may belong to two people: the one as typed comes first.
        let user = users.iter().find(|user| user.email() == email).or_else(|| users.first());
        self.attempts.count(&email, user.map(StoredUser::id)).map_err(|retry_after| {
            tracing::info!(user = user.map(StoredUser::id), "too many failed sign-ins for one address");
            Refused::Throttled(retry_after)
        })?;
        // One answer, after one check of a password, whatever is wrong. Who gets another, or gets it sooner, has
        // learned who has an account here.
        let hash = user.filter(|user| user.is_active()).and_then(StoredUser::password_hash);
        let matches = self.check(password, hash, place).await;
        match user.filter(|_| matches && hash.is_some()) {
            Some(user) => {
                self.attempts.clear(user.id());
                tracing::info!(user = user.id(), "signed in");
                Ok(())
            }
            None => {
                tracing::info!("sign-in refused");
                Err(Refused::Credentials)
            }
        }
    }

    /// Whether the password belongs to the hash; without one the decoy is checked.
    async fn check(&self, password: String, hash: Option<&PasswordHash>, place: OwnedSemaphorePermit) -> bool {
        let hash = hash.map_or_else(|| self.decoy.clone(), |hash| hash.expose().into());
        let permit = self.running.clone().acquire_owned().await.expect("the semaphore is never closed");
        let argon2id = self.argon2id.clone();
        let check = move || {
            // Given back when the work is done, not when the client hangs up: the thread would be busy all the same.
            let _held = (place, permit);
            argon2id.verify(&password, &hash)
        };
        match tokio::task::spawn_blocking(check).await {
            Ok(Ok(matches)) => matches,
            Ok(Err(error)) => {
                tracing::error!(%error, "a stored password hash cannot be read");
                false
            }
            Err(error) => {
                tracing::error!(%error, "checking a password failed");
                false
            }
        }
    }
}

impl Endpoint for Login {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        Ok(match self.sign_in(request).await {
            Ok(()) => answer(StatusCode::OK, &json!({ "status": "OK" })),
            Err(refused) => refused.into_response(),
        })
    }
}

/// What somebody signs in with. No `Debug`.
struct Credentials {
    email: String,
    password: String,
}

async fn read(mut request: Request) -> Result<Credentials, Refused> {
    if request.method() != Method::POST {
        return Err(Refused::Method);
    }
    let content_type = request.headers().typed_get::<ContentType>();
    let body = timeout(BODY_DEADLINE, request.take_body().into_bytes_limit(MAX_BODY)).await;
    let body = match body {
        Ok(Ok(body)) => body,
        Ok(Err(ReadBodyError::PayloadTooLarge)) => return Err(Refused::TooLarge),
        Ok(Err(_)) => return Err(Refused::NotJson),
        Err(_) => return Err(Refused::TooSlow),
    };
    // Another site's form cannot say that it sends JSON, not without asking first.
    let json = |content_type: ContentType| {
        let content_type = content_type.to_string();
        content_type.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
    };
    if !body.is_empty() && !content_type.is_some_and(json) {
        return Err(Refused::MediaType);
    }
    let body = if body.is_empty() { Ok(Value::Object(Map::new())) } else { serde_json::from_slice(&body) };
    let Ok(Value::Object(mut body)) = body else { return Err(Refused::NotJson) };

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
        return Err(Refused::Fields(errors));
    }
    Ok(Credentials { email: email.trim_ascii().to_owned(), password })
}

/// Why nobody was signed in.
enum Refused {
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

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Method => "Only POST is possible here.",
            Self::MediaType => "The body has to be application/json.",
            Self::TooLarge => "The body is too large.",
            Self::TooSlow => "The body took too long.",
            Self::NotJson => "The body is not a JSON object.",
            Self::Fields(_) => "Some fields are missing.",
            Self::Credentials => "The email address or the password is wrong, or the account cannot sign in.",
            Self::Throttled(_) => "Too many attempts. Try again later, or reset your password.",
            Self::Busy => "Too much is going on here. Try again in a moment.",
        })
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let detail = json!({ "detail": self.to_string() });
        match self {
            Self::Method => answer(StatusCode::METHOD_NOT_ALLOWED, &detail).with_header(ALLOW, "POST").into_response(),
            Self::MediaType => answer(StatusCode::UNSUPPORTED_MEDIA_TYPE, &detail),
            Self::TooLarge => answer(StatusCode::PAYLOAD_TOO_LARGE, &detail),
            Self::TooSlow => answer(StatusCode::REQUEST_TIMEOUT, &detail),
            Self::NotJson => answer(StatusCode::BAD_REQUEST, &detail),
            Self::Fields(errors) => answer(StatusCode::BAD_REQUEST, &Value::Object(errors)),
            Self::Credentials => answer(StatusCode::UNAUTHORIZED, &detail),
            Self::Throttled(after) => {
                // Rounded up, but never to more than the window.
                let seconds = (after.as_secs() + u64::from(after.subsec_nanos() > 0)).max(1);
                answer(StatusCode::TOO_MANY_REQUESTS, &detail).with_header(RETRY_AFTER, seconds).into_response()
            }
            Self::Busy => {
                answer(StatusCode::SERVICE_UNAVAILABLE, &detail).with_header(RETRY_AFTER, "2").into_response()
            }
        }
    }
}

fn answer(status: StatusCode, body: &Value) -> Response {
    let mut response = body.to_string().into_response();
    response.set_status(status);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use poem_password_reset::SigningKey;

    use super::*;

    async fn login() -> Login {
        let users = SqliteUsers::new(crate::database::open("sqlite::memory:", &Argon2id::default()).await.unwrap());
        let reset = PasswordReset::builder(users.clone(), SigningKey::generate().unwrap())
            .link("https://example.com/#{token}")
            .linked_handlers(false)
            .on_reset_token_created(async |_| {})
            .build()
            .await;
        Login::new(users, Argon2id::default(), reset.unwrap(), Some(QUOTA), Arc::new(Attempts::new(true))).unwrap()
    }

    async fn status(login: &Login, email: &str) -> u16 {
        let body = json!({ "email": email, "password": "wrong" }).to_string();
        let request = Request::builder().method(Method::POST).header(CONTENT_TYPE, "application/json").body(body);
        login.call(request).await.unwrap().status().as_u16()
    }

    #[test]
    fn retry_after_is_rounded_up_and_not_longer_than_the_window() {
        for (milliseconds, seconds) in [(0, "1"), (1, "1"), (1_000, "1"), (59_001, "60"), (60_000, "60")] {
            let response = Refused::Throttled(Duration::from_millis(milliseconds)).into_response();
            assert_eq!(response.header("Retry-After"), Some(seconds), "{milliseconds} ms");
        }
    }

    #[tokio::test]
    async fn the_waiting_line_is_bounded_and_who_is_turned_away_pays_nothing() {
        let login = login().await;
        let others = login.waiting.clone().acquire_many_owned(MAX_WAITING as u32).await.unwrap();
        for _ in 0..30 {
            assert_eq!(status(&login, "ann@example.com").await, 503);
        }
        drop(others);
        for count in 0..20 {
            assert_eq!(status(&login, &format!("{count}@example.com")).await, 401);
        }
        assert_eq!(status(&login, "20@example.com").await, 429);
        assert_eq!(login.waiting.available_permits(), MAX_WAITING, "every place is given back");
    }
}
