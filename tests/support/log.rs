//! Captures the log.

use std::io;
use std::sync::{Arc, Mutex, Once, OnceLock};

use tracing::Level;
use tracing::subscriber::{DefaultGuard, set_default, set_global_default};
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::MakeWriter;

/// A captured log.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Returns the log of this process, of every crate and level.
    pub fn of_process() -> &'static Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Log::default();
            let subscriber = fmt().with_max_level(Level::TRACE).with_ansi(false).with_writer(log.clone());
            set_global_default(subscriber.finish()).unwrap();
            log
        })
    }

    /// Installs a process-wide subscriber that discards everything. Without a subscriber, `tracing` may cache a log line as
    /// disabled, and tests that capture the log of their thread would miss it. A test that needs the log of the whole
    /// process calls [`of_process`](Self::of_process) first.
    pub fn listen() {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| drop(set_global_default(tracing_subscriber::registry())));
    }

    /// Captures the log of this thread until the guard is dropped. The runtime of a test has a single thread.
    pub fn of_thread(&self) -> DefaultGuard {
        Self::listen();
        set_default(fmt().with_writer(self.clone()).with_ansi(false).with_target(false).finish())
    }

    /// Captures the log of this thread at every level until the guard is dropped.
    pub fn of_thread_at_trace(&self) -> DefaultGuard {
        Self::listen();
        set_default(fmt().with_max_level(Level::TRACE).with_writer(self.clone()).with_ansi(false).finish())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Log {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}
