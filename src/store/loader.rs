//! Opening a store: its segments are read once, and become the state.

use std::path::Path;
use std::sync::Arc;

use super::batch::{BATCH_SIZE, BatchHead};
use super::dedup::Dedup;
use super::directory::{list, lock, missing_newest};
use super::epoch_masks::EpochMasks;
use super::error::StoreError;
use super::files::{FileSystem, OpenMode, StoreFile};
use super::identity::StoreIdentity;
use super::leftovers::Leftovers;
use super::location::Location;
use super::log_record::{LogRecord, NeededSegment};
use super::names;
use super::raw_record::raw_records;
use super::scan::{Scan, ScanStep};
use super::segment::{ActiveSegment, SealedSegment, SealedSegments};
use super::segment_draft;
use super::segment_head::SegmentHead;
use super::settings::StoreSettings;
use super::state::{StoreState, Strictness};
use crate::base::clock::random;

/// A store that has been read.
pub(super) struct OpenedStore {
    pub(super) state: StoreState,
    pub(super) dedup: Dedup,
    pub(super) sealed: SealedSegments,
    pub(super) active: ActiveSegment,
    /// The newest time in the segments, in Unix milliseconds.
    pub(super) clock_ms: u64,
    /// Bytes of a torn batch that were cut off.
    pub(super) torn_bytes: u64,
    pub(super) epoch_masks: EpochMasks,
    /// What is to be done to the files, for [`Purpose::Resume`].
    pub(super) leftovers: Option<Leftovers>,
    /// The lock, which is held for as long as the store is open.
    pub(super) lock: Arc<dyn StoreFile>,
}

/// The purpose for which the segments are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The store goes on with them.
    Serve,
    /// The same, but nothing is changed yet: [`Leftovers`] say what is to be done.
    Resume,
    /// They are checked, and nothing is changed.
    Verify,
    /// The store goes on with what is left of them.
    Repair,
}

/// Opens the store in a directory, or makes one in an empty one.
pub(super) fn open_store(
    files: &dyn FileSystem,
    settings: &StoreSettings,
    purpose: Purpose,
) -> Result<OpenedStore, StoreError> {
    let directory = &*settings.directory;
    if purpose == Purpose::Serve {
        (files.make_directory(directory))
            .map_err(|source| StoreError::io("make", directory, source))?;
    }
    let lock = lock(files, directory)?;
    let numbers = list(files, directory)?;
    let told = StoreIdentity::read(&*lock)
        .map_err(|source| StoreError::io("read", &directory.join(names::LOCK), source))?;
    let mut loader = Loader::new(files, settings, purpose);
    let newest = numbers.last().copied();
    if let Some(missing) = missing_newest(directory, newest, told) {
        return Err(missing);
    }
    let (sealed, active) = match newest {
        Some(newest) => loader.load(&numbers, newest)?,
        None if purpose == Purpose::Resume => {
            let gone = "all of its files are missing";
            return Err(StoreError::damaged(directory, 0, gone));
        }
        None => (SealedSegments::new(), loader.begin()?),
    };
    if purpose == Purpose::Serve {
        let identity = StoreIdentity {
            key: active.head.key,
            newest: active.head.number,
        };
        (identity.write(&*lock))
            .map_err(|source| StoreError::io("write", &directory.join(names::LOCK), source))?;
    }
    Ok(OpenedStore {
        state: loader.state,
        dedup: loader.dedup,
        sealed,
        active,
        clock_ms: loader.clock_ms,
        torn_bytes: loader.torn_bytes,
        epoch_masks: loader.epoch_masks,
        leftovers: (purpose == Purpose::Resume).then_some(loader.leftovers),
        lock,
    })
}

/// Reads the segments of a store, one after the other.
pub(super) struct Loader<'a> {
    files: &'a dyn FileSystem,
    settings: &'a StoreSettings,
    directory: &'a Path,
    purpose: Purpose,
    pub(super) state: StoreState,
    dedup: Dedup,
    clock_ms: u64,
    pub(super) torn_bytes: u64,
    /// What the epochs in a segment are masked with, where that is another mask than that of the
    /// newest segment.
    pub(super) epoch_masks: EpochMasks,
    leftovers: Leftovers,
}

impl<'a> Loader<'a> {
    /// Makes a loader that has read no segment yet.
    pub(super) fn new(
        files: &'a dyn FileSystem,
        settings: &'a StoreSettings,
        purpose: Purpose,
    ) -> Self {
        let mut state = StoreState::new(Arc::clone(&settings.retention));
        state.bound_messages(settings.bytes_max);
        if purpose == Purpose::Repair {
            state.set_strictness(Strictness::Lenient);
        }
        Self {
            files,
            settings,
            directory: &settings.directory,
            purpose,
            state,
            // The tags are made anew at each start, from the names in the records.
            dedup: Dedup::new(random(), settings.dedup_entries_max),
            clock_ms: 0,
            torn_bytes: 0,
            epoch_masks: EpochMasks::default(),
            leftovers: Leftovers::default(),
        }
    }

