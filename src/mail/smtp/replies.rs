//! A connection to a mail server that filters the server's replies.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Maximum size of the replies to one command, in bytes. A normal reply needs less than 1 KiB.
const LIMIT: usize = 64 * 1024;

/// A connection that makes replies safe before lettre parses them.
///
/// lettre 0.11.23 has four problems with replies:
///
/// * It reads a whole line before it checks the length, with any amount of memory.
/// * It panics if a line of the reply to EHLO contains only white space.
/// * It waits for more if a line ends without CR.
/// * It reports a closed connection as an invalid reply.
#[derive(Debug)]
pub(super) struct Replies<S> {
    stream: S,
    peer: SocketAddr,
    filter: Filter,
    /// Text that is read before the stream.
    greeting: &'static [u8],
}

impl<S> Replies<S> {
    pub(super) fn new(stream: S, peer: SocketAddr) -> Self {
        let filter = Filter { remaining: LIMIT, column: 0, after_cr: false };
        Self { stream, peer, filter, greeting: b"" }
    }

    /// Wraps a stream on which the server does not greet, because it did before STARTTLS (RFC 3207, section 4.2). lettre
    /// expects a greeting on each new stream.
    pub(super) fn after_starttls(stream: S, peer: SocketAddr) -> Self {
        Self { greeting: b"220 \r\n", ..Self::new(stream, peer) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replies<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.greeting.is_empty() && buffer.remaining() > 0 {
            let (now, later) = this.greeting.split_at(this.greeting.len().min(buffer.remaining()));
            buffer.put_slice(now);
            this.greeting = later;
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        let read = &mut buffer.filled_mut()[before..];
        // lettre reads only while it waits for a reply, so the end of the stream is a broken connection.
        Poll::Ready(if read.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { this.filter.apply(read) })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replies<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // The limit is for one command, because a connection may serve many mails.
        this.filter.remaining = LIMIT;
        Pin::new(&mut this.stream).poll_write(cx, buffer)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + fmt::Debug + Send + Sync + Unpin> AsyncTokioStream for Replies<S> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

/// State of the filter.
#[derive(Debug)]
struct Filter {
    /// Number of bytes that are still allowed.
    remaining: usize,
    /// Position of the next byte in its line. A line is a code of three digits, then `-` or a space, then a text.
    column: usize,
    after_cr: bool,
}

impl Filter {
    /// Replaces characters that are not printable ASCII, and white space at the start of a text. Rejects lines that do not end
    /// with CR LF.
    fn apply(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.remaining = self.remaining.checked_sub(bytes.len()).ok_or(io::ErrorKind::InvalidData)?;
        for byte in bytes {
            if self.after_cr != (*byte == b'\n') {
                return Err(io::ErrorKind::InvalidData.into());
            }
            *byte = match *byte {
                kept @ (b'\r' | b'\n' | b'!'..=b'~') => kept,
                b' ' | b'\t' if self.column != 4 => b' ',
                _ => b'?',
            };
            self.after_cr = *byte == b'\r';
            self.column = if *byte == b'\n' { 0 } else { self.column + 1 };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Filters the bytes in pieces of this size.
    fn filter(bytes: &[u8], size: usize) -> Option<String> {
        let mut bytes = bytes.to_vec();
        let mut filter = Filter { remaining: LIMIT, column: 0, after_cr: false };
        bytes.chunks_mut(size).try_for_each(|piece| filter.apply(piece)).ok()?;
        Some(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn replies_become_lines_of_printable_ascii() {
        for (reply, expected) in [
            (
                &b"250-mail.example.com\r\n250-\r\n250 SIZE 1000\r\n"[..],
                Some("250-mail.example.com\r\n250-\r\n250 SIZE 1000\r\n"),
            ),
            (b"250-  \r\n250-\t\r\n250 x\ty\r\n", Some("250-? \r\n250-?\r\n250 x y\r\n")),
            (b"550 \x1b[31mno\x00\xff\xc2\xa0\r\n", Some("550 ?[31mno????\r\n")),
            (b"", Some("")),
            (b"250 ok\n", None),
            (b"250 o\rk\r\n", None),
            (b"250 ok\r\r\n", None),
            (b"\n", None),
        ] {
            for size in 1..=reply.len().max(1) {
                assert_eq!(
                    filter(reply, size).as_deref(),
                    expected,
                    "{:?} by {size}",
                    reply.escape_ascii().to_string()
                );
            }
        }
    }

    #[test]
    fn replies_over_the_limit_are_rejected() {
        assert!(filter(&[b'x'; LIMIT], 4096).is_some());
        assert!(filter(&[b'x'; LIMIT + 1], 4096).is_none());
    }
}
