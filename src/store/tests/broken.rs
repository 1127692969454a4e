//! A disk in memory that breaks on demand: an operation fails or stops half way, the power goes.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::dice::Dice;
use crate::store::files::{FileStamp, FileSystem, OpenMode, StoreFile};

/// Bytes that a disk writes as a whole.
const SECTOR: usize = 64;

/// What happens to one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It fails with this error; a write writes so many bytes before.
    Error { code: i32, written: usize },
    /// A sync fails, and what wasn't durable is gone from the cache, too.
    Forgets,
    /// The power goes: nothing works from here on.
    Power { written: usize },
}

pub(super) const EIO: i32 = 5;
pub(super) const ENOSPC: i32 = 28;

#[derive(Debug, Default, Clone)]
pub(super) struct Disk(Arc<Mutex<Content>>);

#[derive(Debug, Clone)]
struct Content {
    /// What is seen.
    now: BTreeMap<PathBuf, usize>,
    /// What would be there after a crash, and what might.
    durable: BTreeMap<PathBuf, usize>,
    pending: Vec<Change>,
    inodes: Vec<Inode>,
    locked: Option<std::sync::Weak<Open>>,
    operations: u64,
    /// From which operation on, and how many of them.
    faults: Option<(u64, u64, Fault)>,
    is_dead: bool,
    free_bytes: u64,
}

impl Default for Content {
    fn default() -> Self {
        Self {
            now: BTreeMap::new(),
            durable: BTreeMap::new(),
            pending: Vec::new(),
            inodes: Vec::new(),
            locked: None,
            operations: 0,
            faults: None,
            is_dead: false,
            free_bytes: u64::MAX,
        }
    }
}

#[derive(Debug, Clone)]
enum Change {
    Link(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
}

#[derive(Debug, Default, Clone)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Write>,
    changes: u64,
}

#[derive(Debug, Clone)]
enum Write {
    Bytes(usize, Vec<u8>),
    Size(usize),
}

impl Write {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Bytes(at, written) => {
                bytes.resize(bytes.len().max(at + written.len()), 0);
                bytes[*at..at + written.len()].copy_from_slice(written);
            }
            Self::Size(size) => bytes.resize(*size, 0),
        }
    }
}

fn change(files: &mut BTreeMap<PathBuf, usize>, change: &Change) {
    match change {
        Change::Link(path, inode) => _ = files.insert(path.clone(), *inode),
        Change::Rename(from, to) => {
            if let Some(inode) = files.remove(from) {
                files.insert(to.clone(), inode);
            }
        }
        Change::Unlink(path) => _ = files.remove(path),
    }
}

