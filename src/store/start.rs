//! A start: what the files say becomes the state.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::channel::Slot;
use super::dedup::Dedup;
use super::entry::{Entry, Sealed};
use super::error::StoreError;
use super::files::{Access, File, FileSystem};
use super::frame::{BATCH_SIZE, BatchHead, Head, frames};
use super::identity::{Identity, Told};
use super::names;
use super::scan::{Scan, Step};
use super::segment::{self, Old, Olds, Tail};
use super::settings::StoreSettings;
use super::state::{Replay, State};

/// What a start found.
pub(super) struct Started {
    pub(super) state: State,
    pub(super) dedup: Dedup,
    pub(super) olds: Olds,
    pub(super) tail: Tail,
    /// The newest time in the files.
    pub(super) clock_ms: u64,
    /// Bytes that were cut off.
    pub(super) torn_bytes: u64,
    /// Held for as long as the store is open.
    pub(super) lock: Arc<dyn File>,
}

/// What the files are read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To go on with them.
    Serve,
    /// To see whether they are right; nothing is changed.
    Verify,
    /// To go on with what is left of them.
    Repair,
}

/// Opens the store in a directory, or makes one in an empty one.
pub(super) fn start(
    files: &dyn FileSystem,
    settings: &StoreSettings,
) -> Result<Started, StoreError> {
    let directory = &*settings.directory;
    (files.make_directory(directory))
        .map_err(|source| StoreError::io("make", directory, source))?;
    let lock = lock(files, directory)?;
    let numbers = list(files, directory)?;
    let told = Identity::read(&*lock)
        .map_err(|source| StoreError::io("read", &directory.join(names::LOCK), source))?;
    let mut start = Start::new(files, settings, Purpose::Serve);
    let newest = numbers.last().copied();
    if let Some(missing) = missing_newest(directory, newest, told) {
        return Err(missing);
    }
    let (olds, tail) = match newest {
        Some(newest) => start.load(&numbers, newest)?,
        None => (Olds::new(), start.begin()?),
    };
    let identity = Identity {
        key: tail.head.key,
        newest: tail.head.number,
    };
    (identity.write(&*lock))
        .map_err(|source| StoreError::io("write", &directory.join(names::LOCK), source))?;
    Ok(Started {
        state: start.state,
        dedup: start.dedup,
        olds,
        tail,
        clock_ms: start.clock_ms,
        torn_bytes: start.torn_bytes,
        lock,
    })
}

/// Takes the directory, for as long as the answer lives.
pub(super) fn lock(files: &dyn FileSystem, directory: &Path) -> Result<Arc<dyn File>, StoreError> {
    let path = directory.join(names::LOCK);
    files.lock(&path).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => StoreError::Locked {
            directory: directory.into(),
        },
        _ => StoreError::io("lock", &path, source),
    })
}

/// The numbers of the files that are there, in order.
pub(super) fn list(files: &dyn FileSystem, directory: &Path) -> Result<Vec<u32>, StoreError> {
    let found = files.list(directory);
    let found = found.map_err(|source| StoreError::io("list", directory, source))?;
    let mut numbers: Vec<u32> = (found.iter())
        .filter_map(|name| names::segment_number(name))
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// A store whose newest file is gone is no older store, and no new one.
pub(super) fn missing_newest(
    directory: &Path,
    newest: Option<u32>,
    told: Told,
) -> Option<StoreError> {
    let file = match told {
        Told::Nothing => return None,
        Told::Garbage if newest.is_some() => return None,
        Told::Garbage => directory.join(names::LOCK),
        Told::Identity(identity) if newest >= Some(identity.newest) => return None,
        Told::Identity(identity) => directory.join(names::segment(identity.newest)),
    };
    Some(StoreError::damaged(
        file,
        0,
        "the newest file of the store is missing",
    ))
}

/// The files of a store, as they are read.
pub(super) struct Start<'a> {
    files: &'a dyn FileSystem,
    settings: &'a StoreSettings,
    directory: &'a Path,
    purpose: Purpose,
    pub(super) state: State,
    dedup: Dedup,
    clock_ms: u64,
    pub(super) torn_bytes: u64,
}

impl<'a> Start<'a> {
    pub(super) fn new(
        files: &'a dyn FileSystem,
        settings: &'a StoreSettings,
        purpose: Purpose,
    ) -> Self {
        let mut state = State::new(Arc::clone(&settings.retention));
        if purpose == Purpose::Repair {
            state.set_replay(Replay::Lenient);
        }
        Self {
            files,
            settings,
            directory: &settings.directory,
            purpose,
            state,
            dedup: Dedup::default(),
            clock_ms: 0,
            torn_bytes: 0,
        }
    }

    /// Makes the first file.
    fn begin(&self) -> Result<Tail, StoreError> {
        // Hashes under keys that the system drew: nobody can guess them.
        let draw = || RandomState::new().hash_one(0);
        let head = Head {
            number: 1,
            key: [draw(), draw()],
            checkpoint_end: 0,
        };
        segment::begin(self.files, self.directory, head, &self.state, &Olds::new())
            .map_err(|unbegun| unbegun.error)
    }

