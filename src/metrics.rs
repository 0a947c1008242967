//! Counters for operators, through the `metrics` facade. Without the feature `metrics` nothing is counted.
//!
//! Labels have few values and none comes from a client, so that clients cannot create time series.

#[cfg(feature = "metrics")]
macro_rules! count {
    ($name:ident $(, $label:literal => $value:tt)*) => {
        ::metrics::counter!($name $(, $label => $value)*).increment(1)
    };
}

#[cfg(not(feature = "metrics"))]
macro_rules! count {
    ($name:ident $(, $label:literal => $value:tt)*) => {{
        let _ = ($name, $($value),*);
    }};
}

const OPERATIONS: &str = "password_reset_operations_total";
const REFUSED_TOKENS: &str = "password_reset_refused_tokens_total";
const REQUESTS: &str = "password_reset_requests_total";
#[cfg(feature = "metrics")]
const WAITING: &str = "password_reset_requests_waiting";
const FAILED_HANDLERS: &str = "password_reset_failed_handlers_total";
const THROTTLE_FAILURES: &str = "password_reset_throttle_failures_total";

/// Registers the description of each metric.
pub(crate) fn describe() {
    #[cfg(feature = "metrics")]
    {
        use metrics::{describe_counter, describe_gauge};

        describe_counter!(OPERATIONS, "Requests, validations and confirmations, by result");
        describe_counter!(REFUSED_TOKENS, "Refused reset tokens, by reason");
        describe_counter!(REQUESTS, "Accepted requests that have ended, by outcome");
        describe_gauge!(WAITING, "Accepted requests that wait or are being handled");
        describe_counter!(FAILED_HANDLERS, "Handler calls that failed, panicked or timed out");
        describe_counter!(THROTTLE_FAILURES, "Throttle failures, after which the in-memory throttle took over");
    }
}

/// Counts the result of an operation.
pub(crate) fn answered(operation: &'static str, result: &'static str) {
    // Literal labels avoid an allocation.
    match (operation, result) {
        ("request", "ok") => count!(OPERATIONS, "operation" => "request", "result" => "ok"),
        ("validate", "ok") => count!(OPERATIONS, "operation" => "validate", "result" => "ok"),
        _ => count!(OPERATIONS, "operation" => operation, "result" => result),
    }
}

/// Counts a refused token.
pub(crate) fn refused_token(refusal: &'static str) {
    count!(REFUSED_TOKENS, "refusal" => refusal);
}

/// Counts an accepted request as waiting.
pub(crate) fn accepted_request() {
    #[cfg(feature = "metrics")]
    metrics::gauge!(WAITING).increment(1);
}

/// Uncounts a request that a job engine runs again later.
pub(crate) fn withdrawn_request() {
    #[cfg(feature = "metrics")]
    metrics::gauge!(WAITING).decrement(1);
}

/// Counts the outcome of an accepted request.
pub(crate) fn finished_request(outcome: &'static str) {
    #[cfg(feature = "metrics")]
    metrics::gauge!(WAITING).decrement(1);
    match outcome {
        "delivered" => count!(REQUESTS, "outcome" => "delivered"),
        "ineligible" => count!(REQUESTS, "outcome" => "ineligible"),
        "suppressed" => count!(REQUESTS, "outcome" => "suppressed"),
        _ => count!(REQUESTS, "outcome" => outcome),
    }
}

/// Counts a handler that failed, panicked or timed out.
pub(crate) fn failed_handler(event: &'static str, handler: &'static str) {
    count!(FAILED_HANDLERS, "event" => event, "handler" => handler);
}

/// Counts a failure of the throttle.
pub(crate) fn failed_throttle() {
    count!(THROTTLE_FAILURES);
}
