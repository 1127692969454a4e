//! Long work is done in pieces between batches, and nobody who stores a message waits for more than
//! one. These tests count what a piece does; `tests/load` measures how long one takes.

use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::broken::Disk;
use super::common::{NOW, epoch, heard, message, put, say, settings};
use super::restart::{everything, fill};
use crate::store::files::{FileSystem, OpenMode, StoreFile};
use crate::store::{
    Appended, DiskJob, DiskSettings, JobOutcomes, Journal, MemoryStore, Reader, Record, Retention,
    Store, StoreError, StoreSettings, Upkeep,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn in_pieces(records_max: usize) -> StoreSettings {
    StoreSettings {
        upkeep_records_max: records_max,
        ..settings(Path::new("/store"))
    }
}

fn open(disk: &Disk, settings: &StoreSettings) -> Journal {
    Journal::open_on(Arc::new(disk.clone()), settings.clone()).unwrap()
}

/// Makes so many channels with a message each.
fn make_channels(store: &mut dyn Store, count: usize) {
    for number in 0..count {
        say(store, &format!("room-{number}"), "first");
        if number % 1_000 == 999 {
            store.commit().unwrap();
        }
    }
    store.commit().unwrap();
    while store.upkeep() == Upkeep::More {}
}

#[test]
fn whatever_is_stored_while_a_segment_is_made_is_there_after_a_crash_at_any_piece() {
    for records_max in [1, 7] {
        let disk = Disk::default();
        let mut settings = in_pieces(records_max);
        settings.segment_bytes_max = 6_000;
        let mut store = open(&disk, &settings);
        let (mut copied, mut segments) = (0, 0);
        for round in 1..=120 {
            fill(&mut store, round);
            store.upkeep();
            store.maintain(NOW).unwrap();
            for _ in 0..4 {
                store.upkeep();
                segments = store.active.head.number;
                copied += usize::from(store.active.begun_at > store.active.head.checkpoint_end);
                let before = everything(&*store.reader());
                let crashed = disk.copy_of_durable();
                let again = open(&crashed, &settings);
                assert_eq!(everything(&*again.reader()), before, "round {round}");
            }
        }
        assert!(segments > 5 && copied > 5, "{segments} segments, {copied}");
    }
}

#[test]
fn a_repeat_of_what_was_said_while_a_segment_was_made_is_known_after_a_start() {
    let disk = Disk::default();
    let mut settings = in_pieces(1);
    settings.segment_bytes_max = 4_000;
    let mut store = open(&disk, &settings);
    make_channels(&mut store, 30);
    let first = store.active.head.number;
    let mut said = 0;
    while store.active.head.number == first {
        said += 1;
        let mut message = message("tea", "id", "once");
        message.idempotency_key = Some(said);
        put(&mut store, Record::Message(message)).unwrap();
        store.maintain(NOW).unwrap();
        store.upkeep();
    }
    assert!(store.active.begun_at > store.active.head.checkpoint_end);
    while store.upkeep() == Upkeep::More {}
    drop(store);
    let mut store = open(&disk, &settings);
    for key in 1..=said {
        let mut message = message("tea", "id", "again");
        message.idempotency_key = Some(key);
        let appended = store.append(NOW, &Record::Message(message)).unwrap();
        assert!(matches!(appended, Appended::Repeat(at) if u128::from(at.offset) == key));
    }
}

#[test]
fn between_two_commits_a_bounded_part_of_a_checkpoint_is_written() {
    const CHANNELS: usize = 20_000;
    let mut settings = in_pieces(1_024);
    settings.segment_bytes_max = 2 << 20;
    let mut store = MemoryStore::new(settings);
    make_channels(&mut store, CHANNELS);
    for reader in 0..5_000 {
        let reader = &format!("reader-{reader}");
        let (channel, offset) = ("room-7", 1);
        let ack = Record::Ack {
            channel,
            reader,
            offset,
        };
        store.append(NOW, &ack).unwrap();
        let (room, user, lasting) = ("tea", &**reader, true);
        let member = Record::Member {
            room,
            user,
            lasting,
        };
        store.append(NOW, &member).unwrap();
    }
    store.commit().unwrap();
    while store.upkeep() == Upkeep::More {}
    let largest = "x".repeat(3 << 19);
    say(&mut store, "filler", &largest);
    store.commit().unwrap();
    let (before, mut pieces) = (store.reader().totals(), 0);
    store.maintain(NOW).unwrap();
    loop {
        say(&mut store, "tea", "meanwhile");
        store.commit().unwrap();
        if store.upkeep() != Upkeep::More {
            break;
        }
        pieces += 1;
    }
    let totals = store.reader().totals();
    assert_eq!(totals.segments_begun, before.segments_begun + 1);
    // The channels, and as many acknowledgements and members.
    assert!(pieces >= (CHANNELS + 10_000) / 1_040, "{pieces} pieces");
    // With the channels that have changed before their turn.
    let most = 1_024 + 8 + 2 + 8 + 1;
    assert!(totals.upkeep_records_max <= most, "{totals:?}");
    assert_eq!(heard(&*store.reader(), "tea").len(), pieces + 1);
}

#[test]
fn a_piece_grows_with_the_batch_before_it_so_that_the_work_comes_to_an_end() {
    let mut settings = in_pieces(16);
    settings.segment_bytes_max = 400_000;
    let mut store = MemoryStore::new(settings);
    make_channels(&mut store, 4_000);
    let begun = store.reader().totals().segments_begun;
    let mut batches = 0;
    while store.reader().totals().segments_begun == begun {
        for _ in 0..100 {
            say(&mut store, "tea", "all the time");
        }
        store.commit().unwrap();
        store.maintain(NOW).unwrap();
        store.upkeep();
        batches += 1;
        assert!(batches < 200, "{:?}", store.reader().totals());
    }
}

#[test]
fn the_oldest_messages_go_in_pieces() {
    const CHANNELS: usize = 5_000;
    let mut settings = in_pieces(256);
    (settings.segment_bytes_max, settings.bytes_max) = (64 << 10, 2 << 20);
    let mut store = MemoryStore::new(settings);
    make_channels(&mut store, CHANNELS);
    let largest = "x".repeat(16 << 10);
    let (mut most, mut trimmed) = (0, store.reader().totals().trimmed);
    for _ in 0..400 {
        say(&mut store, "filler", &largest);
        store.commit().unwrap();
        store.maintain(NOW).unwrap();
        loop {
            let more = store.upkeep();
            let now = store.reader().totals().trimmed;
            (most, trimmed) = (most.max(now - trimmed), now);
            if more != Upkeep::More {
                break;
            }
        }
    }
    assert!(trimmed as usize >= CHANNELS, "{trimmed}");
    // One message a channel, and what a commit lets go of that is far too late.
    assert!(most <= 2 * (256 + 8), "{most} at once");
    assert!(store.reader().totals().bytes < 3 << 20);
}

#[test]
fn what_is_too_old_goes_in_pieces_also_out_of_one_channel() {
    const MESSAGES: u64 = 40_000;
    let mut settings = in_pieces(1_024);
    settings.retention = Arc::new(|_| Retention {
        age_ms_max: 1_000,
        ..Retention::UNBOUNDED
    });
    let mut store = MemoryStore::new(settings);
    for _ in 0..MESSAGES {
        say(&mut store, "tea", "old");
    }
    store.commit().unwrap();
    store.maintain(NOW + 10_000).unwrap();
    let (mut left, mut pieces) = (MESSAGES, 0);
    loop {
        let now = store.reader().totals().messages;
        assert!(left - now <= 16 * 1_024, "{} at once", left - now);
        (left, pieces) = (now, pieces + 1);
        if left == 0 {
            break;
        }
        assert_eq!(store.upkeep(), Upkeep::More);
    }
    assert!(pieces >= 3, "{pieces}");
}

#[test]
fn a_compaction_reads_and_moves_in_pieces() {
    let mut settings = in_pieces(1_024);
    settings.segment_bytes_max = 4 << 20;
    let mut store = MemoryStore::new(settings);
    let data = "x".repeat(1_000);
    while store.reader().totals().segments_begun < 1 {
        for number in 0..100 {
            say(
                &mut store,
                if number % 20 == 0 { "kept" } else { "gone" },
                &data,
            );
        }
        store.commit().unwrap();
        store.maintain(NOW).unwrap();
        while store.upkeep() == Upkeep::More {}
    }
    let kept = heard(&*store.reader(), "kept").len();
    let purge = Record::Purge {
        channel: "gone",
        epoch: epoch(8),
    };
    put(&mut store, purge).unwrap();
    let (mut moved, mut most, mut pieces) = (0, 0, 0);
    for _ in 0..20 {
        store.maintain(NOW).unwrap();
        loop {
            let now = store.reader().totals().moved;
            (most, moved) = (most.max(now - moved), now);
            if store.upkeep() != Upkeep::More {
                break;
            }
            pieces += 1;
        }
    }
    assert!(moved > 100, "{moved}");
    // 64 KiB of messages, and those of one piece more.
    assert!(most <= 80, "{most} at once");
    assert!(pieces > 10, "{pieces}");
    assert_eq!(heard(&*store.reader(), "kept").len(), kept);
}

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

/// What a disk thread asks a store to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Commit,
    Piece,
    Maintain,
}

