//! A client with a loopback address of its own, so that each client has its own quota.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;
use tokio::time::{sleep, timeout};

use crate::balancer::read_message;
use crate::process::{STEP_TIMEOUT, head};

/// The pause before a request without a response is sent again.
const PAUSE: Duration = Duration::from_millis(100);

/// A client that sends from this address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client(pub(crate) Ipv4Addr);

impl Client {
    /// Posts JSON and returns the status. Returns 502 if the connection ends without a response.
    pub(crate) async fn post(self, to: SocketAddr, path: &str, body: &Value) -> u16 {
        self.post_with(to, path, &[], body).await
    }

    pub(crate) async fn post_with(self, to: SocketAddr, path: &str, headers: &[&str], body: &Value) -> u16 {
        let exchange = self.exchange(to, path, headers, body);
        timeout(STEP_TIMEOUT, exchange).await.expect("the server responds in time").unwrap_or(502)
    }

    async fn exchange(self, to: SocketAddr, path: &str, headers: &[&str], body: &Value) -> Option<u16> {
        let body = body.to_string();
        let headers: Vec<&str> = headers.iter().copied().chain(["Content-Type: application/json"]).collect();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((self.0, 0).into()).expect("the address is one of the loopback interface");
        let mut stream = socket.connect(to).await.ok()?;
        let request = head(to, "POST", path, &headers, body.len()) + &body;
        stream.write_all(request.as_bytes()).await.ok()?;
        let (head, _) = read_message(&mut stream).await?;
        head.split(' ').nth(1)?.parse().ok()
    }

    pub(crate) async fn request(self, to: SocketAddr, email: &str) -> u16 {
        self.post(to, "/api/password_reset/", &json!({ "email": email })).await
    }

    pub(crate) async fn validate(self, to: SocketAddr, token: &str) -> u16 {
        self.post(to, "/api/password_reset/validate_token/", &json!({ "token": token })).await
    }

    pub(crate) async fn confirm(self, to: SocketAddr, token: &str, password: &str) -> u16 {
        self.post(to, "/api/password_reset/confirm/", &json!({ "token": token, "password": password })).await
    }

    pub(crate) async fn login(self, to: SocketAddr, email: &str, password: &str) -> u16 {
        self.post(to, "/api/login", &json!({ "email": email, "password": password })).await
    }
}

/// Repeats a request until the response is not 502. Returns the status and the number of repetitions.
pub(crate) async fn until_answered<F: Future<Output = u16>>(mut send: impl FnMut() -> F) -> (u16, usize) {
    for repeated in 0..200 {
        match send().await {
            502 => sleep(PAUSE).await,
            status => return (status, repeated),
        }
    }
    panic!("no instance answers");
}
