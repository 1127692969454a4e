//! The location of a message: the segment, and the place in it.

use crate::base::Position;

/// Bytes of a location that is handed over.
pub(super) const LOCATION_SIZE: usize = 16;

/// The place of a record in the segments; 16 bytes, since each message that is kept has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Location {
    /// The number of the segment, from 1.
    pub(super) segment: u32,
    pub(super) at: u32,
    /// The size of the raw record, in bytes.
    pub(super) size: u32,
    /// The time of the message in Unix seconds, rounded up: a message expires up to a second late.
    pub(super) ts_s: u32,
}

impl Location {
    /// The location of a message whose segment hasn't been read, or is gone.
    pub(super) const MISSING: Self = Self {
        segment: 0,
        at: 0,
        size: 0,
        ts_s: 0,
    };

    /// Makes a location without a time.
    pub(super) fn new(segment: u32, at: u64, size: usize) -> Self {
        Self {
            segment,
            at: u32::try_from(at).expect("segments are smaller than 4 GiB"),
            size: u32::try_from(size).expect("records are smaller than 4 GiB"),
            ts_s: 0,
        }
    }

    /// Sets the time, rounded up to seconds.
    pub(super) fn with_time(self, ts_ms: u64) -> Self {
        let ts_s = u32::try_from(ts_ms.div_ceil(1000)).unwrap_or(u32::MAX);
        Self { ts_s, ..self }
    }

    /// Returns the location of the same record in another segment.
    pub(super) fn moved_to(self, segment: u32, at: u64) -> Self {
        let at = u32::try_from(at).expect("segments are smaller than 4 GiB");
        Self {
            segment,
            at,
            ..self
        }
    }

    /// Returns the bytes by which a location is handed over.
    pub(super) fn to_bytes(self) -> [u8; LOCATION_SIZE] {
        let mut bytes = [0; LOCATION_SIZE];
        let fields = [self.segment, self.at, self.size, self.ts_s];
        for (place, field) in bytes.chunks_exact_mut(4).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    /// Makes the location of such bytes.
    pub(super) fn of_bytes(bytes: [u8; LOCATION_SIZE]) -> Self {
        let field = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Self {
            segment: field(0),
            at: field(4),
            size: field(8),
            ts_s: field(12),
        }
    }

    /// Whether this is [`Location::MISSING`].
    pub(super) fn is_missing(self) -> bool {
        self.segment == 0
    }

    /// Whether the record stands there.
    pub(super) fn is_at(self, segment: u32, at: u64) -> bool {
        self.segment == segment && u64::from(self.at) == at
    }
}

/// A message that stands in the next segment as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Relocation {
    /// The index of its channel.
    pub(super) channel: usize,
    pub(super) position: Position,
    /// The place of the record in the next segment.
    pub(super) at: u64,
}
