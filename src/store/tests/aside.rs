//! Syncs and removals that no commit waits for.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::broken::Disk;
use super::common::{NOW, epoch, heard, put, say};
use super::pauses::in_pieces;
use crate::store::files::{FileSystem, OpenMode, StoreFile};
use crate::store::{Journal, Record, Store, Upkeep};

const PATIENCE: Duration = Duration::from_secs(20);

/// A disk whose unfinished files are synced, and whose files are removed, only once a test says so.
#[derive(Debug, Clone, Default)]
struct Gated {
    disk: Disk,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl Gated {
    fn open_gate(&self) {
        *self.gate.0.lock().unwrap() = true;
        self.gate.1.notify_all();
    }

    fn pass(&self) {
        let shut = self.gate.0.lock().unwrap();
        let waited = (self.gate.1).wait_timeout_while(shut, PATIENCE, |is_open| !*is_open);
        assert!(*waited.unwrap().0, "nobody opened the gate");
    }
}

#[derive(Debug)]
struct GatedFile(Gated, Arc<dyn StoreFile>);

impl StoreFile for GatedFile {
    fn write_at(&self, bytes: &[u8], at: u64) -> std::io::Result<usize> {
        self.1.write_at(bytes, at)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> std::io::Result<usize> {
        self.1.read_at(bytes, at)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        if std::thread::current().name() == Some("disk-aside") {
            self.0.pass();
        }
        self.1.sync_data()
    }

    fn set_size(&self, size: u64) -> std::io::Result<()> {
        self.1.set_size(size)
    }

    fn size(&self) -> std::io::Result<u64> {
        self.1.size()
    }

    fn will_read(&self, at: u64, size: u64) {
        self.1.will_read(at, size);
    }
}

impl FileSystem for Gated {
    fn make_directory(&self, path: &Path) -> std::io::Result<()> {
        self.disk.make_directory(path)
    }

    fn list(&self, directory: &Path) -> std::io::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn lock(&self, path: &Path) -> std::io::Result<Arc<dyn StoreFile>> {
        self.disk.lock(path)
    }

    fn open(&self, path: &Path, access: OpenMode) -> std::io::Result<Arc<dyn StoreFile>> {
        self.disk.open(path, access)
    }

    fn create(&self, path: &Path) -> std::io::Result<Arc<dyn StoreFile>> {
        let file = self.disk.create(path)?;
        Ok(Arc::new(GatedFile(self.clone(), file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> std::io::Result<()> {
        let is_segment = path.extension().is_some_and(|end| end == "log");
        if is_segment {
            let name = std::thread::current().name().map(str::to_owned);
            assert_eq!(name.as_deref(), Some("disk-aside"), "{path:?}");
            self.pass();
        }
        self.disk.remove(path)
    }

    fn sync_directory(&self, path: &Path) -> std::io::Result<()> {
        self.disk.sync_directory(path)
    }

    fn free_bytes(&self, directory: &Path) -> std::io::Result<u64> {
        self.disk.free_bytes(directory)
    }

    fn is_slow(&self) -> bool {
        true
    }
}

#[test]
fn no_commit_waits_for_the_sync_of_a_checkpoint() {
    let files = Gated::default();
    let mut settings = in_pieces(1_024);
    settings.segment_bytes_max = 16 << 20;
    let mut store = Journal::open_on(Arc::new(files.clone()), settings.clone()).unwrap();
    // More than is written before a sync is waited for.
    let long = "long".repeat(200);
    for number in 0..8_000 {
        say(&mut store, &format!("{long}-{number}"), "first");
        if number % 1_000 == 999 {
            store.commit().unwrap();
        }
    }
    while store.active.written() < 14 << 20 {
        say(&mut store, "filler", &"x".repeat(200_000));
        store.commit().unwrap();
        store.upkeep();
    }
    store.maintain(NOW).unwrap();
    let late = Instant::now() + PATIENCE;
    while store.upkeep() != Upkeep::Waits {
        assert!(Instant::now() < late, "nothing waits for a sync");
    }
    for _ in 0..50 {
        say(&mut store, "tea", "meanwhile");
        store.commit().unwrap();
        assert_eq!(store.upkeep(), Upkeep::Waits);
    }
    assert_eq!(store.reader().totals().segments_begun, 0);
    files.open_gate();
    while store.reader().totals().segments_begun == 0 {
        assert!(Instant::now() < late, "the segment isn't made");
        store.upkeep();
    }
    assert_eq!(heard(&*store.reader(), "tea").len(), 50);
    drop(store);
    let store = Journal::open_on(Arc::new(files), settings).unwrap();
    assert_eq!(heard(&*store.reader(), "tea").len(), 50);
    assert_eq!(store.reader().totals().channels, 8_002);
}

#[test]
fn no_commit_waits_for_the_removal_of_files() {
    let files = Gated::default();
    let mut settings = in_pieces(1_024);
    settings.segment_bytes_max = 10_000;
    let mut store = Journal::open_on(Arc::new(files.clone()), settings).unwrap();
    while store.reader().totals().segments_begun < 5 {
        say(&mut store, "gone", &"x".repeat(1_000));
        store.commit().unwrap();
        store.maintain(NOW).unwrap();
    }
    let purge = Record::Purge {
        channel: "gone",
        epoch: epoch(8),
    };
    put(&mut store, purge).unwrap();
    store.maintain(NOW + 2_000).unwrap();
    assert_eq!(store.reader().totals().segments, 1);
    let segments = |files: &Gated| {
        let paths = files.disk.paths().into_iter();
        paths.filter(|path| path.extension().is_some()).count()
    };
    for _ in 0..5 {
        say(&mut store, "tea", "meanwhile");
        store.commit().unwrap();
    }
    assert!(segments(&files) > 5);
    files.open_gate();
    drop(store);
    assert_eq!(segments(&files), 1);
}
