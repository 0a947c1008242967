//! [`Pool`]: connections that wait for the next mail.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::connection::Connection;

/// Maximum number of mails on one connection. Servers limit it too, many at 100.
const MAX_MAILS: u32 = 100;

/// Timeout for the reply to QUIT.
const QUIT_TIMEOUT: Duration = Duration::from_millis(500);

/// Connections without a mail. The newest is used first, so that the others become idle and are closed.
///
/// Only a connection whose last mail was accepted is put into the pool. A send that was interrupted leaves a reply unread:
/// the next mail on that connection would take it for its own, and a refused mail would count as sent.
pub(super) struct Pool {
    idle_timeout: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    idle: Vec<(Instant, Connection)>,
    /// Whether a task runs that closes idle connections.
    has_sweeper: bool,
}

impl Pool {
    pub(super) fn new(idle_timeout: Duration) -> Arc<Self> {
        Arc::new(Self { idle_timeout, state: Mutex::default() })
    }

    /// Takes the connection that was used last. Returns `None` if there is none, or if it waited too long: the server may be
    /// about to close it.
    pub(super) fn take(&self) -> Option<Connection> {
        let (since, connection) = self.state().idle.pop()?;
        if since.elapsed() < self.idle_timeout {
            return Some(connection);
        }
        close(connection);
        None
    }

    /// Keeps a connection for the next mail, or closes it.
    pub(super) fn put(self: &Arc<Self>, connection: Connection) {
        if self.idle_timeout.is_zero() || connection.mails >= MAX_MAILS {
            close(connection);
            return;
        }
        let mut state = self.state();
        state.idle.push((Instant::now(), connection));
        if !state.has_sweeper {
            state.has_sweeper = true;
            let sweeper = Sweeper { pool: Arc::downgrade(self), has_ended: false };
            tokio::spawn(sweeper.run(self.idle_timeout));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that closes idle connections. It holds the pool weakly, so that it ends soon after the transport is dropped.
struct Sweeper {
    pool: Weak<Pool>,
    has_ended: bool,
}

impl Sweeper {
    /// Closes connections that waited too long, until none waits.
    async fn run(mut self, idle_timeout: Duration) {
        loop {
            sleep(idle_timeout).await;
            let Some(pool) = self.pool.upgrade() else { return };
            let mut state = pool.state();
            // Sorted by time: only the end of the list is taken from and added to.
            let old = state.idle.partition_point(|(since, _)| since.elapsed() >= idle_timeout);
            let old: Vec<_> = state.idle.drain(..old).collect();
            self.has_ended = state.idle.is_empty();
            state.has_sweeper = !self.has_ended;
            drop(state);
            old.into_iter().for_each(|(_, connection)| close(connection));
            if self.has_ended {
                return;
            }
        }
    }
}

impl Drop for Sweeper {
    /// Lets the next mail start a new task if the runtime of this one shuts down.
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade().filter(|_| !self.has_ended) {
            pool.state().has_sweeper = false;
        }
    }
}

/// Closes a connection in the background. Whether the mail was accepted is known: a server that does not reply to QUIT must
/// neither receive it again nor delay the handler.
pub(super) fn close(connection: Connection) {
    tokio::spawn(async move { timeout(QUIT_TIMEOUT, connection.quit()).await });
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("idle", &self.state().idle.len()).finish_non_exhaustive()
    }
}
