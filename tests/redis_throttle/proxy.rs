//! A TCP proxy that cuts connections in the middle of a reply.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// No cut.
const NONE: usize = usize::MAX;

pub(crate) struct Proxy {
    address: SocketAddr,
    cut_after: Arc<AtomicUsize>,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cut_after = Arc::new(AtomicUsize::new(NONE));
        let cut = Arc::clone(&cut_after);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::spawn(forward(client, server, Arc::clone(&cut)));
            }
        });
        Self { address, cut_after }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Ends the connection after so many bytes of the next reply.
    pub(crate) fn cut_next_reply_after(&self, bytes: usize) {
        self.cut_after.store(bytes, Ordering::SeqCst);
    }
}

async fn forward(client: TcpStream, server: TcpStream, cut_after: Arc<AtomicUsize>) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let requests = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
        let cut = cut_after.swap(NONE, Ordering::SeqCst);
        if to_client.write_all(&buffer[..read.min(cut)]).await.is_err() || cut != NONE {
            break;
        }
    }
    requests.abort();
}
