//! The parts that the HTTP fronts of an endpoint and of a gateway share: bodies, keys, refusals,
//! answers, numbers.
//!
//! A front reads a request with [`body`](self) and [`posting`](Posting), asks an [`Authenticator`],
//! and answers with a [`Refusal`], or with an answer that is joined from several results. Nothing here
//! knows which front it serves; nothing here says a message.

pub(crate) mod auth;
pub(crate) mod body;
pub(crate) mod field;
pub mod health;
pub(crate) mod json;
pub(crate) mod metrics;
pub(crate) mod posting;
pub(crate) mod query;
mod rate;
pub(crate) mod rate_limits;
pub(crate) mod raw_json;
pub(crate) mod refusal;
mod refusal_log;
pub(crate) mod reply;
pub(crate) mod scan;
mod strict;

pub use auth::{Authenticator, OpenAccess, Pass, TokenRefusal, WithdrawnKeys, bearer};
pub use posting::{Posting, To};
pub use rate::{Bucket, Rate};
pub use rate_limits::LimitSettings;
pub use refusal::{Refusal, method_not_allowed};
pub use refusal_log::{RefusalLog, RefusalReason, Refused};
pub use strict::DEPTH_MAX;
