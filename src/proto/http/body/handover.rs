//! A body under way in a handover.

use super::{Allowance, BodyDecoder, BodyStage, CHUNK_DIGITS_MAX};
use crate::handover::{HandoverError, RecordReader, RecordWriter};

impl BodyDecoder {
    pub(in crate::proto) fn hand_over(&self, record: &mut RecordWriter<'_>) {
        let Self {
            body,
            reading,
            body_size_max,
            extensions,
            trailers,
        } = self;
        let (stage, size, digits) = reading.numbers();
        record.u64(stage.into());
        record.size(size);
        record.u64(digits.into());
        record.bytes(body);
        record.size(*body_size_max);
        for Allowance { left, max } in [extensions, trailers] {
            record.size(*left);
            record.size(*max);
        }
    }

    pub(in crate::proto) fn take_over(
        record: &mut RecordReader<'_>,
    ) -> Result<Self, HandoverError> {
        let (stage, size, digits) = (record.u8()?, record.size()?, record.u8()?);
        let stage = BodyStage::of_numbers(stage, size, digits);
        let reading = stage.ok_or_else(|| record.refuse("a body is in an unknown stage"))?;
        let (body, body_size_max) = (record.bytes()?.to_vec(), record.size()?);
        let size = body.len().checked_add(reading.announced());
        if size.is_none_or(|size| size > body_size_max) {
            return Err(record.refuse("a body is above its bound"));
        }
        let mut allowance = || {
            let (left, max) = (record.size()?, record.size()?);
            Ok(Allowance { left, max })
        };
        Ok(Self {
            body,
            reading,
            body_size_max,
            extensions: allowance()?,
            trailers: allowance()?,
        })
    }
}

impl BodyStage {
    /// The number of the stage, and the size and the digits that it carries.
    fn numbers(self) -> (u8, usize, u8) {
        match self {
            Self::Length(left) => (0, left, 0),
            Self::ChunkSize { size, digits } => (1, size, digits),
            Self::ChunkExtension { size } => (2, size, 0),
            Self::ChunkSizeLf { size } => (3, size, 0),
            Self::ChunkData(left) => (4, left, 0),
            Self::ChunkDataCr => (5, 0, 0),
            Self::ChunkDataLf => (6, 0, 0),
            Self::TrailerStart => (7, 0, 0),
            Self::TrailerName => (8, 0, 0),
            Self::TrailerValue => (9, 0, 0),
            Self::TrailerLf => (10, 0, 0),
            Self::LastLf => (11, 0, 0),
            Self::Complete => (12, 0, 0),
        }
    }

    fn of_numbers(stage: u8, size: usize, digits: u8) -> Option<Self> {
        Some(match stage {
            0 => Self::Length(size),
            1 if digits <= CHUNK_DIGITS_MAX => Self::ChunkSize { size, digits },
            2 => Self::ChunkExtension { size },
            3 => Self::ChunkSizeLf { size },
            4 => Self::ChunkData(size),
            5 => Self::ChunkDataCr,
            6 => Self::ChunkDataLf,
            7 => Self::TrailerStart,
            8 => Self::TrailerName,
            9 => Self::TrailerValue,
            10 => Self::TrailerLf,
            11 => Self::LastLf,
            12 => Self::Complete,
            _ => return None,
        })
    }

    /// Bytes that have still to come, as far as they are known.
    fn announced(self) -> usize {
        self.numbers().1
    }
}
