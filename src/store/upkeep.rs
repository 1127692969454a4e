//! What is due between commits: a bounded piece of it at a time.

use std::collections::BTreeSet;

use super::error::StoreError;
use super::frame::{Batch, Head};
use super::identity::Identity;
use super::journal::{Health, Journal, SEGMENT_SIZE_MAX};
use super::moving::Moving;
use super::names;
use super::segment::{self, Old};
use super::settings::{SyncPolicy, WhenFull};

/// Channels that are looked at under one lock.
const LOOKS_AT_ONCE: usize = 1024;
/// How often that is done in one go.
const LOOKS_TIMES: usize = 16;
/// How long a new file isn't begun only to give back others.
const GIVE_BACK_EVERY_MS: u64 = 1_000;

/// Where the work goes on.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// The channel that is looked at next.
    look: usize,
    synced_ms: u64,
    gave_back_ms: u64,
    /// When it is tried to recover, and how long to wait after that.
    pub(super) retry_ms: u64,
    pub(super) pause_ms: u64,
    pub(super) moving: Option<Moving>,
    /// Files that were found damaged when they were to be emptied.
    pub(super) unmovable: BTreeSet<u32>,
}

impl Journal {
    pub(super) fn keep_up(&mut self, now_ms: u64) -> Result<(), StoreError> {
        self.expire(now_ms);
        if let Health::Failed { .. } = self.health {
            self.recover(now_ms)?;
        }
        self.sync_when_due(now_ms)?;
        if self.tail.vouched < self.tail.end && self.tail.durable == self.tail.end {
            self.vouch()?;
        }
        self.move_on()?;
        self.give_back(now_ms)?;
        self.count_files();
        let free_bytes_min = self.settings.free_bytes_min;
        let directory = &self.settings.directory;
        if (self.space).is_low(&*self.files, directory, now_ms, free_bytes_min) {
            return Err(StoreError::DiskFull { free_bytes_min });
        }
        let bytes_max = self.settings.bytes_max;
        if self.settings.when_full == WhenFull::Refuse && self.bytes() >= bytes_max {
            return Err(StoreError::Full { bytes_max });
        }
        Ok(())
    }

    /// Bytes after which a new file is begun: small enough that some fit into the directory.
    pub(super) fn segment_bytes_max(&self) -> u64 {
        let share = self.settings.bytes_max / 8;
        let bound = share.clamp(1, SEGMENT_SIZE_MAX / 3);
        self.settings.segment_bytes_max.min(bound)
    }

    /// Lets go what is too old.
    fn expire(&mut self, now_ms: u64) {
        let known_from = self.clock_ms.saturating_sub(self.settings.dedup_ms);
        self.dedup.forget_before(known_from);
        for _ in 0..LOOKS_TIMES {
            let look = self.upkeep.look;
            let next = (self.view.state_mut()).expire(now_ms, look, LOOKS_AT_ONCE);
            self.upkeep.look = next.unwrap_or(0);
            if next.is_none() {
                break;
            }
        }
    }

    fn sync_when_due(&mut self, now_ms: u64) -> Result<(), StoreError> {
        let SyncPolicy::IntervalMs(interval) = self.settings.sync else {
            return Ok(());
        };
        if self.tail.durable == self.tail.end || now_ms < self.upkeep.synced_ms + interval {
            return Ok(());
        }
        self.upkeep.synced_ms = now_ms;
        let end = self.tail.end;
        self.sync_to(end).map_err(|error| self.fail(error))
    }

    /// Writes an empty batch, which says that everything before it is durable. It needs no sync of
    /// its own: as long as it is missing, damage to the last batch looks like a torn one.
    pub(super) fn vouch(&mut self) -> Result<(), StoreError> {
        let (at, durable) = (self.tail.end, self.tail.durable);
        let mut empty = Batch::default();
        empty.note_time(self.clock_ms);
        let bytes = empty.seal(self.tail.seed, at, durable);
        if let Err(error) = self.tail.file.write_all_at(bytes, at) {
            return (self.tail.file.set_size(at)).map_err(|_| self.fail(error));
        }
        self.tail.end = at + bytes.len() as u64;
        self.tail.vouched = self.tail.end;
        Ok(())
    }

    /// Begins a new file where it is time for one: where the newest is nearly full, or where
    /// others could go then.
    fn give_back(&mut self, now_ms: u64) -> Result<(), StoreError> {
        let written = self.tail.written();
        let is_nearly_full = written > 0 && written >= self.segment_bytes_max() / 4 * 3;
        let is_due = now_ms >= self.upkeep.gave_back_ms + GIVE_BACK_EVERY_MS;
        let is_worth = is_due && self.dead_bytes() >= self.worth(now_ms);
        if !is_nearly_full && !is_worth {
            return Ok(());
        }
        self.upkeep.gave_back_ms = now_ms;
        let begun = self.begin_segment();
        match self.failure() {
            Some(failure) => Err(failure),
            // The old file goes on; the next time may be better.
            None => begun.or(Ok(())),
        }
    }

