//! The epochs in segments that are older than a repair.
//!
//! A repair that may give offsets again begins a new epoch of every channel. Their messages stay
//! where they are, under the epochs that they were written with; the head of each segment has a
//! mask, and the masks of two segments say how the epochs in the one read in the other.

use std::collections::BTreeMap;

use super::segment_head::SegmentHead;

/// The masks of the segments that are older than the last repair.
#[derive(Debug, Clone, Default)]
pub(super) struct EpochMasks(BTreeMap<u32, u32>);

impl EpochMasks {
    /// Notes how the epochs in a segment read in the newest one.
    pub(super) fn note(&mut self, segment: &SegmentHead, newest: &SegmentHead) {
        let mask = segment.epoch_mask ^ newest.epoch_mask;
        if mask != 0 {
            self.0.insert(segment.number, mask);
        }
    }

    /// Lists the segments that have a mask, with their masks.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (u32, u32)> {
        self.0.iter().map(|(segment, mask)| (*segment, *mask))
    }

    /// Makes those of a list.
    pub(super) fn of_list(list: Vec<(u32, u32)>) -> Self {
        Self(list.into_iter().collect())
    }

    /// Returns the mask of the epochs in a segment; 0 where they are as they read today.
    pub(super) fn of(&self, segment: u32) -> u32 {
        self.0.get(&segment).copied().unwrap_or(0)
    }
}
