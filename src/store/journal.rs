//! The journal: a [`Store`] in files of a directory.
//!
//! Segments are written one after the other and only at their ends: one write and one sync a batch.
//! Each begins with a checkpoint of everything but the messages; the memory holds that and the
//! location of each message (`state`). So a segment is needed only as long as a message in it is,
//! and a start reads the segments once.
//!
//! The changes of a batch are decided when its records are appended (`pending`). They become visible
//! by applying the records that were written, as a start does; most messages take a shorter way
//! (`resolved`).
//!
//! The methods of [`Journal`] stand in `journal.rs` (append, commit), `rollover.rs` (the next
//! segment), `maintenance.rs` (what is due), `upkeep.rs` (the long work, in pieces between commits)
//! and `recover.rs` (after a failure).

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Store;
use super::aside::Aside;
use super::batch::WriteBatch;
use super::dedup::Dedup;
use super::error::StoreError;
use super::files::{FileSystem, OsFiles, StoreFile};
use super::free_space::FreeSpace;
use super::leftovers::Leftovers;
use super::loader::{OpenedStore, Purpose, open_store};
use super::location::Location;
use super::log_record::LogRecord;
use super::maintenance_state::MaintenanceState;
use super::next_segment::{Relocations, Rollover};
use super::pending::{CommittedBase, PendingBatch};
use super::permissions::warn_of_wide;
use super::piece::Upkeep;
use super::raw_record::RawRecord;
use super::read_view::{ReadView, StoreCounters};
use super::reader::Reader;
use super::record::{Appended, Record};
use super::resolved::ResolvedMessage;
use super::segment::{ActiveSegment, SealedSegments};
use super::settings::{StoreSettings, SyncPolicy, WhenFull};
use crate::handover::SectionWriter;

/// Records that become visible under one lock: readers wait for no more than these, well below a
/// millisecond.
const PUBLISHED_AT_ONCE: usize = 512;
/// Times its bound that a segment grows while the next one is made, at the most. A checkpoint of a
/// million channels is ready long before, unless nobody calls [`Store::upkeep`].
const OVERFULL_SEGMENTS: u64 = 4;
/// Bytes beyond which no segment grows, even if the next can't be made: a location in a segment has
/// 32 bits.
pub(super) const SEGMENT_SIZE_MAX: u64 = 3 << 30;

/// A store on disk.
#[derive(Debug)]
pub struct Journal {
    pub(super) files: Arc<dyn FileSystem>,
    pub(super) settings: StoreSettings,
    pub(super) view: Arc<ReadView>,
    pub(super) dedup: Dedup,
    pub(super) pending: PendingBatch,
    pub(super) batch: WriteBatch,
    pub(super) sealed: SealedSegments,
    pub(super) active: ActiveSegment,
    pub(super) health: Health,
    pub(super) free_space: FreeSpace,
    /// The newest time that a caller or a segment has named.
    pub(super) clock_ms: u64,
    pub(super) maintenance: MaintenanceState,
    pub(super) rollover: Option<Rollover>,
    pub(super) relocations: Relocations,
    pub(super) aside: Aside,
    /// What is still to be done to the files that were found.
    pub(super) leftovers: Option<Leftovers>,
    /// The lock file, which also says which segment is the newest.
    pub(super) lock: Arc<dyn StoreFile>,
}

/// Whether the active segment can be written to.
#[derive(Debug)]
pub(super) enum Health {
    Good,
    /// Nothing can be written before the file was reopened and verified.
    Failed {
        kind: io::ErrorKind,
        code: Option<i32>,
    },
}

impl Journal {
    /// Opens the store in [`StoreSettings::directory`], and makes one where there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError::Locked`], [`StoreError::Damaged`], [`StoreError::Format`],
    /// [`StoreError::Io`].
    pub fn open(settings: StoreSettings) -> Result<Self, StoreError> {
        let journal = Self::open_on(Arc::new(OsFiles::default()), settings)?;
        warn_of_wide(&journal.settings.directory);
        Ok(journal)
    }

    /// Returns a descriptor that holds the lock as well, for a process whose program is replaced.
    #[must_use]
    pub fn second_lock(&self) -> Option<OwnedFd> {
        self.lock.second_descriptor()
    }

    /// Does the same as [`Journal::open`] on any file system.
    pub(super) fn open_on(
        files: Arc<dyn FileSystem>,
        settings: StoreSettings,
    ) -> Result<Self, StoreError> {
        let opened = open_store(&*files, &settings, Purpose::Serve)?;
        Ok(Self::opened(files, settings, opened))
    }

