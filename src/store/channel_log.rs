//! The log of one channel: the locations of its messages, oldest first.

mod handover;

use std::collections::VecDeque;

use super::location::Location;
use super::reader::{ChannelState, PageRange};
use super::settings::Retention;
use super::usage::LogUsage;
use crate::base::{Epoch, Position};

/// Lost messages in a row for which a channel keeps places, since later files may have them: 16 MB
/// of places. Behind more than that it begins anew.
const LOST_MAX: u64 = 1_000_000;

/// The messages that a channel keeps.
#[derive(Debug)]
pub(super) struct ChannelLog {
    pub(super) epoch: Epoch,
    floor: u64,
    /// The locations of the messages from `floor + 1` on, without holes.
    locations: VecDeque<Location>,
    bytes: u64,
    /// Whether a compaction has moved a message of the channel: then the segments' numbers don't
    /// only rise.
    has_moved: bool,
    retention: Retention,
}

impl ChannelLog {
    /// Makes a log without messages.
    pub(super) fn new(epoch: Epoch, retention: Retention) -> Self {
        Self {
            epoch,
            floor: 0,
            locations: VecDeque::new(),
            bytes: 0,
            has_moved: false,
            retention,
        }
    }

    /// Returns the offset of the newest message; 0 before the first one.
    pub(super) fn newest(&self) -> u64 {
        self.floor + self.locations.len() as u64
    }

    /// Counts the kept messages.
    pub(super) fn count(&self) -> u64 {
        self.locations.len() as u64
    }

    /// Returns the epoch and the offsets of the log.
    pub(super) fn state(&self) -> ChannelState {
        ChannelState {
            epoch: self.epoch,
            newest: self.newest(),
            floor: self.floor,
        }
    }

    /// Returns the location of a message, if the message is kept.
    pub(super) fn location(&self, offset: u64) -> Option<Location> {
        let index = offset.checked_sub(self.floor + 1)?;
        self.locations.get(usize::try_from(index).ok()?).copied()
    }

    /// Lists the messages of a range with their offsets, in the range's order, and tells whether
    /// the range has more.
    pub(super) fn range(&self, range: PageRange) -> (Vec<(u64, Location)>, bool) {
        let first = range
            .after
            .map_or(self.floor, |after| after.max(self.floor))
            // A client may say that it has the last offset that there can be.
            .saturating_add(1);
        let end = range.before.unwrap_or(u64::MAX).min(self.newest() + 1);
        let offsets = first..end.max(first);
        if range.before.is_some() && range.after.is_none() {
            self.take(offsets.rev(), range)
        } else {
            self.take(offsets, range)
        }
    }

    fn take(
        &self,
        offsets: impl Iterator<Item = u64>,
        range: PageRange,
    ) -> (Vec<(u64, Location)>, bool) {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        for offset in offsets {
            let Some(location) = self.location(offset) else {
                break;
            };
            if taken.len() == range.limit || (bytes >= range.bytes_max && !taken.is_empty()) {
                return (taken, true);
            }
            bytes += location.size as usize;
            taken.push((offset, location));
        }
        (taken, false)
    }

    /// Adds the next message, and lets the oldest ones go that retention doesn't keep.
    pub(super) fn push(&mut self, location: Location, usage: &mut LogUsage) {
        let capacity = self.locations.capacity();
        self.locations.push_back(location);
        usage.index_bytes += (self.locations.capacity() - capacity) * size_of::<Location>();
        self.bytes += u64::from(location.size);
        usage.messages += 1;
        usage.take(location);
        while self.count() > self.retention.messages_max
            || (self.bytes > self.retention.bytes_max && self.count() > 0)
        {
            self.pop(usage);
            usage.trimmed += 1;
        }
    }

    /// Lets go of up to `max` messages that are too old; returns their number.
    pub(super) fn expire(&mut self, now_ms: u64, max: usize, usage: &mut LogUsage) -> usize {
        if self.retention.age_ms_max == u64::MAX {
            return 0;
        }
        let is_old = |location: &&Location| {
            (u64::from(location.ts_s) * 1000).saturating_add(self.retention.age_ms_max) <= now_ms
        };
        let gone = self.locations.iter().take(max).take_while(is_old).count();
        usage.trimmed += gone as u64;
        self.let_go(gone, usage);
        self.shrink(usage);
        gone
    }

    /// Keeps as much as another retention says, but lets go of up to `max` messages at a time; returns
    /// their number. Those that are too old go when [`ChannelLog::expire`] looks.
    pub(super) fn retain(
        &mut self,
        retention: Retention,
        max: usize,
        usage: &mut LogUsage,
    ) -> usize {
        self.retention = retention;
        let (mut count, mut bytes) = (self.count(), self.bytes);
        let is_excess = |location: &&Location| {
            let excess = count > retention.messages_max || bytes > retention.bytes_max;
            count -= u64::from(excess);
            bytes -= if excess { u64::from(location.size) } else { 0 };
            excess
        };
        let gone = self
            .locations
            .iter()
            .take(max)
            .take_while(is_excess)
            .count();
        usage.trimmed += gone as u64;
        self.let_go(gone, usage);
        self.shrink(usage);
        gone
    }

    /// Lets go of the messages up to this offset.
    pub(super) fn trim(&mut self, through: u64, usage: &mut LogUsage) {
        let count = through.saturating_sub(self.floor).min(self.count());
        self.let_go(count as usize, usage);
        self.shrink(usage);
    }

