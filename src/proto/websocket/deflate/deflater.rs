//! Makes compressed messages.

use bytes::BufMut;
#[cfg(feature = "deflate")]
use flate2::{Compress, Compression, FlushCompress};

#[cfg(feature = "deflate")]
use super::TAIL;
#[cfg(feature = "deflate")]
use crate::proto::websocket::extension::WINDOW_BITS;

/// As small as level 6 up to 1 KB, and a third cheaper at 4 KB.
#[cfg(feature = "deflate")]
const LEVEL: u32 = 3;

/// Bytes that a stored block holds at most (RFC 1951 §3.2.4).
const STORED_SIZE_MAX: usize = 65_535;

/// The header of a block that is stored and not the last, when it begins at the start of a byte.
const STORED: u8 = 0;

/// Compresses messages, one after the other.
#[derive(Debug, Default)]
pub struct Deflater {
    /// Made with the first message: it takes some 250 KiB.
    #[cfg(feature = "deflate")]
    stream: Option<Box<Compress>>,
}

impl Deflater {
    /// Makes a deflater that owns nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            #[cfg(feature = "deflate")]
            stream: None,
        }
    }

    /// Leaves the data as it is: without the feature nothing is compressed.
    #[cfg(not(feature = "deflate"))]
    pub fn blocks(&mut self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    /// Leaves the message as it is.
    #[cfg(not(feature = "deflate"))]
    pub fn message(&mut self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

#[cfg(feature = "deflate")]
impl Deflater {
    /// Compresses `data` into blocks that end at the end of a byte, so that other blocks may follow;
    /// `None` if they would take as many bytes as `data` or more.
    pub fn blocks(&mut self, data: &[u8]) -> Option<Vec<u8>> {
        let level = Compression::new(LEVEL);
        let stream = self.stream.get_or_insert_with(|| {
            Box::new(Compress::new_with_window_bits(level, false, WINDOW_BITS))
        });
        stream.reset();
        // What isn't smaller than this isn't wanted, so there is never more room.
        let mut blocks = Vec::with_capacity(data.len());
        let status = stream.compress_vec(data, &mut blocks, FlushCompress::Sync);
        let is_whole = status.is_ok()
            && stream.total_in() == data.len() as u64
            && blocks.len() < blocks.capacity()
            && blocks.ends_with(&TAIL);
        is_whole.then_some(blocks)
    }

    /// Compresses a whole message into the payload of its frame; `None` if it isn't smaller so.
    pub fn message(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let mut blocks = self.blocks(payload)?;
        blocks.truncate(blocks.len() - TAIL.len());
        Some(blocks)
    }
}

/// Appends `bytes` as stored blocks, which share no window with what is compressed behind them.
pub(super) fn put_stored(out: &mut impl BufMut, bytes: &[u8]) {
    for part in bytes.chunks(STORED_SIZE_MAX) {
        let size = part.len() as u16;
        out.put_u8(STORED);
        out.put_u16_le(size);
        out.put_u16_le(!size);
        out.put_slice(part);
    }
}