impl Disk {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap()
    }

    /// Operations that were tried so far.
    pub(super) fn operations(&self) -> u64 {
        self.content().operations
    }

    /// The `count` operations from the `nth` on get this fault, counted from now.
    pub(super) fn fail(&self, nth: u64, count: u64, fault: Fault) {
        let mut content = self.content();
        let from = content.operations + nth;
        content.faults = Some((from, from + count, fault));
    }

    pub(super) fn heal(&self) {
        self.content().faults = None;
    }

    pub(super) fn set_free_bytes(&self, bytes: u64) {
        self.content().free_bytes = bytes;
    }

    pub(super) fn is_dead(&self) -> bool {
        self.content().is_dead
    }

    /// Nothing works any more.
    pub(super) fn die(&self) {
        self.content().is_dead = true;
    }

    /// Lives again, after whatever used it is gone: only the process had died.
    pub(super) fn revive(&self) {
        let mut content = self.content();
        content.is_dead = false;
        content.faults = None;
        content.locked = None;
    }

    /// Lives again as after a loss of power: with everything that was synced, and with any part of
    /// what was not.
    pub(super) fn revive_from_power_loss(&self, dice: &mut Dice) {
        self.revive();
        let mut content = self.content();
        let content = &mut *content;
        // Directories are journalled: their changes happen in order.
        let happened = dice.below(content.pending.len() as u64 + 1) as usize;
        for one in content.pending.drain(..).take(happened) {
            change(&mut content.durable, &one);
        }
        content.now = content.durable.clone();
        for inode in &mut content.inodes {
            for write in std::mem::take(&mut inode.pending) {
                tear(&write, &mut inode.durable, dice);
            }
            inode.now = inode.durable.clone();
        }
    }

    /// The bytes of a file.
    pub(super) fn read(&self, path: &Path) -> Vec<u8> {
        let content = self.content();
        content.inodes[content.now[path]].now.clone()
    }

    /// Puts a file there, durably.
    pub(super) fn put(&self, path: &Path, bytes: &[u8]) {
        let mut content = self.content();
        let inode = content.inodes.len();
        content.inodes.push(Inode {
            now: bytes.into(),
            durable: bytes.into(),
            pending: Vec::new(),
            changes: 0,
        });
        content.now.insert(path.into(), inode);
        content.durable.insert(path.into(), inode);
    }

    /// Appends to a file, as somebody else does.
    pub(super) fn append(&self, path: &Path, bytes: &[u8]) {
        let mut content = self.content();
        let inode = content.now[path];
        let inode = &mut content.inodes[inode];
        inode.now.extend_from_slice(bytes);
        inode.durable.clone_from(&inode.now);
        inode.changes += 1;
    }

    /// Takes a file away, as somebody else does.
    pub(super) fn take_away(&self, path: &Path) {
        let mut content = self.content();
        content.now.remove(path);
        content.durable.remove(path);
    }

    /// All files.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.content().now.keys().cloned().collect()
    }

    /// Another disk with the same files, all of them durable.
    pub(super) fn copy(&self) -> Self {
        let copy = Self::default();
        for path in self.paths() {
            copy.put(&path, &self.read(&path));
        }
        copy
    }

    /// The same disk, as the next image of the program finds it: its files are the same ones.
    pub(super) fn as_it_is(&self) -> Self {
        let mut content = self.content().clone();
        content.locked = None;
        Self(Arc::new(Mutex::new(content)))
    }

    /// Another disk with what would be there after a loss of power that takes all it can.
    pub(super) fn copy_of_durable(&self) -> Self {
        let copy = Self::default();
        let content = self.content();
        for (path, inode) in &content.durable {
            copy.put(path, &content.inodes[*inode].durable);
        }
        copy
    }

    fn operate(&self) -> Result<MutexGuard<'_, Content>, (Fault, MutexGuard<'_, Content>)> {
        let mut content = self.content();
        let number = content.operations;
        content.operations += 1;
        if content.is_dead {
            let written = 0;
            return Err((Fault::Error { code: EIO, written }, content));
        }
        match content.faults {
            Some((from, until, fault)) if (from..until).contains(&number) => {
                content.is_dead = matches!(fault, Fault::Power { .. });
                Err((fault, content))
            }
            _ => Ok(content),
        }
    }

    /// An operation that happens or not.
    fn all_or_nothing(&self) -> io::Result<MutexGuard<'_, Content>> {
        self.operate().map_err(|(fault, _)| error(fault))
    }
}

fn error(fault: Fault) -> io::Error {
    io::Error::from_raw_os_error(match fault {
        Fault::Error { code, .. } => code,
        Fault::Forgets | Fault::Power { .. } => EIO,
    })
}

/// Applies nothing of a write, all of it, its beginning, or any of its sectors.
fn tear(write: &Write, durable: &mut Vec<u8>, dice: &mut Dice) {
    match (dice.below(4), write) {
        (0, _) => {}
        (1, Write::Bytes(at, bytes)) => {
            let size = dice.below(bytes.len() as u64 + 1) as usize;
            Write::Bytes(*at, bytes[..size].into()).apply(durable);
        }
        (2, Write::Bytes(at, bytes)) => {
            for (index, sector) in bytes.chunks(SECTOR).enumerate() {
                if dice.below(2) == 0 {
                    Write::Bytes(at + index * SECTOR, sector.into()).apply(durable);
                }
            }
        }
        _ => write.apply(durable),
    }
}

impl FileSystem for Disk {
    fn make_directory(&self, _path: &Path) -> io::Result<()> {
        self.all_or_nothing().map(drop)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let content = self.all_or_nothing()?;
        let names = content.now.keys();
        let names = names.filter_map(|path| path.strip_prefix(directory).ok());
        Ok(names.map(|name| name.display().to_string()).collect())
    }

