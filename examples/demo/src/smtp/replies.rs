//! The connection to a mail server, of whose replies nothing can hurt.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How much a server may say on one connection. A conversation takes less than 1 KiB.
const LIMIT: usize = 64 * 1024;

/// A connection whose replies are made harmless before anybody parses them.
///
/// lettre 0.11.23 reads a line to its end, however much memory that takes, before it looks how long it is; panics when
/// a line of the reply to EHLO is white space only; waits for more when a line ends without CR; and takes a server that
/// hangs up for one that talks nonsense.
#[derive(Debug)]
pub(super) struct Replies {
    stream: TcpStream,
    screen: Screen,
}

impl Replies {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, screen: Screen { left: LIMIT, column: 0, after_cr: false } }
    }
}

impl AsyncRead for Replies {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        let read = &mut buffer.filled_mut()[before..];
        // Who reads here waits for a reply: an end is a connection that broke.
        Poll::Ready(if read.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { this.screen.pass(read) })
    }
}

impl AsyncWrite for Replies {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buffer)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl AsyncTokioStream for Replies {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

/// How far the replies have come.
#[derive(Debug)]
struct Screen {
    /// How many bytes may still come.
    left: usize,
    /// The place of the next byte in its line. A line is a code of three digits, `-` or a space, and a text.
    column: usize,
    after_cr: bool,
}

impl Screen {
    /// Lets pass lines that end with CR LF, in printable ASCII, whose text does not begin with white space.
    fn pass(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.left = self.left.checked_sub(bytes.len()).ok_or(io::ErrorKind::InvalidData)?;
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

    /// Passes the bytes in pieces of this size.
    fn pass(bytes: &[u8], size: usize) -> Option<String> {
        let mut bytes = bytes.to_vec();
        let mut screen = Screen { left: LIMIT, column: 0, after_cr: false };
        bytes.chunks_mut(size).try_for_each(|piece| screen.pass(piece)).ok()?;
        Some(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn replies_are_lines_of_printable_ascii() {
        for (said, expected) in [
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
            for size in 1..=said.len().max(1) {
                assert_eq!(pass(said, size).as_deref(), expected, "{:?} by {size}", said.escape_ascii().to_string());
            }
        }
    }

    #[test]
    fn replies_come_to_an_end() {
        assert!(pass(&[b'x'; LIMIT], 4096).is_some());
        assert!(pass(&[b'x'; LIMIT + 1], 4096).is_none());
    }
}
