//! [`CustomDelivery`]: the application's delivery, with a timeout and panic handling.

use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use super::{AcceptedRequest, Delivery};
use crate::catch_panic::catch_panic_future;
use crate::error::BoxError;
use crate::timeout::with_timeout;

/// The timeout of a call, because a client waits for it.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The application's delivery without a type parameter.
pub(crate) struct CustomDelivery(Box<dyn DynDelivery>);

impl CustomDelivery {
    pub(crate) fn new(delivery: impl Delivery) -> Self {
        Self(Box::new(delivery))
    }

    pub(crate) async fn enqueue(&self, request: AcceptedRequest) -> Result<(), BoxError> {
        in_time(CALL_TIMEOUT, self.0.enqueue(request)).await
    }

    pub(crate) async fn check_at_start(&self, limit: Duration) -> Result<(), BoxError> {
        in_time(limit, self.0.check_at_start()).await
    }
}

async fn in_time(limit: Duration, call: Boxed<'_>) -> Result<(), BoxError> {
    let answer = with_timeout(limit, pin!(catch_panic_future(call))).await;
    answer.map_err(|_| "the delivery did not answer in time")?.map_err(|_| "the delivery panicked")?
}

type Boxed<'a> = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + 'a>>;

/// Object-safe form of [`Delivery`].
trait DynDelivery: Send + Sync {
    fn enqueue(&self, request: AcceptedRequest) -> Boxed<'_>;
    fn check_at_start(&self) -> Boxed<'_>;
}

impl<D: Delivery> DynDelivery for D {
    fn enqueue(&self, request: AcceptedRequest) -> Boxed<'_> {
        Box::pin(async move { Delivery::enqueue(self, request).await.map_err(Into::into) })
    }

    fn check_at_start(&self) -> Boxed<'_> {
        Box::pin(async move { Delivery::check_at_start(self).await.map_err(Into::into) })
    }
}
