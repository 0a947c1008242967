//! SIGTERM and Ctrl-C.

use std::io;

use tokio::sync::oneshot;

/// Completes when the demo should stop. Who asks a second time does not want to wait for what is not finished yet.
pub(crate) fn stop() -> io::Result<impl Future<Output = ()>> {
    let mut signals = Signals::new()?;
    let (first, asked) = oneshot::channel();
    tokio::spawn(async move {
        signals.next().await;
        // Nobody waits any more if the server has ended by itself.
        let _ = first.send(());
        signals.next().await;
        tracing::warn!("stopped without finishing");
        std::process::exit(1);
    });
    Ok(async move { drop(asked.await) })
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
