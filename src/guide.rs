//! The user guide: one chapter a module. Every example is a doc test.
//!
//! | chapter | answers |
//! | --- | --- |
//! | [`links`] | Where does the link lead, what does the page behind it do, and what if an answer is lost? |
//! | [`no_mail`] | A user asked, and no mail came. Why? |
//! | [`mounting`] | Where do the endpoints go: a service of their own, one document with mine, a front end on another origin? |
//! | [`passwords`] | Which passwords are accepted, how are they hashed, and why does a password from a Mac not sign in? |
//! | [`rate_limits`] | How often may a client ask, how often does an address get mail, and who is locked out? |
//! | [`moving_from_django`] | What changes for an application that used `django-rest-passwordreset`? |

#[doc = include_str!("guide/links.md")]
pub mod links {}

#[doc = include_str!("guide/no_mail.md")]
pub mod no_mail {}

#[doc = include_str!("guide/mounting.md")]
pub mod mounting {}

#[doc = include_str!("guide/passwords.md")]
pub mod passwords {}

#[doc = include_str!("guide/rate_limits.md")]
pub mod rate_limits {}

#[doc = include_str!("guide/moving_from_django.md")]
pub mod moving_from_django {}
