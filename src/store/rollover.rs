//! Rollover: a new segment becomes the active one, and those that nobody needs then are removed.
//!
//! The new segment begins with the state of the moment at which the rollover began. That is written
//! in pieces between commits ([`super::snapshot`]), while the old segment goes on; what came
//! meanwhile is copied behind it ([`super::tail`]). Then the new segment gets its name, all at once:
//! before that a start knows nothing of it, and afterwards it needs nothing of the tail.

use std::io;
use std::sync::Arc;

use crossbeam_channel::{Receiver, TryRecvError};

use super::checkpoint::write_piece;
use super::error::StoreError;
use super::identity::StoreIdentity;
use super::journal::{Journal, SEGMENT_SIZE_MAX};
use super::log_record::LogRecord;
use super::names;
use super::next_segment::{NextSegment, Progress, Relocations, Rollover};
use super::read_view::StoreCounters;
use super::segment::{SealedSegment, needed};
use super::segment_draft::{SegmentDraft, SegmentNotCreated};
use super::segment_head::SegmentHead;
use super::settings::{SyncPolicy, WhenFull};
use super::snapshot::{Snapshot, Walk};
use super::tail::{CopyError, Tail};

/// Bytes of a new segment that may wait for a sync: the commits beside it wait for no more, if the
/// disk takes one after the other.
const UNSYNCED_MAX: u64 = 4 << 20;
/// Bytes that may be left to the last sync, which commits wait for.
const UNSYNCED_AT_END_MAX: u64 = 256 << 10;
/// Syncs of the tail aside, before the last one takes what is there: each leaves less, unless records
/// come as fast as the disk can take them.
const TAIL_SYNCS_MAX: u32 = 4;

impl Journal {
    /// Returns the number of bytes after which a segment is full: an eighth of the store at the
    /// most, since room comes back by whole segments.
    pub(super) fn segment_bytes_max(&self) -> u64 {
        let share = self.settings.bytes_max / 8;
        let bound = share.clamp(1, SEGMENT_SIZE_MAX / 3);
        self.settings.segment_bytes_max.min(bound)
    }

    /// Begins a new segment; where a piece is enough for the whole state, makes it the active one.
    pub(super) fn begin_rollover(&mut self) -> Result<(), StoreError> {
        if self.rollover.is_none() {
            self.start_rollover()?;
        }
        if let Some(Rollover::LettingGo { .. }) = self.rollover {
            self.roll_piece()?;
        }
        if let Some(Rollover::Writing(_)) = self.rollover {
            self.roll_piece()?;
        }
        match &self.rollover {
            Some(Rollover::Writing(next)) if next.walk == Walk::End && next.sync.is_none() => {
                self.finish_rollover()
            }
            _ => Ok(()),
        }
    }

    /// Makes a new segment the active one, however long that takes.
    pub(super) fn finish_rollover(&mut self) -> Result<(), StoreError> {
        if self.rollover.is_none() {
            self.start_rollover()?;
        }
        loop {
            match self.roll_piece()? {
                Progress::Done => return Ok(()),
                Progress::More => {}
                Progress::Waits => self.await_sync()?,
            }
        }
    }

    /// Gives up a rollover; the active segment goes on.
    pub(super) fn abort_rollover(&mut self) {
        self.view.state_mut().snapshot = None;
        if let Some(Rollover::Writing(next)) = self.rollover.take() {
            next.draft.discard(&*self.files);
        }
    }

    /// Does a piece of a rollover, if there is one.
    pub(super) fn roll_piece(&mut self) -> Result<Progress, StoreError> {
        match self.rollover.take() {
            None => Ok(Progress::Done),
            Some(Rollover::LettingGo {
                through,
                next_channel,
            }) => {
                let channels_max = self.piece().records;
                let mut state = self.view.state_mut();
                let next = state.drop_through(through, next_channel, channels_max);
                drop(state);
                self.rollover = Some(match next {
                    Some(next_channel) => Rollover::LettingGo {
                        through,
                        next_channel,
                    },
                    None => self.next_segment()?,
                });
                Ok(Progress::More)
            }
            Some(Rollover::Writing(next)) => {
                let written = self.write_next(next);
                if written.is_err() {
                    self.view.state_mut().snapshot = None;
                }
                written
            }
        }
    }

    fn start_rollover(&mut self) -> Result<(), StoreError> {
        self.relocate(usize::MAX);
        self.rollover = Some(match self.oldest_to_drop() {
            Some(through) => Rollover::LettingGo {
                through,
                next_channel: 0,
            },
            None => self.next_segment()?,
        });
        Ok(())
    }

