//! F12, F14, F23: connections that send their heads or bodies slowly or not at all disturb nobody, and are closed.

use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::process::{PATIENCE, head};
use crate::site::Site;

const BODY_STALLS: &str = "half a body";
const HEAD_STALLS: &str = "half a head";
const HEAD_DRIPS: &str = "a head, byte by byte";
const IDLE: &str = "nothing";

/// Lets a connection do one of the four, and reports how it ended: with which status, and after how long.
async fn stall(mut stream: TcpStream, what: &'static str) -> (&'static str, String, Duration) {
    let begun = Instant::now();
    let head =
        head(stream.peer_addr().unwrap(), "POST", "/api/password_reset/", &["Content-Type: application/json"], 100);
    match what {
        BODY_STALLS => stream.write_all((head + "{\"email\"").as_bytes()).await.unwrap(),
        HEAD_STALLS => stream.write_all(&head.as_bytes()[..40]).await.unwrap(),
        HEAD_DRIPS => {
            let (mut read, mut write) = stream.into_split();
            let dripping = tokio::spawn(async move {
                for byte in head.as_bytes().iter().cycle().take(100) {
                    if write.write_all(&[*byte]).await.is_err() {
                        return;
                    }
                    sleep(Duration::from_secs(1)).await;
                }
            });
            let mut answer = Vec::new();
            // A reset is as good as an end.
            let _ = timeout(PATIENCE, read.read_to_end(&mut answer)).await.expect("the connection is closed");
            dripping.abort();
            return (what, String::from_utf8_lossy(&answer).into_owned(), begun.elapsed());
        }
        _ => {}
    }
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the connection is closed");
    (what, String::from_utf8_lossy(&answer).into_owned(), begun.elapsed())
}

/// Asks once a connection, and reports how long it took.
async fn ask(address: std::net::SocketAddr) -> Duration {
    let begun = Instant::now();
    let body = json!({ "token": "garbage" }).to_string();
    let head =
        head(address, "POST", "/api/password_reset/validate_token/", &["Content-Type: application/json"], body.len());
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("an answer").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 404");
    begun.elapsed()
}

async fn stalled(connections: usize) {
    let site = Site::new(1).await;
    let demo = site.start();
    let mut stalling = JoinSet::new();
    for number in 0..connections {
        // One after the other: of many at once the kernel forgets some, which neither side would hear of.
        let stream = TcpStream::connect(demo.address).await.unwrap();
        stalling.spawn(stall(stream, [BODY_STALLS, HEAD_STALLS, HEAD_DRIPS, IDLE][number % 4]));
    }
    let mut times = Vec::new();
    for _ in 0..200 {
        times.push(ask(demo.address).await);
    }
    times.sort();
    println!("{connections} connections that stall; others are answered in {:?}, at most {:?}", times[100], times[199]);
    for (what, answer, time) in stalling.join_all().await {
        let (status, least) = match what {
            BODY_STALLS => ("HTTP/1.1 408", Duration::from_secs(9)),
            _ => ("", Duration::from_secs(25)),
        };
        assert!(answer.starts_with(status), "{what}: {answer:?}");
        assert!(time >= least, "{what} was closed after {time:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_stall_are_closed_and_disturb_nobody() {
    stalled(400).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the long form"]
async fn two_thousand_connections_that_stall() {
    stalled(2_000).await;
}

/// The resident memory of a process, in MiB.
fn resident(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is there");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// So many clients connect, and then all ask at once.
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
    let mut asking = JoinSet::new();
    for mut stream in streams {
        let request = request.clone();
        asking.spawn(async move {
            let begun = Instant::now();
            stream.write_all(&request).await.unwrap();
            let mut answer = [0; 12];
            timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("an answer").unwrap();
            assert_eq!(&answer, b"HTTP/1.1 404");
            begun.elapsed()
        });
    }
    let mut times = asking.join_all().await;
    times.sort();
    let memory = resident(demo.id());
    let p99 = times[clients * 99 / 100];
    println!("{clients} clients at once: p99 {p99:?}, {memory} MiB");
    // A second on a machine that does nothing else, three beside a busy core; tests share theirs with other tests.
    assert!(p99 < Duration::from_secs(10), "{p99:?}");
    assert!(memory < 300, "{memory} MiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_at_once_are_all_answered() {
    at_once(900).await;
}

/// F23: one core is busy with something else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_busy_core_all_are_answered_too() {
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let busy = std::thread::spawn(move || while is_done.try_recv() == Err(TryRecvError::Empty) {});
    at_once(900).await;
    drop(done);
    busy.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the long form; needs `ulimit -n 20000`"]
async fn ten_thousand_clients_at_once_are_all_answered() {
    at_once(9_900).await;
}
