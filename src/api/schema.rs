//! OpenAPI documentation of the request body and the responses of each operation.

mod request;
mod response;

use std::io;
use std::marker::PhantomData;

use bytes::Bytes;
use futures_core::Stream;
use poem::{IntoResponse, Request, RequestBody, Response};
use poem_openapi::registry::{
    MetaMediaType, MetaRequest, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::{ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions, Tags};

use super::into_poem;
use crate::endpoint::MediaType;

/// Groups the operations in the OpenAPI document.
#[derive(Tags)]
pub(super) enum Group {
    /// A new password for users who forgot theirs.
    PasswordReset,
}

/// Documentation of an operation.
pub(super) trait Operation: Send {
    /// The name of the schema of the request body.
    const BODY: &'static str;

    fn body() -> MetaSchema;

    fn responses() -> Vec<MetaResponse>;
}

pub(super) struct RequestReset;

impl Operation for RequestReset {
    const BODY: &'static str = "PasswordResetRequestBody";

    fn body() -> MetaSchema {
        request::object("Requests a password reset.", vec![request::email()])
    }

    fn responses() -> Vec<MetaResponse> {
        response::request()
    }
}

pub(super) struct Validate;

impl Operation for Validate {
    const BODY: &'static str = "PasswordResetValidateBody";

    fn body() -> MetaSchema {
        request::object("Validates a reset token.", vec![request::token()])
    }

    fn responses() -> Vec<MetaResponse> {
        response::validate()
    }
}

pub(super) struct Confirm;

impl Operation for Confirm {
    const BODY: &'static str = "PasswordResetConfirmBody";

    fn body() -> MetaSchema {
        request::object("Sets a new password.", vec![request::token(), request::password()])
    }

    fn responses() -> Vec<MetaResponse> {
        response::confirm()
    }
}

/// The unread body of a request, documented as that of the operation `T`.
pub(super) struct Body<T> {
    body: poem::Body,
    operation: PhantomData<T>,
}

impl<T> Body<T> {
    pub(super) fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> {
        self.body.into_bytes_stream()
    }
}

impl<'a, T: Operation> ApiExtractor<'a> for Body<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    const PARAM_IS_REQUIRED: bool = true;

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        let schema = MetaSchema { title: Some(T::BODY.to_owned()), ..T::body() };
        registry.schemas.insert(T::BODY.to_owned(), schema);
    }

    fn request_meta() -> Option<MetaRequest> {
        let media_type = |media_type: MediaType| MetaMediaType {
            content_type: media_type.name(),
            schema: MetaSchemaRef::Reference(T::BODY.to_owned()),
        };
        Some(MetaRequest {
            description: Some("At most 16 KiB. The three media types are equivalent."),
            content: MediaType::ALL.into_iter().map(media_type).collect(),
            required: true,
        })
    }

    async fn from_request(_: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        Ok(Self { body: body.take()?, operation: PhantomData })
    }
}

/// A response, documented as one of the operation `T`.
pub(super) struct DocumentedResponse<T> {
    response: http::Response<Bytes>,
    operation: PhantomData<T>,
}

impl<T> DocumentedResponse<T> {
    pub(super) fn new(response: http::Response<Bytes>) -> Self {
        Self { response, operation: PhantomData }
    }
}

impl<T: Operation> IntoResponse for DocumentedResponse<T> {
    fn into_response(self) -> Response {
        into_poem(self.response)
    }
}

impl<T: Operation> ApiResponse for DocumentedResponse<T> {
    fn meta() -> MetaResponses {
        MetaResponses { responses: T::responses() }
    }

    fn register(registry: &mut Registry) {
        response::register(registry);
    }
}
