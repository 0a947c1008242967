//! Memory of open connections and of throttle keys, each measured in a process of its own.

use std::hint::black_box;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use poem_password_reset::throttle::{MemoryThrottle, Quota, ThrottleKey};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::http::runtime;
use super::load::{Connection, post};
use super::process::{raise_file_limit, resident_memory};
use super::server;
use super::statistics::median;
use super::subprocess::{self, Subprocess};
use super::users::{Users, reset};

/// Files that a process has open besides its connections.
const OTHER_FILES: u64 = 100;

const NO_MEMORY_FIGURE: &str = "resident memory is known on Linux only";

/// Runs the task of a subprocess. Returns whether this process is one.
pub fn run_subprocess() -> bool {
    match subprocess::task().as_deref() {
        Some("server") => serve(),
        Some("throttle") => fill_throttle(),
        _ => return false,
    }
    true
}

/// Runs a server until the parent process closes the standard input.
fn serve() {
    let users = Users::new(1);
    let runtime = runtime();
    let reset = runtime.block_on(reset(&users));
    println!("{}", runtime.block_on(server::serve(server::ours(reset.clone()))));
    println!("{}", reset.issue(&users.get("0").unwrap(), None).unwrap().token().expose());
    let _ = std::io::stdin().read(&mut [0]);
}

/// Cost at a number of connections or keys.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    pub count: usize,
    /// Duration of one more operation.
    pub nanoseconds: f64,
    /// Resident memory in bytes.
    pub resident: u64,
}

impl Point {
    /// Resident memory in MiB.
    pub fn mebibytes(&self) -> f64 {
        self.resident as f64 / 1_048_576.0
    }
}

/// Measures the memory of a server with these numbers of open connections, each of which has received one response, and
/// the duration of a validation.
///
/// # Errors
/// The reason why this machine cannot measure it.
pub fn connections(runtime: &Runtime, counts: &[usize]) -> Result<Vec<Point>, String> {
    const LIMIT: Duration = Duration::from_secs(60);
    let (files, most) = (raise_file_limit(), counts.iter().max().copied().unwrap_or(0));
    if files < most as u64 + OTHER_FILES {
        return Err(format!("{most} connections need more open files than the limit of {files}"));
    }
    let mut subprocess = Subprocess::start("server");
    let server: SocketAddr = subprocess.read_line().and_then(|line| line.parse().ok()).ok_or("the server failed")?;
    let token = subprocess.read_line().ok_or("the server failed")?;
    let request = post("/validate_token", &format!(r#"{{"token":"{token}"}}"#));
    let mut open = Vec::new();
    let mut points = Vec::new();
    for &count in counts {
        let measurement = async {
            while open.len() < count {
                let mut connection = Connection::open(server, open.len()).await;
                connection.send(&request).await;
                open.push(connection);
            }
            // One request at a time, on connections from all over the table.
            let mut samples = Vec::new();
            for number in (0..count).cycle().step_by(count.div_ceil(1_000)).take(1_000) {
                let started = Instant::now();
                open[number].send(&request).await;
                samples.push(started.elapsed().as_secs_f64() * 1e9);
            }
            median(samples)
        };
        let nanoseconds = runtime.block_on(async { timeout(LIMIT, measurement).await });
        let nanoseconds = nanoseconds.unwrap_or_else(|_| panic!("{count} connections took more than {LIMIT:?}"));
        points.push(Point { count, nanoseconds, resident: subprocess.resident_memory().ok_or(NO_MEMORY_FIGURE)? });
    }
    Ok(points)
}

/// Measures the memory of a throttle with up to `most` keys, and the duration of one more count of a key.
///
/// # Errors
/// The reason why this machine cannot measure it.
pub fn throttle_keys(most: usize) -> Result<Vec<Point>, String> {
    let mut subprocess = Subprocess::start("throttle");
    let mut points = Vec::new();
    while let Some(line) = subprocess.read_line() {
        let mut numbers = line.split(' ').filter_map(|number| number.parse::<f64>().ok());
        let (Some(count), Some(nanoseconds), Some(resident)) = (numbers.next(), numbers.next(), numbers.next()) else {
            return Err(line);
        };
        let point = Point { count: count as usize, nanoseconds, resident: resident as u64 };
        points.push(point);
        if point.count >= most {
            break;
        }
    }
    Ok(points)
}

/// Numbers of keys at which the throttle is measured.
const KEYS: [usize; 8] = [1_000, 10_000, 100_000, 1_000_000, 2_000_000, 3_000_000, 4_000_000, 5_000_000];

fn fill_throttle() {
    let key = |number: usize| {
        let address = Ipv4Addr::from_bits(number as u32);
        ThrottleKey::of_client("password-reset", "request", Some(IpAddr::V4(address)))
    };
    let Some(before) = resident_memory("self") else { return println!("{NO_MEMORY_FIGURE}") };
    let throttle = MemoryThrottle::new();
    let quota = Quota::per(10, Duration::from_secs(24 * 3600)).unwrap();
    let mut counted = 0;
    for keys in KEYS {
        while counted < keys {
            let _ = throttle.count_now(&key(counted), quota);
            counted += 1;
        }
        // Clients from all over the table. Their keys exist beforehand, so only the count is measured.
        let existing: Vec<_> = (0..1_000).map(|number| key(number * (keys / 1_000))).collect();
        let started = Instant::now();
        for key in &existing {
            let _ = black_box(throttle.count_now(key, quota));
        }
        let nanoseconds = started.elapsed().as_secs_f64() * 1e9 / existing.len() as f64;
        println!("{keys} {nanoseconds} {}", resident_memory("self").unwrap_or(before) - before);
    }
}
