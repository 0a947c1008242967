//! An HTTP balancer: each request goes to the next instance, or to the other one if that refuses the connection.
//!
//! It appends the client's address in `X-Forwarded-For`, like nginx with `$proxy_add_x_forwarded_for`, and answers 502 if an
//! instance closes the connection without a complete response. It does not send a request twice.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const BAD_GATEWAY: &[u8] = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A running balancer; stopped when dropped.
pub(crate) struct Balancer {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Balancer {
    pub(crate) async fn start(instances: [SocketAddr; 2]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { address, task: tokio::spawn(serve(listener, instances)) }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, instances: [SocketAddr; 2]) {
    let next = Arc::new(AtomicUsize::new(0));
    loop {
        let (mut stream, peer) = listener.accept().await.unwrap();
        let next = next.clone();
        tokio::spawn(async move {
            let Some((head, body)) = read_message(&mut stream).await else { return };
            let first = next.fetch_add(1, Ordering::SeqCst) % 2;
            let order = [instances[first], instances[1 - first]];
            let response = forward(order, &head, &body, peer.ip()).await;
            // The client may be gone.
            let _ = stream.write_all(response.as_deref().unwrap_or(BAD_GATEWAY)).await;
        });
    }
}

/// Sends the request to the first instance that accepts a connection. Returns the response if it is complete.
async fn forward(order: [SocketAddr; 2], head: &str, body: &[u8], client: IpAddr) -> Option<Vec<u8>> {
    let mut stream = match TcpStream::connect(order[0]).await {
        Ok(stream) => stream,
        Err(_) => TcpStream::connect(order[1]).await.ok()?,
    };
    let mut request = format!("{head}X-Forwarded-For: {client}\r\n\r\n").into_bytes();
    request.extend_from_slice(body);
    stream.write_all(&request).await.ok()?;
    let (head, body) = read_message(&mut stream).await?;
    let mut response = format!("{head}\r\n").into_bytes();
    response.extend_from_slice(&body);
    Some(response)
}

/// Reads a request or a response. Returns its head without the empty line, and its body. Returns `None` if it is incomplete.
pub(crate) async fn read_message(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut received = Vec::new();
    loop {
        if let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8(received[..end + 2].to_vec()).ok()?;
            let body = &received[end + 4..];
            if body.len() >= content_length(&head) {
                return Some((head, body.to_vec()));
            }
        }
        if stream.read_buf(&mut received).await.ok()? == 0 {
            return None;
        }
    }
}

fn content_length(head: &str) -> usize {
    let headers = head.lines().filter_map(|line| line.split_once(':'));
    let length = headers.filter(|(name, _)| name.eq_ignore_ascii_case("Content-Length")).map(|(_, value)| value).next();
    length.map_or(0, |length| length.trim().parse().unwrap())
}