    /// Makes the journal of a store that has been read.
    pub(super) fn opened(
        files: Arc<dyn FileSystem>,
        settings: StoreSettings,
        opened: OpenedStore,
    ) -> Self {
        let OpenedStore {
            state,
            dedup,
            sealed,
            active,
            clock_ms,
            torn_bytes,
            epoch_masks,
            leftovers,
            lock,
        } = opened;
        let directory = settings.directory.clone();
        let view = ReadView::new(
            Arc::clone(&files),
            directory,
            (active.head.key, epoch_masks),
            state,
        );
        StoreCounters::add(&view.counters.torn_bytes, torn_bytes);
        let journal = Self {
            aside: Aside::new(files.is_slow()),
            files,
            settings,
            view: Arc::new(view),
            dedup,
            pending: PendingBatch::default(),
            batch: WriteBatch::default(),
            sealed,
            active,
            health: Health::Good,
            free_space: FreeSpace::default(),
            clock_ms,
            maintenance: MaintenanceState::default(),
            rollover: None,
            relocations: Relocations::default(),
            leftovers,
            lock,
        };
        journal.count_files();
        journal
    }

    /// Counts the bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        let sealed: u64 = self.sealed.values().map(|segment| segment.size).sum();
        sealed + self.active.end
    }

    /// Updates the counters of segments and bytes.
    pub(super) fn count_files(&self) {
        let counters = &self.view.counters;
        let segments = self.sealed.len() as u64 + 1;
        counters.segments.store(segments, Ordering::Relaxed);
        counters.bytes.store(self.bytes(), Ordering::Relaxed);
    }

    /// Refuses a record where the store can take nothing now.
    fn check(&mut self, now_ms: u64, record: &Record<'_>) -> Result<(), StoreError> {
        if let Some(error) = self.failure() {
            return Err(error);
        }
        // Records that let go of something are taken as long as they can be written: they make room.
        if matches!(
            record,
            Record::Purge { .. } | Record::Trim { .. } | Record::Forget { .. }
        ) {
            return Ok(());
        }
        let directory = &self.settings.directory;
        let free_bytes_min = self.settings.free_bytes_min;
        if (self.free_space).is_low(&*self.files, directory, now_ms, free_bytes_min) {
            return Err(StoreError::DiskFull { free_bytes_min });
        }
        let bytes_max = self.settings.bytes_max;
        // The counter is as new as the last write, and needs no look at every segment.
        let bytes = self.view.counters.bytes.load(Ordering::Relaxed);
        if self.settings.when_full == WhenFull::Refuse
            && bytes + self.batch.size() as u64 >= bytes_max
        {
            return Err(StoreError::Full { bytes_max });
        }
        Ok(())
    }

    /// Returns the error that keeps the store from taking anything, if a write failed.
    pub(super) fn failure(&self) -> Option<StoreError> {
        let Health::Failed { kind, code } = self.health else {
            return None;
        };
        let source = code.map_or_else(|| kind.into(), io::Error::from_raw_os_error);
        Some(StoreError::Failed {
            file: self.active.path.clone(),
            source,
        })
    }

    /// Notes a failed write: nothing more is written until the segment has been verified.
    pub(super) fn fail(&mut self, source: io::Error) -> StoreError {
        self.health = Health::Failed {
            kind: source.kind(),
            code: source.raw_os_error(),
        };
        StoreError::Failed {
            file: self.active.path.clone(),
            source,
        }
    }

    /// Writes a batch at the end of the active segment, and makes it durable if the settings say so.
    pub(super) fn write(&mut self, batch: &mut WriteBatch) -> Result<(), StoreError> {
        let (at, size) = (self.active.end, batch.size() as u64);
        let bytes = batch.seal(self.active.seed, at, self.active.durable);
        if let Err(error) = self.active.file.write_all_at(bytes, at) {
            return Err(self.cut_back(error));
        }
        if self.settings.sync == SyncPolicy::Always
            && let Err(error) = self.sync_to(at + size)
        {
            // Nobody was told of the batch: a crash must not bring it back.
            _ = self.active.file.set_size(at);
            return Err(self.fail(error));
        }
        self.active.end = at + size;
        Ok(())
    }

    /// Cuts off a batch that could not be written as a whole.
    fn cut_back(&mut self, error: io::Error) -> StoreError {
        if let Err(worse) = self.active.file.set_size(self.active.end) {
            tracing::error!(
                error = &worse as &dyn std::error::Error,
                "a batch that was written in part can't be cut off"
            );
            return self.fail(error);
        }
        if matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            self.free_space.note_full();
            let free_bytes_min = self.settings.free_bytes_min;
            return StoreError::DiskFull { free_bytes_min };
        }
        self.fail(error)
    }

    /// Makes the active segment durable, which ends at `end`.
    pub(super) fn sync_to(&mut self, end: u64) -> io::Result<()> {
        let begun = Instant::now();
        self.active.file.sync_data()?;
        let us = begun.elapsed().as_micros() as u64;
        let counters = &self.view.counters;
        counters.sync_us_last.store(us, Ordering::Relaxed);
        counters.sync_times.note(us);
        StoreCounters::add(&counters.sync_us, us);
        StoreCounters::add(&counters.syncs, 1);
        self.active.durable = end;
        Ok(())
    }

    /// Shows a batch that was written at `at` to the readers.
    fn publish(&mut self, batch: &WriteBatch, resolved: &[Option<ResolvedMessage>], at: u64) {
        let mut resolved = resolved.iter();
        let mut raw_records = batch.raw_records().peekable();
        while raw_records.peek().is_some() {
            let mut state = self.view.state_mut();
            for (start, raw) in raw_records.by_ref().take(PUBLISHED_AT_ONCE) {
                let location =
                    Location::new(self.active.head.number, at + start as u64, raw.size());
                let repeatable = if let Some(Some(resolved)) = resolved.next() {
                    debug_assert!(state.is_same_message(resolved, &read(raw)));
                    (state.apply_resolved(resolved, location)).map(|()| resolved.repeatable())
                } else {
                    let log_record = read(raw);
                    let applied = state.apply(&log_record, location);
                    applied.map(|()| log_record.repeatable(&self.dedup))
                };
                let repeatable = repeatable.expect("the record was decided on by the same state");
                if let Some(repeatable) = repeatable {
                    self.active.repeatable_ms = Some(batch.at_ms());
                    let max = self.settings.dedup_entries_max;
                    (self.dedup).remember(batch.at_ms(), repeatable, max);
                }
            }
        }
        let counters = &self.view.counters;
        StoreCounters::add(&counters.commits, 1);
        StoreCounters::add(&counters.records, batch.records().into());
        let forgotten = self.dedup.forgotten();
        (counters.repeats_forgotten).store(forgotten, Ordering::Relaxed);
        self.count_files();
    }

    /// Begins a new segment where the active one is full. One that is far too large goes on only
    /// once the next one is there, or if none can be made.
    fn roll_when_full(&mut self) -> Result<(), StoreError> {
        let (written, bytes_max) = (self.active.written(), self.segment_bytes_max());
        let rolled = if written >= OVERFULL_SEGMENTS * bytes_max {
            self.finish_rollover()
        } else if written >= bytes_max && self.rollover.is_none() {
            self.begin_rollover()
        } else {
            Ok(())
        };
        match rolled {
            Err(error) if self.failure().is_some() || self.active.end > SEGMENT_SIZE_MAX => {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Writes a batch and shows it to the readers. `resolved` has an item for each of its records,
    /// or for none.
    pub(super) fn write_and_publish(
        &mut self,
        batch: &mut WriteBatch,
        resolved: &[Option<ResolvedMessage>],
    ) -> Result<(), StoreError> {
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        batch.note_time(self.clock_ms);
        self.roll_when_full()?;
        self.write(batch)?;
        let at = self.active.end - batch.size() as u64;
        self.publish(batch, resolved, at);
        Ok(())
    }
}

fn read(raw: RawRecord<'_>) -> LogRecord<'_> {
    LogRecord::read(raw).expect("it was written just now")
}

impl Store for Journal {
    fn append(&mut self, now_ms: u64, record: &Record<'_>) -> Result<Appended, StoreError> {
        self.settle();
        if now_ms > self.clock_ms {
            self.clock_ms = now_ms;
            self.dedup
                .forget_before(now_ms.saturating_sub(self.settings.dedup_ms));
        }
        self.check(now_ms, record)?;
        let state = self.view.state();
        let base = CommittedBase {
            state: &state,
            dedup: &self.dedup,
            settings: &self.settings,
        };
        let (appended, log_record) = self.pending.decide(base, record)?;
        if let Some(log_record) = log_record {
            log_record.write(&mut self.batch);
        }
        Ok(appended)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let mut batch = std::mem::take(&mut self.batch);
        let mut pending = std::mem::take(&mut self.pending);
        let committed = if batch.is_empty() {
            Ok(())
        } else {
            self.write_and_publish(&mut batch, pending.resolved())
        };
        let counters = &self.view.counters;
        match &committed {
            Ok(()) => {
                StoreCounters::add(&counters.repeats, pending.repeats);
                self.maintenance.committed.records += batch.records() as usize;
                self.maintenance.committed.bytes += batch.size() as u64;
            }
            Err(_) => StoreCounters::add(&counters.failures, 1),
        }
        batch.clear();
        self.batch = batch;
        pending.clear();
        self.pending = pending;
        committed
    }

    fn maintain(&mut self, now_ms: u64) -> Result<(), StoreError> {
        self.settle();
        self.clock_ms = self.clock_ms.max(now_ms);
        self.run_maintenance(now_ms)
    }

    fn upkeep(&mut self) -> Upkeep {
        self.run_piece()
    }

    fn rest(&mut self) {
        self.settle();
        self.come_to_rest();
    }

    fn hand_over(&mut self) -> Option<SectionWriter> {
        self.write_down()
    }

    fn set_settings(&mut self, settings: StoreSettings) {
        self.take_settings(settings);
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::clone(&self.view) as Arc<dyn Reader>
    }
}

impl Drop for Journal {
    /// Confirms the batch that was written last, so that a start tells damage to that batch from a
    /// torn tail.
    fn drop(&mut self) {
        if self.leftovers.is_some() {
            return;
        }
        self.abort_rollover();
        if matches!(self.health, Health::Good) {
            let end = self.active.end;
            if self.sync_to(end).is_ok()
                && self.active.confirmed < end
                && self.write_sync_marker().is_ok()
            {
                _ = self.active.file.sync_data();
            }
        }
    }
}
