//! A minimal HTTP client: it sends prepared requests and reads responses of a fixed length.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::server::MOUNT;

/// Returns a POST request with a JSON body.
pub fn post(path: &str, json: &str) -> Vec<u8> {
    let length = json.len();
    format!(
        "POST {MOUNT}{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{json}"
    )
    .into_bytes()
}

/// A keep-alive connection.
pub struct Connection {
    stream: TcpStream,
    /// Buffer for a response. All responses of an endpoint have the length of the first one.
    response: Vec<u8>,
}

impl Connection {
    /// Connects from a client address of its own, so that each connection has its own quota.
    pub async fn open(server: SocketAddr, number: usize) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Other systems than Linux have only the first address of the loopback network.
        if cfg!(target_os = "linux") {
            let [.., high, low] = (number as u32).to_be_bytes();
            socket.bind((Ipv4Addr::new(127, 1, high, low), 0).into()).unwrap();
        }
        let stream = socket.connect(server).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, response: Vec::new() }
    }

    /// Sends a request and waits for its response.
    ///
    /// # Panics
    /// If the status is not 200 or the connection closes.
    pub async fn send(&mut self, request: &[u8]) {
        self.stream.write_all(request).await.unwrap();
        if self.response.is_empty() {
            self.read_first_response().await;
        } else {
            // Checks the status before it waits for the rest: an error response may be shorter than the buffer.
            let read = self.stream.read(&mut self.response).await.unwrap();
            assert_is_ok(&self.response[..read]);
            self.stream.read_exact(&mut self.response[read..]).await.unwrap();
        }
    }

    async fn read_first_response(&mut self) {
        while !self.response.ends_with(b"}") {
            let read = self.stream.read_buf(&mut self.response).await.unwrap();
            assert!(read > 0, "the server closed the connection");
        }
        assert_is_ok(&self.response);
    }
}

fn assert_is_ok(response: &[u8]) {
    assert!(response.starts_with(b"HTTP/1.1 200 "), "expected 200, got: {}", String::from_utf8_lossy(response));
}

/// Connections that repeat their request as fast as the server answers.
pub struct Load(Vec<(Connection, Vec<u8>)>);

impl Load {
    /// Opens one connection per request.
    pub async fn open(server: SocketAddr, requests: Vec<Vec<u8>>) -> Self {
        let mut connections = Vec::new();
        for (number, request) in requests.into_iter().enumerate() {
            connections.push((Connection::open(server, number).await, request));
        }
        Self(connections)
    }

    /// Sends requests for `duration`. Returns the number of responses.
    ///
    /// # Panics
    /// If a response does not arrive within 30 seconds.
    pub async fn run(&mut self, duration: Duration) -> u32 {
        const LIMIT: Duration = Duration::from_secs(30);
        let tasks: Vec<_> = self.0.drain(..).map(|connection| tokio::spawn(repeat(connection, duration))).collect();
        let mut responses = 0;
        for task in tasks {
            // One timer per run, not per request: it would cost as much processor time as a part of the endpoint.
            let finished = timeout(duration + LIMIT, task).await;
            let (connection, count) = finished.expect("each response arrives within 30 seconds").unwrap();
            self.0.push(connection);
            responses += count;
        }
        responses
    }
}

async fn repeat((mut connection, request): (Connection, Vec<u8>), duration: Duration) -> ((Connection, Vec<u8>), u32) {
    let started = Instant::now();
    let mut responses = 0;
    while started.elapsed() < duration {
        connection.send(&request).await;
        responses += 1;
    }
    ((connection, request), responses)
}
