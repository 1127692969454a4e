//! Maintenance between commits: a bounded piece of each due work at a time.

use super::batch::WriteBatch;
use super::compaction::Compaction;
use super::error::StoreError;
use super::journal::{Health, Journal};
use super::read_view::StoreCounters;
use super::settings::{SyncPolicy, WhenFull};

/// Channels that expire under one lock: readers and commits wait for no more than these.
const CHANNELS_AT_ONCE: usize = 1024;
/// Locks of that kind in one call: about 16,000 channels, so that a million take some seconds.
const EXPIRE_ROUNDS_MAX: usize = 16;
/// A segment is nearly dead when less than an eighth of it is live: its compaction writes one byte
/// to free seven or more.
const LIVE_DIVISOR: u64 = 8;
/// The same for a store that is full and may let nothing go: there any room is worth the writing.
const LIVE_DIVISOR_WHEN_FULL: u64 = 2;
/// The shortest time between two new segments that only free older ones: each costs a checkpoint.
const RECLAIM_EVERY_MS: u64 = 1_000;

impl Journal {
    /// Does a piece of all work that is due; fails where the store can take nothing.
    pub(super) fn run_maintenance(&mut self, now_ms: u64) -> Result<(), StoreError> {
        self.expire(now_ms);
        if let Health::Failed { .. } = self.health {
            self.recover(now_ms)?;
        }
        self.sync_when_due(now_ms)?;
        if self.active.confirmed < self.active.end && self.active.durable == self.active.end {
            self.write_sync_marker()?;
        }
        self.compact()?;
        self.reclaim(now_ms)?;
        self.count_files();
        let free_bytes_min = self.settings.free_bytes_min;
        let directory = &self.settings.directory;
        if (self.free_space).is_low(&*self.files, directory, now_ms, free_bytes_min) {
            return Err(StoreError::DiskFull { free_bytes_min });
        }
        let bytes_max = self.settings.bytes_max;
        if self.settings.when_full == WhenFull::Refuse && self.bytes() >= bytes_max {
            return Err(StoreError::Full { bytes_max });
        }
        Ok(())
    }

    /// Lets go of repeats and messages that are too old.
    fn expire(&mut self, now_ms: u64) {
        let known_from = self.clock_ms.saturating_sub(self.settings.dedup_ms);
        self.dedup.forget_before(known_from);
        for _ in 0..EXPIRE_ROUNDS_MAX {
            let next_channel = self.maintenance.next_channel;
            let next = (self.view.state_mut()).expire(now_ms, next_channel, CHANNELS_AT_ONCE);
            self.maintenance.next_channel = next.unwrap_or(0);
            if next.is_none() {
                break;
            }
        }
    }

    fn sync_when_due(&mut self, now_ms: u64) -> Result<(), StoreError> {
        let SyncPolicy::IntervalMs(interval) = self.settings.sync else {
            return Ok(());
        };
        if self.active.durable == self.active.end || now_ms < self.maintenance.synced_ms + interval
        {
            return Ok(());
        }
        self.maintenance.synced_ms = now_ms;
        let end = self.active.end;
        self.sync_to(end).map_err(|error| self.fail(error))
    }

    /// Writes a batch without records, which says that everything before it is durable. The marker
    /// needs no sync of its own: without it, damage to the last batch looks like a torn one.
    pub(super) fn write_sync_marker(&mut self) -> Result<(), StoreError> {
        let (at, durable) = (self.active.end, self.active.durable);
        let mut empty = WriteBatch::default();
        empty.note_time(self.clock_ms);
        let bytes = empty.seal(self.active.seed, at, durable);
        if let Err(error) = self.active.file.write_all_at(bytes, at) {
            return (self.active.file.set_size(at)).map_err(|_| self.fail(error));
        }
        self.active.end = at + bytes.len() as u64;
        self.active.confirmed = self.active.end;
        Ok(())
    }

    /// Rolls over to a new segment where the active one is nearly full, or where that would free
    /// enough of the others.
    fn reclaim(&mut self, now_ms: u64) -> Result<(), StoreError> {
        let written = self.active.written();
        let is_nearly_full = written > 0 && written >= self.segment_bytes_max() / 4 * 3;
        let is_due = now_ms >= self.maintenance.reclaimed_ms + RECLAIM_EVERY_MS;
        let is_worth = is_due && self.dead_bytes() >= self.reclaim_bytes_min(now_ms);
        if !is_nearly_full && !is_worth {
            return Ok(());
        }
        self.maintenance.reclaimed_ms = now_ms;
        let begun = self.roll_segment();
        match self.failure() {
            Some(failure) => Err(failure),
            // The active segment goes on; the next time may be better.
            None => begun.or(Ok(())),
        }
    }

