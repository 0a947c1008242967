//! The accept loop. poem's own server has no deadline for request headers: a client that sends them a byte at a time
//! keeps its connection for ever.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// For how long no connection is accepted after that failed for want of something, file descriptors as a rule.
const BACK_OFF: Duration = Duration::from_millis(100);

/// How long a client may take.
#[derive(Clone, Copy)]
pub(crate) struct Deadlines {
    /// To send the headers of a request, counted from the connection or from the end of the request before: an idle
    /// connection is closed too.
    pub(crate) headers: Duration,
    /// To finish what it began when the server stops.
    pub(crate) drain: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { headers: Duration::from_secs(30), drain: Duration::from_secs(15) }
    }
}

/// Serves until `stop`; then lets no more connections in, closes the idle ones, and waits until those with a request
/// are done. Connections that miss the deadline end with the process.
pub(crate) async fn serve(
    listener: TcpListener,
    app: impl Endpoint + 'static,
    deadlines: Deadlines,
    stop: impl Future<Output = ()>,
) {
    let app = Arc::new(app);
    let local = listener.local_addr().ok();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(deadlines.headers);
    let open = GracefulShutdown::new();
    let mut stop = pin!(stop);

    loop {
        let (stream, peer) = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = &mut stop => break,
        };
        // Answers are small and whole: nothing is gained by waiting for more.
        let _ = stream.set_nodelay(true);
        let (local, app) = (local.unwrap_or(peer), app.clone());
        let service = service_fn(move |request| answer(app.clone(), request, local, peer));
        let connection = open.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }

    drop(listener);
    tracing::info!(connections = open.count(), "stopping");
    if timeout(deadlines.drain, open.shutdown()).await.is_err() {
        tracing::warn!("some connections did not finish in time");
    }
}

async fn answer(
    app: Arc<impl Endpoint>,
    request: hyper::Request<Incoming>,
    local: SocketAddr,
    peer: SocketAddr,
) -> Result<hyper::Response<impl hyper::body::Body<Data = hyper::body::Bytes, Error = io::Error>>, Infallible> {
    let (local, peer) = (LocalAddr(Addr::SocketAddr(local)), RemoteAddr(Addr::SocketAddr(peer)));
    let response = app.get_response((request, local, peer, Scheme::HTTP).into()).await;
    Ok(hyper::Response::from(response))
}

/// The next connection. That none can be accepted now is no reason to give up those that are open.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let mut reported = false;
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // That client's own affair: it was gone before it was accepted.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(error) => {
                if !reported {
                    tracing::warn!(%error, "no connection can be accepted, trying again");
                    reported = true;
                }
                sleep(BACK_OFF).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use poem::endpoint::make_sync;
    use poem::{EndpointExt, Route, get};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::{Notify, oneshot};
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::*;

    const GENEROUS: Duration = Duration::from_secs(20);

    struct Running {
        address: SocketAddr,
        stop: oneshot::Sender<()>,
        ended: JoinHandle<()>,
    }

    async fn start(app: impl Endpoint + 'static, deadlines: Deadlines) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(serve(listener, app, deadlines, async { drop(stopped.await) }));
        Running { address, stop, ended }
    }

    /// What arrives until the server closes the connection.
    async fn read_all(stream: &mut TcpStream) -> String {
        let mut received = Vec::new();
        timeout(GENEROUS, stream.read_to_end(&mut received)).await.expect("the connection is closed").unwrap();
        String::from_utf8(received).unwrap()
    }

    fn hello() -> impl Endpoint + 'static {
        Route::new().at("/", get(make_sync(|_| "hello")))
    }

    #[tokio::test]
    async fn headers_that_do_not_come_end_the_connection_and_disturb_nobody() {
        let deadlines = Deadlines { headers: Duration::from_millis(300), drain: GENEROUS };
        let server = start(hello(), deadlines).await;
        let mut silent = TcpStream::connect(server.address).await.unwrap();
        let mut slow = TcpStream::connect(server.address).await.unwrap();
        let begun = Instant::now();

        // One byte at a time, faster than any deadline between two of them.
        let (mut reader, mut writer) = slow.split();
        let drip = async {
            loop {
                if writer.write_all(b"G").await.is_err() {
                    break;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let closed = async {
            let mut received = Vec::new();
            let _ = reader.read_to_end(&mut received).await;
        };
        timeout(GENEROUS, async {
            tokio::select! { () = drip => {}, () = closed => {} }
        })
        .await
        .unwrap();
        assert!(begun.elapsed() >= deadlines.headers, "not before its time");
        read_all(&mut silent).await;

        // Whoever sends whole headers is answered, as often as he likes; when he falls silent his connection ends too.
        let mut kept = TcpStream::connect(server.address).await.unwrap();
        kept.write_all(b"GET / HTTP/1.1\r\nHost: demo\r\n\r\nGET / HTTP/1.1\r\nHost: demo\r\n\r\n").await.unwrap();
        let received = read_all(&mut kept).await;
        assert_eq!(received.matches("200 OK").count(), 2, "{received}");
    }

    #[tokio::test]
    async fn stopping_waits_for_requests_and_for_nobody_else() {
        let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let slow = {
            let (begun, go_on) = (begun.clone(), go_on.clone());
            poem::endpoint::make(move |_| {
                let (begun, go_on) = (begun.clone(), go_on.clone());
                async move {
                    begun.notify_one();
                    go_on.notified().await;
                    Ok::<_, poem::Error>("done")
                }
            })
        };
        let deadlines = Deadlines { headers: GENEROUS, drain: GENEROUS };
        let mut server = start(Route::new().at("/", get(slow)), deadlines).await;
        let mut idle = TcpStream::connect(server.address).await.unwrap();
        let mut busy = TcpStream::connect(server.address).await.unwrap();
        busy.write_all(b"GET / HTTP/1.1\r\nHost: demo\r\n\r\n").await.unwrap();
        begun.notified().await;

        server.stop.send(()).unwrap();
        assert_eq!(read_all(&mut idle).await, "", "an idle connection is closed at once");
        let refused = async { while TcpStream::connect(server.address).await.is_ok() {} };
        timeout(GENEROUS, refused).await.expect("nobody else gets in");
        let early = timeout(Duration::from_millis(200), &mut server.ended).await;
        assert!(early.is_err(), "the request is waited for");
        go_on.notify_one();
        assert!(read_all(&mut busy).await.ends_with("done"));
        timeout(GENEROUS, server.ended).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn stopping_does_not_wait_longer_than_its_deadline() {
        let deadlines = Deadlines { headers: GENEROUS, drain: Duration::from_millis(100) };
        let server = start(hello(), deadlines).await;
        let mut half = TcpStream::connect(server.address).await.unwrap();
        half.write_all(b"GET / HT").await.unwrap();
        // A whole request on another connection: when it is answered, the half one has been accepted before it.
        let mut whole = TcpStream::connect(server.address).await.unwrap();
        whole.write_all(b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n").await.unwrap();
        assert!(read_all(&mut whole).await.ends_with("hello"));
        server.stop.send(()).unwrap();
        timeout(GENEROUS, server.ended).await.expect("it ends").unwrap();
    }

    #[tokio::test]
    async fn the_endpoint_learns_who_asks() {
        let app = Route::new().at("/", get(make_sync(|request| request.remote_addr().to_string()))).boxed();
        let server = start(app, Deadlines::default()).await;
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let own = stream.local_addr().unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n").await.unwrap();
        assert!(read_all(&mut stream).await.ends_with(&own.to_string()));
    }
}
