//! Compression of messages as permessage-deflate has it (RFC 7692 §7.2), each message for itself.
//!
//! An [`Inflater`] takes compressed messages apart, a [`Deflater`] makes them. Neither belongs to a
//! connection, since no window is kept from one message to the next: a reactor has one of the first,
//! a thread that publishes one of the second, and both own nothing before their first message.
//!
//! Without the feature `deflate` nothing is ever compressed, and no crate is needed.
//!
//! Invariant: whatever a peer sends, an inflater's buffer has no more bytes than the largest message
//! and one.

mod deflater;
mod inflater;

pub use deflater::{Deflater, put_stored};
pub use inflater::Inflater;

/// Returns the largest compressed form of a message of `message_size_max` bytes that is taken: what
/// can't be made smaller is a little larger when compressed, and mustn't be refused for that.
#[must_use]
pub const fn deflated_size_max(message_size_max: usize) -> usize {
    // The worst that zlib makes, with its least memory, is 4 % and 7 bytes more.
    message_size_max
        .saturating_add(message_size_max / 16)
        .saturating_add(64)
}

/// What a sender takes off the end of a compressed message and the receiver adds again: the length of
/// an empty stored block (RFC 7692 §7.2.1).
#[cfg(feature = "deflate")]
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

#[cfg(test)]
#[cfg(feature = "deflate")]
mod tests;
