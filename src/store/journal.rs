//! The journal: a [`Store`] in files of a directory.
//!
//! Files are written one after the other and only at their ends: one write and one sync a batch.
//! Each begins with a checkpoint of everything but the messages; what is in memory beside that is
//! where each message stands (`state`). So a file is needed only as long as a message in it is, and
//! a start reads the files once.
//!
//! What a batch changes is decided when its records are appended (`staged`), and becomes visible by
//! applying what was written, as a start does; most messages by a way that is shorter (`located`).

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Store;
use super::channel::Slot;
use super::dedup::Dedup;
use super::entry::Entry;
use super::error::StoreError;
use super::files::{File, FileSystem, Real};
use super::frame::{Batch, Frame};
use super::located::Located;
use super::reader::Reader;
use super::record::{Appended, Record};
use super::segment::{Olds, Tail};
use super::settings::{StoreSettings, SyncPolicy, WhenFull};
use super::space::Space;
use super::staged::{Base, Staged};
use super::start::{Started, start};
use super::view::{Counters, View};

/// Records that become visible under one lock.
const PUBLISHED_AT_ONCE: usize = 512;
/// A file doesn't grow beyond this, even if none can be begun: places in it have 32 bits.
pub(super) const SEGMENT_SIZE_MAX: u64 = 3 << 30;

/// A store on disk.
#[derive(Debug)]
pub struct Journal {
    pub(super) files: Arc<dyn FileSystem>,
    pub(super) settings: StoreSettings,
    pub(super) view: Arc<View>,
    pub(super) dedup: Dedup,
    pub(super) staged: Staged,
    pub(super) batch: Batch,
    pub(super) olds: Olds,
    pub(super) tail: Tail,
    pub(super) health: Health,
    pub(super) space: Space,
    /// The newest time that was heard of.
    pub(super) clock_ms: u64,
    pub(super) upkeep: super::upkeep::Upkeep,
    /// Also says which file is the newest.
    pub(super) lock: Arc<dyn File>,
}

