//! Parser for `multipart/form-data` (RFC 7578).

use std::convert::Infallible;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::fields::{Fields, Value};
use crate::endpoint::ErrorResponse;

pub(super) async fn parse(headers: &HeaderMap, bytes: Bytes) -> Result<Fields, ErrorResponse> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(content_type).map_err(|_| ErrorResponse::ParseError)?;
    let mut bytes = BytesMut::from(bytes);
    clean_part_headers(&boundary, &mut bytes);
    let mut parts = multer::Multipart::new(OneChunk(bytes.freeze()), boundary);
    let mut fields = Fields::default();
    while let Some(part) = parts.next_field().await.map_err(|_| ErrorResponse::ParseError)? {
        let Some(name) = part.name().map(str::to_owned) else { continue };
        let is_file = part.file_name().is_some();
        let content = part.bytes().await.map_err(|_| ErrorResponse::ParseError)?;
        fields.set(&name, || match str::from_utf8(&content) {
            Ok(text) if !is_file => Value::Text(text.to_owned()),
            _ => Value::Other,
        });
    }
    Ok(fields)
}

/// A stream of one chunk, then empty: multer parses streams only.
struct OneChunk(Bytes);

impl Stream for OneChunk {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let chunk = mem::take(&mut self.0);
        Poll::Ready((!chunk.is_empty()).then_some(Ok(chunk)))
    }
}

/// Replaces control characters in the headers of the parts by `?`.
///
/// Browsers send them unescaped in field names, except CR and LF (HTML, section 4.10.21.8), and multer rejects them.
/// The names that an operation reads contain none, so the replacement is safe.
fn clean_part_headers(boundary: &str, body: &mut [u8]) {
    let delimiter = format!("--{boundary}\r\n");
    let mut in_headers = false;
    for line in body.split_inclusive_mut(|byte| *byte == b'\n') {
        in_headers = line == delimiter.as_bytes() || (in_headers && !line.trim_ascii().is_empty());
        if in_headers {
            let text = line.len().saturating_sub(b"\r\n".len());
            line[..text].iter_mut().filter(|byte| byte.is_ascii_control()).for_each(|byte| *byte = b'?');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_part_headers_replaces_control_characters_in_headers_only() {
        let sent = "--b\r\nName: a\u{1}\t\u{7f}\0b\r\n\r\n\u{1}--b\r\n\u{2}\r\n\r\n\0\r\n--b\r\n\u{3}\r\n\n\u{4}\r\n--b--\u{5}";
        let cleaned = "--b\r\nName: a????b\r\n\r\n\u{1}--b\r\n\u{2}\r\n\r\n\0\r\n--b\r\n?\r\n\n\u{4}\r\n--b--\u{5}";
        for (boundary, expected) in [("b", cleaned), ("c", sent)] {
            let mut body = sent.as_bytes().to_vec();
            clean_part_headers(boundary, &mut body);
            assert_eq!(String::from_utf8(body).unwrap(), expected, "{boundary}");
        }
    }
}
