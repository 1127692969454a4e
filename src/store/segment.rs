//! Segments, the files of the journal: one is active and grows, the others are sealed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::files::StoreFile;
use super::location::Location;
use super::log_record::NeededSegment;
use super::segment_head::{SEGMENT_HEAD_SIZE, SegmentHead};

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct ActiveSegment {
    pub(super) head: SegmentHead,
    pub(super) seed: u32,
    pub(super) file: Arc<dyn StoreFile>,
    pub(super) path: PathBuf,
    /// The position of the next batch.
    pub(super) end: u64,
    /// The position up to which the segment is durable.
    pub(super) durable: u64,
    /// The position up to which a later batch confirms that; a batch without records needs no
    /// confirmation.
    pub(super) confirmed: u64,
    /// The end of what was here before the segment became the active one: the checkpoint, and
    /// records that came meanwhile.
    pub(super) begun_at: u64,
    /// The time of the last message with an idempotency key in here, in Unix milliseconds.
    pub(super) repeatable_ms: Option<u64>,
}

/// A segment that isn't written to any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SealedSegment {
    pub(super) size: u64,
    /// The time of the last message with an idempotency key in here, in Unix milliseconds.
    pub(super) repeatable_ms: Option<u64>,
}

/// The sealed segments that are still needed, by their numbers.
pub(super) type SealedSegments = BTreeMap<u32, SealedSegment>;

impl ActiveSegment {
    /// Takes over an open segment that ends at `end`.
    pub(super) fn new(
        head: SegmentHead,
        file: Arc<dyn StoreFile>,
        path: PathBuf,
        end: u64,
    ) -> Self {
        Self {
            seed: head.seed(),
            head,
            file,
            path,
            end,
            durable: end,
            confirmed: end,
            begun_at: end,
            repeatable_ms: None,
        }
    }

    /// Counts the bytes behind those that the segment began with.
    pub(super) fn written(&self) -> u64 {
        self.end - self.begun_at
    }
}

/// The ends of segments, for those who ask often for the same.
#[derive(Debug)]
pub(super) struct SegmentEnds {
    ends: BTreeMap<u32, u64>,
    last: (u32, u64),
}

impl SegmentEnds {
    /// Makes the ends of these segments, each by its number.
    pub(super) fn new(ends: impl IntoIterator<Item = (u32, u64)>) -> Self {
        Self {
            ends: ends.into_iter().collect(),
            last: (0, 0),
        }
    }

    /// Whether a record can stand there.
    pub(super) fn hold(&mut self, location: Location) -> bool {
        if location.segment != self.last.0 {
            let Some(end) = self.ends.get(&location.segment) else {
                return false;
            };
            self.last = (location.segment, *end);
        }
        let (at, size) = (u64::from(location.at), u64::from(location.size));
        at >= SEGMENT_HEAD_SIZE as u64 && size > 0 && at + size <= self.last.1
    }
}

/// Lists segments as a checkpoint names them.
pub(super) fn needed(sealed: &SealedSegments) -> Vec<NeededSegment> {
    let segments = sealed.iter();
    segments
        .map(|(&number, segment)| NeededSegment {
            number,
            size: segment.size,
        })
        .collect()
}