    /// Makes the first segment.
    fn begin(&self) -> Result<ActiveSegment, StoreError> {
        let head = SegmentHead {
            number: 1,
            key: [random(), random()],
            checkpoint_end: 0,
            epoch_mask: 0,
        };
        let sealed = SealedSegments::new();
        segment_draft::create(self.files, self.directory, head, &self.state, &sealed)
            .map_err(|not_created| not_created.error)
    }

    /// Reads all segments.
    pub(super) fn load(
        &mut self,
        numbers: &[u32],
        newest: u32,
    ) -> Result<(SealedSegments, ActiveSegment), StoreError> {
        if matches!(self.purpose, Purpose::Serve | Purpose::Repair) {
            remove_unfinished(self.files, self.directory)?;
        }
        let mut last = self.open(newest, OpenMode::Read)?;
        let needed = needed_segments(&mut last)?;
        let mut sealed = SealedSegments::new();
        for NeededSegment { number, size } in needed {
            if !numbers.contains(&number) {
                if self.purpose == Purpose::Repair {
                    continue;
                }
                let path = self.directory.join(names::segment(number));
                return Err(StoreError::damaged(path, 0, "it is missing, but needed"));
            }
            sealed.insert(number, self.load_old(number, size, &last.head)?);
        }
        let active = self.load_last(newest)?;
        if self.purpose != Purpose::Repair
            && let Some((channel, offset)) = self.state.find_missing()
        {
            let what = format!("message {offset} of {channel:?} is in none of the files");
            return Err(StoreError::damaged(&active.path, 0, &what));
        }
        for number in numbers {
            let is_needed = *number >= newest || sealed.contains_key(number);
            let path = self.directory.join(names::segment(*number));
            match self.purpose {
                Purpose::Serve if !is_needed => (self.files.remove(&path))
                    .map_err(|source| StoreError::io("remove", &path, source))?,
                Purpose::Resume if !is_needed => self.leftovers.unneeded.push(path),
                _ => {}
            }
        }
        Ok((sealed, active))
    }

    fn open(&self, number: u32, access: OpenMode) -> Result<Scan, StoreError> {
        let path = self.directory.join(names::segment(number));
        let file = (self.files.open(&path, access))
            .map_err(|source| StoreError::io("open", &path, source))?;
        let scan = Scan::begin(file, &path, number)?;
        match u32::try_from(scan.end) {
            Ok(_) => Ok(scan),
            Err(_) => {
                let what = "it is larger than a file of a store can be";
                Err(StoreError::damaged(&path, u32::MAX.into(), what))
            }
        }
    }

    /// Reads a sealed segment: all of it has to be right.
    fn load_old(
        &mut self,
        number: u32,
        size: u64,
        newest: &SegmentHead,
    ) -> Result<SealedSegment, StoreError> {
        let mut scan = self.open(number, OpenMode::Read)?;
        if scan.head.key != newest.key {
            return Err(StoreError::damaged(
                scan.path(),
                0,
                "it belongs to another store",
            ));
        }
        if scan.end < size && self.purpose != Purpose::Repair {
            let end = scan.end;
            return Err(StoreError::damaged(scan.path(), end, "its end is missing"));
        }
        self.epoch_masks.note(&scan.head, newest);
        scan.end_at(size);
        let mut repeatable_ms = None;
        loop {
            match scan.step()? {
                ScanStep::Batch { at, head, body } => {
                    self.apply(number, at, &head, body, &mut repeatable_ms)
                        .map_err(|(at, flaw)| StoreError::damaged(scan.path(), at, flaw))?;
                }
                ScanStep::End => {
                    return Ok(SealedSegment {
                        size: scan.end,
                        repeatable_ms,
                    });
                }
                ScanStep::Bad { at, flaw, .. } => {
                    return Err(StoreError::damaged(scan.path(), at, flaw));
                }
            }
        }
    }

