//! What open connections and throttle keys take up, each measured in a process of its own.

use std::hint::black_box;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use poem_password_reset::throttle::{MemoryThrottle, Quota, ThrottleKey};
use tokio::runtime::Runtime;

use super::http::runtime;
use super::load::{Connection, post};
use super::probe::{self, Probe};
use super::rounds::median;
use super::server;
use super::users::{Users, reset};

/// Files that a process has open anyway.
const SPARE_FILES: usize = 100;

/// Does what this process was started for, if it is a second one. Reports whether it was.
pub fn is_probe() -> bool {
    match probe::asked().as_deref() {
        Some("server") => serve(),
        Some("throttle") => fill_throttle(),
        _ => return false,
    }
    true
}

/// A server, until whoever started it is gone.
fn serve() {
    let users = Users::new(1);
    let runtime = runtime();
    let reset = runtime.block_on(reset(&users));
    println!("{}", runtime.block_on(server::serve(server::ours(reset.clone()))));
    println!("{}", reset.issue(&users.get("0").unwrap(), None).unwrap().token().expose());
    let _ = std::io::stdin().read(&mut [0]);
}

/// A point of a curve: so many of something, what one more takes in nanoseconds, and what all take up in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    pub count: usize,
    pub nanoseconds: f64,
    pub resident: u64,
}

/// What a server takes up with so many open connections, each of which has had an answer, and how long a validation
/// takes then. `Err` with a word why it cannot be measured here.
pub fn connections(runtime: &Runtime, counts: &[usize]) -> Result<Vec<Point>, String> {
    let (limit, most) = (probe::file_limit(), counts.iter().max().copied().unwrap_or(0));
    if limit < most + SPARE_FILES {
        return Err(format!("{most} connections need more open files than the {limit} that a process may have here"));
    }
    let mut probe = Probe::start("server");
    let server: SocketAddr = probe.line().ok_or("no server")?.parse().map_err(|_| "no server")?;
    let request = post("/validate_token", &format!(r#"{{"token":"{}"}}"#, probe.line().ok_or("no token")?));
    let mut open = Vec::new();
    let mut points = Vec::new();
    for &count in counts {
        runtime.block_on(async {
            while open.len() < count {
                let mut connection = Connection::open(server, open.len()).await;
                connection.ask(&request).await;
                open.push(connection);
            }
        });
        // One connection after the other, all over the table: what is timed is an answer that nobody else waits for.
        let nanoseconds = runtime.block_on(async {
            let mut taken = Vec::new();
            for number in (0..count).cycle().step_by(count.div_ceil(1_000)).take(1_000) {
                let started = Instant::now();
                open[number].ask(&request).await;
                taken.push(started.elapsed().as_secs_f64() * 1e9);
            }
            median(taken.into_iter())
        });
        points.push(Point { count, nanoseconds, resident: probe.resident().ok_or("only Linux tells")? });
    }
    Ok(points)
}

/// What a throttle takes up that counts so many clients, and how long it takes to count one more use of a client's.
pub fn throttle_keys(most: usize) -> Result<Vec<Point>, String> {
    let mut probe = Probe::start("throttle");
    let mut points = Vec::new();
    while let Some(line) = probe.line() {
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

/// How many keys there are whenever somebody looks.
const KEYS: [usize; 8] = [1_000, 10_000, 100_000, 1_000_000, 2_000_000, 3_000_000, 4_000_000, 5_000_000];

fn fill_throttle() {
    let key = |number: usize| {
        let address = Ipv4Addr::from_bits(number as u32);
        ThrottleKey::of_client("password-reset", "request", Some(IpAddr::V4(address)))
    };
    let Some(before) = probe::resident() else { return println!("only Linux tells") };
    let throttle = MemoryThrottle::new();
    let quota = Quota::per(10, Duration::from_secs(24 * 3600)).unwrap();
    let mut counted = 0;
    for keys in KEYS {
        while counted < keys {
            let _ = throttle.count_now(&key(counted), quota);
            counted += 1;
        }
        // Of clients all over the table, and with keys made beforehand: what is timed is the count alone.
        let again: Vec<_> = (0..1_000).map(|number| key(number * (keys / 1_000))).collect();
        let started = Instant::now();
        for key in &again {
            let _ = black_box(throttle.count_now(key, quota));
        }
        let nanoseconds = started.elapsed().as_secs_f64() * 1e9 / again.len() as f64;
        println!("{keys} {nanoseconds} {}", probe::resident().unwrap_or(before) - before);
    }
}
