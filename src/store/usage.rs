//! The bytes and messages that all channels together keep.

use std::collections::BTreeMap;

use super::location::Location;

/// The totals of all channel logs.
#[derive(Debug, Default)]
pub(super) struct LogUsage {
    /// Bytes of live records, by the number of their segment.
    pub(super) live: BTreeMap<u32, u64>,
    /// Messages that are kept; one in two channels counts twice.
    pub(super) messages: u64,
    /// Messages that retention let go.
    pub(super) trimmed: u64,
    /// Bytes of the index, roughly.
    pub(super) index_bytes: usize,
}

impl LogUsage {
    /// Counts a live record.
    pub(super) fn take(&mut self, location: Location) {
        if !location.is_missing() {
            *self.live.entry(location.segment).or_default() += u64::from(location.size);
        }
    }

    /// Counts the bytes of live records in one segment.
    pub(super) fn take_bytes(&mut self, segment: u32, bytes: u64) {
        if bytes > 0 {
            *self.live.entry(segment).or_default() += bytes;
        }
    }

    /// Takes a record that isn't live any more off the count.
    pub(super) fn release(&mut self, location: Location) {
        self.release_bytes(location.segment, location.size.into());
    }

    /// Takes the bytes of records in one segment off the count.
    pub(super) fn release_bytes(&mut self, segment: u32, bytes: u64) {
        if let Some(live) = self.live.get_mut(&segment) {
            *live -= bytes;
        }
    }
}
