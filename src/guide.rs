//! The user guide: one chapter a module. Every example is a doc test.
//!
//! Read [`getting_started`] first, then [`security_model`]. The other chapters stand alone.
//!
//! | chapter | subject |
//! | --- | --- |
//! | [`getting_started`] | the first working reset: dependencies, program, three requests |
//! | [`users_table`] | your own users table: SQLite, PostgreSQL, MySQL, or three SQL statements |
//! | [`links`] | the link in the mail, and the page behind it |
//! | [`mail`] | a function of yours, or ready mails by SMTP or an HTTP API; a notice after the reset |
//! | [`handlers`] | the three attributes, injected values, order, refusing a reset |
//! | [`mounting`] | paths, one document with your endpoints, CORS |
//! | [`passwords`] | rules for new passwords, hashes, the sign-in |
//! | [`rate_limits`] | quotas, proxies, and the counter of failed sign-ins |
//! | [`keys`] | making, keeping and replacing the signing key |
//! | [`logs_and_metrics`] | log events, counters, alerts |
//! | [`several_instances`] | what to change at which size, key rotation, systemd and nginx, start and stop |
//! | [`durable_queue`] | requests that survive a killed process, in PostgreSQL or another job engine |
//! | [`testing`] | tests of the whole flow, of a handler, of your store |
//! | [`security_model`] | guarantees, your part, and limits of the design |
//! | [`performance`] | measured speed and cost, with the commands |
//! | [`moving_from_django`] | settings and differences for users of `django-rest-passwordreset` |
//! | [`questions`] | no mail, 429 for everyone, expired links, and other questions |

#[doc = include_str!("guide/getting_started.md")]
pub mod getting_started {}

#[doc = include_str!("guide/users_table.md")]
pub mod users_table {}

#[doc = include_str!("guide/links.md")]
pub mod links {}

#[doc = include_str!("guide/mail.md")]
pub mod mail {}

#[doc = include_str!("guide/handlers.md")]
pub mod handlers {}

#[doc = include_str!("guide/mounting.md")]
pub mod mounting {}

#[doc = include_str!("guide/passwords.md")]
pub mod passwords {}

#[doc = include_str!("guide/rate_limits.md")]
pub mod rate_limits {}

#[doc = include_str!("guide/keys.md")]
pub mod keys {}

#[doc = include_str!("guide/logs_and_metrics.md")]
pub mod logs_and_metrics {}

#[doc = include_str!("guide/several_instances.md")]
pub mod several_instances {}

#[doc = include_str!("guide/durable_queue.md")]
pub mod durable_queue {}

#[doc = include_str!("guide/testing.md")]
pub mod testing {}

#[doc = include_str!("guide/security_model.md")]
pub mod security_model {}

#[doc = include_str!("guide/performance.md")]
pub mod performance {}

#[doc = include_str!("guide/moving_from_django.md")]
pub mod moving_from_django {}

#[doc = include_str!("guide/questions.md")]
pub mod questions {}
