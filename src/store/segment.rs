//! Files: how one is begun, and what is known of those that are there.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entry::{Entry, Sealed};
use super::error::StoreError;
use super::files::{File, FileSystem};
use super::frame::{Batch, HEAD_SIZE, Head};
use super::names;
use super::state::State;

/// Bytes of a checkpoint that are written at once.
const CHECKPOINT_BATCH_SIZE: usize = 256 << 10;

/// The file that is written to.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) head: Head,
    pub(super) seed: u32,
    pub(super) file: Arc<dyn File>,
    pub(super) path: PathBuf,
    /// Where the next batch will stand.
    pub(super) end: u64,
    /// Up to where it is durable.
    pub(super) durable: u64,
    /// Up to where a later batch vouches for that; an empty one needs none.
    pub(super) vouched: u64,
    /// When its last message came that can be repeated.
    pub(super) repeatable_ms: Option<u64>,
}

/// A file that isn't written to any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Old {
    pub(super) size: u64,
    /// When its last message came that can be repeated.
    pub(super) repeatable_ms: Option<u64>,
}

/// Those that are still needed, by their numbers.
pub(super) type Olds = BTreeMap<u32, Old>;

/// A file could not be begun.
#[derive(Debug)]
pub(super) struct Unbegun {
    pub(super) error: StoreError,
    /// It may be there under its name all the same.
    pub(super) is_named: bool,
}

impl Tail {
    pub(super) fn new(head: Head, file: Arc<dyn File>, path: PathBuf, end: u64) -> Self {
        Self {
            seed: head.seed(),
            head,
            file,
            path,
            end,
            durable: end,
            vouched: end,
            repeatable_ms: None,
        }
    }

    /// Bytes that were written since it was begun.
    pub(super) fn written(&self) -> u64 {
        self.end - self.head.checkpoint_end
    }
}

/// Begins a file: with a checkpoint that says everything but the messages, so that what was before
/// is needed for its messages only. It gets its name when all of it is durable.
pub(super) fn begin(
    files: &dyn FileSystem,
    directory: &Path,
    mut head: Head,
    state: &State,
    olds: &Olds,
) -> Result<Tail, Unbegun> {
    let path = directory.join(names::segment(head.number));
    let unfinished = directory.join(names::segment(head.number) + names::UNFINISHED);
    let written = files.create(&unfinished).and_then(|file| {
        write_checkpoint(&*file, &mut head, state, olds)?;
        Ok(file)
    });
    let renamed = written.and_then(|file| {
        files.rename(&unfinished, &path)?;
        Ok(file)
    });
    let unbegun = |source, is_named| Unbegun {
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
            let is_named = files.open(&path, super::files::Access::Read).is_ok();
            return Err(unbegun(error, is_named));
        }
    };
    if let Err(error) = files.sync_directory(directory) {
        return Err(unbegun(error, true));
    }
    Ok(Tail::new(head, file, path, head.checkpoint_end))
}

fn write_checkpoint(
    file: &dyn File,
    head: &mut Head,
    state: &State,
    olds: &Olds,
) -> io::Result<()> {
    let mut writer = Writer {
        file,
        seed: head.seed(),
        at: HEAD_SIZE as u64,
        batch: Batch::default(),
    };
    writer.write(&Entry::Checkpoint {
        forgotten: state.forgotten(),
        serials_below: state.serials_below(),
        sealed: (olds.iter())
            .map(|(&number, old)| Sealed {
                number,
                size: old.size,
            })
            .collect(),
    })?;
    for channel in state.channels() {
        let known = channel.kept.state();
        writer.write(&Entry::Channel {
            channel: &channel.name,
            epoch: known.epoch,
            floor: known.floor,
            newest: known.newest,
        })?;
        for (reader, &offset) in &channel.acks {
            writer.write(&Entry::Ack {
                channel: &channel.name,
                reader,
                offset,
            })?;
        }
    }
    for (room, user) in state.members() {
        writer.write(&Entry::Member {
            room,
            user,
            lasting: true,
        })?;
    }
    for (producer, number) in state.marks() {
        writer.write(&Entry::Mark { producer, number })?;
    }
    writer.write(&Entry::CheckpointEnd)?;
    writer.flush()?;
    head.checkpoint_end = writer.at;
    file.write_all_at(&head.to_bytes(), 0)?;
    file.sync_data()
}

/// Writes entries in batches of some size.
struct Writer<'a> {
    file: &'a dyn File,
    seed: u32,
    at: u64,
    batch: Batch,
}

impl Writer<'_> {
    fn write(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        entry.write(&mut self.batch);
        if self.batch.size() >= CHECKPOINT_BATCH_SIZE {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let bytes = self.batch.seal(self.seed, self.at, 0);
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        self.batch.clear();
        Ok(())
    }
}
