//! What one channel keeps: where its messages stand, oldest first.

use std::collections::VecDeque;

use super::reader::{ChannelState, PageRange};
use super::settings::Retention;
use super::state::Usage;

/// Where a record stands; 16 bytes, since there is one for each message that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    /// The number of the file, from 1.
    pub(super) segment: u32,
    pub(super) at: u32,
    /// Bytes of the frame.
    pub(super) size: u32,
    /// Unix seconds, rounded up: what is too old goes up to a second late.
    ts_s: u32,
}

impl Slot {
    /// A message whose file hasn't been read, or is gone.
    const MISSING: Self = Self {
        segment: 0,
        at: 0,
        size: 0,
        ts_s: 0,
    };

    pub(super) fn new(segment: u32, at: u64, size: usize) -> Self {
        Self {
            segment,
            at: u32::try_from(at).expect("files are smaller than 4 GiB"),
            size: u32::try_from(size).expect("records are smaller than 4 GiB"),
            ts_s: 0,
        }
    }

    pub(super) fn with_time(self, ts_ms: u64) -> Self {
        let ts_s = u32::try_from(ts_ms.div_ceil(1000)).unwrap_or(u32::MAX);
        Self { ts_s, ..self }
    }

    pub(super) fn is_missing(self) -> bool {
        self.segment == 0
    }

    /// Whether it is the same record.
    pub(super) fn is_at(self, segment: u32, at: u64) -> bool {
        self.segment == segment && u64::from(self.at) == at
    }
}

/// The messages of a channel.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) epoch: u32,
    floor: u64,
    /// From `floor + 1` on, without holes.
    slots: VecDeque<Slot>,
    bytes: u64,
    /// A record was moved here out of an old file: the files' numbers don't only rise.
    has_moved: bool,
    retention: Retention,
}

impl Kept {
    pub(super) fn new(epoch: u32, retention: Retention) -> Self {
        Self {
            epoch,
            floor: 0,
            slots: VecDeque::new(),
            bytes: 0,
            has_moved: false,
            retention,
        }
    }

    pub(super) fn newest(&self) -> u64 {
        self.floor + self.slots.len() as u64
    }

    pub(super) fn count(&self) -> u64 {
        self.slots.len() as u64
    }

    pub(super) fn state(&self) -> ChannelState {
        ChannelState {
            epoch: self.epoch,
            newest: self.newest(),
            floor: self.floor,
        }
    }

    /// Where a message stands, if it is kept.
    pub(super) fn slot(&self, offset: u64) -> Option<Slot> {
        let index = offset.checked_sub(self.floor + 1)?;
        self.slots.get(usize::try_from(index).ok()?).copied()
    }

    /// The messages of a range with their offsets, in its order, and whether it has more.
    pub(super) fn range(&self, range: PageRange) -> (Vec<(u64, Slot)>, bool) {
        let first = range
            .after
            .map_or(self.floor, |after| after.max(self.floor))
            + 1;
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
    ) -> (Vec<(u64, Slot)>, bool) {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        for offset in offsets {
            let Some(slot) = self.slot(offset) else { break };
            if taken.len() == range.limit || (bytes >= range.bytes_max && !taken.is_empty()) {
                return (taken, true);
            }
            bytes += slot.size as usize;
            taken.push((offset, slot));
        }
        (taken, false)
    }

    pub(super) fn push(&mut self, slot: Slot, usage: &mut Usage) {
        let capacity = self.slots.capacity();
        self.slots.push_back(slot);
        usage.index_bytes += (self.slots.capacity() - capacity) * size_of::<Slot>();
        self.bytes += u64::from(slot.size);
        usage.messages += 1;
        usage.take(slot);
        while self.count() > self.retention.messages_max
            || (self.bytes > self.retention.bytes_max && self.count() > 0)
        {
            self.pop(usage);
            usage.trimmed += 1;
        }
    }

    /// Lets go what is older than may be; says how many.
    pub(super) fn expire(&mut self, now_ms: u64, usage: &mut Usage) -> usize {
        if self.retention.age_ms_max == u64::MAX {
            return 0;
        }
        let mut gone = 0;
        while let Some(slot) = self.slots.front()
            && u64::from(slot.ts_s) * 1000 + self.retention.age_ms_max <= now_ms
        {
            self.pop(usage);
            gone += 1;
        }
        usage.trimmed += gone as u64;
        self.shrink(usage);
        gone
    }

