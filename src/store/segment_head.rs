//! The head of a segment: which store the file belongs to, its number, and its format.

use super::bytes::{FieldReader, Flaw, put_u32, put_u64};

/// The format that this version writes and reads.
pub(super) const FORMAT: u32 = 1;
const MAGIC: &[u8; 8] = b"TIDINGSJ";

/// Bytes of the head.
pub(super) const SEGMENT_HEAD_SIZE: usize = 48;
/// The first bytes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHead {
    /// The number of the segment, from 1.
    pub(super) number: u32,
    /// The key of the store.
    pub(super) key: [u64; 2],
    /// The end of the checkpoint that follows the head.
    pub(super) checkpoint_end: u64,
    /// The mask of the epochs in this segment. A repair draws a new mask, and so begins a new epoch
    /// of every channel without writing its messages again. 0 in a store that was never repaired.
    pub(super) epoch_mask: u32,
}

/// The reason why a head can't be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeadFlaw {
    Format(u32),
    Damaged(Flaw),
}

impl SegmentHead {
    /// Encodes the head with its checksum.
    pub(super) fn to_bytes(self) -> [u8; SEGMENT_HEAD_SIZE] {
        let mut bytes = Vec::with_capacity(SEGMENT_HEAD_SIZE);
        bytes.extend_from_slice(MAGIC);
        put_u32(&mut bytes, FORMAT);
        put_u32(&mut bytes, self.number);
        put_u64(&mut bytes, self.key[0]);
        put_u64(&mut bytes, self.key[1]);
        put_u64(&mut bytes, self.checkpoint_end);
        put_u32(&mut bytes, self.epoch_mask);
        let checksum = crc32c::crc32c(&bytes);
        put_u32(&mut bytes, checksum);
        bytes.try_into().expect("the fields have this size")
    }

    /// Decodes and checks the head at the start of a segment.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, HeadFlaw> {
        let bytes: &[u8; SEGMENT_HEAD_SIZE] =
            (bytes.first_chunk()).ok_or(HeadFlaw::Damaged("it ends in the middle of its head"))?;
        let Some(fields) = bytes.strip_prefix(MAGIC) else {
            return Err(HeadFlaw::Damaged("it is no file of a journal"));
        };
        Self::fields(bytes, FieldReader(fields)).unwrap_or_else(|flaw| Err(HeadFlaw::Damaged(flaw)))
    }

    fn fields(
        bytes: &[u8; SEGMENT_HEAD_SIZE],
        mut fields: FieldReader<'_>,
    ) -> Result<Result<Self, HeadFlaw>, Flaw> {
        let format = fields.u32()?;
        let head = Self {
            number: fields.u32()?,
            key: [fields.u64()?, fields.u64()?],
            checkpoint_end: fields.u64()?,
            epoch_mask: fields.u32()?,
        };
        if fields.u32()? != crc32c::crc32c(&bytes[..SEGMENT_HEAD_SIZE - 4]) {
            return Err("the checksum of its head is wrong");
        }
        if format != FORMAT {
            return Ok(Err(HeadFlaw::Format(format)));
        }
        Ok(Ok(head))
    }

    /// Returns the seed of the checksums in this segment.
    pub(super) fn seed(&self) -> u32 {
        let mut bytes = Vec::with_capacity(20);
        put_u64(&mut bytes, self.key[0]);
        put_u64(&mut bytes, self.key[1]);
        put_u32(&mut bytes, self.number);
        crc32c::crc32c(&bytes)
    }
}
