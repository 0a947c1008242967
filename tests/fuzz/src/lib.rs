//! What must hold for every input: one module a fuzz target, each with one function that takes any bytes and panics if
//! something does not hold. `fuzz_targets` gives them what a fuzzer makes up, the test below what chance does.

#![forbid(unsafe_code)]

pub mod addresses;
pub mod bodies;
pub mod forwarded;
pub mod passwords;
pub mod token;

mod input;

#[allow(dead_code, reason = "shared with the tests of the library, none of which needs all of it")]
#[path = "../../token/forger.rs"]
mod forger;
#[allow(dead_code, reason = "shared with the tests of the library, none of which needs all of it")]
#[path = "../../support/http.rs"]
mod http;
#[cfg(test)]
#[allow(dead_code, reason = "shared with the tests of the library, none of which needs all of it")]
#[path = "../../support/random.rs"]
mod random;
#[cfg(test)]
mod seeded;
