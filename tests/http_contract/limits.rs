//! Bodies that are too large, too slow or endless.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use poem::Body;
use tokio::io::{AsyncRead, AsyncWriteExt as _, ReadBuf};
use tokio::time::Instant;

use crate::http::Operation::{Request, Validate};
use crate::http::{Encoding, HttpRequest, JSON, Operation, Socket, World, defaults, over_both_transports};

const LIMIT: usize = 16 * 1024;
const DEADLINE: Duration = Duration::from_secs(10);

/// Returns a body of `bytes` bytes with a valid address.
fn body_of(encoding: Encoding, bytes: usize) -> Vec<u8> {
    let body = |filling: usize| encoding.encode(&[("filling", &"x".repeat(filling)), ("email", "ann@example.com")]);
    let body = body(bytes - body(0).len());
    assert_eq!(body.len(), bytes);
    body
}

#[tokio::test]
async fn body_over_16_kib_returns_413() {
    over_both_transports(defaults, async |world| {
        for encoding in Encoding::ALL {
            let request = |bytes| HttpRequest::post(Request).body(encoding.content_type(), body_of(encoding, bytes));
            for (bytes, fits) in [(LIMIT - 1, true), (LIMIT, true), (LIMIT + 1, false), (LIMIT + 1000, false)] {
                for request in [request(bytes), request(bytes).chunked()] {
                    let reply = world.send(&request).await;
                    if fits { reply.is_ok() } else { reply.is_refused(413) }
                }
            }
        }
        for operation in Operation::ALL {
            for request in [HttpRequest::post(operation), HttpRequest::post(operation).chunked()] {
                world.send(&request.json(vec![b' '; LIMIT + 1])).await.is_refused(413);
            }
        }
        assert_eq!(world.reset.ledger().accepted, 2 * 2 * 3);
    })
    .await;
}

/// The response does not wait for the body, and no `100 Continue` requests it.
#[tokio::test]
async fn body_with_large_content_length_is_rejected_unread() {
    let world = World::over_a_socket(defaults).await;
    for (content_type, status) in [(JSON, 413), ("text/plain", 415)] {
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: app.example.com\r\nContent-Type: {content_type}\r\n\
             Content-Length: 1073741824\r\nExpect: 100-continue\r\n\r\n",
            Validate.url()
        );
        let mut socket = Socket::open(world.address()).await;
        socket.send(head.as_bytes()).await;
        // A `100 Continue` would be taken for the response here, and fail the test.
        socket.reply("POST").await.is_refused(status);
        assert!(socket.is_closed().await, "the server stops reading");
    }
}

/// At most one buffer beyond the limit is read.
#[tokio::test]
async fn endless_body_is_read_up_to_the_limit_only() {
    let world = World::in_process(defaults).await;
    for (content_type, status, most) in [(JSON, 413, LIMIT), ("text/plain", 415, 1)] {
        let read = Arc::new(AtomicUsize::new(0));
        let endless = Body::from_async_read(Endless { read: Arc::clone(&read) });
        let request = HttpRequest::post(Validate).header("Content-Type", content_type);
        world.send_with(&request, endless).await.is_refused(status);
        let read = read.load(Ordering::SeqCst);
        assert!((most..=most + LIMIT).contains(&read), "{content_type}: {read}");
    }

    let world = World::over_a_socket(defaults).await;
    let mut socket = Socket::open(world.address()).await;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: app.example.com\r\nContent-Type: {JSON}\r\nTransfer-Encoding: chunked\r\n\r\n",
        Validate.url()
    );
    socket.send(head.as_bytes()).await;
    let mut taken = 0;
    let piece = vec![b'x'; LIMIT];
    while socket.try_send(&HttpRequest::chunk(&piece)).await {
        taken += LIMIT;
        assert!(taken < 64 * 1024 * 1024, "the server stops reading");
    }
}

