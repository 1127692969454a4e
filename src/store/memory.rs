//! A store that ends with the process.
//!
//! The store is the journal on files in memory, so both behave alike.

mod handover;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use super::Store;
use super::error::StoreError;
use super::files::{FileSystem, OpenMode, StoreFile};
use super::journal::Journal;
use super::piece::Upkeep;
use super::reader::Reader;
use super::record::{Appended, Record};
use super::settings::{StoreSettings, SyncPolicy};
use crate::base::sync;
use crate::handover::SectionWriter;

pub use handover::STORE_FORMAT;

/// Bytes of a segment: memory comes back by whole segments, so these are smaller than on disk.
const SEGMENT_BYTES_MAX: u64 = 4 << 20;

/// A store in memory; [`StoreSettings::directory`] is only a name.
#[derive(Debug)]
pub struct MemoryStore(Journal);

impl MemoryStore {
    /// Makes an empty store.
    ///
    /// # Panics
    ///
    /// Never: files in memory can be made.
    #[must_use]
    pub fn new(settings: StoreSettings) -> Self {
        Self::open(MemoryFiles::default(), settings).expect("nothing can be wrong with it")
    }

    /// Makes one of what `make` makes of no files.
    pub(super) fn without_files(
        settings: StoreSettings,
        make: impl FnOnce(Arc<dyn FileSystem>, StoreSettings) -> Journal,
    ) -> Self {
        Self(make(Arc::new(MemoryFiles::default()), in_memory(settings)))
    }

    fn open(files: MemoryFiles, settings: StoreSettings) -> Result<Self, StoreError> {
        Journal::open_on(Arc::new(files), in_memory(settings)).map(Self)
    }
}

/// Memory has nothing to sync, and comes back by whole segments.
fn in_memory(settings: StoreSettings) -> StoreSettings {
    StoreSettings {
        segment_bytes_max: settings.segment_bytes_max.min(SEGMENT_BYTES_MAX),
        sync: SyncPolicy::Os,
        ..settings
    }
}

impl Store for MemoryStore {
    fn append(&mut self, now_ms: u64, record: &Record<'_>) -> Result<Appended, StoreError> {
        self.0.append(now_ms, record)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.0.commit()
    }

    fn maintain(&mut self, now_ms: u64) -> Result<(), StoreError> {
        self.0.maintain(now_ms)
    }

    fn upkeep(&mut self) -> Upkeep {
        self.0.upkeep()
    }

    fn set_settings(&mut self, settings: StoreSettings) {
        self.0.set_settings(in_memory(settings));
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.0.reader()
    }
}

/// Files by their paths.
#[derive(Debug, Default)]
struct MemoryFiles(Mutex<BTreeMap<PathBuf, Arc<MemoryFile>>>);

#[derive(Debug, Default)]
struct MemoryFile(RwLock<Vec<u8>>);

impl MemoryFiles {
    fn files(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Arc<MemoryFile>>> {
        // Nothing under the lock can leave the map half changed.
        sync::lock(&self.0)
    }
}

impl FileSystem for MemoryFiles {
    fn make_directory(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let files = self.files();
        let names = files
            .keys()
            .filter_map(|path| path.strip_prefix(directory).ok());
        Ok(names
            .map(|name| name.to_string_lossy().into_owned())
            .collect())
    }

    fn lock(&self, path: &Path) -> io::Result<Arc<dyn StoreFile>> {
        self.create(path)
    }

    fn open(&self, path: &Path, _access: OpenMode) -> io::Result<Arc<dyn StoreFile>> {
        match self.files().get(path) {
            Some(file) => Ok(Arc::clone(file) as Arc<dyn StoreFile>),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoreFile>> {
        let file = Arc::<MemoryFile>::default();
        self.files().insert(path.into(), Arc::clone(&file));
        Ok(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.into(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.files().remove(path);
        removed
            .map(drop)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_directory(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self, _directory: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn hand_over(&self, section: &mut SectionWriter) {
        self.write(section);
    }
}

impl StoreFile for MemoryFile {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let mut file = sync::write(&self.0);
        let (start, end) = (at as usize, at as usize + bytes.len());
        if file.len() < end {
            file.resize(end, 0);
        }
        file[start..end].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let file = sync::read(&self.0);
        let there = file.get(at as usize..).unwrap_or_default();
        let size = there.len().min(bytes.len());
        bytes[..size].copy_from_slice(&there[..size]);
        Ok(size)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        let mut file = sync::write(&self.0);
        file.resize(size as usize, 0);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        let file = sync::read(&self.0);
        Ok(file.len() as u64)
    }

    fn will_read(&self, _at: u64, _size: u64) {}
}