    /// Lets go what is up to this offset.
    pub(super) fn trim(&mut self, through: u64, usage: &mut Usage) {
        while self.floor < through && !self.slots.is_empty() {
            self.pop(usage);
        }
        self.shrink(usage);
    }

    /// Lets go what is in files up to this one, and what is before that.
    pub(super) fn drop_through(&mut self, segment: u32, usage: &mut Usage) {
        let is_gone = |slot: &Slot| slot.segment <= segment;
        let count = match self.has_moved {
            true => self.slots.iter().rposition(is_gone).map_or(0, |at| at + 1),
            false => self.slots.iter().take_while(|slot| is_gone(slot)).count(),
        };
        usage.trimmed += count as u64;
        self.trim(self.floor + count as u64, usage);
    }

    pub(super) fn begin_anew(&mut self, epoch: u32, usage: &mut Usage) {
        self.trim(u64::MAX, usage);
        usage.index_bytes -= self.slots.capacity() * size_of::<Slot>();
        self.slots = VecDeque::new();
        self.epoch = epoch;
        self.floor = 0;
        self.has_moved = false;
    }

    /// A message that is kept stands somewhere else now.
    pub(super) fn replace(&mut self, offset: u64, slot: Slot, usage: &mut Usage) {
        let Some(index) = offset.checked_sub(self.floor + 1) else {
            return;
        };
        if let Some(there) = self.slots.get_mut(index as usize) {
            self.bytes = self.bytes - u64::from(there.size) + u64::from(slot.size);
            usage.release(*there);
            usage.take(slot);
            *there = slot;
            self.has_moved = true;
        }
    }

    /// What a checkpoint says of the channel: its messages may be in files that come later, or are
    /// gone.
    pub(super) fn restate(&mut self, epoch: u32, floor: u64, newest: u64, usage: &mut Usage) {
        if self.epoch != epoch || self.newest() > newest || self.floor > newest {
            self.begin_anew(epoch, usage);
        }
        self.trim(floor, usage);
        if self.slots.is_empty() {
            self.floor = floor;
        }
        while self.newest() < newest {
            self.push_missing(usage);
        }
    }

    /// Makes room for what was lost before the message with this offset.
    pub(super) fn bridge(&mut self, epoch: u32, offset: u64, usage: &mut Usage) {
        if self.epoch != epoch || self.newest() >= offset {
            self.begin_anew(epoch, usage);
            self.floor = offset - 1;
        }
        while self.newest() + 1 < offset {
            self.push_missing(usage);
        }
    }

    /// The offset of a message that should be there.
    pub(super) fn find_missing(&self) -> Option<u64> {
        let index = self.slots.iter().position(|slot| slot.is_missing())?;
        Some(self.floor + 1 + index as u64)
    }

    /// Lets go of everything up to the newest message that is missing; says how many.
    pub(super) fn drop_missing(&mut self, usage: &mut Usage) -> u64 {
        let Some(index) = self.slots.iter().rposition(|slot| slot.is_missing()) else {
            return 0;
        };
        self.trim(self.floor + 1 + index as u64, usage);
        index as u64 + 1
    }

    fn push_missing(&mut self, usage: &mut Usage) {
        let capacity = self.slots.capacity();
        self.slots.push_back(Slot::MISSING);
        usage.index_bytes += (self.slots.capacity() - capacity) * size_of::<Slot>();
        usage.messages += 1;
        self.has_moved = true;
    }

    fn pop(&mut self, usage: &mut Usage) {
        if let Some(slot) = self.slots.pop_front() {
            self.floor += 1;
            self.bytes -= u64::from(slot.size);
            usage.messages -= 1;
            usage.release(slot);
        }
    }

    /// Gives memory back after much has gone.
    fn shrink(&mut self, usage: &mut Usage) {
        let capacity = self.slots.capacity();
        if capacity > 16 && self.slots.len() < capacity / 4 {
            self.slots.shrink_to(self.slots.len() * 2);
            usage.index_bytes -= (capacity - self.slots.capacity()) * size_of::<Slot>();
        }
    }
}
