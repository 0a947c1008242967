//! [`Connections`]: the connection to Redis, made again in the background when it is discarded.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisResult};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::error::reason;

/// The timeout of one try to connect. The library's own default is longer than a request can wait.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The timeout of a command while connecting, such as `AUTH`, and the longest wait for any response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause after the first failed try to connect. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause between two tries to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A connection that several tasks use at once.
#[derive(Clone)]
pub(super) struct Connection {
    multiplexed: MultiplexedConnection,
    number: u64,
}

impl Connection {
    /// Returns a handle for one call.
    pub(super) fn multiplexed(&self) -> MultiplexedConnection {
        self.multiplexed.clone()
    }
}

/// At most one connection, and at most one task that makes one.
pub(super) struct Connections {
    client: Client,
    current: watch::Sender<Option<Connection>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_connecting: bool,
    /// The number of connections made so far.
    made: u64,
    /// The reason why the last try to connect failed.
    last_failure: Option<String>,
}

impl Connections {
    pub(super) fn new(client: Client) -> Self {
        Self { client, current: watch::Sender::new(None), state: Mutex::default() }
    }

    /// Returns the connection. Without one, starts to connect in the background and waits.
    pub(super) async fn get(self: &Arc<Self>) -> Connection {
        let mut current = self.current.subscribe();
        loop {
            if let Some(connection) = &*current.borrow_and_update() {
                return connection.clone();
            }
            self.connect_in_background();
            // The sender is a field of `self`, so it cannot be closed.
            let _ = current.changed().await;
        }
    }

    /// Makes a connection, and returns the error of a single try.
    pub(super) async fn connect_now(&self) -> RedisResult<Connection> {
        if let Some(connection) = &*self.current.borrow() {
            return Ok(connection.clone());
        }
        let multiplexed = self.connect().await?;
        Ok(self.set(multiplexed))
    }

    /// Discards the connection unless another one has replaced it, and makes a new one in the background.
    pub(super) fn discard(self: &Arc<Self>, connection: &Connection) {
        let is_current =
            |current: &Option<Connection>| current.as_ref().is_some_and(|current| current.number == connection.number);
        if self.current.send_if_modified(|current| is_current(current).then(|| *current = None).is_some()) {
            self.connect_in_background();
        }
    }

    /// Returns why a call that waited for a connection got none.
    pub(super) fn why_not_connected(&self) -> String {
        let last_failure = self.state().last_failure.clone();
        last_failure.unwrap_or_else(|| "the connection to Redis was not ready in time".to_owned())
    }

    fn connect_in_background(self: &Arc<Self>) {
        let mut state = self.state();
        let (false, Ok(runtime)) = (state.is_connecting, Handle::try_current()) else { return };
        state.is_connecting = true;
        drop(state);
        let mut guard = Connecting { connections: Arc::clone(self), has_ended: false };
        runtime.spawn(async move {
            let mut pause = FIRST_PAUSE;
            loop {
                match guard.connections.connect().await {
                    Ok(multiplexed) => {
                        // Before the connection is published: a task that discards it must be able to connect again.
                        guard.end();
                        guard.connections.set(multiplexed);
                        return;
                    }
                    // The throttle was dropped.
                    Err(_) if Arc::strong_count(&guard.connections) == 1 => return,
                    Err(error) => {
                        guard.connections.state().last_failure = Some(reason(&error));
                        tokio::time::sleep(pause).await;
                    }
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        });
    }

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    fn set(&self, multiplexed: MultiplexedConnection) -> Connection {
        let mut state = self.state();
        state.made += 1;
        state.last_failure = None;
        let connection = Connection { multiplexed, number: state.made };
        drop(state);
        self.current.send_replace(Some(connection.clone()));
        connection
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the state "connecting", also if the task is dropped because its runtime shuts down.
struct Connecting {
    connections: Arc<Connections>,
    has_ended: bool,
}

impl Connecting {
    fn end(&mut self) {
        if !std::mem::replace(&mut self.has_ended, true) {
            self.connections.state().is_connecting = false;
        }
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.end();
    }
}
