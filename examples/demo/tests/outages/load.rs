//! Clients that request resets, sign in, and check tokens until they are stopped.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;

use crate::process::{Demo, PASSWORD, Response, send};

/// The pause of a client between two requests.
const PAUSE: Duration = Duration::from_millis(40);

/// The clients that request resets.
const CLIENTS: usize = 3;

/// A token that was never issued.
pub(crate) const FORGED: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The number of responses by kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) accepted: usize,
    pub(crate) unavailable: usize,
}

/// The results of all clients.
pub(crate) struct Load {
    demo: SocketAddr,
    next: AtomicUsize,
    accepted: Mutex<Vec<String>>,
    unavailable: AtomicUsize,
    is_over: AtomicBool,
}

impl Load {
    pub(crate) fn new(demo: &Demo) -> Self {
        Self {
            demo: demo.address,
            next: AtomicUsize::new(0),
            accepted: Mutex::default(),
            unavailable: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        }
    }

    /// Starts the clients.
    pub(crate) fn start(self: &Arc<Self>) -> Vec<JoinHandle<()>> {
        let spawn = |client: fn(&Self)| {
            let load = Arc::clone(self);
            thread::spawn(move || {
                while !load.is_over.load(Ordering::SeqCst) {
                    client(&load);
                    thread::sleep(PAUSE);
                }
            })
        };
        let clients = (0..CLIENTS).map(|_| spawn(Self::request as fn(&Self)));
        clients.chain([spawn(Self::sign_in), spawn(Self::check_token)]).collect()
    }

    pub(crate) fn stop(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    /// Returns the addresses of users whose request was accepted.
    pub(crate) fn accepted(&self) -> Vec<String> {
        self.accepted.lock().unwrap().clone()
    }

    pub(crate) fn counts(&self) -> Counts {
        let unavailable = self.unavailable.load(Ordering::SeqCst);
        Counts { accepted: self.accepted.lock().unwrap().len(), unavailable }
    }

    /// Requests a reset for the next user, or for an unknown address after every third user.
    fn request(&self) {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let is_user = number % 4 != 3;
        let email = format!("{}{number}@example.com", if is_user { "user" } else { "nobody" });
        let response = self.post("/api/password_reset/", &json!({ "email": email }), &[200]);
        if is_user && response.status == 200 {
            self.accepted.lock().unwrap().push(email);
        }
    }

    fn sign_in(&self) {
        self.post("/api/login", &json!({ "email": "ann@example.com", "password": PASSWORD }), &[200]);
    }

    fn check_token(&self) {
        self.post("/api/password_reset/validate_token/", &json!({ "token": FORGED }), &[404]);
        self.confirm(FORGED, &[404]);
    }

    /// Confirms with a token and returns the status: one of `expected`, or 503.
    pub(crate) fn confirm(&self, token: &str, expected: &[u16]) -> u16 {
        let body = json!({ "token": token, "password": "seven lazy otters paint the barn" });
        self.post("/api/password_reset/confirm/", &body, expected).status
    }

    /// Sends a request. Panics unless the response is one of `expected`, or 503 with `Retry-After`.
    fn post(&self, path: &str, body: &Value, expected: &[u16]) -> Response {
        let response = send(self.demo, "POST", path, &["Content-Type: application/json"], &body.to_string());
        if response.status == 503 {
            let seconds = response.header("Retry-After").and_then(|seconds| seconds.parse::<u32>().ok());
            assert!(seconds.is_some_and(|seconds| seconds > 0), "{response:?}");
            self.unavailable.fetch_add(1, Ordering::SeqCst);
        } else {
            assert!(expected.contains(&response.status), "{path}: {response:?}");
        }
        response
    }
}

/// Adds users with the password of a sample user.
pub(crate) async fn add_users(pool: &PgPool, count: i32) {
    sqlx::query(
        "INSERT INTO users (id, email, active, password_hash)
         SELECT 'u' || n, 'user' || n || '@example.com', true, (SELECT password_hash FROM users WHERE id = '1')
         FROM generate_series(0, $1 - 1) n",
    )
    .bind(count)
    .execute(pool)
    .await
    .unwrap();
}
