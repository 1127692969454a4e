//! A journal that goes on in the next image of the program, by what the image before wrote down or, on
//! any doubt about that, by its files.
//!
//! Until the first record, or the first round of maintenance, nothing is changed: up to there the image
//! before may be gone back to, which knows the files as they are. What a start does to them at once is
//! done then.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::StoreError;
use super::aside::Aside;
use super::directory::lock;
use super::files::{FileSystem, OpenMode, OsFiles, StoreFile};
use super::free_space::FreeSpace;
use super::journal::{Health, Journal};
use super::journal_handover::TakenJournal;
use super::leftovers::Leftovers;
use super::loader::{Purpose, open_store, remove_unfinished};
use super::maintenance_state::MaintenanceState;
use super::memory::MemoryStore;
use super::names;
use super::next_segment::Relocations;
use super::read_view::{ReadView, StoreCounters};
use super::segment::ActiveSegment;
use super::segment_head::{SEGMENT_HEAD_SIZE, SegmentHead};
use super::settings::StoreSettings;
use crate::handover::{HandoverError, Section};

/// The reason why a journal isn't taken for what was written down.
#[derive(Debug, thiserror::Error)]
enum Doubt {
    #[error(transparent)]
    Handover(#[from] HandoverError),
    #[error("{0} isn't the file that it was")]
    OtherFile(String),
}

impl Journal {
    /// Goes on with the store of an image of the program before this one, which held the lock and wrote
    /// down `section`; returns whether that was enough. On any doubt about it the files are read, as
    /// [`Journal::open`] does.
    ///
    /// # Errors
    ///
    /// Those of [`Journal::open`]; also that the lock is of another directory.
    pub fn resume(
        settings: StoreSettings,
        kept_lock: OwnedFd,
        section: Option<&Section<'_>>,
    ) -> Result<(Self, bool), StoreError> {
        Self::resume_on(Arc::new(OsFiles::with_lock(kept_lock)), settings, section)
    }

    /// Does the same as [`Journal::resume`] on any file system.
    pub(super) fn resume_on(
        files: Arc<dyn FileSystem>,
        settings: StoreSettings,
        section: Option<&Section<'_>>,
    ) -> Result<(Self, bool), StoreError> {
        if let Some(section) = section {
            let lock = lock(&*files, &settings.directory)?;
            let taken = TakenJournal::read(section, &settings).map_err(Doubt::from);
            let active =
                taken.and_then(|taken| Ok((open_as_before(&*files, &settings, &taken)?, taken)));
            match active {
                Ok((active, taken)) => {
                    return Ok((Self::going_on(files, settings, (active, lock), taken), true));
                }
                Err(doubt) => tracing::warn!(
                    error = &doubt as &dyn std::error::Error,
                    "the store is read anew: what was handed over of it doesn't fit"
                ),
            }
        }
        let opened = open_store(&*files, &settings, Purpose::Resume)?;
        Ok((Self::opened(files, settings, opened), false))
    }

    /// Makes a store that can't be asked for messages of what was written down of a journal, for a trial;
    /// `compares` whether it would be written down as the same.
    ///
    /// # Errors
    ///
    /// The section can't be read, or would become another one.
    pub fn rehearse(
        section: &Section<'_>,
        settings: StoreSettings,
        compares: bool,
    ) -> Result<MemoryStore, HandoverError> {
        let taken = TakenJournal::read(section, &settings)?;
        if compares && taken.write_again().as_bytes() != section.as_bytes() {
            let first = section.records().needed()?;
            return Err(first.refuse("it would be written down as something else"));
        }
        Ok(MemoryStore::rehearsed(settings, taken))
    }