/// Whether the newest file can be written to.
#[derive(Debug)]
pub(super) enum Health {
    Good,
    /// Not before it was opened anew and verified.
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
        Self::open_on(Arc::new(Real), settings)
    }

    pub(super) fn open_on(
        files: Arc<dyn FileSystem>,
        settings: StoreSettings,
    ) -> Result<Self, StoreError> {
        let Started {
            state,
            dedup,
            olds,
            tail,
            clock_ms,
            torn_bytes,
            lock,
        } = start(&*files, &settings)?;
        let directory = settings.directory.clone();
        let view = View::new(Arc::clone(&files), directory, tail.head.key, state);
        Counters::add(&view.counters.torn_bytes, torn_bytes);
        let journal = Self {
            files,
            settings,
            view: Arc::new(view),
            dedup,
            staged: Staged::default(),
            batch: Batch::default(),
            olds,
            tail,
            health: Health::Good,
            space: Space::default(),
            clock_ms,
            upkeep: super::upkeep::Upkeep::default(),
            lock,
        };
        journal.count_files();
        Ok(journal)
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        let olds: u64 = self.olds.values().map(|old| old.size).sum();
        olds + self.tail.end
    }

    pub(super) fn count_files(&self) {
        let counters = &self.view.counters;
        let segments = self.olds.len() as u64 + 1;
        counters.segments.store(segments, Ordering::Relaxed);
        counters.bytes.store(self.bytes(), Ordering::Relaxed);
    }

    /// Whether anything may be taken now.
    fn check(&mut self, now_ms: u64, record: &Record<'_>) -> Result<(), StoreError> {
        if let Some(error) = self.failure() {
            return Err(error);
        }
        // What lets go of something is taken as long as it can be written: it is what helps.
        if matches!(
            record,
            Record::Purge { .. } | Record::Trim { .. } | Record::Forget { .. }
        ) {
            return Ok(());
        }
        let directory = &self.settings.directory;
        let free_bytes_min = self.settings.free_bytes_min;
        if (self.space).is_low(&*self.files, directory, now_ms, free_bytes_min) {
            return Err(StoreError::DiskFull { free_bytes_min });
        }
        let bytes_max = self.settings.bytes_max;
        if self.settings.when_full == WhenFull::Refuse
            && self.bytes() + self.batch.size() as u64 >= bytes_max
        {
            return Err(StoreError::Full { bytes_max });
        }
        Ok(())
    }

    /// What keeps the store from taking anything, if its file failed.
    pub(super) fn failure(&self) -> Option<StoreError> {
        let Health::Failed { kind, code } = self.health else {
            return None;
        };
        let source = code.map_or_else(|| kind.into(), io::Error::from_raw_os_error);
        Some(StoreError::Failed {
            file: self.tail.path.clone(),
            source,
        })
    }

    /// Nothing more is written until the file has been looked at.
    pub(super) fn fail(&mut self, source: io::Error) -> StoreError {
        self.health = Health::Failed {
            kind: source.kind(),
            code: source.raw_os_error(),
        };
        StoreError::Failed {
            file: self.tail.path.clone(),
            source,
        }
    }

    /// Writes a batch at the end of the newest file, and makes it durable if that is to be.
    pub(super) fn write(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        let (at, size) = (self.tail.end, batch.size() as u64);
        let bytes = batch.seal(self.tail.seed, at, self.tail.durable);
        if let Err(error) = self.tail.file.write_all_at(bytes, at) {
            return Err(self.cut_back(error));
        }
        if self.settings.sync == SyncPolicy::Always
            && let Err(error) = self.sync_to(at + size)
        {
            // Nobody was told of it: a crash must not bring it back.
            _ = self.tail.file.set_size(at);
            return Err(self.fail(error));
        }
        self.tail.end = at + size;
        Ok(())
    }

    /// Takes a batch off the file that could not be written as a whole.
    fn cut_back(&mut self, error: io::Error) -> StoreError {
        if let Err(worse) = self.tail.file.set_size(self.tail.end) {
            tracing::error!(
                error = &worse as &dyn std::error::Error,
                "half a batch can't be cut off"
            );
            return self.fail(error);
        }
        if matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            self.space.is_out();
            let free_bytes_min = self.settings.free_bytes_min;
            return StoreError::DiskFull { free_bytes_min };
        }
        self.fail(error)
    }

    /// Makes the file durable, which ends at `end`.
    pub(super) fn sync_to(&mut self, end: u64) -> io::Result<()> {
        let begun = Instant::now();
        self.tail.file.sync_data()?;
        let us = begun.elapsed().as_micros() as u64;
        let counters = &self.view.counters;
        counters.sync_us_last.store(us, Ordering::Relaxed);
        Counters::add(&counters.sync_us_sum, us);
        Counters::add(&counters.syncs, 1);
        self.tail.durable = end;
        Ok(())
    }

    /// Shows a batch to the readers, which was written at `at`.
    fn publish(&mut self, batch: &Batch, located: &[Option<Located>], at: u64) {
        let mut located = located.iter();
        let mut frames = batch.frames().peekable();
        while frames.peek().is_some() {
            let mut state = self.view.state_mut();
            for (start, frame) in frames.by_ref().take(PUBLISHED_AT_ONCE) {
                let slot = Slot::new(self.tail.head.number, at + start as u64, frame.size());
                let repeatable = if let Some(Some(located)) = located.next() {
                    debug_assert!(state.is_located(located, &read(frame)));
                    (state.apply_located(located, slot)).map(|()| located.repeatable())
                } else {
                    let entry = read(frame);
                    (state.apply(&entry, slot)).map(|()| entry.repeatable())
                };
                let repeatable = repeatable.expect("it was judged by the same state");
                if let Some((sameness, position)) = repeatable {
                    self.tail.repeatable_ms = Some(batch.at_ms());
                    let max = self.settings.dedup_entries_max;
                    (self.dedup).remember(batch.at_ms(), sameness, position, max);
                }
            }
        }
        let counters = &self.view.counters;
        Counters::add(&counters.commits, 1);
        Counters::add(&counters.records, batch.records().into());
        let forgotten = self.dedup.forgotten();
        (counters.repeats_forgotten).store(forgotten, Ordering::Relaxed);
        self.count_files();
    }

    /// Writes a batch and shows it; `located` is of its entries, in their order, as far as it goes.
    pub(super) fn write_and_publish(
        &mut self,
        batch: &mut Batch,
        located: &[Option<Located>],
    ) -> Result<(), StoreError> {
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        batch.note_time(self.clock_ms);
        if self.tail.written() >= self.segment_bytes_max() {
            // Where none can be begun, the old one goes on.
            if let Err(error) = self.begin_segment()
                && (self.failure().is_some() || self.tail.end > SEGMENT_SIZE_MAX)
            {
                return Err(error);
            }
        }
        self.write(batch)?;
        let at = self.tail.end - batch.size() as u64;
        self.publish(batch, located, at);
        Ok(())
    }
}

fn read(frame: Frame<'_>) -> Entry<'_> {
    Entry::read(frame).expect("it was written just now")
}

impl Store for Journal {
    fn append(&mut self, now_ms: u64, record: &Record<'_>) -> Result<Appended, StoreError> {
        self.clock_ms = self.clock_ms.max(now_ms);
        self.dedup
            .forget_before(self.clock_ms.saturating_sub(self.settings.dedup_ms));
        self.check(now_ms, record)?;
        let state = self.view.state();
        let base = Base {
            state: &state,
            dedup: &self.dedup,
            settings: &self.settings,
        };
        let (appended, entry) = self.staged.judge(base, record)?;
        if let Some(entry) = entry {
            entry.write(&mut self.batch);
        }
        Ok(appended)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let mut batch = std::mem::take(&mut self.batch);
        let mut staged = std::mem::take(&mut self.staged);
        let committed = if batch.is_empty() {
            Ok(())
        } else {
            self.write_and_publish(&mut batch, staged.located())
        };
        let counters = &self.view.counters;
        match &committed {
            Ok(()) => Counters::add(&counters.repeats, staged.repeats),
            Err(_) => Counters::add(&counters.failures, 1),
        }
        batch.clear();
        self.batch = batch;
        staged.clear();
        self.staged = staged;
        committed
    }

    fn maintain(&mut self, now_ms: u64) -> Result<(), StoreError> {
        self.clock_ms = self.clock_ms.max(now_ms);
        self.keep_up(now_ms)
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::clone(&self.view) as Arc<dyn Reader>
    }
}

impl Drop for Journal {
    /// Vouches for what was written last, so that a start tells damage to it from a torn tail.
    fn drop(&mut self) {
        if matches!(self.health, Health::Good) {
            let end = self.tail.end;
            if self.sync_to(end).is_ok() && self.tail.vouched < end && self.vouch().is_ok() {
                _ = self.tail.file.sync_data();
            }
        }
    }
}
