//! The log of a channel in a handover: the locations of its messages as they stand in memory.

use super::ChannelLog;
use crate::base::Epoch;
use crate::handover::{HandoverError, RecordReader, RecordWriter, Records, SectionWriter};
use crate::store::location::{LOCATION_SIZE, Location};
use crate::store::segment::SegmentEnds;
use crate::store::settings::Retention;
use crate::store::usage::LogUsage;

/// Locations that one record has at the most: records longer than the processor's caches cost more.
const LOCATIONS_A_RECORD: usize = 4_096;

impl ChannelLog {
    /// Writes the log down at the end of the channel's record; many locations have further records.
    pub(in crate::store) fn hand_over(&self, record: &mut RecordWriter<'_>, bytes: &mut Vec<u8>) {
        record.u64(self.epoch.bits().into());
        record.u64(self.floor);
        record.flag(self.has_moved);
        record.size(self.locations.len());
        self.encode(0, bytes);
        record.bytes(bytes);
    }

    /// Writes down the locations that have no room in the channel's record.
    pub(in crate::store) fn hand_over_rest(
        &self,
        section: &mut SectionWriter,
        bytes: &mut Vec<u8>,
    ) {
        let mut from = LOCATIONS_A_RECORD;
        while from < self.locations.len() {
            self.encode(from, bytes);
            section.record(|record| record.bytes(bytes));
            from += LOCATIONS_A_RECORD;
        }
    }

    fn encode(&self, from: usize, bytes: &mut Vec<u8>) {
        bytes.clear();
        let end = self.locations.len().min(from + LOCATIONS_A_RECORD);
        for location in self.locations.range(from..end) {
            bytes.extend_from_slice(&location.to_bytes());
        }
    }

    /// Makes the log that was written down in this record, and in those behind it.
    pub(in crate::store) fn take_over(
        record: &mut RecordReader<'_>,
        further: &mut Records<'_>,
        retention: Retention,
        (ends, usage): (&mut SegmentEnds, &mut LogUsage),
    ) -> Result<Self, HandoverError> {
        let bits = record.u32()?;
        let epoch = Epoch::from_bits(bits);
        if epoch.bits() != bits {
            return Err(record.refuse("no epoch has these bits"));
        }
        let mut log = Self::new(epoch, retention);
        log.floor = record.u64()?;
        log.has_moved = record.flag()?;
        let count = record.size()?;
        if log.floor.checked_add(count as u64).is_none() {
            return Err(record.refuse("its offsets are larger than any that was given"));
        }
        let bytes = record.bytes()?;
        log.take_locations(record, count.min(LOCATIONS_A_RECORD), bytes, ends, usage)?;
        while log.locations.len() < count {
            let record = &mut further.needed()?;
            let bytes = record.bytes()?;
            let here = (count - log.locations.len()).min(LOCATIONS_A_RECORD);
            log.take_locations(record, here, bytes, ends, usage)?;
        }
        usage.messages += log.count();
        usage.index_bytes += log.locations.capacity() * size_of::<Location>();
        Ok(log)
    }

    fn take_locations(
        &mut self,
        record: &RecordReader<'_>,
        count: usize,
        bytes: &[u8],
        ends: &mut SegmentEnds,
        usage: &mut LogUsage,
    ) -> Result<(), HandoverError> {
        let (all, rest) = bytes.as_chunks::<LOCATION_SIZE>();
        if all.len() != count || !rest.is_empty() {
            return Err(record.refuse("it has another number of locations than it says"));
        }
        self.locations.reserve(count);
        // Messages stand mostly in few segments, one after the other.
        let (mut segment, mut here) = (0, 0);
        for location in all {
            let location = Location::of_bytes(*location);
            if !ends.hold(location) {
                return Err(record.refuse("a message stands where no segment is"));
            }
            if location.segment != segment {
                usage.take_bytes(segment, here);
                (segment, here) = (location.segment, 0);
            }
            here += u64::from(location.size);
            self.bytes += u64::from(location.size);
            self.locations.push_back(location);
        }
        usage.take_bytes(segment, here);
        Ok(())
    }
}
