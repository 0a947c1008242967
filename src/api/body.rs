//! Request bodies: JSON, urlencoded and multipart, to fields; with a limit and a deadline.
//!
//! The order of the checks is a promise: 406, 415, 413 and 408, 400. What fails is answered here, and no answer quotes
//! what was sent.

use std::borrow::Cow;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use futures_core::Stream as _;
use percent_encoding::percent_decode;
use poem::http::HeaderMap;
use poem::http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use poem::web::Multipart;
use poem::{Body, FromRequest, Request, RequestBody};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::schema::{Answer, FieldErrors};
use crate::wait::within;

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
        let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let essence = value.split(';').next().unwrap_or_default().trim();
        Self::ALL.into_iter().find(|media_type| essence.eq_ignore_ascii_case(media_type.name()))
    }
}

/// A value of a body, as far as a field can be made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Text.
    Text(String),
    /// A JSON number, as it was written.
    Number(String),
    /// JSON's `null`.
    Null,
    /// Anything else: an object, an array, a truth value, a file, bytes that are not UTF-8.
    Other,
}

/// The fields of a body that any operation reads. Of several with one name, the last; others are ignored.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) email: Option<Value>,
    pub(super) token: Option<Value>,
    pub(super) password: Option<Value>,
}

impl Fields {
    /// Sets a field, if it is one.
    fn set(&mut self, name: &str, value: impl FnOnce() -> Value) {
        let field = match name {
            "email" => &mut self.email,
            "token" => &mut self.token,
            "password" => &mut self.password,
            _ => return,
        };
        *field = Some(value());
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
    let bytes = within(BODY_DEADLINE, read).await.unwrap_or(Err(Answer::BodyTimeout))?;
    match media_type {
        _ if bytes.is_empty() => Ok(Fields::default()),
        None => Err(Answer::UnsupportedMediaType),
        _ if bytes.trim_ascii().is_empty() => Err(Answer::ParseError),
        Some(MediaType::Json) => read_json(&bytes),
        Some(MediaType::UrlEncoded) => Ok(read_urlencoded(&bytes)),
        // In a box: it is seldom, and so large that all else would be copied more slowly for its sake.
        Some(MediaType::Multipart) => Box::pin(read_multipart(request, bytes)).await,
    }
}

/// How long the body is, by its own account: what is too long, or of another type, need not even be waited for.
fn announced_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn read_limited(announced: Option<u64>, body: Body) -> Result<Vec<u8>, Answer> {
    if announced.is_some_and(|bytes| bytes > MAX_BODY_BYTES as u64) {
        return Err(Answer::BodyTooLarge);
    }
    let mut chunks = pin!(body.into_bytes_stream());
    let mut bytes = Vec::with_capacity(announced.unwrap_or(0) as usize);
    while let Some(chunk) = poll_fn(|context| chunks.as_mut().poll_next(context)).await {
        let chunk = chunk.map_err(|_| Answer::ParseError)?;
        if bytes.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(Answer::BodyTooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

async fn read_nothing(announced: Option<u64>, body: Body) -> Result<Vec<u8>, Answer> {
    if announced.is_some_and(|bytes| bytes > 0) {
        return Err(Answer::UnsupportedMediaType);
    }
    let mut chunks = pin!(body.into_bytes_stream());
    while let Some(chunk) = poll_fn(|context| chunks.as_mut().poll_next(context)).await {
        if !chunk.map_err(|_| Answer::ParseError)?.is_empty() {
            return Err(Answer::UnsupportedMediaType);
        }
    }
    Ok(Vec::new())
}

/// Reads a JSON object. A member is kept as it was written until it is known that somebody wants it: so a number keeps its
/// digits, and an unknown member costs nothing.
fn read_json(bytes: &[u8]) -> Result<Fields, Answer> {
    serde_json::from_slice(bytes).map_err(|_| {
        let document = serde_json::from_slice::<&RawValue>(bytes);
        let is_other = document.is_ok_and(|document| !document.get().starts_with('{'));
        if is_other { Answer::NotAnObject } else { Answer::ParseError }
    })
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(Name(name)) = members.next_key()? {
            let raw: &RawValue = members.next_value()?;
            fields.set(&name, || json_value(raw));
        }
        Ok(fields)
    }
}

/// The name of a member, copied only if it has escapes.
#[derive(Deserialize)]
struct Name<'j>(#[serde(borrow)] Cow<'j, str>);

fn json_value(raw: &RawValue) -> Value {
    let raw = raw.get();
    match raw.as_bytes().first() {
        Some(b'"') => json_text(raw).map_or(Value::Other, Value::Text),
        Some(b'-' | b'0'..=b'9') => Value::Number(raw.to_owned()),
        Some(b'n') => Value::Null,
        _ => Value::Other,
    }
}

/// The text of a JSON string. `None` for one with half of a surrogate pair: it is JSON and no text (RFC 8259, section 8.2).
fn json_text(raw: &str) -> Option<String> {
    // Without an escape, as tokens and most of all else are, it stands there as it is.
    match raw.strip_prefix('"')?.strip_suffix('"')? {
        plain if !plain.as_bytes().contains(&b'\\') => Some(plain.to_owned()),
        _ => serde_json::from_str(raw).ok(),
    }
}

/// Reads `name=value&..`. Bytes that are not UTF-8 are no text: replacing them would store another password than was
/// sent.
fn read_urlencoded(bytes: &[u8]) -> Fields {
    let decode = |text: &[u8]| {
        let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        let decoded: Vec<u8> = percent_decode(&spaced).collect();
        String::from_utf8(decoded).ok()
    };
    let mut fields = Fields::default();
    for pair in bytes.split(|byte| *byte == b'&') {
        let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let Some(name) = decode(&pair[..equals]) else { continue };
        let value = || decode(pair.get(equals + 1..).unwrap_or_default()).map_or(Value::Other, Value::Text);
        fields.set(&name, value);
    }
    fields
}

async fn read_multipart(request: &Request, mut bytes: Vec<u8>) -> Result<Fields, Answer> {
    clean_part_headers(request.headers(), &mut bytes);
    let mut body = RequestBody::new(Body::from_vec(bytes));
    let mut parts =
        <Multipart as FromRequest>::from_request(request, &mut body).await.map_err(|_| Answer::ParseError)?;
    let mut fields = Fields::default();
    while let Some(part) = parts.next_field().await.map_err(|_| Answer::ParseError)? {
        let Some(name) = part.name().map(str::to_owned) else { continue };
        let is_file = part.file_name().is_some();
        let content = part.bytes().await.map_err(|_| Answer::ParseError)?;
        fields.set(&name, || match String::from_utf8(content) {
            Ok(text) if !is_file => Value::Text(text),
            _ => Value::Other,
        });
    }
    Ok(fields)
}

/// A browser writes the name of a field as it is, but for quotes and line ends (HTML, 4.10.21.8), and the parser takes no
/// control characters in the headers of a part. No name that anybody wants has one, so they may as well be others.
fn clean_part_headers(headers: &HeaderMap, body: &mut [u8]) {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let parameters = content_type.split(';').filter_map(|parameter| parameter.split_once('='));
    let mut boundaries = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"));
    let Some((_, boundary)) = boundaries.next() else { return };
    let delimiter = format!("--{}\r\n", boundary.trim().trim_matches('"'));

    let mut in_headers = false;
    for line in body.split_inclusive_mut(|byte| *byte == b'\n') {
        in_headers = line == delimiter.as_bytes() || (in_headers && !line.trim_ascii().is_empty());
        if in_headers {
            let text = line.len().saturating_sub(b"\r\n".len());
            line[..text].iter_mut().filter(|byte| byte.is_ascii_control()).for_each(|byte| *byte = b'?');
        }
    }
}

/// Whether `Accept` admits `application/json` (RFC 9110, section 12.5.1): the most specific range that fits decides.
fn accepts_json(headers: &HeaderMap) -> bool {
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

    #[test]
    fn json_members() {
        let text = |text: &str| Value::Text(text.to_owned());
        for (json, value) in [
            (r#""a\u00e9""#, text("a\u{e9}")),
            ("\"\u{e9}\u{7f}\u{1f980}'\"", text("\u{e9}\u{7f}\u{1f980}'")),
            (r#""\"""#, text("\"")),
            (r#""\\""#, text("\\")),
            (r#""""#, text("")),
            ("12345678901234567890.50", Value::Number("12345678901234567890.50".to_owned())),
            ("-1e5", Value::Number("-1e5".to_owned())),
            ("null", Value::Null),
            ("[1]", Value::Other),
            (r#"{"email":1}"#, Value::Other),
            ("true", Value::Other),
            (r#""\ud800""#, Value::Other),
            (r#""first","email":"last""#, text("last")),
            (r#""first","other":"last""#, text("first")),
        ] {
            let fields = Fields { email: Some(value), ..Fields::default() };
            for name in ["email", "\\u0065mail"] {
                assert_eq!(read_json(format!(" {{ \"{name}\" :{json}}} ").as_bytes()).unwrap(), fields, "{json}");
            }
        }
        let fields = read_json(br#"{"token":"t","password":"p","Email":1,"":2}"#).unwrap();
        assert_eq!(fields, Fields { email: None, token: Some(text("t")), password: Some(text("p")) });
        assert_eq!(read_json(b"{}").unwrap(), Fields::default());
    }

    #[test]
    fn json_that_is_none() {
        let deep_lists = "[".repeat(16_000);
        let deep_objects = "{\"a\":".repeat(3_000);
        for body in [
            "  ",
            "{",
            "{}x",
            "{'email':'a'}",
            "{email:1}",
            "{\"a\":1,}",
            "\u{feff}{}",
            "nul",
            "NaN",
            "01",
            "\"a\nb\"",
            "{\"email\":\"a\nb\"}",
            "{\"email\":\"a\0b\"}",
            "{\"email\":\"ab}",
            "{\"a\":\"\\x\"}",
            &deep_lists,
            &deep_objects,
        ] {
            assert!(matches!(read_json(body.as_bytes()), Err(Answer::ParseError)), "{body:.20}");
        }
        assert!(matches!(read_json(b"{\"email\":\"\xff\"}"), Err(Answer::ParseError)));
        assert!(matches!(read_json(b"{\0\"\0e\0"), Err(Answer::ParseError)), "UTF-16");
        for body in ["null", "[]", "1", "\"text\"", "true", " [{}] "] {
            assert!(matches!(read_json(body.as_bytes()), Err(Answer::NotAnObject)), "{body}");
        }
        let nested = format!("{{\"a\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
        assert!(read_json(nested.as_bytes()).is_ok(), "what nobody wants may be as deep as it likes");
    }

    #[test]
    fn urlencoded_pairs() {
        let text = |text: &str| Some(Value::Text(text.to_owned()));
        for (body, value) in [
            ("email=x+y%2B%20", text("x y+ ")),
            ("email=1&&email=2", text("2")),
            ("email=%zz", text("%zz")),
            ("email=h=i", text("h=i")),
            ("email", text("")),
            ("%65m%61il=1", text("1")),
            ("email=%FF", Some(Value::Other)),
            ("=d&e=mail&Email=1&%FF=1", None),
            ("", None),
        ] {
            assert_eq!(read_urlencoded(body.as_bytes()), Fields { email: value, ..Fields::default() }, "{body}");
        }
        assert_eq!(read_urlencoded(b"email=\xe9").email, Some(Value::Other));
        assert_eq!(
            read_urlencoded(b"password=p&token=t"),
            Fields { email: None, token: text("t"), password: text("p") }
        );
    }

    #[test]
    fn headers_of_parts_are_cleaned_and_contents_are_not() {
        let sent = "--b\r\nName: a\u{1}\t\u{7f}\0b\r\n\r\n\u{1}--b\r\n\u{2}\r\n\r\n\0\r\n--b\r\n\u{3}\r\n\n\u{4}\r\n--b--\u{5}";
        let cleaned = "--b\r\nName: a????b\r\n\r\n\u{1}--b\r\n\u{2}\r\n\r\n\0\r\n--b\r\n?\r\n\n\u{4}\r\n--b--\u{5}";
        for (content_type, expected) in [
            ("multipart/form-data; boundary=b", cleaned),
            ("multipart/form-data; charset=utf-8; Boundary = \"b\"", cleaned),
            ("multipart/form-data; boundary=c", sent),
            ("multipart/form-data", sent),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
            let mut body = sent.as_bytes().to_vec();
            clean_part_headers(&headers, &mut body);
            assert_eq!(String::from_utf8(body).unwrap(), expected, "{content_type}");
        }
    }
}