    /// Bytes that a new file would give back.
    fn dead_bytes(&self) -> u64 {
        let olds = self.olds.iter().map(|(number, old)| (*number, old.size));
        let all = olds.chain([(self.tail.head.number, self.tail.written())]);
        let dead = all.filter(|(number, _)| self.is_dead(*number));
        dead.map(|(_, size)| size).sum()
    }

    /// Bytes for which a new file is begun early: it costs a checkpoint.
    fn worth(&mut self, now_ms: u64) -> u64 {
        let (directory, least) = (&self.settings.directory, self.settings.free_bytes_min);
        let is_low = (self.space).is_low(&*self.files, directory, now_ms, least);
        let is_full = self.settings.when_full == WhenFull::Refuse
            && self.bytes() + self.segment_bytes_max() >= self.settings.bytes_max;
        if is_low || is_full {
            return 1;
        }
        (self.segment_bytes_max() / 2).max(self.tail.head.checkpoint_end)
    }

    /// Whether nothing in a file is needed any more.
    fn is_dead(&self, number: u32) -> bool {
        let state = self.view.state();
        let live = state.usage.live.get(&number).copied().unwrap_or(0);
        let repeatable_ms = match self.olds.get(&number) {
            Some(old) => old.repeatable_ms,
            None => self.tail.repeatable_ms,
        };
        live == 0 && !self.knows_repeats_of(repeatable_ms)
    }

    /// Whether a start would need a file whose last message with a sameness came at this time.
    pub(super) fn knows_repeats_of(&self, repeatable_ms: Option<u64>) -> bool {
        match (repeatable_ms, self.dedup.oldest_ms()) {
            (Some(repeatable_ms), Some(oldest_ms)) => repeatable_ms >= oldest_ms,
            _ => false,
        }
    }

    /// Begins a new file, and removes those that nobody needs then.
    pub(super) fn begin_segment(&mut self) -> Result<(), StoreError> {
        if self.tail.durable < self.tail.end {
            let end = self.tail.end;
            self.sync_to(end).map_err(|error| self.fail(error))?;
        }
        if self.settings.when_full == WhenFull::DropOldest {
            self.drop_oldest();
        }
        let mut needed = self.olds.clone();
        needed.insert(
            self.tail.head.number,
            Old {
                size: self.tail.end,
                repeatable_ms: self.tail.repeatable_ms,
            },
        );
        needed.retain(|number, _| !self.is_dead(*number));
        let head = Head {
            number: self.tail.head.number + 1,
            ..self.tail.head
        };
        let begun = segment::begin(
            &*self.files,
            &self.settings.directory,
            head,
            &self.view.state(),
            &needed,
        );
        let tail = match begun {
            Ok(tail) => tail,
            Err(unbegun) if unbegun.is_named => {
                let StoreError::Failed { source, .. } = unbegun.error else {
                    return Err(unbegun.error);
                };
                return Err(self.fail(source));
            }
            Err(unbegun) => return Err(unbegun.error),
        };
        let identity = Identity {
            key: head.key,
            newest: head.number,
        };
        // Where it isn't written, it names an older file, and a start asks for no more than that.
        if let Err(error) = identity.write(&*self.lock) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the newest file isn't noted"
            );
        }
        let was = std::mem::replace(&mut self.tail, tail).head.number;
        let gone: Vec<u32> = (self.olds.keys().copied().chain([was]))
            .filter(|number| !needed.contains_key(number))
            .collect();
        self.olds = needed;
        for number in gone {
            self.remove(number);
        }
        self.count_files();
        Ok(())
    }

    /// Removes a file that the newest checkpoint doesn't name; a start would do it as well.
    fn remove(&mut self, number: u32) {
        let path = self.settings.directory.join(names::segment(number));
        if let Err(error) = self.files.remove(&path) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                file = %path.display(),
                "can't remove it"
            );
        }
        self.view.close(number);
        self.view.state_mut().usage.live.remove(&number);
    }

    /// Lets go of the oldest files until a new one fits.
    fn drop_oldest(&mut self) {
        let room = self.segment_bytes_max();
        let mut bytes = self.bytes() + room;
        let mut through = None;
        for (&number, old) in &self.olds {
            if bytes <= self.settings.bytes_max {
                break;
            }
            bytes -= old.size;
            through = Some(number);
        }
        if let Some(through) = through {
            self.view.state_mut().drop_through(through);
            // Their repeats go with them.
            for (_, old) in self.olds.range_mut(..=through) {
                old.repeatable_ms = None;
            }
        }
    }
}
