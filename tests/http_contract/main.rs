//! What clients of the endpoints can rely on: paths, bodies, statuses, headers and the shapes of answers.
//!
//! Every check runs in process and over a socket, and both give the same answers. `World::ask` also holds each answer
//! to what is promised of all of them: three headers, no cookie, no CORS header, compact JSON, and an entry in the
//! OpenAPI document.

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