    /// Reads the newest segment, and cuts off what a crash left of a batch that nobody was told of.
    fn load_last(&mut self, number: u32) -> Result<ActiveSegment, StoreError> {
        let mut scan = self.open(number, OpenMode::Read)?;
        let path = scan.path().to_owned();
        let (mut repeatable_ms, mut confirmed) = (None, 0);
        let end = loop {
            match scan.step()? {
                ScanStep::Batch { at, head, body } => {
                    if head.records == 0 {
                        confirmed = at + BATCH_SIZE as u64;
                    }
                    self.apply(number, at, &head, body, &mut repeatable_ms)
                        .map_err(|(at, flaw)| StoreError::damaged(&path, at, flaw))?;
                }
                ScanStep::End => break scan.end,
                ScanStep::Bad { batch, at, flaw } => {
                    if scan.confirmed_through(batch)? > batch {
                        return Err(StoreError::damaged(&path, at, flaw));
                    }
                    break batch;
                }
            }
        };
        if end < scan.head.checkpoint_end {
            return Err(StoreError::damaged(&path, end, "its end is missing"));
        }
        self.torn_bytes += scan.end - end;
        let file = self.cut(&path, scan.end, end)?;
        let mut active = ActiveSegment::new(scan.head, file, path, end);
        active.confirmed = confirmed.max(scan.head.checkpoint_end);
        active.begun_at = scan.head.checkpoint_end;
        active.repeatable_ms = repeatable_ms;
        Ok(active)
    }

    /// Cuts the file at `end`, and makes the rest durable.
    fn cut(&mut self, path: &Path, size: u64, end: u64) -> Result<Arc<dyn StoreFile>, StoreError> {
        if self.purpose == Purpose::Verify {
            return (self.files.open(path, OpenMode::Read))
                .map_err(|source| StoreError::io("open", path, source));
        }
        let file = (self.files.open(path, OpenMode::Write))
            .map_err(|source| StoreError::io("open", path, source))?;
        if self.purpose == Purpose::Resume {
            self.leftovers.is_unsynced = true;
            self.leftovers.is_torn = end < size;
            return Ok(file);
        }
        if end < size {
            tracing::warn!(
                file = %path.display(),
                at = end,
                bytes = size - end,
                "cut off a batch that was not written to its end"
            );
            (file.set_size(end)).map_err(|source| StoreError::io("cut", path, source))?;
        }
        // What was read may be in the system's memory only, if it was a process that crashed.
        (file.sync_data()).map_err(|source| StoreError::io("sync", path, source))?;
        Ok(file)
    }

    fn apply(
        &mut self,
        segment: u32,
        at: u64,
        head: &BatchHead,
        body: &[u8],
        repeatable_ms: &mut Option<u64>,
    ) -> Result<(), (u64, &'static str)> {
        self.clock_ms = self.clock_ms.max(head.at_ms);
        // Before the batch is applied: a repeat that came late enough was no repeat.
        let known_from = self.clock_ms.saturating_sub(self.settings.dedup_ms);
        self.dedup.forget_before(known_from);
        let mask = self.epoch_masks.of(segment);
        for (start, raw) in raw_records(body) {
            let here = at + (BATCH_SIZE + start) as u64;
            let log_record = LogRecord::read(raw).map_err(|flaw| (here, flaw))?;
            let log_record = log_record.masked(mask);
            let location = Location::new(segment, here, raw.size());
            self.state
                .apply(&log_record, location)
                .map_err(|flaw| (here, flaw))?;
            if let Some(repeatable) = log_record.repeatable(&self.dedup) {
                *repeatable_ms = Some(head.at_ms);
                let max = self.settings.dedup_entries_max;
                self.dedup.remember(head.at_ms, repeatable, max);
            }
        }
        Ok(())
    }
}

/// Removes files that never got their names.
pub(super) fn remove_unfinished(
    files: &dyn FileSystem,
    directory: &Path,
) -> Result<(), StoreError> {
    let found = files.list(directory);
    let found = found.map_err(|source| StoreError::io("list", directory, source))?;
    for name in found {
        let is_ours = (name.strip_suffix(names::UNFINISHED))
            .is_some_and(|name| names::segment_number(name).is_some());
        if is_ours {
            let path = directory.join(name);
            (files.remove(&path)).map_err(|source| StoreError::io("remove", &path, source))?;
        }
    }
    Ok(())
}

/// Finds the sealed segments that are needed, in the checkpoint with which a segment begins.
fn needed_segments(scan: &mut Scan) -> Result<Vec<NeededSegment>, StoreError> {
    let path = scan.path().to_owned();
    match scan.step()? {
        ScanStep::Batch { at, body, .. } => {
            match raw_records(body).next().map(|(_, f)| LogRecord::read(f)) {
                Some(Ok(LogRecord::Checkpoint { needed, .. })) => Ok(needed),
                _ => Err(StoreError::damaged(
                    &path,
                    at,
                    "it begins without a checkpoint",
                )),
            }
        }
        ScanStep::Bad { at, flaw, .. } => Err(StoreError::damaged(&path, at, flaw)),
        ScanStep::End => Err(StoreError::damaged(&path, scan.end, "its end is missing")),
    }
}