    /// Counts the bytes that a rollover would free.
    fn dead_bytes(&self) -> u64 {
        let sealed = self
            .sealed
            .iter()
            .map(|(number, segment)| (*number, segment.size));
        let all = sealed.chain([(self.active.head.number, self.active.written())]);
        let dead = all.filter(|(number, _)| self.is_dead(*number));
        dead.map(|(_, size)| size).sum()
    }

    /// Computes how many bytes a rollover has to free to be worth its checkpoint.
    fn reclaim_bytes_min(&mut self, now_ms: u64) -> u64 {
        let (directory, least) = (&self.settings.directory, self.settings.free_bytes_min);
        let is_low = (self.free_space).is_low(&*self.files, directory, now_ms, least);
        let is_full = self.settings.when_full == WhenFull::Refuse
            && self.bytes() + self.segment_bytes_max() >= self.settings.bytes_max;
        if is_low || is_full {
            return 1;
        }
        (self.segment_bytes_max() / 2).max(self.active.head.checkpoint_end)
    }

    /// Whether nothing in a segment is needed any more.
    pub(super) fn is_dead(&self, number: u32) -> bool {
        let state = self.view.state();
        let live = state.usage.live.get(&number).copied().unwrap_or(0);
        let repeatable_ms = match self.sealed.get(&number) {
            Some(segment) => segment.repeatable_ms,
            None => self.active.repeatable_ms,
        };
        live == 0 && !self.knows_repeats_of(repeatable_ms)
    }

    /// Whether a start would need a segment for its repeats, whose last message with an idempotency
    /// key came at this time.
    pub(super) fn knows_repeats_of(&self, repeatable_ms: Option<u64>) -> bool {
        match (repeatable_ms, self.dedup.oldest_ms()) {
            (Some(repeatable_ms), Some(oldest_ms)) => repeatable_ms >= oldest_ms,
            _ => false,
        }
    }

    /// Compacts a piece of the oldest segment that is nearly dead.
    fn compact(&mut self) -> Result<(), StoreError> {
        let mut compaction = match self.maintenance.compaction.take() {
            Some(compaction) if self.sealed.contains_key(&compaction.number()) => compaction,
            _ => match self.find_nearly_dead() {
                Some(number) => {
                    let size = self.sealed[&number].size;
                    Compaction::begin(&*self.files, &self.settings.directory, number, size)?
                }
                None => return Ok(()),
            },
        };
        let number = compaction.number();
        self.compact_piece(&mut compaction)
            .map(|has_more| self.maintenance.compaction = has_more.then_some(compaction))
            .inspect_err(|error| {
                if let StoreError::Damaged { .. } = error {
                    self.maintenance.damaged.insert(number);
                }
            })
    }

    fn find_nearly_dead(&self) -> Option<u32> {
        let is_full = self.settings.when_full == WhenFull::Refuse
            && self.bytes() + 2 * self.segment_bytes_max() >= self.settings.bytes_max;
        let parts = if is_full {
            LIVE_DIVISOR_WHEN_FULL
        } else {
            LIVE_DIVISOR
        };
        let state = self.view.state();
        let mut sealed = self.sealed.iter();
        let (&number, _) = sealed.find(|(number, segment)| {
            let live = state.usage.live.get(number).copied().unwrap_or(0);
            live > 0
                && live * parts < segment.size
                && !self.knows_repeats_of(segment.repeatable_ms)
                && !self.maintenance.damaged.contains(number)
        })?;
        Some(number)
    }

    fn compact_piece(&mut self, compaction: &mut Compaction) -> Result<bool, StoreError> {
        let mut batch = WriteBatch::default();
        let has_more = compaction.next_piece(&self.view, &mut batch)?;
        if !batch.is_empty() {
            self.write_and_publish(&mut batch, &[])?;
            StoreCounters::add(&self.view.counters.moved, batch.records().into());
        }
        Ok(has_more)
    }
}