/// A reader without an end. Counts the bytes read.
struct Endless {
    read: Arc<AtomicUsize>,
}

impl AsyncRead for Endless {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let piece = buf.remaining().min(1024);
        buf.initialize_unfilled_to(piece).fill(b' ');
        buf.advance(piece);
        self.read.fetch_add(piece, Ordering::SeqCst);
        Poll::Ready(Ok(()))
    }
}

/// The deadline holds for a body that never starts and for one that sends a byte each second.
#[tokio::test(start_paused = true)]
async fn incomplete_body_returns_408_after_ten_seconds() {
    let world = World::in_process(defaults).await;
    for operation in Operation::ALL {
        for content_type in
            [JSON, Encoding::UrlEncoded.content_type(), Encoding::Multipart.content_type(), "text/plain"]
        {
            // With an unsupported media type, the first byte determines the response.
            let dripping = if content_type == "text/plain" { 415 } else { 408 };
            for (drip, status) in [(None, 408), (Some(Duration::from_secs(1)), dripping)] {
                let (reader, mut writer) = tokio::io::duplex(64);
                let drips = tokio::spawn(async move {
                    while let Some(pause) = drip
                        && writer.write_all(b" ").await.is_ok()
                    {
                        tokio::time::sleep(pause).await;
                    }
                    std::future::pending::<()>().await;
                });
                let start = Instant::now();
                let request = HttpRequest::post(operation).header("Content-Type", content_type);
                world.send_with(&request, Body::from_async_read(reader)).await.is_refused(status);
                let took = start.elapsed();
                assert_eq!(took, if status == 408 { DEADLINE } else { Duration::ZERO }, "{content_type} {drip:?}");
                drips.abort();
            }
        }
    }
    assert_eq!(world.reset.ledger().accepted, 0);
}

#[tokio::test(start_paused = true)]
async fn slow_body_within_the_deadline_is_accepted() {
    let world = World::in_process(defaults).await;
    let (reader, mut writer) = tokio::io::duplex(64);
    tokio::spawn(async move {
        for byte in br#"{"email":"ann@example.com"}"# {
            writer.write_all(&[*byte]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
    world
        .send_with(&HttpRequest::post(Request).header("Content-Type", JSON), Body::from_async_read(reader))
        .await
        .is_ok();
}

/// In real time: a body that stalls, one that sends a byte each second, and one that stops within a chunk.
#[tokio::test]
async fn incomplete_bodies_over_a_socket_return_408() {
    let world = World::over_a_socket(defaults).await;
    let head = |length: &str| {
        format!("POST {} HTTP/1.1\r\nHost: a\r\nContent-Type: {JSON}\r\n{length}\r\n\r\n", Validate.url()).into_bytes()
    };
    let [stalled, dripping, half_a_chunk] = [
        head("Content-Length: 100"),
        head("Content-Length: 100"),
        [head("Transfer-Encoding: chunked"), b"20\r\n{\"token".to_vec()].concat(),
    ];
    let start = Instant::now();
    let ends = [(stalled, false), (dripping, true), (half_a_chunk, false)].map(|(bytes, drips)| {
        let address = world.address();
        tokio::spawn(async move {
            let mut socket = Socket::open(address).await;
            socket.send(&bytes).await;
            let mut second = tokio::time::interval(Duration::from_secs(1));
            while drips && start.elapsed() < DEADLINE - Duration::from_secs(1) {
                second.tick().await;
                socket.send(b" ").await;
            }
            let reply = socket.reply("POST").await;
            let took = start.elapsed();
            assert!(socket.is_closed().await, "the server does not wait for the rest");
            (reply, took)
        })
    });
    for end in ends {
        let (reply, took) = end.await.unwrap();
        reply.is_refused(408);
        assert!((DEADLINE..DEADLINE + Duration::from_secs(3)).contains(&took), "{took:?}");
        world.document.check(Validate.path(), &reply);
    }
}
