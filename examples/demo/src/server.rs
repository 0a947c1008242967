//! The accept loop. poem's own server has no timeout for request headers: a client that sends them byte by byte keeps its
//! connection forever.

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

/// Pause after a failed accept. The usual reason is that the process has no free file descriptor.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Timeouts for clients.
#[derive(Clone, Copy)]
pub(crate) struct Deadlines {
    /// Time to send the headers of a request, from the connection or from the end of the previous request. An idle connection
    /// is closed too.
    pub(crate) headers: Duration,
    /// Time to finish open requests when the server stops.
    pub(crate) drain: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { headers: Duration::from_secs(30), drain: Duration::from_secs(15) }
    }
}

/// Serves until `stop` completes. Then closes the listener and idle connections, and waits for open requests up to the
/// drain timeout. Later requests end with the process.
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
        // Responses are small and written at once, so Nagle's algorithm would only delay them.
        let _ = stream.set_nodelay(true);
        let (local, app) = (local.unwrap_or(peer), app.clone());
        let service = service_fn(move |request| respond(app.clone(), request, local, peer));
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
        tracing::warn!("some requests did not finish before the drain timeout");
    }
}

async fn respond(
    app: Arc<impl Endpoint>,
    request: hyper::Request<Incoming>,
    local: SocketAddr,
    peer: SocketAddr,
) -> Result<hyper::Response<impl hyper::body::Body<Data = hyper::body::Bytes, Error = io::Error>>, Infallible> {
    let (local, peer) = (LocalAddr(Addr::SocketAddr(local)), RemoteAddr(Addr::SocketAddr(peer)));
    let response = app.get_response((request, local, peer, Scheme::HTTP).into()).await;
    Ok(hyper::Response::from(response))
}

/// Accepts the next connection. Retries after an error, because the server must keep its open connections.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let mut reported = false;
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The client closed the connection before it was accepted.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(error) => {
                if !reported {
                    tracing::warn!(%error, "a connection could not be accepted, retrying");
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

    /// Long enough for a busy machine.
    const LONG: Duration = Duration::from_secs(20);

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

    /// Reads until the server closes the connection.
    async fn read_all(stream: &mut TcpStream) -> String {
        let mut received = Vec::new();
        timeout(LONG, stream.read_to_end(&mut received)).await.expect("the connection is closed").unwrap();
        String::from_utf8(received).unwrap()
    }

    fn hello() -> impl Endpoint + 'static {
        Route::new().at("/", get(make_sync(|_| "hello")))
    }

    #[tokio::test]
    async fn connection_with_incomplete_headers_is_closed_at_the_timeout() {
        let deadlines = Deadlines { headers: Duration::from_millis(300), drain: LONG };
        let server = start(hello(), deadlines).await;
        let mut silent = TcpStream::connect(server.address).await.unwrap();
        let mut slow = TcpStream::connect(server.address).await.unwrap();
        let begun = Instant::now();

        // One byte every 20 ms: the timeout applies to the whole headers, not to the pause between two bytes.
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
        timeout(LONG, async {
            tokio::select! { () = drip => {}, () = closed => {} }
        })
        .await
        .unwrap();
        assert!(begun.elapsed() >= deadlines.headers, "the timeout has passed");
        read_all(&mut silent).await;

        // A client may send several requests. Its connection is closed once it is idle.
        let mut kept = TcpStream::connect(server.address).await.unwrap();
        kept.write_all(b"GET / HTTP/1.1\r\nHost: demo\r\n\r\nGET / HTTP/1.1\r\nHost: demo\r\n\r\n").await.unwrap();
        let received = read_all(&mut kept).await;
        assert_eq!(received.matches("200 OK").count(), 2, "{received}");
    }

    #[tokio::test]
    async fn stop_waits_for_open_requests_and_closes_idle_connections() {
        let (begun, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let slow = {
            let (begun, finish) = (begun.clone(), finish.clone());
            poem::endpoint::make(move |_| {
                let (begun, finish) = (begun.clone(), finish.clone());
                async move {
                    begun.notify_one();
                    finish.notified().await;
                    Ok::<_, poem::Error>("done")
                }
            })
        };
        let deadlines = Deadlines { headers: LONG, drain: LONG };
        let mut server = start(Route::new().at("/", get(slow)), deadlines).await;
        let mut idle = TcpStream::connect(server.address).await.unwrap();
        let mut busy = TcpStream::connect(server.address).await.unwrap();
        busy.write_all(b"GET / HTTP/1.1\r\nHost: demo\r\n\r\n").await.unwrap();
        begun.notified().await;

        server.stop.send(()).unwrap();
        assert_eq!(read_all(&mut idle).await, "", "an idle connection is closed at once");
        let rejected = async { while TcpStream::connect(server.address).await.is_ok() {} };
        timeout(LONG, rejected).await.expect("new connections are rejected");
        let early = timeout(Duration::from_millis(200), &mut server.ended).await;
        assert!(early.is_err(), "the server waits for the request");
        finish.notify_one();
        assert!(read_all(&mut busy).await.ends_with("done"));
        timeout(LONG, server.ended).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn stop_with_an_incomplete_request_ends_at_the_drain_timeout() {
        let deadlines = Deadlines { headers: LONG, drain: Duration::from_millis(100) };
        let server = start(hello(), deadlines).await;
        let mut incomplete = TcpStream::connect(server.address).await.unwrap();
        incomplete.write_all(b"GET / HT").await.unwrap();
        // Once a later connection has its response, the earlier one has been accepted.
        let mut complete = TcpStream::connect(server.address).await.unwrap();
        complete.write_all(b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n").await.unwrap();
        assert!(read_all(&mut complete).await.ends_with("hello"));
        server.stop.send(()).unwrap();
        timeout(LONG, server.ended).await.expect("the server stops").unwrap();
    }

    #[tokio::test]
    async fn endpoint_receives_the_address_of_the_client() {
        let app = Route::new().at("/", get(make_sync(|request| request.remote_addr().to_string()))).boxed();
        let server = start(app, Deadlines::default()).await;
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let own = stream.local_addr().unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n").await.unwrap();
        assert!(read_all(&mut stream).await.ends_with(&own.to_string()));
    }
}
