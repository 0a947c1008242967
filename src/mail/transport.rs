//! [`MailTransport`]: sends a finished mail.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Mail;
use crate::error::BoxError;

/// Sends the mails of a [`Mailer`](super::Mailer): through a mail server, an HTTP API, or into a file.
///
/// Implement the method as a plain `async fn`. It runs within the
/// [`handler_timeout`](crate::PasswordResetBuilder::handler_timeout), and a panic in it counts as an error. The log contains
/// the error's message without the recipient's address and the token; leave out the link and the body of the mail anyway.
///
/// A mail API takes about ten lines:
///
/// ```
/// use poem_password_reset::BoxError;
/// use poem_password_reset::mail::{Mail, MailTransport};
/// use serde_json::json;
///
/// struct MailApi {
///     client: reqwest::Client,
///     key: String,
/// }
///
/// impl MailTransport for MailApi {
///     type Error = BoxError;
///
///     async fn send(&self, mail: &Mail) -> Result<(), BoxError> {
///         let body = json!({
///             "from": mail.from(), "to": [mail.to()], "subject": mail.subject(),
///             "text": mail.text(), "html": mail.html(),
///         });
///         let request = self.client.post("https://api.mail.example/emails").bearer_auth(&self.key);
///         request.json(&body).send().await?.error_for_status()?;
///         Ok(())
///     }
/// }
/// # // The part of reqwest that the example uses.
/// # mod reqwest {
/// #     use poem_password_reset::BoxError;
/// #     pub struct Client;
/// #     impl Client { pub fn post(&self, _: &str) -> Request { Request } }
/// #     pub struct Request;
/// #     impl Request {
/// #         pub fn bearer_auth(self, _: &str) -> Self { self }
/// #         pub fn json(self, _: &serde_json::Value) -> Self { self }
/// #         pub async fn send(self) -> Result<Response, BoxError> { Ok(Response) }
/// #     }
/// #     pub struct Response;
/// #     impl Response { pub fn error_for_status(self) -> Result<Self, BoxError> { Ok(self) } }
/// # }
/// ```
///
/// Switch off click tracking at the provider: tracked links are the most reported reason why a link does not work, and the
/// provider would store the token. Providers that take the whole MIME message read
/// [headers](Mail::headers) that switch it off.
pub trait MailTransport: Send + Sync + 'static {
    /// Error of a mail that was not sent.
    type Error: Into<BoxError> + Send;

    /// Sends a mail. Returns once the server or the provider has accepted it.
    ///
    /// # Errors
    ///
    /// Returns an error if the mail was not accepted, or if that is not known. The mail is sent again later, unless the error
    /// is [`Permanent`](crate::Permanent): return that if the recipient was refused.
    fn send(&self, mail: &Mail) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

impl<T: MailTransport> MailTransport for Arc<T> {
    type Error = T::Error;

    fn send(&self, mail: &Mail) -> impl Future<Output = Result<(), Self::Error>> + Send {
        (**self).send(mail)
    }
}

/// [`MailTransport`] without type parameters.
pub(super) trait DynTransport: Send + Sync {
    fn send<'a>(&'a self, mail: &'a Mail) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + 'a>>;
}

impl<T: MailTransport> DynTransport for T {
    fn send<'a>(&'a self, mail: &'a Mail) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + 'a>> {
        Box::pin(async move { MailTransport::send(self, mail).await.map_err(Into::into) })
    }
}