/// A store that has some pieces of work, and tells what it is asked for.
struct Working {
    store: MemoryStore,
    pieces: usize,
    calls: Sender<Call>,
}

impl Store for Working {
    fn append(&mut self, now_ms: u64, record: &Record<'_>) -> Result<Appended, StoreError> {
        self.store.append(now_ms, record)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        _ = self.calls.send(Call::Commit);
        self.store.commit()
    }

    fn maintain(&mut self, now_ms: u64) -> Result<(), StoreError> {
        _ = self.calls.send(Call::Maintain);
        self.store.maintain(now_ms)
    }

    fn upkeep(&mut self) -> Upkeep {
        if self.pieces == 0 {
            return Upkeep::Nothing;
        }
        self.pieces -= 1;
        _ = self.calls.send(Call::Piece);
        Upkeep::More
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.store.reader()
    }
}

struct Say;

impl DiskJob for Say {
    type Context = ();

    fn size(&self) -> usize {
        1
    }

    fn record<'a>(&'a self, _place: usize, (): &'a ()) -> Record<'a> {
        Record::Message(message("tea", "id", "one of many"))
    }

    fn done(self, (): &(), outcomes: JobOutcomes<'_>) {
        outcomes.first().unwrap();
    }
}

#[test]
fn between_two_batches_there_is_one_piece_and_the_rest_comes_when_nobody_waits() {
    const PIECES: usize = 203;
    let (tell, calls) = channel();
    let store = Working {
        store: MemoryStore::new(settings(Path::new("/store"))),
        pieces: PIECES,
        calls: tell,
    };
    let disk_settings = DiskSettings {
        batch_records_max: 1,
        commit_delay_percent: 0,
        ..DiskSettings::default()
    };
    let (disk, queue) = crate::store::Disk::new(disk_settings);
    for _ in 0..3 {
        disk.submit(Say);
    }
    let thread = queue.start(Box::new(store), (), || {}, || {}).unwrap();
    let (mut order, mut maintained) = (Vec::new(), 0);
    while order.len() < PIECES + 3 {
        match calls.recv_timeout(PATIENCE).expect("all is done") {
            Call::Maintain => maintained += 1,
            call => order.push(call),
        }
    }
    use Call::{Commit, Piece};
    assert_eq!(order[..6], [Commit, Piece, Commit, Piece, Commit, Piece]);
    assert!(order[6..].iter().all(|call| *call == Piece));
    assert!(maintained < PIECES / 2, "each waited for a maintenance");
    drop(disk);
    thread.join().unwrap();
}
