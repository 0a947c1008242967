//! A TCP proxy that interferes after a chosen number of bytes.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The direction of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer,
    ToClient,
}

/// The fault at the chosen byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Both sides of the connection are closed.
    Cut,
    /// The bytes wait for this time.
    Delay(Duration),
    /// The bytes wait until [`Proxy::release`].
    Hold,
}

/// The fate of bytes that the proxy holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    Waiting,
    Forward,
    Cut,
}

/// The bytes that passed, and the byte at which the proxy interferes, once.
#[derive(Debug, Default)]
struct Plan {
    to_server: usize,
    to_client: usize,
    armed: Option<(Direction, usize, Action)>,
}

impl Plan {
    fn passed(&mut self, direction: Direction) -> &mut usize {
        match direction {
            Direction::ToServer => &mut self.to_server,
            Direction::ToClient => &mut self.to_client,
        }
    }

    /// Returns how many of these bytes may pass, and the action after them.
    fn next(&mut self, direction: Direction, length: usize) -> (usize, Option<Action>) {
        let before = *self.passed(direction);
        if let Some((at, position, action)) = self.armed
            && at == direction
            && position <= before + length
        {
            self.armed = None;
            let length = position.saturating_sub(before);
            *self.passed(direction) += length;
            return (length, Some(action));
        }
        *self.passed(direction) += length;
        (length, None)
    }
}

struct Shared {
    plan: Mutex<Plan>,
    /// Whether bytes are held.
    holds: watch::Sender<bool>,
    release: watch::Sender<Release>,
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy for the server at this port.
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            plan: Mutex::default(),
            holds: watch::Sender::new(false),
            release: watch::Sender::new(Release::Waiting),
        });
        let connections = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                tokio::spawn(relay_both(client, server, Arc::clone(&connections)));
            }
        });
        Self { port, shared, accepting }
    }

    /// Counts from zero, and interferes once after this many bytes in this direction.
    pub(crate) fn arm(&self, direction: Direction, position: usize, action: Action) {
        self.shared.release.send_replace(Release::Waiting);
        self.shared.holds.send_replace(false);
        *self.shared.plan.lock().unwrap() = Plan { armed: Some((direction, position, action)), ..Plan::default() };
    }

    /// Counts from zero without interfering.
    pub(crate) fn count(&self) {
        *self.shared.plan.lock().unwrap() = Plan::default();
    }

    /// Returns the bytes that passed since the count began: to the server and to the client.
    pub(crate) fn counted(&self) -> [(Direction, usize); 2] {
        let plan = self.shared.plan.lock().unwrap();
        [(Direction::ToServer, plan.to_server), (Direction::ToClient, plan.to_client)]
    }

    /// Waits until bytes are held.
    pub(crate) async fn holds(&self) {
        self.shared.holds.subscribe().wait_for(|holds| *holds).await.unwrap();
    }

    /// Forwards held bytes, or cuts their connection.
    pub(crate) fn release(&self, release: Release) {
        self.shared.release.send_replace(release);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn relay_both(client: TcpStream, server: u16, shared: Arc<Shared>) {
    // A client of a server that is down sees a closed connection.
    let Ok(server) = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, server))).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let cut = Arc::new(watch::Sender::new(false));
    let other = tokio::spawn(relay(from_server, to_client, Direction::ToClient, Arc::clone(&shared), Arc::clone(&cut)));
    relay(from_client, to_server, Direction::ToServer, shared, cut).await;
    let _ = other.await;
}

/// Forwards the bytes of one direction until the connection ends or is cut.
async fn relay(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    shared: Arc<Shared>,
    cut: Arc<watch::Sender<bool>>,
) {
    let mut is_cut = cut.subscribe();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            _ = is_cut.wait_for(|cut| *cut) => return,
        };
        if read == 0 {
            // The end of one direction ends the connection, as it does for PostgreSQL.
            cut.send_replace(true);
            return;
        }
        let mut bytes = &buffer[..read];
        loop {
            let (length, action) = shared.plan.lock().unwrap().next(direction, bytes.len());
            let (now, rest) = bytes.split_at(length);
            if to.write_all(now).await.is_err() {
                cut.send_replace(true);
                return;
            }
            bytes = rest;
            let cuts = match action {
                None => break,
                Some(Action::Cut) => true,
                Some(Action::Delay(delay)) => {
                    tokio::time::sleep(delay).await;
                    false
                }
                Some(Action::Hold) => {
                    let mut release = shared.release.subscribe();
                    shared.holds.send_replace(true);
                    let released = *release.wait_for(|release| *release != Release::Waiting).await.unwrap();
                    released == Release::Cut
                }
            };
            if cuts {
                cut.send_replace(true);
                return;
            }
        }
    }
}
