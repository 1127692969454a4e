//! Takes compressed messages apart.

#[cfg(feature = "deflate")]
use flate2::{Decompress, FlushDecompress, Status};

#[cfg(feature = "deflate")]
use super::TAIL;
use crate::proto::websocket::FrameError;

/// The exponent of the largest window that a client may use (RFC 7692 §7.1.2.2).
#[cfg(feature = "deflate")]
const CLIENT_WINDOW_BITS: u8 = 15;

/// First size of the buffer, in bytes: most chat messages fit.
#[cfg(feature = "deflate")]
const BUFFER_SIZE_MIN: usize = 4 * 1024;

/// Size up to which the buffer is kept for the next message, in bytes: about a message of the largest
/// default size. A larger one is given back before the next message.
#[cfg(feature = "deflate")]
const BUFFER_SIZE_KEPT: usize = 128 * 1024;

/// What is added to a message: the four bytes that its sender has taken off, and a last block, empty
/// and stored. It is read as such only where the message ended between two blocks, as it must.
#[cfg(feature = "deflate")]
const END: [u8; 9] = {
    let [a, b, c, d] = TAIL;
    [a, b, c, d, 0x01, 0x00, 0x00, 0xff, 0xff]
};

/// Takes compressed messages apart, one after the other, in one buffer.
#[derive(Debug, Default)]
pub struct Inflater {
    /// Made with the first compressed message: it takes some 46 KiB.
    #[cfg(feature = "deflate")]
    stream: Option<Box<Decompress>>,
    #[cfg(feature = "deflate")]
    buffer: Vec<u8>,
}

impl Inflater {
    /// Makes an inflater that owns nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            #[cfg(feature = "deflate")]
            stream: None,
            #[cfg(feature = "deflate")]
            buffer: Vec::new(),
        }
    }

    /// Refuses every message: without the feature, compression is never agreed on.
    ///
    /// # Errors
    ///
    /// Always.
    #[cfg(not(feature = "deflate"))]
    pub fn inflate(&mut self, _: &[u8], _: usize) -> Result<&[u8], FrameError> {
        Err(FrameError::ReservedBits)
    }
}

#[cfg(feature = "deflate")]
impl Inflater {
    /// Bytes for which the buffer has room.
    #[cfg(test)]
    pub(super) fn buffer_size(&self) -> usize {
        self.buffer.capacity()
    }

    /// Inflates the payload of one message, of which `message_size_max` bytes may come.
    ///
    /// Blocks that say of themselves that they are the last may stand anywhere (RFC 7692 §7.2.3.4).
    ///
    /// # Errors
    ///
    /// [`FrameError::MessageTooLarge`] as soon as more bytes would come, whatever the payload still
    /// holds; [`FrameError::DeflateStream`] if it isn't DEFLATE, or doesn't end between two blocks.
    pub fn inflate(
        &mut self,
        payload: &[u8],
        message_size_max: usize,
    ) -> Result<&[u8], FrameError> {
        let stream = self.stream.get_or_insert_with(|| {
            Box::new(Decompress::new_with_window_bits(false, CLIENT_WINDOW_BITS))
        });
        stream.reset(false);
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_SIZE_KEPT);
        let mut run = Run {
            stream,
            buffer: &mut self.buffer,
            size_max: message_size_max,
        };
        // Some senders end a message with a last block, and leave the one out that should follow.
        let mut ended = run.feed(payload)?;
        if ended == Ended::WithinStream {
            ended = run.feed(&END)?;
        }
        match ended {
            Ended::BehindLastBlock => Ok(&self.buffer),
            Ended::WithinStream => Err(FrameError::DeflateStream),
        }
    }
}

/// Where the stream stands when all input is used.
#[cfg(feature = "deflate")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    WithinStream,
    BehindLastBlock,
}

/// One message on its way into the buffer.
#[cfg(feature = "deflate")]
struct Run<'i> {
    stream: &'i mut Decompress,
    buffer: &'i mut Vec<u8>,
    size_max: usize,
}

#[cfg(feature = "deflate")]
impl Run<'_> {
    /// Inflates all of `input`.
    fn feed(&mut self, mut input: &[u8]) -> Result<Ended, FrameError> {
        let mut ended = Ended::WithinStream;
        while !input.is_empty() {
            if ended == Ended::BehindLastBlock {
                self.stream.reset(false);
            }
            self.reserve(input.len());
            let before = (self.stream.total_in(), self.buffer.len());
            let status = self
                .stream
                .decompress_vec(input, self.buffer, FlushDecompress::None);
            let used = (self.stream.total_in() - before.0) as usize;
            input = &input[used..];
            if self.buffer.len() > self.size_max {
                return Err(FrameError::MessageTooLarge(self.size_max));
            }
            ended = match status {
                Ok(Status::StreamEnd) => Ended::BehindLastBlock,
                Ok(Status::Ok | Status::BufError)
                    if used > 0 || self.buffer.len() > before.1 || self.is_full() =>
                {
                    Ended::WithinStream
                }
                _ => return Err(FrameError::DeflateStream),
            };
        }
        self.flush(ended)
    }

    /// Takes out what the stream still holds, once its input is used up.
    fn flush(&mut self, mut ended: Ended) -> Result<Ended, FrameError> {
        while ended == Ended::WithinStream && self.is_full() {
            self.reserve(0);
            let before = self.buffer.len();
            let status = self
                .stream
                .decompress_vec(&[], self.buffer, FlushDecompress::None);
            if self.buffer.len() > self.size_max {
                return Err(FrameError::MessageTooLarge(self.size_max));
            }
            match status {
                Ok(Status::StreamEnd) => ended = Ended::BehindLastBlock,
                Ok(_) if self.buffer.len() > before => {}
                Ok(_) => break,
                Err(_) => return Err(FrameError::DeflateStream),
            }
        }
        Ok(ended)
    }

    fn is_full(&self) -> bool {
        self.buffer.len() == self.buffer.capacity()
    }

    /// Makes room where there is none: twice as much as there was, but never for more than the largest
    /// message and one byte, which tells that it is too large.
    fn reserve(&mut self, input_size: usize) {
        let size = self.buffer.len();
        if size < self.buffer.capacity() {
            return;
        }
        let wanted = (2 * size)
            .max(input_size.saturating_mul(4))
            .max(BUFFER_SIZE_MIN)
            .min(self.size_max.saturating_add(1));
        self.buffer.reserve_exact(wanted - size);
    }
}
