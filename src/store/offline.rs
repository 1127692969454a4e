//! Looking at a store that nobody has open, and cutting what is damaged.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::entry::{Entry, Place};
use super::error::StoreError;
use super::files::{Access, File, FileSystem, Real};
use super::frame::{BATCH_SIZE, Head, frames};
use super::identity::{Identity, Told};
use super::names;
use super::scan::{Scan, Step};
use super::segment;
use super::settings::StoreSettings;
use super::start::{Purpose, Start, list, lock, missing_newest};

/// What [`verify`] found.
#[derive(Debug)]
pub struct VerifyReport {
    /// Its files, in order.
    pub files: Vec<PathBuf>,
    /// Channels, if all could be read.
    pub channels: u64,
    /// Messages that are kept, if all could be read.
    pub messages: u64,
    /// Bytes of a batch at the very end that was not written to its end, which a start cuts off.
    pub torn_bytes: u64,
    /// The damage that keeps the store from being opened.
    pub damage: Option<StoreError>,
}

/// What [`repair`] did.
#[derive(Debug, PartialEq, Eq)]
pub struct Repaired {
    /// Where the file was cut: between two batches.
    pub cut_at: u64,
    /// What was cut off is here.
    pub kept: PathBuf,
    /// Bytes of it.
    pub bytes: u64,
    /// Records in it that could be read.
    pub records: u64,
    /// How many messages each channel has let go: those that were cut off, as far as later files
    /// know of them, and those before.
    pub lost: Vec<(String, u64)>,
}

/// Reads all files of a store, and changes nothing.
///
/// # Errors
///
/// The directory can't be read, or somebody has it open. Damage is no error: it is what the report
/// is for.
pub fn verify(directory: &Path) -> Result<VerifyReport, StoreError> {
    verify_on(&Real, directory)
}

pub(super) fn verify_on(
    files: &dyn FileSystem,
    directory: &Path,
) -> Result<VerifyReport, StoreError> {
    let (numbers, held) = look(files, directory)?;
    let settings = StoreSettings::new(directory);
    let mut start = Start::new(files, &settings, Purpose::Verify);
    let told = match &held {
        Some(held) => Identity::read(&**held)
            .map_err(|source| StoreError::io("read", &directory.join(names::LOCK), source))?,
        None => Told::Nothing,
    };
    let newest = numbers.last().copied();
    let damage = match (missing_newest(directory, newest, told), newest) {
        (Some(missing), _) => Some(missing),
        (None, Some(newest)) => start.load(&numbers, newest).err(),
        (None, None) => Some(StoreError::io(
            "find a journal in",
            directory,
            io::ErrorKind::NotFound.into(),
        )),
    };
    Ok(VerifyReport {
        files: (numbers.iter())
            .map(|number| directory.join(names::segment(*number)))
            .collect(),
        channels: start.state.channels_count() as u64,
        messages: start.state.usage.messages,
        torn_bytes: start.torn_bytes,
        damage,
    })
}

/// Tells every record of a store as a line of JSON, in the order of the files. Damage is told as
/// well, and reading goes on behind it.
///
/// # Errors
///
/// The directory or a file can't be read, somebody has it open, or `tell` fails.
pub fn dump(
    directory: &Path,
    tell: &mut dyn FnMut(&str) -> io::Result<()>,
) -> Result<(), StoreError> {
    dump_on(&Real, directory, tell)
}

