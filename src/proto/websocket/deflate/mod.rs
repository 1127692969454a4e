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

pub use deflater::Deflater;
use deflater::put_stored;
pub use inflater::Inflater;

/// Bytes at most that [`composed`] adds to what it is made of, where neither end is as long as a stored
/// block may be.
pub const COMPOSED_OVERHEAD: usize = 16;

/// Makes the payload of a compressed message of blocks that [`Deflater::blocks`] has made, and of what
/// stands before and behind their data: that is stored, so it shares no window with the data.
#[must_use]
pub fn composed(head: &[u8], blocks: &[u8], end: &[u8]) -> Vec<u8> {
    let size = head.len() + blocks.len() + end.len() + COMPOSED_OVERHEAD;
    let mut payload = Vec::with_capacity(size);
    put_stored(&mut payload, head);
    payload.extend_from_slice(blocks);
    put_stored(&mut payload, end);
    // An empty stored block, without the tail that the receiver adds.
    payload.push(0);
    payload
}

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
