//! What operators count, through the `metrics` facade (feature `metrics`); without it nothing is counted.
//!
//! Labels have few values, and none of them comes from a client: a stranger cannot make series.

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

/// Says, at start, what the counters are about.
pub(crate) fn describe() {
    #[cfg(feature = "metrics")]
    {
        use metrics::{describe_counter, describe_gauge};

        describe_counter!(OPERATIONS, "Requests, validations and confirmations, by what they were answered");
        describe_counter!(REFUSED_TOKENS, "Reset tokens that were refused, by the reason");
        describe_counter!(REQUESTS, "Accepted requests that are done, by what became of them");
        describe_gauge!(WAITING, "Accepted requests that wait for their turn or are being handled");
        describe_counter!(FAILED_HANDLERS, "Calls of handlers that failed, panicked or took too long");
        describe_counter!(THROTTLE_FAILURES, "Times when the throttle failed and the one in memory took over");
    }
}

/// An operation was answered.
pub(crate) fn answered(operation: &'static str, result: &'static str) {
    // Labels that are written out cost no allocation.
    match (operation, result) {
        ("request", "ok") => count!(OPERATIONS, "operation" => "request", "result" => "ok"),
        ("validate", "ok") => count!(OPERATIONS, "operation" => "validate", "result" => "ok"),
        _ => count!(OPERATIONS, "operation" => operation, "result" => result),
    }
}

/// A token was refused.
pub(crate) fn refused_token(refusal: &'static str) {
    count!(REFUSED_TOKENS, "refusal" => refusal);
}

/// A request was accepted and waits.
pub(crate) fn accepted_request() {
    #[cfg(feature = "metrics")]
    metrics::gauge!(WAITING).increment(1);
}

/// A request that was accepted is done.
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

/// A handler failed, panicked or took too long.
pub(crate) fn failed_handler(event: &'static str, handler: &'static str) {
    count!(FAILED_HANDLERS, "event" => event, "handler" => handler);
}

/// The throttle failed.
pub(crate) fn failed_throttle() {
    count!(THROTTLE_FAILURES);
}
