//! Maintenance between commits: a bounded piece of each due work at a time.

use super::batch::WriteBatch;
use super::compaction::{Compaction, MOVED_MAX};
use super::error::StoreError;
use super::journal::{Health, Journal};
use super::read_view::StoreCounters;
use super::settings::{SyncPolicy, WhenFull};

/// Channels that expire in one piece.
pub(super) const EXPIRED_AT_ONCE: usize = 1_024;
/// Pieces of that kind for each call: about 16,000 channels, so that a million take some
/// seconds.
const EXPIRE_PIECES_MAX: usize = 16;
/// Bytes that a compaction reads for each call: some tens of megabytes a second.
const COMPACTION_BYTES_MAX: u64 = 2 << 20;
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
        let known_from = self.clock_ms.saturating_sub(self.settings.dedup_ms);
        self.dedup.forget_before(known_from);
        (self.maintenance.expires_ms, self.maintenance.expire_pieces) = (now_ms, EXPIRE_PIECES_MAX);
        self.expire_piece();
        self.maintenance.retain_pieces = EXPIRE_PIECES_MAX;
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

    /// Lets go of messages that are too old in some channels; whether there may be more of them.
    pub(super) fn expire_piece(&mut self) -> bool {
        if self.maintenance.expire_pieces == 0 {
            return false;
        }
        self.maintenance.expire_pieces -= 1;
        let (now_ms, from) = (self.maintenance.expires_ms, self.maintenance.next_channel);
        let next = (self.view.state_mut()).expire(now_ms, from, EXPIRED_AT_ONCE);
        self.maintenance.next_channel = next.unwrap_or(0);
        if next.is_none() {
            self.maintenance.expire_pieces = 0;
        }
        true
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

    /// Begins a new segment where the active one is nearly full, or where that would free enough of
    /// the others.
    fn reclaim(&mut self, now_ms: u64) -> Result<(), StoreError> {
        if self.rollover.is_some() || !self.relocations.are_done() {
            return Ok(());
        }
        let written = self.active.written();
        let is_nearly_full = written > 0 && written >= self.segment_bytes_max() / 4 * 3;
        let is_due = now_ms >= self.maintenance.reclaimed_ms + RECLAIM_EVERY_MS;
        let is_worth =
            is_due && (self.is_over() || self.dead_bytes() >= self.reclaim_bytes_min(now_ms));
        if !is_nearly_full && !is_worth {
            return Ok(());
        }
        self.maintenance.reclaimed_ms = now_ms;
        let begun = self.begin_rollover();
        match self.failure() {
            Some(failure) => Err(failure),
            // The active segment goes on; the next time may be better.
            None => begun.or(Ok(())),
        }
    }

    /// Whether the files are larger than they may be by now, and a rollover can change that.
    fn is_over(&self) -> bool {
        self.settings.when_full == WhenFull::DropOldest
            && self.bytes() > self.settings.bytes_max
            && !(self.sealed.is_empty() && self.active.written() == 0)
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
        self.maintenance.compaction_bytes = COMPACTION_BYTES_MAX;
        let compaction = self.maintenance.compaction.as_ref();
        let is_valid = compaction.is_some_and(|one| self.sealed.contains_key(&one.number()));
        if !is_valid {
            // The last one who has a removed file open waits until the system has freed it.
            let gone = self.maintenance.compaction.take();
            self.aside.run(move || drop(gone));
            let Some(number) = self.find_nearly_dead() else {
                return Ok(());
            };
            let size = self.sealed[&number].size;
            let directory = &self.settings.directory;
            let compaction = Compaction::begin(&*self.files, directory, number, size)?;
            self.maintenance.compaction = Some(compaction);
        }
        self.compact_piece()
    }

    /// Goes on with a compaction; whether a piece was done.
    pub(super) fn compact_on(&mut self) -> bool {
        let is_due = self.maintenance.compaction.is_some() && self.maintenance.compaction_bytes > 0;
        if is_due && let Err(error) = self.compact_piece() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a segment can't be compacted"
            );
        }
        is_due
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

    fn compact_piece(&mut self) -> Result<(), StoreError> {
        let Some(mut compaction) = self.maintenance.compaction.take() else {
            return Ok(());
        };
        let has_more = compaction.next_piece(&self.view).inspect_err(|error| {
            if let StoreError::Damaged { .. } = error {
                self.maintenance.damaged.insert(compaction.number());
            }
        })?;
        let left = self.maintenance.compaction_bytes;
        self.maintenance.compaction_bytes = left.saturating_sub(compaction.read);
        let mut found = std::mem::take(&mut compaction.found);
        if !found.is_empty() && (!has_more || found.size() >= MOVED_MAX) {
            self.write_and_publish(&mut found, &[])?;
            StoreCounters::add(&self.view.counters.moved, found.records().into());
            found.clear();
        }
        compaction.found = found;
        self.maintenance.compaction = has_more.then_some(compaction);
        Ok(())
    }
}