    /// Makes the journal that was written down, with its active segment and its lock.
    pub(super) fn going_on(
        files: Arc<dyn FileSystem>,
        settings: StoreSettings,
        (file, lock): (Arc<dyn StoreFile>, Arc<dyn StoreFile>),
        taken: TakenJournal,
    ) -> Self {
        let TakenJournal { head, state, dedup } = taken;
        let sealed = head.sealed_segments();
        let handed = head.active;
        let path = (settings.directory).join(names::segment(handed.head.number));
        let mut active = ActiveSegment::new(handed.head, file, path, handed.stamp.size);
        (active.durable, active.confirmed) = (handed.durable, handed.confirmed);
        (active.begun_at, active.repeatable_ms) = (handed.begun_at, handed.repeatable_ms);
        let of_store = (active.head.key, head.epoch_masks);
        let directory = settings.directory.clone();
        let view = ReadView::new(Arc::clone(&files), directory, of_store, state);
        StoreCounters::add(&view.counters.repeats_forgotten, dedup.forgotten());
        let journal = Self {
            aside: Aside::new(files.is_slow()),
            files,
            settings,
            view: Arc::new(view),
            dedup,
            pending: Default::default(),
            batch: Default::default(),
            sealed,
            active,
            health: Health::Good,
            free_space: FreeSpace::default(),
            clock_ms: head.clock_ms,
            maintenance: MaintenanceState {
                next_channel: head.next_channel,
                damaged: head.damaged,
                // The next image may have another retention.
                retains_from: Some(0),
                ..MaintenanceState::default()
            },
            rollover: None,
            relocations: Relocations::default(),
            leftovers: Some(Leftovers::default()),
            lock,
        };
        journal.count_files();
        journal
    }

    /// Does to the files what a start does, once the image before isn't gone back to any more.
    pub(super) fn settle(&mut self) {
        let Some(leftovers) = self.leftovers.take() else {
            return;
        };
        if leftovers.is_unsynced {
            let end = self.active.end;
            let cut = match leftovers.is_torn {
                true => self.active.file.set_size(end),
                false => Ok(()),
            };
            if let Err(error) = cut.and_then(|()| self.sync_to(end)) {
                let error = self.fail(error);
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the end of the newest file can't be made durable"
                );
            }
            self.note_identity();
        }
        let removed = remove_unfinished(&*self.files, &self.settings.directory);
        let unneeded = leftovers.unneeded.iter().map(|path| {
            let removed = self.files.remove(path);
            removed.map_err(|source| StoreError::io("remove", path, source))
        });
        for error in std::iter::once(removed)
            .chain(unneeded)
            .filter_map(Result::err)
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a file that isn't needed can't be removed"
            );
        }
    }
}

impl MemoryStore {
    /// Makes a store that has the index of a journal and none of its files.
    fn rehearsed(settings: StoreSettings, taken: TakenJournal) -> Self {
        Self::without_files(settings, |files, settings| {
            let file = files.create(&settings.directory.join(names::LOCK));
            let file = file.expect("files in memory can be made");
            Journal::going_on(files, settings, (Arc::clone(&file), file), taken)
        })
    }
}

/// Opens the active segment, if all files are those that were written down.
fn open_as_before(
    files: &dyn FileSystem,
    settings: &StoreSettings,
    taken: &TakenJournal,
) -> Result<Arc<dyn StoreFile>, Doubt> {
    let named = |number: u32| settings.directory.join(names::segment(number));
    let other = |number: u32| Doubt::OtherFile(names::segment(number));
    for (number, (_, stamp)) in &taken.head.sealed {
        match files.stamp(&named(*number)) {
            Ok(found) if found == *stamp => {}
            _ => return Err(other(*number)),
        }
    }
    let handed = &taken.head.active;
    let doubt = || other(handed.head.number);
    let file = files.open(&named(handed.head.number), OpenMode::Write);
    let file = file.map_err(|_| doubt())?;
    let mut bytes = [0; SEGMENT_HEAD_SIZE];
    let is_same = file.stamp().is_ok_and(|found| found == handed.stamp)
        && file.read_full_at(&mut bytes, 0).is_ok()
        && SegmentHead::read(&bytes) == Ok(handed.head);
    if !is_same {
        return Err(doubt());
    }
    // A later one would be the newest for a start.
    let later = named(handed.head.number + 1);
    match files.stamp(&later) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(file),
        _ => Err(other(handed.head.number + 1)),
    }
}
