//! SIGTERM and Ctrl-C stop the demo.

use std::io;

use tokio::sync::oneshot;

/// Returns a future that completes at the first signal. A second signal ends the process at once with status 1.
pub(crate) fn stop() -> io::Result<impl Future<Output = ()>> {
    let mut signals = Signals::new()?;
    let (sender, receiver) = oneshot::channel();
    tokio::spawn(async move {
        signals.next().await;
        // The receiver is gone if the server has ended by itself.
        let _ = sender.send(());
        signals.next().await;
        tracing::warn!("second signal: stopped without finishing open requests");
        std::process::exit(1);
    });
    Ok(async move { drop(receiver.await) })
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