    /// Lets go of up to `max` of the messages in segments up to this one, and of those before them;
    /// returns their number.
    pub(super) fn drop_through(&mut self, segment: u32, max: usize, usage: &mut LogUsage) -> usize {
        let is_gone = |location: &Location| location.segment <= segment;
        let count = match self.has_moved {
            true => self
                .locations
                .iter()
                .rposition(is_gone)
                .map_or(0, |at| at + 1),
            false => self
                .locations
                .iter()
                .take(max)
                .take_while(|location| is_gone(location))
                .count(),
        };
        let count = count.min(max);
        usage.trimmed += count as u64;
        self.trim(self.floor + count as u64, usage);
        count
    }

    /// Empties the log and begins a new one under this epoch.
    pub(super) fn reset(&mut self, epoch: Epoch, usage: &mut LogUsage) {
        self.clear(usage);
        self.epoch = epoch;
    }

    /// Empties the log, and gives its memory back.
    pub(super) fn clear(&mut self, usage: &mut LogUsage) {
        self.trim(u64::MAX, usage);
        usage.index_bytes -= self.locations.capacity() * size_of::<Location>();
        self.locations = VecDeque::new();
        self.floor = 0;
        self.has_moved = false;
    }

    /// Notes that a message which is kept stands somewhere else now.
    pub(super) fn replace(&mut self, offset: u64, location: Location, usage: &mut LogUsage) {
        let Some(index) = offset.checked_sub(self.floor + 1) else {
            return;
        };
        if let Some(there) = self.locations.get_mut(index as usize) {
            self.bytes = self.bytes - u64::from(there.size) + u64::from(location.size);
            usage.release(*there);
            usage.take(location);
            *there = location;
            self.has_moved = true;
        }
    }

    /// Notes that a message stands in another segment, if it stands in `from`, at `from_at` or
    /// behind. The order of the messages on disk stays as it is.
    pub(super) fn relocate(
        &mut self,
        offset: u64,
        (from, from_at): (u32, u64),
        (to, to_at): (u32, u64),
        usage: &mut LogUsage,
    ) {
        let index = offset.checked_sub(self.floor + 1);
        let Some(there) = index.and_then(|index| self.locations.get_mut(index as usize)) else {
            return;
        };
        if there.segment == from && u64::from(there.at) >= from_at {
            usage.release(*there);
            *there = there.moved_to(to, to_at);
            usage.take(*there);
        }
    }

    /// The offset behind which a channel keeps its messages, when a checkpoint says that it is
    /// `floor`: retention may keep fewer by now.
    pub(super) fn floor_for(&self, floor: u64, newest: u64) -> u64 {
        floor.max(newest.saturating_sub(self.retention.messages_max))
    }

    /// Applies what a checkpoint says of the channel; its messages may follow in segments that are
    /// read later, or are gone.
    pub(super) fn apply_checkpoint(
        &mut self,
        epoch: Epoch,
        floor: u64,
        newest: u64,
        usage: &mut LogUsage,
    ) {
        if self.epoch != epoch || self.newest() > newest || self.floor > newest {
            self.reset(epoch, usage);
        }
        self.trim(floor, usage);
        if self.locations.is_empty() {
            self.floor = floor;
        }
        while self.newest() < newest {
            self.push_missing(usage);
        }
    }

    /// Skips the messages that were lost before this position.
    pub(super) fn skip_lost(&mut self, at: Position, usage: &mut LogUsage) {
        let Position { epoch, offset } = at;
        let lost = offset.saturating_sub(self.newest() + 1);
        let is_too_far = lost > self.retention.messages_max.min(LOST_MAX);
        if self.epoch != epoch || self.newest() >= offset || is_too_far {
            self.reset(epoch, usage);
            self.floor = offset.saturating_sub(1);
        }
        while self.newest() + 1 < offset {
            self.push_missing(usage);
        }
    }

    /// Finds the offset of a message that should be there and isn't.
    pub(super) fn find_missing(&self) -> Option<u64> {
        let index = self
            .locations
            .iter()
            .position(|location| location.is_missing())?;
        Some(self.floor + 1 + index as u64)
    }

    /// Lets go of everything up to the newest message that is missing; returns the number of
    /// messages.
    pub(super) fn drop_missing(&mut self, usage: &mut LogUsage) -> u64 {
        let Some(index) = self
            .locations
            .iter()
            .rposition(|location| location.is_missing())
        else {
            return 0;
        };
        self.trim(self.floor + 1 + index as u64, usage);
        index as u64 + 1
    }

    fn push_missing(&mut self, usage: &mut LogUsage) {
        let capacity = self.locations.capacity();
        self.locations.push_back(Location::MISSING);
        usage.index_bytes += (self.locations.capacity() - capacity) * size_of::<Location>();
        usage.messages += 1;
        self.has_moved = true;
    }

    fn pop(&mut self, usage: &mut LogUsage) {
        if let Some(location) = self.locations.pop_front() {
            self.floor += 1;
            self.bytes -= u64::from(location.size);
            usage.messages -= 1;
            usage.release(location);
        }
    }

    /// Lets go of the oldest messages, so many; they stand mostly in few segments, one after the
    /// other.
    fn let_go(&mut self, count: usize, usage: &mut LogUsage) {
        let mut all = self.locations.drain(..count).peekable();
        while let Some(location) = all.next() {
            let segment = location.segment;
            let mut bytes = u64::from(location.size);
            while let Some(next) = all.next_if(|next| next.segment == segment) {
                bytes += u64::from(next.size);
            }
            self.bytes -= bytes;
            usage.release_bytes(segment, bytes);
        }
        drop(all);
        self.floor += count as u64;
        usage.messages -= count as u64;
    }

    /// Frees memory after many messages have gone.
    fn shrink(&mut self, usage: &mut LogUsage) {
        let capacity = self.locations.capacity();
        if capacity > 16 && self.locations.len() < capacity / 4 {
            self.locations.shrink_to(self.locations.len() * 2);
            usage.index_bytes -= (capacity - self.locations.capacity()) * size_of::<Location>();
        }
    }
}
