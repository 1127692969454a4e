//! Cuts off what is damaged, so that a store can be opened again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::batch::BATCH_SIZE;
use super::directory::{list, lock};
use super::error::StoreError;
use super::files::{FileSystem, OpenMode, OsFiles, StoreFile};
use super::identity::{StoreIdentity, StoredIdentity};
use super::loader::{Loader, Purpose};
use super::names;
use super::scan::{Scan, ScanStep};
use super::segment::SealedSegment;
use super::segment_draft;
use super::segment_head::SegmentHead;
use super::settings::StoreSettings;
use super::state::StoreState;
use crate::base::clock::random;

/// The outcome of a [`repair`].
#[derive(Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The position at which the file was cut: between two batches.
    pub cut_at: u64,
    /// The file with the part that was cut off.
    pub kept: PathBuf,
    /// Bytes of that part.
    pub bytes: u64,
    /// Records in that part that could be read.
    pub records: u64,
    /// Each channel that has lost messages, with their number: those that were cut off, as far as
    /// later files know of them, and those before.
    pub lost: Vec<(String, u64)>,
    /// The channels that have a new epoch, since offsets that were cut off are going to be given
    /// again: all of them, because nobody can tell what stood in the part that can't be read. Empty
    /// where a later file knows which offsets were given.
    pub new_epochs: Vec<String>,
}

/// Cuts a damaged file at the end of the last batch before `cut_at`, keeps what was cut off beside
/// it, and lets go of what is missing then, so that the store can be opened again. A file that is
/// damaged at its beginning is put aside as a whole; so is one that is missing already.
///
/// Where no later file knows which offsets were given, every channel begins a new epoch: whoever has
/// seen messages that were cut off is told so when it resumes, instead of taking new messages for
/// those.
///
/// # Errors
///
/// Something can't be read or written, somebody has the store open, or another file is damaged as
/// well: repair that one next.
pub fn repair(file: &Path, cut_at: u64) -> Result<Repaired, StoreError> {
    repair_on(&OsFiles::default(), file, cut_at)
}

/// Does the same as [`repair`] on any file system.
pub(super) fn repair_on(
    files: &dyn FileSystem,
    file: &Path,
    cut_at: u64,
) -> Result<Repaired, StoreError> {
    let directory = file.parent().unwrap_or(Path::new("."));
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let Some(number) = names::segment_number(&name) else {
        let source = io::ErrorKind::InvalidInput.into();
        return Err(StoreError::io("find the number of", file, source));
    };
    let held = lock(files, directory)?;
    let (cut_at, bytes, records) = cut(files, file, number, cut_at)?;
    let ChangedChannels { lost, new_epochs } = load_what_is_left(files, directory, number, &*held)?;
    Ok(Repaired {
        cut_at,
        kept: kept(file),
        bytes,
        records,
        lost,
        new_epochs,
    })
}

fn kept(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".cut");
    name.into()
}

/// Cuts a file; returns the position, and the numbers of bytes and of readable records that went.
fn cut(
    files: &dyn FileSystem,
    path: &Path,
    number: u32,
    cut_at: u64,
) -> Result<(u64, u64, u64), StoreError> {
    let io = |what| move |source| StoreError::io(what, path, source);
    let file = match files.open(path, OpenMode::Write) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, 0, 0)),
        Err(error) => return Err(io("open")(error)),
    };
    let size = file.size().map_err(io("read"))?;
    let (mut end, mut records) = (0, 0);
    if let Ok(mut scan) = Scan::begin(Arc::clone(&file), path, number) {
        let begins = scan.head.checkpoint_end;
        loop {
            match scan.step()? {
                ScanStep::Batch { at, head, .. } => {
                    let batch_end = at + BATCH_SIZE as u64 + u64::from(head.size);
                    if batch_end <= cut_at && batch_end >= begins {
                        end = batch_end;
                    } else if at >= begins {
                        records += u64::from(head.records);
                    }
                }
                ScanStep::End => break,
                ScanStep::Bad { batch, .. } => {
                    if scan.skip_to_batch(batch)?.is_none() {
                        break;
                    }
                }
            }
        }
    }
    if end == size {
        return Ok((end, 0, 0));
    }
    let kept = kept(path);
    if files.open(&kept, OpenMode::Read).is_ok() {
        let source = io::ErrorKind::AlreadyExists.into();
        return Err(StoreError::io("keep what is cut off in", &kept, source));
    }
    copy(files, &*file, end, &kept)?;
    if end == 0 {
        files.remove(path).map_err(io("remove"))?;
    } else {
        file.set_size(end).map_err(io("cut"))?;
        file.sync_data().map_err(io("sync"))?;
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    files.sync_directory(directory).map_err(io("sync"))?;
    Ok((end, size - end, records))
}

