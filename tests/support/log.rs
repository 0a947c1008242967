//! What is logged, kept to be looked at.

use std::io;
use std::sync::{Arc, Mutex, Once, OnceLock};

use tracing::Level;
use tracing::subscriber::{DefaultGuard, set_default, set_global_default};
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::MakeWriter;

/// Everything that was logged.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// The log of this process, at TRACE and of every crate.
    pub fn of_process() -> &'static Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Log::default();
            let subscriber = fmt().with_max_level(Level::TRACE).with_ansi(false).with_writer(log.clone());
            set_global_default(subscriber.finish()).unwrap();
            log
        })
    }

    /// Sets a subscriber of the process that keeps nothing. A log line that a test reaches while nothing listens may stay
    /// switched off for the tests that read the log of their thread. A test that wants the log of the whole process calls
    /// [`of_process`](Self::of_process) first.
    pub fn listen() {
        static LISTENS: Once = Once::new();
        LISTENS.call_once(|| drop(set_global_default(tracing_subscriber::registry())));
    }

    /// What this thread logs from now on, while the guard lives. A test's runtime has but one thread.
    pub fn of_thread(&self) -> DefaultGuard {
        Self::listen();
        set_default(fmt().with_writer(self.clone()).with_ansi(false).with_target(false).finish())
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
