//! The HTTP contract: paths, bodies, statuses, headers and the shapes of responses.
//!
//! Most tests run in process and over a socket and expect the same responses. `World::request` also checks what every
//! response has in common: three security headers, no cookie, no CORS header, compact JSON, and an entry in the OpenAPI
//! document.

#![allow(clippy::unwrap_used, reason = "in a test it is an assertion")]

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "../support/http.rs"]
mod http;

mod echo;
mod failures;
mod fields;
mod forwarded;
mod limits;
mod media_types;
mod neighbors;
mod other_user;
mod routes;
mod settings;
mod tokens;