pub(super) fn dump_on(
    files: &dyn FileSystem,
    directory: &Path,
    tell: &mut dyn FnMut(&str) -> io::Result<()>,
) -> Result<(), StoreError> {
    let (numbers, _held) = look(files, directory)?;
    for number in numbers {
        let path = directory.join(names::segment(number));
        let name = names::segment(number);
        let mut tell = |mut line: Map<String, Value>, at: u64| {
            line.insert("file".into(), name.as_str().into());
            line.insert("at".into(), at.into());
            tell(&Value::Object(line).to_string())
                .map_err(|source| StoreError::io("tell of", &path, source))
        };
        let flaw = |flaw: &str| Map::from_iter([("damage".to_owned(), flaw.into())]);
        let file = (files.open(&path, Access::Read))
            .map_err(|source| StoreError::io("open", &path, source))?;
        let mut scan = match Scan::begin(file, &path, number) {
            Ok(scan) => scan,
            Err(StoreError::Io { what, path, source }) => {
                return Err(StoreError::Io { what, path, source });
            }
            Err(error) => {
                tell(flaw(&error.to_string()), 0)?;
                continue;
            }
        };
        loop {
            let bad = match scan.step()? {
                Step::Batch { at, head, body } => {
                    for (start, frame) in frames(body) {
                        let line = match Entry::read(frame) {
                            Ok(entry) => told(&entry, head.at_ms),
                            Err(what) => flaw(what),
                        };
                        tell(line, at + (BATCH_SIZE + start) as u64)?;
                    }
                    continue;
                }
                Step::End => break,
                Step::Bad { batch, at, flaw } => (batch, at, flaw),
            };
            tell(flaw(bad.2), bad.1)?;
            if scan.skip_to_batch(bad.0)?.is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// The files of a store, and its lock, if it has one.
#[expect(clippy::type_complexity, reason = "two things, for two callers")]
fn look(
    files: &dyn FileSystem,
    directory: &Path,
) -> Result<(Vec<u32>, Option<Arc<dyn File>>), StoreError> {
    let numbers = list(files, directory)?;
    // A copy of a store has no lock, and needs none.
    let path = directory.join(names::LOCK);
    let held = match files.open(&path, Access::Read) {
        Ok(_) => Some(lock(files, directory)?),
        Err(_) => None,
    };
    Ok((numbers, held))
}

fn told(entry: &Entry<'_>, at_ms: u64) -> Map<String, Value> {
    let place = |place: &Place<'_>| {
        json!({
            "channel": place.channel, "epoch": place.epoch, "offset": place.offset,
        })
    };
    let line = match entry {
        Entry::Message(message) => json!({
            "kind": if message.is_moved { "moved" } else { "message" },
            "places": message.places().map(|there| place(&there)).collect::<Vec<_>>(),
            "id": message.id, "from": message.from, "to": message.to, "ts": message.ts,
            "data": message.data, "mark": message.mark,
            "sameness": message.sameness.map(|sameness| format!("{sameness:032x}")),
        }),
        Entry::Purge { channel, epoch } => {
            json!({ "kind": "purge", "channel": channel, "epoch": epoch })
        }
        Entry::Trim { channel, through } => {
            json!({ "kind": "trim", "channel": channel, "through": through })
        }
        Entry::Forget { channel } => json!({ "kind": "forget", "channel": channel }),
        Entry::Ack {
            channel,
            reader,
            offset,
        } => json!({ "kind": "ack", "channel": channel, "reader": reader, "offset": offset }),
        Entry::Member {
            room,
            user,
            lasting,
        } => json!({ "kind": "member", "room": room, "user": user, "lasting": lasting }),
        Entry::Mark { producer, number } => {
            json!({ "kind": "mark", "producer": producer, "number": number })
        }
        Entry::Serials { below } => json!({ "kind": "serials", "below": below }),
        Entry::Checkpoint {
            forgotten,
            serials_below,
            sealed,
        } => json!({
            "kind": "checkpoint", "forgotten": forgotten, "serials_below": serials_below,
            "needs": sealed.iter().map(|old| names::segment(old.number)).collect::<Vec<_>>(),
        }),
        Entry::Channel {
            channel,
            epoch,
            floor,
            newest,
        } => json!({
            "kind": "channel", "channel": channel, "epoch": epoch, "floor": floor,
            "newest": newest,
        }),
        Entry::CheckpointEnd => json!({ "kind": "checkpoint_end" }),
    };
    let Value::Object(mut line) = line else {
        unreachable!("all of them are objects");
    };
    line.insert("written_at".into(), at_ms.into());
    line
}

/// Cuts a damaged file at the end of the last batch before `cut_at`, keeps what was cut off beside
/// it, and lets go of what is missing then, so that the store can be opened again. A file that is
/// damaged at its beginning is put aside as a whole; so is one that is missing already.
///
/// # Errors
///
/// Something can't be read or written, somebody has the store open, or another file is damaged as
/// well: repair that one next.
pub fn repair(file: &Path, cut_at: u64) -> Result<Repaired, StoreError> {
    repair_on(&Real, file, cut_at)
}

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
    let lost = load_what_is_left(files, directory, number, &*held)?;
    Ok(Repaired {
        cut_at,
        kept: kept(file),
        bytes,
        records,
        lost,
    })
}

fn kept(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".cut");
    name.into()
}

/// Cuts a file; says where, and how many bytes and readable records went.
fn cut(
    files: &dyn FileSystem,
    path: &Path,
    number: u32,
    cut_at: u64,
) -> Result<(u64, u64, u64), StoreError> {
    let io = |what| move |source| StoreError::io(what, path, source);
    let file = match files.open(path, Access::Write) {
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
                Step::Batch { at, head, .. } => {
                    let batch_end = at + BATCH_SIZE as u64 + u64::from(head.size);
                    if batch_end <= cut_at && batch_end >= begins {
                        end = batch_end;
                    } else if at >= begins {
                        records += u64::from(head.records);
                    }
                }
                Step::End => break,
                Step::Bad { batch, .. } => {
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
    if files.open(&kept, Access::Read).is_ok() {
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

fn copy(files: &dyn FileSystem, from: &dyn File, mut at: u64, to: &Path) -> Result<(), StoreError> {
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

/// Reads what is there, lets go of what is missing, and begins a new file that says so.
fn load_what_is_left(
    files: &dyn FileSystem,
    directory: &Path,
    cut: u32,
    held: &dyn File,
) -> Result<Vec<(String, u64)>, StoreError> {
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
    let mut start = Start::new(files, &settings, Purpose::Repair);
    let (mut olds, tail) = start.load(&numbers, newest)?;
    let lost = start.state.drop_missing();
    olds.insert(
        newest,
        segment::Old {
            size: tail.end,
            repeatable_ms: tail.repeatable_ms,
        },
    );
    let noted = match Identity::read(held) {
        Ok(Told::Identity(identity)) => identity.newest,
        _ => 0,
    };
    let head = Head {
        number: newest.max(cut).max(noted) + 1,
        ..tail.head
    };
    segment::begin(files, directory, head, &start.state, &olds).map_err(|unbegun| unbegun.error)?;
    let identity = Identity {
        key: head.key,
        newest: head.number,
    };
    (identity.write(held))
        .map_err(|source| StoreError::io("write", &directory.join(names::LOCK), source))?;
    Ok((lost.into_iter())
        .map(|(channel, count)| (channel.to_string(), count))
        .collect())
}
