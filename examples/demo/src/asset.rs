//! Files served from memory with an ETag, so that a browser downloads each of them once.

use std::hash::{DefaultHasher, Hash, Hasher};

use hyper::body::Bytes;
use poem::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG};
use poem::http::{HeaderValue, StatusCode};
use poem::web::headers::{self, HeaderMapExt, IfNoneMatch};
use poem::{Endpoint, Request, Response};

/// A file in memory.
#[derive(Clone)]
pub(crate) struct Asset {
    content: Bytes,
    content_type: HeaderValue,
    policy: Option<HeaderValue>,
    etag: String,
}

impl Asset {
    pub(crate) fn new(content_type: &'static str, content: impl Into<Bytes>) -> Self {
        let content = content.into();
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        let etag = format!("\"{:016x}\"", hasher.finish());
        Self { content, content_type: HeaderValue::from_static(content_type), policy: None, etag }
    }

    /// Sets the Content-Security-Policy.
    pub(crate) fn policy(mut self, policy: &'static str) -> Self {
        self.policy = Some(HeaderValue::from_static(policy));
        self
    }

    /// Returns `true` if the client's copy is current.
    fn is_cached(&self, request: &Request) -> bool {
        let etag: headers::ETag = self.etag.parse().expect("hexadecimal digits in quotes are an ETag");
        request.headers().typed_get::<IfNoneMatch>().is_some_and(|header| !header.precondition_passes(&etag))
    }
}

impl Endpoint for Asset {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let response = Response::builder().header(ETAG, &self.etag).header(CACHE_CONTROL, "no-cache");
        let response = match &self.policy {
            Some(policy) => response.header(CONTENT_SECURITY_POLICY, policy),
            None => response,
        };
        Ok(if self.is_cached(&request) {
            response.status(StatusCode::NOT_MODIFIED).finish()
        } else {
            response.header(CONTENT_TYPE, &self.content_type).body(self.content.clone())
        })
    }
}
