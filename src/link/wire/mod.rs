//! The frames of a link as text, each direction in a file of its own: what one end writes there, the
//! other end reads there.
//!
//! Frames are JSON objects with a `type`; `PING` and `PONG` are bare words, so that a sign of life
//! costs no parser. A `pub` is the posting as the sender keeps it, with two fields put before the
//! others: the `data` of a message passes byte for byte.

mod from_receiver;
mod from_sender;

use std::fmt;

pub use from_receiver::{ReceiverFrame, RefusalWords, err, open_ok, pub_ack, pub_busy, pub_err};
pub use from_sender::{SenderFrame, open, publish};

/// The sender's sign of life.
pub const PING: &str = "PING";

/// The receiver's answer to [`PING`].
pub const PONG: &str = "PONG";

/// A violation of the protocol by the other end, in words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
