//! The server side of HTTP/1.1 (RFC 9110, RFC 9112), sans-IO.
//!
//! A request goes through the files in this order: `parse` finds a [`Head`] at the front of the
//! bytes (with `target` and `token`), `head` answers questions about it, `body` collects the body
//! that follows it, `answers` keeps pipelined answers in the order of their requests, and
//! `response` encodes each for the request it answers. `limits` holds the bounds, and `error` each
//! way in which a client may break a rule.
//!
//! Nothing here opens a socket or reads a clock, and nothing depends on how the bytes were cut on
//! their way: the same bytes give the same requests or the same refusal, however they arrive.
//!
//! Invariant: bytes that two parsers could read differently give an [`HttpError`], never a guess.
//! After an error the rest of the stream has no meaning; the connection answers and closes.

pub mod answers;
pub mod body;
pub mod error;
pub mod events;
pub mod head;
pub mod limits;
pub mod parse;
pub mod response;
mod target;
mod token;
mod version;

pub use answers::Answers;
pub use body::{BodyDecoder, Framing};
pub use error::HttpError;
pub use head::Head;
pub use limits::HttpLimits;
pub use parse::parse;
pub use response::{AnswerContext, AnswerFields, AnswerTo, Response};
pub(in crate::proto) use token::is_token;
pub use version::Version;

/// The interim answer that lets a client go on with its body (RFC 9110 §10.1.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
