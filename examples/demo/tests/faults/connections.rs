//! F12, F14, F23: the server closes connections that send a request slowly or not at all. They do not delay other
//! requests.

use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::process::{STEP_TIMEOUT, head};
use crate::site::Site;

// Behaviors of stalled connections.
const PARTIAL_BODY: &str = "part of a body";
const PARTIAL_HEAD: &str = "part of a head";
const SLOW_HEAD: &str = "one byte of a head per second";
const IDLE: &str = "nothing";

/// Sends what `behavior` names, and waits for the end of the connection. Returns the received text and the elapsed time.
async fn stall(mut stream: TcpStream, behavior: &'static str) -> (&'static str, String, Duration) {
    let begun = Instant::now();
    let head =
        head(stream.peer_addr().unwrap(), "POST", "/api/password_reset/", &["Content-Type: application/json"], 100);
    match behavior {
        PARTIAL_BODY => stream.write_all((head + "{\"email\"").as_bytes()).await.unwrap(),
        PARTIAL_HEAD => stream.write_all(&head.as_bytes()[..40]).await.unwrap(),
        SLOW_HEAD => {
            let (mut read, mut write) = stream.into_split();
            let sending = tokio::spawn(async move {
                for byte in head.as_bytes().iter().cycle().take(100) {
                    if write.write_all(&[*byte]).await.is_err() {
                        return;
                    }
                    sleep(Duration::from_secs(1)).await;
                }
            });
            let mut response = Vec::new();
            // The server may also reset the connection, which `read_to_end` reports as an error.
            let _ = timeout(STEP_TIMEOUT, read.read_to_end(&mut response)).await.expect("the connection is closed");
            sending.abort();
            return (behavior, String::from_utf8_lossy(&response).into_owned(), begun.elapsed());
        }
        _ => {}
    }
    let mut response = Vec::new();
    let _ = timeout(STEP_TIMEOUT, stream.read_to_end(&mut response)).await.expect("the connection is closed");
    (behavior, String::from_utf8_lossy(&response).into_owned(), begun.elapsed())
}

/// Sends a request on a new connection and returns the response time.
async fn response_time(address: std::net::SocketAddr) -> Duration {
    let begun = Instant::now();
    let body = json!({ "token": "garbage" }).to_string();
    let head =
        head(address, "POST", "/api/password_reset/validate_token/", &["Content-Type: application/json"], body.len());
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    let mut response = [0; 12];
    timeout(STEP_TIMEOUT, stream.read_exact(&mut response)).await.expect("a response").unwrap();
    assert_eq!(&response, b"HTTP/1.1 404");
    begun.elapsed()
}

/// Opens this many stalled connections, and measures other requests meanwhile.
async fn stalled(connections: usize) {
    let site = Site::new(1).await;
    let demo = site.start();
    let mut stalling = JoinSet::new();
    for number in 0..connections {
        // One at a time: the kernel silently drops connections that do not fit into the accept queue.
        let stream = TcpStream::connect(demo.address).await.unwrap();
        stalling.spawn(stall(stream, [PARTIAL_BODY, PARTIAL_HEAD, SLOW_HEAD, IDLE][number % 4]));
    }
    let mut times = Vec::new();
    for _ in 0..200 {
        times.push(response_time(demo.address).await);
    }
    times.sort();
    println!(
        "{connections} stalled connections; other requests take {:?} (median), {:?} (maximum)",
        times[100], times[199]
    );
    for (behavior, response, time) in stalling.join_all().await {
        let (status, least) = match behavior {
            PARTIAL_BODY => ("HTTP/1.1 408", Duration::from_secs(9)),
            _ => ("", Duration::from_secs(25)),
        };
        assert!(response.starts_with(status), "{behavior}: {response:?}");
        assert!(time >= least, "{behavior}: closed after {time:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_connections_are_closed_and_do_not_delay_others() {
    stalled(400).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long version"]
async fn two_thousand_stalled_connections_are_closed() {
    stalled(2_000).await;
}

/// The resident memory of a process, in MiB.
fn resident(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the file has VmRSS");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// Opens this many connections, then sends a request on all of them at once.
async fn at_once(clients: usize) {
    let site = Site::new(1).await;
    let demo = site.start();
    let address = demo.address;
    let body = json!({ "token": "garbage" }).to_string();
    let head =
        head(address, "POST", "/api/password_reset/validate_token/", &["Content-Type: application/json"], body.len());
    let request = (head + &body).into_bytes();
    let mut streams = Vec::new();
    for _ in 0..clients {
        streams.push(TcpStream::connect(address).await.unwrap());
    }
    let mut requests = JoinSet::new();
    for mut stream in streams {
        let request = request.clone();
        requests.spawn(async move {
            let begun = Instant::now();
            stream.write_all(&request).await.unwrap();
            let mut response = [0; 12];
            timeout(STEP_TIMEOUT, stream.read_exact(&mut response)).await.expect("a response").unwrap();
            assert_eq!(&response, b"HTTP/1.1 404");
            begun.elapsed()
        });
    }
    let mut times = requests.join_all().await;
    times.sort();
    let memory = resident(demo.id());
    let p99 = times[clients * 99 / 100];
    println!("{clients} clients at once: p99 {p99:?}, {memory} MiB");
    // Measured: 1 s on an idle machine, 3 s with one busy core. The limit leaves room for other tests.
    assert!(p99 < Duration::from_secs(10), "{p99:?}");
    assert!(memory < 300, "{memory} MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nine_hundred_concurrent_clients_get_responses() {
    at_once(900).await;
}

/// F23: another thread keeps one core busy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nine_hundred_concurrent_clients_get_responses_with_a_busy_core() {
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let busy = std::thread::spawn(move || while stopped.try_recv() == Err(TryRecvError::Empty) {});
    at_once(900).await;
    drop(stop);
    busy.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long version; needs `ulimit -n 20000`"]
async fn ten_thousand_concurrent_clients_get_responses() {
    at_once(9_900).await;
}