    fn lock(&self, path: &Path) -> io::Result<Arc<dyn StoreFile>> {
        let mut content = self.all_or_nothing()?;
        if (content.locked.as_ref()).is_some_and(|locked| locked.strong_count() > 0) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let inode = match content.now.get(path) {
            Some(&inode) => inode,
            None => create(&mut content, path),
        };
        let open = Arc::new(Open {
            disk: self.clone(),
            inode,
        });
        content.locked = Some(Arc::downgrade(&open));
        Ok(open)
    }

    fn open(&self, path: &Path, _access: OpenMode) -> io::Result<Arc<dyn StoreFile>> {
        let content = self.all_or_nothing()?;
        let inode = *content.now.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(Open {
            disk: self.clone(),
            inode,
        }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoreFile>> {
        let mut content = self.all_or_nothing()?;
        let inode = create(&mut content, path);
        Ok(Arc::new(Open {
            disk: self.clone(),
            inode,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut content = self.all_or_nothing()?;
        if !content.now.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let renamed = Change::Rename(from.into(), to.into());
        change(&mut content.now, &renamed);
        content.pending.push(renamed);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut content = self.all_or_nothing()?;
        if !content.now.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let removed = Change::Unlink(path.into());
        change(&mut content.now, &removed);
        content.pending.push(removed);
        Ok(())
    }

    fn sync_directory(&self, _path: &Path) -> io::Result<()> {
        let mut content = self.all_or_nothing()?;
        content.pending.clear();
        content.durable = content.now.clone();
        Ok(())
    }

    fn free_bytes(&self, _directory: &Path) -> io::Result<u64> {
        Ok(self.content().free_bytes)
    }
}

fn create(content: &mut Content, path: &Path) -> usize {
    let inode = content.inodes.len();
    content.inodes.push(Inode::default());
    let link = Change::Link(path.into(), inode);
    change(&mut content.now, &link);
    content.pending.push(link);
    inode
}

#[derive(Debug)]
struct Open {
    disk: Disk,
    inode: usize,
}

impl Open {
    fn write(&self, write: Write, content: &mut Content) {
        let inode = &mut content.inodes[self.inode];
        write.apply(&mut inode.now);
        inode.pending.push(write);
        inode.changes += 1;
    }
}

impl StoreFile for Open {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let at = at as usize;
        match self.disk.operate() {
            Ok(mut content) => {
                self.write(Write::Bytes(at, bytes.into()), &mut content);
                Ok(bytes.len())
            }
            Err((fault, mut content)) => {
                let written = match fault {
                    Fault::Error { written, .. } | Fault::Power { written } => written,
                    Fault::Forgets => 0,
                };
                let written = bytes[..written.min(bytes.len())].to_vec();
                if !written.is_empty() {
                    self.write(Write::Bytes(at, written), &mut content);
                }
                Err(error(fault))
            }
        }
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let content = self.disk.all_or_nothing()?;
        let file = &content.inodes[self.inode].now;
        let there = file.get(at as usize..).unwrap_or_default();
        let size = there.len().min(bytes.len());
        bytes[..size].copy_from_slice(&there[..size]);
        Ok(size)
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.disk.operate() {
            Ok(mut content) => {
                let inode = &mut content.inodes[self.inode];
                inode.pending.clear();
                inode.durable = inode.now.clone();
                Ok(())
            }
            Err((fault, mut content)) => {
                let inode = &mut content.inodes[self.inode];
                if fault == Fault::Forgets {
                    inode.pending.clear();
                    inode.now = inode.durable.clone();
                }
                Err(error(fault))
            }
        }
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        let mut content = self.disk.all_or_nothing()?;
        self.write(Write::Size(size as usize), &mut content);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        let content = self.disk.all_or_nothing()?;
        Ok(content.inodes[self.inode].now.len() as u64)
    }

    fn stamp(&self) -> io::Result<FileStamp> {
        let content = self.disk.all_or_nothing()?;
        let inode = &content.inodes[self.inode];
        Ok(FileStamp {
            size: inode.now.len() as u64,
            identity: [1, self.inode as u64],
            changed: (inode.changes, 0),
        })
    }

    fn will_read(&self, _at: u64, _size: u64) {}
}