    /// Begins the next segment with the state of now.
    fn next_segment(&mut self) -> Result<Rollover, StoreError> {
        if self.settings.sync == SyncPolicy::Always && self.active.durable < self.active.end {
            // Only a marker. A sync aside that fails would hide that from the next commit's.
            let end = self.active.end;
            self.sync_to(end).map_err(|error| self.fail(error))?;
        }
        let active = &self.active;
        let mut sealed = self.sealed.clone();
        sealed.insert(
            active.head.number,
            SealedSegment {
                size: active.end,
                repeatable_ms: active.repeatable_ms,
            },
        );
        sealed.retain(|number, _| !self.is_dead(*number));
        let head = SegmentHead {
            number: active.head.number + 1,
            ..active.head
        };
        let checkpoint = {
            let state = self.view.state();
            LogRecord::Checkpoint {
                forgotten: state.forgotten(),
                serials_below: state.serials_below(),
                needed: needed(&sealed),
            }
        };
        let directory = &self.settings.directory;
        let draft = SegmentDraft::begin(&*self.files, directory, head, &checkpoint)
            .map_err(|not_created| not_created.error)?;
        let active_sync = (self.active.durable < self.active.end)
            .then(|| self.aside.sync(Arc::clone(&self.active.file)));
        self.view.state_mut().snapshot = Some(Snapshot::default());
        Ok(Rollover::Writing(Box::new(NextSegment {
            draft,
            walk: Walk::Channels(0, None),
            needed: sealed,
            tail: Tail::new(self.active.end),
            tail_syncs: 0,
            sync: None,
            active_sync,
        })))
    }

    fn write_next(&mut self, mut next: Box<NextSegment>) -> Result<Progress, StoreError> {
        let written = match next.walk {
            Walk::End => self.copy_tail(&mut next),
            _ => self.write_checkpoint(&mut next),
        };
        match written {
            Ok(Progress::Done) => self.make_active(*next).map(|()| Progress::Done),
            Ok(progress) => {
                self.rollover = Some(Rollover::Writing(next));
                Ok(progress)
            }
            Err(error) => {
                next.draft.discard(&*self.files);
                Err(error)
            }
        }
    }

    fn write_checkpoint(&mut self, next: &mut NextSegment) -> Result<Progress, StoreError> {
        if !is_over(&mut next.sync).map_err(|error| next.draft.failed(error).error)? {
            return Ok(Progress::Waits);
        }
        let records_max = self.piece().records;
        let writer = &mut next.draft.writer;
        if let Some(snapshot) = &mut self.view.state_mut().snapshot {
            writer.batch.append(&snapshot.images);
            snapshot.images.clear();
        }
        let walk = std::mem::replace(&mut next.walk, Walk::End);
        next.walk = write_piece(&self.view.state(), walk, records_max, &mut writer.batch);
        self.view.counters.note_piece(writer.batch.records());
        let mut state = self.view.state_mut();
        match &next.walk {
            // The record of a channel stands before those of its acknowledgements.
            Walk::Channels(index, acked) => {
                if let Some(snapshot) = &mut state.snapshot {
                    snapshot.next_channel = index + usize::from(acked.is_some());
                }
            }
            _ => state.snapshot = None,
        }
        drop(state);
        let written = match next.walk {
            Walk::End => next.draft.end_checkpoint(),
            _ => writer.flush(),
        };
        written.map_err(|error| next.draft.failed(error).error)?;
        self.sync_aside(next, UNSYNCED_MAX);
        Ok(Progress::More)
    }