fn copy(
    files: &dyn FileSystem,
    from: &dyn StoreFile,
    mut at: u64,
    to: &Path,
) -> Result<(), StoreError> {
    let io = |source| StoreError::io("write", to, source);
    let file = files.create(to).map_err(io)?;
    let (mut bytes, mut written) = (vec![0; 1 << 20], 0);
    loop {
        let size = from.read_full_at(&mut bytes, at).map_err(io)?;
        if size == 0 {
            return file.sync_data().map_err(io);
        }
        file.write_all_at(&bytes[..size], written).map_err(io)?;
        at += size as u64;
        written += size as u64;
    }
}

/// The channels that a repair changed, as [`Repaired`] tells them.
struct ChangedChannels {
    lost: Vec<(String, u64)>,
    new_epochs: Vec<String>,
}

/// Begins a new epoch of every channel; returns the mask that does so, and the channels in the order
/// of their names.
fn begin_epochs(state: &mut StoreState) -> (u32, Vec<String>) {
    // Never 0, which would leave the epochs as they are; an epoch has 30 bits.
    let mask = random() as u32 >> 2 | 1;
    state.begin_epochs(mask);
    let channels = state.channels();
    let mut new_epochs: Vec<String> = channels.map(|channel| channel.name.to_string()).collect();
    new_epochs.sort_unstable();
    (mask, new_epochs)
}

/// Reads what is left, lets go of what is missing, and begins a new file that says so.
fn load_what_is_left(
    files: &dyn FileSystem,
    directory: &Path,
    cut: u32,
    held: &dyn StoreFile,
) -> Result<ChangedChannels, StoreError> {
    let settings = StoreSettings::new(directory);
    let numbers = list(files, directory)?;
    let Some(&newest) = numbers.last() else {
        let source = io::ErrorKind::NotFound.into();
        return Err(StoreError::io(
            "find a file to go on with in",
            directory,
            source,
        ));
    };
    let mut loader = Loader::new(files, &settings, Purpose::Repair);
    let (mut sealed, active) = loader.load(&numbers, newest)?;
    let lost = loader.state.drop_missing();
    sealed.insert(
        newest,
        SealedSegment {
            size: active.end,
            repeatable_ms: active.repeatable_ms,
        },
    );
    let noted = match StoreIdentity::read(held) {
        Ok(StoredIdentity::Present(identity)) => identity.newest,
        _ => 0,
    };
    let is_behind = newest <= cut || newest < noted;
    let (mask, new_epochs) = match is_behind {
        true => begin_epochs(&mut loader.state),
        false => (0, Vec::new()),
    };
    let newest = newest.max(cut).max(noted);
    let Some(number) = newest.checked_add(1) else {
        let source = io::ErrorKind::InvalidInput.into();
        return Err(StoreError::io(
            "number a file after those of",
            directory,
            source,
        ));
    };
    let head = SegmentHead {
        number,
        epoch_mask: active.head.epoch_mask ^ mask,
        ..active.head
    };
    segment_draft::create(files, directory, head, &loader.state, &sealed)
        .map_err(|not_created| not_created.error)?;
    let identity = StoreIdentity {
        key: head.key,
        newest: head.number,
    };
    (identity.write(held))
        .map_err(|source| StoreError::io("write", &directory.join(names::LOCK), source))?;
    let lost = lost.into_iter();
    let lost = lost.map(|(channel, count)| (channel.to_string(), count));
    Ok(ChangedChannels {
        lost: lost.collect(),
        new_epochs,
    })
}
