//! An HTTP client over a raw socket, which can send malformed requests.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::STEP_TIMEOUT;
use super::reply::Reply;

/// A raw TCP connection.
pub struct Socket(TcpStream);

impl Socket {
    pub async fn open(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Sends the bytes. Returns whether the server accepted all of them.
    pub async fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).await.is_ok()
    }

    pub async fn reply(&mut self, method: &str) -> Reply {
        timeout(STEP_TIMEOUT, self.read_reply(method)).await.expect("a response before the timeout")
    }

    /// Reads one response. Its length is the `Content-Length`.
    async fn read_reply(&mut self, method: &str) -> Reply {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.expect("a response"));
        }
        let head = String::from_utf8(head).unwrap();
        let (status, lines) = head.trim_end().split_once("\r\n").expect("a status line and headers");
        let status = status.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).expect("a status");
        let headers = lines.split("\r\n").map(|line| {
            let (name, value) = line.split_once(": ").expect("a header");
            (name.to_ascii_lowercase(), value.to_owned())
        });
        let length = headers
            .clone()
            .find(|(name, _)| name == "content-length")
            .map_or(0, |(_, length)| length.parse().expect("a length"));
        let mut body = vec![0; if method == "HEAD" { 0 } else { length }];
        self.0.read_exact(&mut body).await.unwrap();
        Reply::new(status, headers, body)
    }

    /// Returns whether the server closed the connection without sending more.
    pub async fn is_closed(&mut self) -> bool {
        // A connection reset counts as closed.
        matches!(timeout(STEP_TIMEOUT, self.0.read(&mut [0])).await, Ok(Ok(0) | Err(_)))
    }
}
