//! The file system, as narrow as a journal needs it, so that a test can break it.

use std::fmt::Debug;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Advice, FlockOperation};

use crate::handover::SectionWriter;

/// Mode of the directories that are made: the messages in them are private, and the umask of whoever
/// starts the program is not asked.
const DIRECTORY_MODE: u32 = 0o700;

/// Mode of the files that are made, for the same reason.
const FILE_MODE: u32 = 0o600;

/// Makes, opens and removes files.
pub(super) trait FileSystem: Send + Sync + Debug {
    /// Makes a directory and those above it, durably.
    fn make_directory(&self, path: &Path) -> io::Result<()>;

    /// Lists the names of the files in a directory.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Locks a file for as long as the returned one lives; `WouldBlock` when another process has
    /// locked it.
    fn lock(&self, path: &Path) -> io::Result<Arc<dyn StoreFile>>;

    /// Looks at a file that exists.
    fn stamp(&self, path: &Path) -> io::Result<FileStamp> {
        self.open(path, OpenMode::Read)?.stamp()
    }

    /// Opens a file that exists.
    fn open(&self, path: &Path, access: OpenMode) -> io::Result<Arc<dyn StoreFile>>;

    /// Makes an empty file, or empties the one that is there.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoreFile>>;

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the files that were made, renamed and removed in a directory durable.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;

    /// Counts the bytes that this process may still write.
    fn free_bytes(&self, directory: &Path) -> io::Result<u64>;

    /// Writes down the files, where they end with the program.
    fn hand_over(&self, _section: &mut SectionWriter) {}

    /// Whether syncs and removals take so long that a thread of their own is worth it.
    fn is_slow(&self) -> bool {
        false
    }
}

/// The purpose for which a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpenMode {
    Read,
    Write,
}

/// What a file is known by: one with another stamp is another file, or was changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct FileStamp {
    pub(super) size: u64,
    /// Device and inode, where there are any.
    pub(super) identity: [u64; 2],
    /// The time of the last change, in seconds and nanoseconds.
    pub(super) changed: (u64, u64),
}

impl FileStamp {
    fn of(found: &fs::Metadata) -> Self {
        Self {
            size: found.len(),
            identity: [found.dev(), found.ino()],
            changed: (found.mtime() as u64, found.mtime_nsec() as u64),
        }
    }
}

/// An open file.
pub(super) trait StoreFile: Send + Sync + Debug {
    /// Writes bytes, maybe fewer than given; returns how many.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize>;

    /// Reads bytes, maybe fewer than would fit; none at the end of the file.
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize>;

    /// Makes the written bytes durable.
    fn sync_data(&self) -> io::Result<()>;

    fn set_size(&self, size: u64) -> io::Result<()>;

    fn size(&self) -> io::Result<u64>;

    /// Looks at the file.
    fn stamp(&self) -> io::Result<FileStamp> {
        Ok(FileStamp {
            size: self.size()?,
            ..FileStamp::default()
        })
    }

    /// Tells the system that a part will be read soon.
    fn will_read(&self, at: u64, size: u64);

    /// Makes a second descriptor of the file, if the file has one: a lock lives as long as one of them.
    fn second_descriptor(&self) -> Option<OwnedFd> {
        None
    }
}

impl dyn StoreFile + '_ {
    /// Writes all bytes.
    pub(super) fn write_all_at(&self, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    bytes = &bytes[count..];
                    at += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads until `bytes` are full or the file ends; returns how many were read.
    pub(super) fn read_full_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.read_at(&mut bytes[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// The file system of the operating system.
#[derive(Debug, Clone, Default)]
pub(super) struct OsFiles {
    /// A lock that this process holds already, from an image of the program before this one.
    kept_lock: Option<Arc<fs::File>>,
}

impl OsFiles {
    /// Makes the file system for a process that holds the lock already.
    pub(super) fn with_lock(lock: OwnedFd) -> Self {
        let kept_lock = Some(Arc::new(fs::File::from(lock)));
        Self { kept_lock }
    }
}

impl FileSystem for OsFiles {
    fn make_directory(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let parent = match path.parent() {
            Some(parent) if parent == Path::new("") => Path::new("."),
            Some(parent) => {
                self.make_directory(parent)?;
                parent
            }
            None => return Ok(()),
        };
        DirBuilder::new().mode(DIRECTORY_MODE).create(path)?;
        self.sync_directory(parent)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        fs::read_dir(directory)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn lock(&self, path: &Path) -> io::Result<Arc<dyn StoreFile>> {
        if let Some(kept) = &self.kept_lock {
            let (kept_file, file) = (kept.metadata()?, fs::metadata(path)?);
            return match (kept_file.dev(), kept_file.ino()) == (file.dev(), file.ino()) {
                true => Ok(Arc::clone(kept) as Arc<dyn StoreFile>),
                false => Err(io::Error::other(
                    "the lock that was kept is of another folder",
                )),
            };
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Arc::new(file))
    }

    fn stamp(&self, path: &Path) -> io::Result<FileStamp> {
        fs::metadata(path).map(|found| FileStamp::of(&found))
    }

    fn open(&self, path: &Path, access: OpenMode) -> io::Result<Arc<dyn StoreFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(access == OpenMode::Write)
            .open(path)?;
        Ok(Arc::new(file))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoreFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(path)?;
        Ok(Arc::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(directory)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn is_slow(&self) -> bool {
        true
    }
}

impl StoreFile for fs::File {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, at)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, bytes, at)
    }

    fn sync_data(&self) -> io::Result<()> {
        fs::File::sync_data(self)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.set_len(size)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn stamp(&self) -> io::Result<FileStamp> {
        self.metadata().map(|found| FileStamp::of(&found))
    }

    fn will_read(&self, at: u64, size: u64) {
        let size = std::num::NonZeroU64::new(size);
        // A hint: whoever reads gets it anyway, only later.
        _ = rustix::fs::fadvise(self, at, size, Advice::WillNeed);
    }

    fn second_descriptor(&self) -> Option<OwnedFd> {
        self.try_clone().ok().map(OwnedFd::from)
    }
}
