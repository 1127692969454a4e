//! A segment that is being made: it has its name only once all that it begins with is durable.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::{CheckpointWriter, write_piece};
use super::error::StoreError;
use super::files::{FileSystem, OpenMode, StoreFile};
use super::log_record::LogRecord;
use super::names;
use super::segment::{ActiveSegment, SealedSegments, needed};
use super::segment_head::SegmentHead;
use super::snapshot::Walk;
use super::state::StoreState;

/// Records that are written at once where nobody waits: few writes, little memory.
const RECORDS_AT_ONCE: usize = 8_192;

/// The file of a segment without its name.
#[derive(Debug)]
pub(super) struct SegmentDraft {
    head: SegmentHead,
    pub(super) file: Arc<dyn StoreFile>,
    directory: PathBuf,
    pub(super) writer: CheckpointWriter,
}

/// The reason why there is no new segment.
#[derive(Debug)]
pub(super) struct SegmentNotCreated {
    pub(super) error: StoreError,
    /// Whether the file may be there under its name all the same.
    pub(super) is_named: bool,
}

/// Makes a segment that begins with the whole of a state that doesn't change meanwhile.
pub(super) fn create(
    files: &dyn FileSystem,
    directory: &Path,
    head: SegmentHead,
    state: &StoreState,
    sealed: &SealedSegments,
) -> Result<ActiveSegment, SegmentNotCreated> {
    let checkpoint = LogRecord::Checkpoint {
        forgotten: state.forgotten(),
        serials_below: state.serials_below(),
        needed: needed(sealed),
    };
    let mut draft = SegmentDraft::begin(files, directory, head, &checkpoint)?;
    let mut walk = Walk::Channels(0, None);
    while walk != Walk::End {
        let batch = &mut draft.writer.batch;
        walk = write_piece(state, walk, RECORDS_AT_ONCE, batch);
        let written = match walk {
            Walk::End => draft.end_checkpoint(),
            _ => draft.writer.flush(),
        };
        written.map_err(|error| draft.failed(error))?;
    }
    draft.finish(files)
}

impl SegmentDraft {
    /// Makes the file, whose first record will be this one.
    pub(super) fn begin(
        files: &dyn FileSystem,
        directory: &Path,
        head: SegmentHead,
        checkpoint: &LogRecord<'_>,
    ) -> Result<Self, SegmentNotCreated> {
        let path = unfinished(directory, head.number);
        let file = files.create(&path).map_err(|error| {
            // Best effort: a start removes it as well.
            _ = files.remove(&path);
            not_created(directory, head.number, error, false)
        })?;
        let mut writer = CheckpointWriter::new(Arc::clone(&file), &head);
        checkpoint.write(&mut writer.batch);
        Ok(Self {
            head,
            file,
            directory: directory.into(),
            writer,
        })
    }

    /// Returns the number that the segment will have.
    pub(super) fn number(&self) -> u32 {
        self.head.number
    }

    /// Ends the checkpoint; records may follow.
    pub(super) fn end_checkpoint(&mut self) -> io::Result<()> {
        LogRecord::CheckpointEnd.write(&mut self.writer.batch);
        self.writer.flush()?;
        self.head.checkpoint_end = self.writer.at;
        Ok(())
    }

    /// Writes the head, makes all of the file durable, and gives the file its name.
    pub(super) fn finish(self, files: &dyn FileSystem) -> Result<ActiveSegment, SegmentNotCreated> {
        let (head, directory) = (self.head, &*self.directory);
        let unfinished = unfinished(directory, head.number);
        let path = directory.join(names::segment(head.number));
        let named = (self.file.write_all_at(&head.to_bytes(), 0))
            .and_then(|()| self.file.sync_data())
            .and_then(|()| files.rename(&unfinished, &path));
        if let Err(error) = named {
            // Best effort: a start removes it as well.
            _ = files.remove(&unfinished);
            // A rename that failed may have happened, on some file systems.
            let is_named = files.open(&path, OpenMode::Read).is_ok();
            return Err(not_created(directory, head.number, error, is_named));
        }
        if let Err(error) = files.sync_directory(directory) {
            return Err(not_created(directory, head.number, error, true));
        }
        let end = self.writer.at;
        let mut active = ActiveSegment::new(head, self.file, path, end);
        if end > head.checkpoint_end {
            // Nothing confirms the records behind the checkpoint yet.
            active.confirmed = head.checkpoint_end;
        }
        Ok(active)
    }

    /// Removes the file.
    pub(super) fn discard(self, files: &dyn FileSystem) {
        // Best effort: a start removes it as well.
        _ = files.remove(&unfinished(&self.directory, self.head.number));
    }

    /// Makes the error for a write or a sync of the file that failed.
    pub(super) fn failed(&self, error: io::Error) -> SegmentNotCreated {
        not_created(&self.directory, self.head.number, error, false)
    }
}

fn unfinished(directory: &Path, number: u32) -> PathBuf {
    directory.join(names::segment(number) + names::UNFINISHED)
}

fn not_created(
    directory: &Path,
    number: u32,
    source: io::Error,
    is_named: bool,
) -> SegmentNotCreated {
    SegmentNotCreated {
        error: StoreError::Failed {
            file: directory.join(names::segment(number)),
            source,
        },
        is_named,
    }
}
