//! Segments, the files of the journal: one is active and grows, the others are sealed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::write_checkpoint;
use super::error::StoreError;
use super::files::{FileSystem, OpenMode, StoreFile};
use super::log_record::NeededSegment;
use super::names;
use super::segment_head::SegmentHead;
use super::state::StoreState;

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct ActiveSegment {
    pub(super) head: SegmentHead,
    pub(super) seed: u32,
    pub(super) file: Arc<dyn StoreFile>,
    pub(super) path: PathBuf,
    /// The position of the next batch.
    pub(super) end: u64,
    /// The position up to which the segment is durable.
    pub(super) durable: u64,
    /// The position up to which a later batch confirms that; a batch without records needs no
    /// confirmation.
    pub(super) confirmed: u64,
    /// The time of the last message with an idempotency key in here, in Unix milliseconds.
    pub(super) repeatable_ms: Option<u64>,
}

/// A segment that isn't written to any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SealedSegment {
    pub(super) size: u64,
    /// The time of the last message with an idempotency key in here, in Unix milliseconds.
    pub(super) repeatable_ms: Option<u64>,
}

/// The sealed segments that are still needed, by their numbers.
pub(super) type SealedSegments = BTreeMap<u32, SealedSegment>;

/// The reason why there is no new segment.
#[derive(Debug)]
pub(super) struct SegmentNotCreated {
    pub(super) error: StoreError,
    /// Whether the file may be there under its name all the same.
    pub(super) is_named: bool,
}

impl ActiveSegment {
    /// Takes over an open segment that ends at `end`.
    pub(super) fn new(
        head: SegmentHead,
        file: Arc<dyn StoreFile>,
        path: PathBuf,
        end: u64,
    ) -> Self {
        Self {
            seed: head.seed(),
            head,
            file,
            path,
            end,
            durable: end,
            confirmed: end,
            repeatable_ms: None,
        }
    }

    /// Counts the bytes behind the checkpoint.
    pub(super) fn written(&self) -> u64 {
        self.end - self.head.checkpoint_end
    }
}

/// Makes a segment that begins with a checkpoint of everything but the messages, so that older
/// segments are needed for their messages only. The file gets its name when all of it is durable.
pub(super) fn create(
    files: &dyn FileSystem,
    directory: &Path,
    mut head: SegmentHead,
    state: &StoreState,
    sealed: &SealedSegments,
) -> Result<ActiveSegment, SegmentNotCreated> {
    let path = directory.join(names::segment(head.number));
    let unfinished = directory.join(names::segment(head.number) + names::UNFINISHED);
    let written = files.create(&unfinished).and_then(|file| {
        let needed = (sealed.iter()).map(|(&number, segment)| NeededSegment {
            number,
            size: segment.size,
        });
        write_checkpoint(&*file, &mut head, state, needed)?;
        Ok(file)
    });
    let renamed = written.and_then(|file| {
        files.rename(&unfinished, &path)?;
        Ok(file)
    });
    let not_created = |source, is_named| SegmentNotCreated {
        error: StoreError::Failed {
            file: path.clone(),
            source,
        },
        is_named,
    };
    let file = match renamed {
        Ok(file) => file,
        Err(error) => {
            // Best effort: a start removes it as well.
            _ = files.remove(&unfinished);
            // A rename that failed may have happened, on some file systems.
            let is_named = files.open(&path, OpenMode::Read).is_ok();
            return Err(not_created(error, is_named));
        }
    };
    if let Err(error) = files.sync_directory(directory) {
        return Err(not_created(error, true));
    }
    Ok(ActiveSegment::new(head, file, path, head.checkpoint_end))
}
