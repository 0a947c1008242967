//! Request bodies: JSON, urlencoded and multipart, read into [`Fields`] with a size limit and a deadline.
//!
//! The checks run in a fixed order: 406, 415, 413 and 408, 400. No error text repeats a value of the body.

mod fields;
mod json;
mod multipart;
mod urlencoded;

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};

pub(super) use self::fields::{Fields, Value};
use super::accept::accepts_json;
use super::response::ErrorResponse;
use crate::timeout::with_timeout;

/// Maximum size of a body, in bytes.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// Maximum time from the start of reading to the end of the body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A media type of request bodies. All types have the same meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MediaType {
    Json,
    UrlEncoded,
    Multipart,
}

impl MediaType {
    pub(crate) const ALL: [Self; 3] = [Self::Json, Self::UrlEncoded, Self::Multipart];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::UrlEncoded => "application/x-www-form-urlencoded",
            Self::Multipart => "multipart/form-data",
        }
    }

    /// Returns the media type of a request. Ignores parameters: JSON is always UTF-8 (RFC 8259, section 8.1).
    fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let essence = value.split(';').next().unwrap_or_default().trim();
        Self::ALL.into_iter().find(|media_type| essence.eq_ignore_ascii_case(media_type.name()))
    }
}

/// Reads and parses the body of a request with these headers.
pub(super) async fn read<S, E>(headers: &HeaderMap, body: S) -> Result<Fields, ErrorResponse>
where
    S: Stream<Item = Result<Bytes, E>>,
{
    if !accepts_json(headers) {
        return Err(ErrorResponse::NotAcceptable);
    }
    let media_type = MediaType::of(headers);
    let bytes = pin!(read_bytes(media_type, content_length(headers), body));
    let bytes = with_timeout(BODY_TIMEOUT, bytes).await.unwrap_or(Err(ErrorResponse::BodyTimeout))?;
    match media_type {
        _ if bytes.is_empty() => Ok(Fields::default()),
        None => Err(ErrorResponse::UnsupportedMediaType),
        Some(_) if bytes.trim_ascii().is_empty() => Err(ErrorResponse::ParseError),
        Some(MediaType::Json) => json::parse(&bytes),
        Some(MediaType::UrlEncoded) => Ok(urlencoded::parse(&bytes)),
        Some(MediaType::Multipart) => multipart::parse(headers, bytes).await,
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads the whole body. Without a supported media type, only an empty body is valid. Rejects a body by its `Content-Length` or
/// its first surplus byte, without waiting for the rest.
async fn read_bytes<S, E>(
    media_type: Option<MediaType>,
    content_length: Option<u64>,
    body: S,
) -> Result<Bytes, ErrorResponse>
where
    S: Stream<Item = Result<Bytes, E>>,
{
    let check_size = |size: u64| match media_type {
        None if size > 0 => Err(ErrorResponse::UnsupportedMediaType),
        Some(_) if size > MAX_BODY_BYTES as u64 => Err(ErrorResponse::BodyTooLarge),
        _ => Ok(()),
    };
    check_size(content_length.unwrap_or(0))?;
    let mut body = pin!(body);
    let mut bytes = BytesMut::new();
    while let Some(chunk) = poll_fn(|context| body.as_mut().poll_next(context)).await {
        let chunk = chunk.map_err(|_| ErrorResponse::ParseError)?;
        check_size((bytes.len() + chunk.len()) as u64)?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}