    /// Copies a piece of the tail; done when there is no more of it, and little is left to sync.
    fn copy_tail(&mut self, next: &mut NextSegment) -> Result<Progress, StoreError> {
        let failed = |draft: &SegmentDraft, error| draft.failed(error).error;
        if !is_over(&mut next.sync).map_err(|error| failed(&next.draft, error))? {
            return Ok(Progress::Waits);
        }
        if next.tail.copied < self.active.end {
            let bytes_max = self.piece().bytes;
            let writer = &mut next.draft.writer;
            let state = self.view.state();
            let copied = (next.tail).copy_piece(&self.active, bytes_max, &state, writer);
            drop(state);
            copied.map_err(|error| match error {
                CopyError::Read(error) => error,
                CopyError::Write(error) => failed(&next.draft, error),
            })?;
            if next.tail.copied < self.active.end {
                return Ok(Progress::More);
            }
        }
        if next.tail_syncs < TAIL_SYNCS_MAX && self.sync_aside(next, UNSYNCED_AT_END_MAX) {
            next.tail_syncs += 1;
            return Ok(Progress::More);
        }
        match is_over(&mut next.active_sync) {
            Ok(true) => Ok(Progress::Done),
            Ok(false) => Ok(Progress::Waits),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Begins a sync of the next segment if so many bytes wait for one.
    fn sync_aside(&mut self, next: &mut NextSegment, bytes_max: u64) -> bool {
        let is_due = next.draft.writer.unsynced > bytes_max;
        if is_due {
            next.draft.writer.unsynced = 0;
            next.sync = Some(self.aside.sync(Arc::clone(&next.draft.file)));
        }
        is_due
    }

    /// Waits until the sync that a rollover waits for is over.
    fn await_sync(&mut self) -> Result<(), StoreError> {
        let Some(Rollover::Writing(next)) = &mut self.rollover else {
            return Ok(());
        };
        for sync in [&mut next.sync, &mut next.active_sync] {
            if let Some(waited) = sync {
                // Its outcome is looked at by the next piece.
                let outcome = waited.recv().unwrap_or_else(|_| Err(aside_died()));
                let (tell, told) = crossbeam_channel::bounded(1);
                _ = tell.send(outcome);
                *sync = Some(told);
            }
        }
        Ok(())
    }

    /// Gives the next segment its name, and removes those that nobody needs then.
    fn make_active(&mut self, next: NextSegment) -> Result<(), StoreError> {
        let NextSegment {
            draft,
            needed,
            mut tail,
            ..
        } = next;
        let head_number = draft.number();
        let mut active = match draft.finish(&*self.files) {
            Ok(active) => active,
            Err(SegmentNotCreated { error, is_named }) => {
                return Err(match error {
                    StoreError::Failed { source, .. } if is_named => self.fail(source),
                    error => error,
                });
            }
        };
        active.repeatable_ms = tail.repeatable_ms;
        let was = std::mem::replace(&mut self.active, active).head.number;
        self.relocations = Relocations {
            from: (was, tail.from),
            to: head_number,
            waiting: std::mem::take(&mut tail.relocations),
        };
        let gone: Vec<u32> = (self.sealed.keys().copied().chain([was]))
            .filter(|number| !needed.contains_key(number))
            .collect();
        self.sealed = needed;
        StoreCounters::add(&self.view.counters.segments_begun, 1);
        self.note_identity();
        if !self.relocations.waiting.is_empty() && gone.contains(&was) {
            // Readers find the tail in the old segment until each message is known to be in the new.
            self.relocate(usize::MAX);
        }
        for number in gone {
            self.remove(number);
        }
        self.count_files();
        Ok(())
    }

    pub(super) fn note_identity(&mut self) {
        let lock = Arc::clone(&self.lock);
        let identity = StoreIdentity {
            key: self.active.head.key,
            newest: self.active.head.number,
        };
        self.aside.run(move || {
            // An identity that isn't written names an older segment; a start asks for no more than
            // that.
            if let Err(error) = identity.write(&*lock) {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the newest segment isn't noted in the lock file"
                );
            }
        });
    }

    /// Notes for up to `max` messages of a tail that they are in the new segment; whether there were
    /// any.
    pub(super) fn relocate(&mut self, max: usize) -> bool {
        let Relocations { from, to, waiting } = &mut self.relocations;
        if waiting.is_empty() {
            return false;
        }
        let mut state = self.view.state_mut();
        let rest = waiting.len().saturating_sub(max);
        for relocation in waiting.drain(rest..) {
            state.relocate(&relocation, *from, *to);
        }
        if waiting.is_empty() {
            *waiting = Vec::new();
        }
        true
    }

    /// Removes a segment that the newest checkpoint doesn't name; a start would do so as well.
    fn remove(&mut self, number: u32) {
        let path = self.settings.directory.join(names::segment(number));
        let files = Arc::clone(&self.files);
        self.view.close(number);
        self.view.state_mut().usage.live.remove(&number);
        self.aside.run(move || {
            if let Err(error) = files.remove(&path) {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    file = %path.display(),
                    "a segment that isn't needed can't be removed"
                );
            }
        });
    }

    /// Finds the newest of the oldest segments that have to go until a new segment fits.
    fn oldest_to_drop(&mut self) -> Option<u32> {
        if self.settings.when_full != WhenFull::DropOldest {
            return None;
        }
        let room = self.segment_bytes_max();
        let mut bytes = self.bytes() + room;
        let mut through = None;
        for (&number, segment) in &self.sealed {
            if bytes <= self.settings.bytes_max {
                break;
            }
            bytes -= segment.size;
            through = Some(number);
        }
        // Their repeats go with them.
        for (_, segment) in self.sealed.range_mut(..=through?) {
            segment.repeatable_ms = None;
        }
        through
    }
}

/// Whether no sync is under way any more.
fn is_over(sync: &mut Option<Receiver<io::Result<()>>>) -> io::Result<bool> {
    let Some(waited) = sync else {
        return Ok(true);
    };
    let outcome = match waited.try_recv() {
        Ok(outcome) => outcome,
        Err(TryRecvError::Empty) => return Ok(false),
        Err(TryRecvError::Disconnected) => Err(aside_died()),
    };
    *sync = None;
    outcome.map(|()| true)
}

fn aside_died() -> io::Error {
    io::Error::other("the thread for syncs aside has died")
}