    /// Reads all files.
    pub(super) fn load(
        &mut self,
        numbers: &[u32],
        newest: u32,
    ) -> Result<(Olds, Tail), StoreError> {
        if self.purpose != Purpose::Verify {
            self.remove_unfinished()?;
        }
        let mut last = self.open(newest, Access::Read)?;
        let key = last.head.key;
        let sealed = sealed(&mut last)?;
        let mut olds = Olds::new();
        for Sealed { number, size } in sealed {
            if !numbers.contains(&number) {
                if self.purpose == Purpose::Repair {
                    continue;
                }
                let path = self.directory.join(names::segment(number));
                return Err(StoreError::damaged(path, 0, "it is missing, but needed"));
            }
            olds.insert(number, self.load_old(number, size, key)?);
        }
        let tail = self.load_last(newest)?;
        if self.purpose != Purpose::Repair
            && let Some((channel, offset)) = self.state.find_missing()
        {
            let what = format!("message {offset} of {channel:?} is in none of the files");
            return Err(StoreError::damaged(&tail.path, 0, &what));
        }
        for number in numbers {
            let is_needed = *number >= newest || olds.contains_key(number);
            if !is_needed && self.purpose == Purpose::Serve {
                self.remove(*number)?;
            }
        }
        Ok((olds, tail))
    }

    fn open(&self, number: u32, access: Access) -> Result<Scan, StoreError> {
        let path = self.directory.join(names::segment(number));
        let file = (self.files.open(&path, access))
            .map_err(|source| StoreError::io("open", &path, source))?;
        Scan::begin(file, &path, number)
    }

    /// Reads a file that was finished: all of it has to be right.
    fn load_old(&mut self, number: u32, size: u64, key: [u64; 2]) -> Result<Old, StoreError> {
        let mut scan = self.open(number, Access::Read)?;
        if scan.head.key != key {
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
        scan.end_at(size);
        let mut repeatable_ms = None;
        loop {
            match scan.step()? {
                Step::Batch { at, head, body } => {
                    self.apply(number, at, &head, body, &mut repeatable_ms)
                        .map_err(|(at, flaw)| StoreError::damaged(scan.path(), at, flaw))?;
                }
                Step::End => {
                    return Ok(Old {
                        size: scan.end,
                        repeatable_ms,
                    });
                }
                Step::Bad { at, flaw, .. } => {
                    return Err(StoreError::damaged(scan.path(), at, flaw));
                }
            }
        }
    }

    /// Reads the newest file, and cuts off what a crash left of a batch that nobody was told of.
    fn load_last(&mut self, number: u32) -> Result<Tail, StoreError> {
        let mut scan = self.open(number, Access::Read)?;
        let path = scan.path().to_owned();
        let (mut repeatable_ms, mut vouched) = (None, 0);
        let end = loop {
            match scan.step()? {
                Step::Batch { at, head, body } => {
                    if head.records == 0 {
                        vouched = at + BATCH_SIZE as u64;
                    }
                    self.apply(number, at, &head, body, &mut repeatable_ms)
                        .map_err(|(at, flaw)| StoreError::damaged(&path, at, flaw))?;
                }
                Step::End => break scan.end,
                Step::Bad { batch, at, flaw } => {
                    if scan.vouched(batch)? > batch {
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
        let mut tail = Tail::new(scan.head, file, path, end);
        tail.vouched = vouched.max(scan.head.checkpoint_end);
        tail.repeatable_ms = repeatable_ms;
        Ok(tail)
    }

    /// Takes off what is behind `end`, and makes the rest durable.
    fn cut(&self, path: &Path, size: u64, end: u64) -> Result<Arc<dyn File>, StoreError> {
        if self.purpose == Purpose::Verify {
            return (self.files.open(path, Access::Read))
                .map_err(|source| StoreError::io("open", path, source));
        }
        let file = (self.files.open(path, Access::Write))
            .map_err(|source| StoreError::io("open", path, source))?;
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
        // First: a repeat that came late enough was no repeat.
        let known_from = self.clock_ms.saturating_sub(self.settings.dedup_ms);
        self.dedup.forget_before(known_from);
        for (start, frame) in frames(body) {
            let here = at + (BATCH_SIZE + start) as u64;
            let entry = Entry::read(frame).map_err(|flaw| (here, flaw))?;
            let slot = Slot::new(segment, here, frame.size());
            self.state
                .apply(&entry, slot)
                .map_err(|flaw| (here, flaw))?;
            if let Some((sameness, position)) = entry.repeatable() {
                *repeatable_ms = Some(head.at_ms);
                let max = self.settings.dedup_entries_max;
                self.dedup.remember(head.at_ms, sameness, position, max);
            }
        }
        Ok(())
    }

    /// Removes files that never got their names.
    fn remove_unfinished(&self) -> Result<(), StoreError> {
        let found = self.files.list(self.directory);
        let found = found.map_err(|source| StoreError::io("list", self.directory, source))?;
        for name in found {
            let is_ours = (name.strip_suffix(names::UNFINISHED))
                .is_some_and(|name| names::segment_number(name).is_some());
            if is_ours {
                let path = self.directory.join(name);
                (self.files.remove(&path))
                    .map_err(|source| StoreError::io("remove", &path, source))?;
            }
        }
        Ok(())
    }

    fn remove(&self, number: u32) -> Result<(), StoreError> {
        let path = self.directory.join(names::segment(number));
        (self.files.remove(&path)).map_err(|source| StoreError::io("remove", &path, source))
    }
}

/// Which older files are needed, by the checkpoint that a file begins with.
fn sealed(scan: &mut Scan) -> Result<Vec<Sealed>, StoreError> {
    let path = scan.path().to_owned();
    match scan.step()? {
        Step::Batch { at, body, .. } => match frames(body).next().map(|(_, f)| Entry::read(f)) {
            Some(Ok(Entry::Checkpoint { sealed, .. })) => Ok(sealed),
            _ => Err(StoreError::damaged(
                &path,
                at,
                "it begins without a checkpoint",
            )),
        },
        Step::Bad { at, flaw, .. } => Err(StoreError::damaged(&path, at, flaw)),
        Step::End => Err(StoreError::damaged(&path, scan.end, "its end is missing")),
    }
}
