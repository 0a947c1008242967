//! The cheapest client there is: it writes bytes that it was given, and reads as many as an answer has.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::server::MOUNT;

/// A POST of some JSON to an endpoint.
pub fn post(path: &str, json: &str) -> Vec<u8> {
    let length = json.len();
    format!(
        "POST {MOUNT}{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{json}"
    )
    .into_bytes()
}

/// A connection that is kept alive.
pub struct Connection {
    stream: TcpStream,
    /// Bytes of an answer: all of an endpoint's are equally long.
    reply: Vec<u8>,
}

impl Connection {
    /// Connects from an address of its own, so that the server sees so many clients, each with its own quota.
    pub async fn open(server: SocketAddr, number: usize) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Elsewhere than on Linux only the first address of the loopback network is there.
        if cfg!(target_os = "linux") {
            let [.., high, low] = (number as u32).to_be_bytes();
            socket.bind((Ipv4Addr::new(127, 1, high, low), 0).into()).unwrap();
        }
        let stream = socket.connect(server).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, reply: Vec::new() }
    }

    /// Asks, and waits for an answer that must be 200.
    pub async fn ask(&mut self, request: &[u8]) {
        self.stream.write_all(request).await.unwrap();
        if self.reply.is_empty() {
            self.read_first().await;
        } else {
            self.stream.read_exact(&mut self.reply).await.unwrap();
        }
        assert!(self.reply.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&self.reply));
    }

    async fn read_first(&mut self) {
        while !self.reply.ends_with(b"}") {
            self.stream.read_buf(&mut self.reply).await.unwrap();
        }
    }
}

/// Connections that ask as fast as they are answered, each the same again and again.
pub struct Load(Vec<(Connection, Vec<u8>)>);

impl Load {
    /// One connection for each of these requests.
    pub async fn open(server: SocketAddr, requests: Vec<Vec<u8>>) -> Self {
        let mut connections = Vec::new();
        for (number, request) in requests.into_iter().enumerate() {
            connections.push((Connection::open(server, number).await, request));
        }
        Self(connections)
    }

    /// Answers a second of a core, for so long: so it does not matter who else uses the machine. Where nobody says how
    /// long the cores worked, answers a second.
    pub async fn run(&mut self, duration: Duration) -> f64 {
        let (started, before) = (Instant::now(), processor_time());
        let tasks: Vec<_> =
            self.0.drain(..).map(|connection| tokio::spawn(keep_asking(connection, duration))).collect();
        let mut answers = 0;
        for task in tasks {
            let (connection, answered) = task.await.unwrap();
            self.0.push(connection);
            answers += answered;
        }
        let worked = processor_time().zip(before).map(|(after, before)| after - before);
        f64::from(answers) / worked.unwrap_or(started.elapsed().as_secs_f64())
    }
}

/// For how many seconds the threads of this process have run so far. `None` where there is no Linux to ask.
fn processor_time() -> Option<f64> {
    let mut nanoseconds = 0;
    for task in fs::read_dir("/proc/self/task").ok()? {
        let path = task.ok()?.path().join("schedstat");
        // A thread that has just ended did its work before.
        let text = fs::read_to_string(path).unwrap_or_default();
        nanoseconds += text.split(' ').next()?.parse::<u64>().unwrap_or(0);
    }
    Some(nanoseconds as f64 / 1e9)
}

async fn keep_asking(
    (mut connection, request): (Connection, Vec<u8>),
    duration: Duration,
) -> ((Connection, Vec<u8>), u32) {
    let started = Instant::now();
    let mut answers = 0;
    while started.elapsed() < duration {
        connection.ask(&request).await;
        answers += 1;
    }
    ((connection, request), answers)
}
