//! Properties that hold for every input, one module per fuzz target. Each module has a function `holds` that takes any
//! bytes and panics if a property is violated. `fuzz_targets` calls it with inputs of a fuzzer, `seeded` with random
//! ones.

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
