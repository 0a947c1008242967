//! Request bodies: JSON, urlencoded and multipart, to fields; with a limit and a deadline.
//!
//! The order of the checks is a promise: 406, 415, 413 and 408, 400. What fails is answered here, and no answer quotes
//! what was sent.

mod fields;
mod json;
mod multipart;
mod urlencoded;

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_core::Stream as _;
use poem::http::HeaderMap;
use poem::http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use poem::{Body, Request, RequestBody};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

pub(super) use self::fields::{Fields, Value, has_byte};
use super::answer::{Answer, FieldErrors};
use crate::timeout::with_timeout;

/// The largest body that is read, in bytes.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// The media types that are accepted, each meaning the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MediaType {
    Json,
    UrlEncoded,
    Multipart,
}

impl MediaType {
    const ALL: [Self; 3] = [Self::Json, Self::UrlEncoded, Self::Multipart];

    fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::UrlEncoded => "application/x-www-form-urlencoded",
            Self::Multipart => "multipart/form-data",
        }
    }

    /// The media type of a request. Parameters do not count: JSON is UTF-8 (RFC 8259, section 8.1).
    fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(CONTENT_TYPE)?;
        // As nearly all of them have it.
        if value == Self::Json.name() {
            return Some(Self::Json);
        }
        let value = value.to_str().ok()?;
        let essence = value.split(';').next().unwrap_or_default().trim();
        Self::ALL.into_iter().find(|media_type| essence.eq_ignore_ascii_case(media_type.name()))
    }
}

/// What an operation reads from the fields of a body.
pub(super) trait FromFields: Sized + Send {
    /// The name of its schema in the OpenAPI document.
    const SCHEMA: &'static str;

    /// Its schema.
    fn schema() -> MetaSchema;

    /// Reads the fields; unknown ones are ignored. Reports all faulty ones at once.
    fn from_fields(fields: Fields) -> Result<Self, FieldErrors>;
}

/// Extracts `T` from the body of a request.
#[derive(Debug)]
pub(super) struct Form<T>(pub(super) T);

impl<'a, T: FromFields> ApiExtractor<'a> for Form<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    const PARAM_IS_REQUIRED: bool = true;

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        let schema = MetaSchema { title: Some(T::SCHEMA.to_owned()), ..T::schema() };
        registry.schemas.insert(T::SCHEMA.to_owned(), schema);
    }

    fn request_meta() -> Option<MetaRequest> {
        let media_type = |media_type: MediaType| MetaMediaType {
            content_type: media_type.name(),
            schema: MetaSchemaRef::Reference(T::SCHEMA.to_owned()),
        };
        Some(MetaRequest {
            description: Some("At most 16 KiB. The three types mean the same."),
            content: MediaType::ALL.into_iter().map(media_type).collect(),
            required: true,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let body = body.take().map_err(|_| Answer::Failed)?;
        let fields = fields(request, body).await?;
        Ok(Self(T::from_fields(fields).map_err(Answer::FaultyFields)?))
    }
}

async fn fields(request: &Request, body: Body) -> Result<Fields, Answer> {
    if !accepts_json(request.headers()) {
        return Err(Answer::NotAcceptable);
    }
    let media_type = MediaType::of(request.headers());
    let announced = announced_bytes(request.headers());
    let read = pin!(async {
        match media_type {
            Some(_) => read_limited(announced, body).await,
            // An empty body has no type, and is what it would be with any.
            None => read_nothing(announced, body).await,
        }
    });
    let bytes = with_timeout(BODY_DEADLINE, read).await.unwrap_or(Err(Answer::BodyTimeout))?;
    match media_type {
        _ if bytes.is_empty() => Ok(Fields::default()),
        None => Err(Answer::UnsupportedMediaType),
        _ if bytes.trim_ascii().is_empty() => Err(Answer::ParseError),
        Some(MediaType::Json) => json::read(&bytes),
        Some(MediaType::UrlEncoded) => Ok(urlencoded::read(&bytes)),
        // In a box: it is seldom, and so large that all else would be copied more slowly for its sake.
        Some(MediaType::Multipart) => Box::pin(multipart::read(request, bytes.into())).await,
    }
}

/// How long the body is, by its own account: what is too long, or of another type, need not even be waited for.
fn announced_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn read_limited(announced: Option<u64>, body: Body) -> Result<Bytes, Answer> {
    if announced.is_some_and(|bytes| bytes > MAX_BODY_BYTES as u64) {
        return Err(Answer::BodyTooLarge);
    }
    let mut chunks = pin!(body.into_bytes_stream());
    // Most bodies come in one piece, and are read where they are.
    let mut bytes = Bytes::new();
    while let Some(chunk) = poll_fn(|context| chunks.as_mut().poll_next(context)).await {
        let chunk = chunk.map_err(|_| Answer::ParseError)?;
        if bytes.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(Answer::BodyTooLarge);
        }
        bytes = if bytes.is_empty() { chunk } else { append(bytes, &chunk) };
    }
    Ok(bytes)
}

/// One after the other, in room that grows so that many small pieces are not copied again and again.
fn append(bytes: Bytes, chunk: &[u8]) -> Bytes {
    let mut bytes = BytesMut::from(bytes);
    bytes.extend_from_slice(chunk);
    bytes.freeze()
}

async fn read_nothing(announced: Option<u64>, body: Body) -> Result<Bytes, Answer> {
    if announced.is_some_and(|bytes| bytes > 0) {
        return Err(Answer::UnsupportedMediaType);
    }
    let mut chunks = pin!(body.into_bytes_stream());
    while let Some(chunk) = poll_fn(|context| chunks.as_mut().poll_next(context)).await {
        if !chunk.map_err(|_| Answer::ParseError)?.is_empty() {
            return Err(Answer::UnsupportedMediaType);
        }
    }
    Ok(Bytes::new())
}

/// Whether `Accept` admits `application/json` (RFC 9110, section 12.5.1): the most specific range that fits decides.
fn accepts_json(headers: &HeaderMap) -> bool {
    // As most do, it asks for nothing in particular.
    if !headers.contains_key(ACCEPT) {
        return true;
    }
    let mut ranges = headers.get_all(ACCEPT).iter().flat_map(|line| line.to_str().unwrap_or_default().split(','));
    let mut decision: Option<(u8, bool)> = None;
    let mut any = false;
    for range in ranges.by_ref().filter(|range| !range.trim().is_empty()) {
        any = true;
        let mut parts = range.split(';').map(str::trim);
        let specificity = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "application/json" => 3,
            "application/*" => 2,
            "*/*" | "*" => 1,
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let admitted = weight.is_none_or(|weight| weight.trim().parse::<f32>() != Ok(0.0));
        if decision.is_none_or(|(decided, _)| decided <= specificity) {
            decision = Some((specificity, admitted));
        }
    }
    !any || decision.is_some_and(|(_, admitted)| admitted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, value.parse().unwrap());
        accepts_json(&headers)
    }

    #[test]
    fn accept() {
        assert!(accepts_json(&HeaderMap::new()));
        for value in [
            "",
            "*/*",
            "application/*",
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "text/html, application/xhtml+xml, */*;q=0.8",
            "application/xml, application/json;q=0.1",
            "*/*;q=0, application/json",
        ] {
            assert!(accepts(value), "{value}");
        }
        for value in [
            "application/xml",
            "text/html",
            "text/*",
            "application/json;q=0",
            "application/json; q=0.0, */*",
            "nonsense",
        ] {
            assert!(!accepts(value), "{value}");
        }
    }
}
