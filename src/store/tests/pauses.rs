//! Long work is done in pieces between batches, and nobody who stores a message waits for more than
//! one. These tests count what a piece does; `tests/load` measures how long one takes.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use super::common::{NOW, epoch, heard, message, put, say, settings};
use crate::store::disk::BETWEEN_PIECES;
use crate::store::{
    Appended, Disk, DiskJob, DiskSettings, JobOutcomes, MemoryStore, Reader, Record, Retention,
    Store, StoreError, StoreSettings, Upkeep,
};

const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn in_pieces(records_max: usize) -> StoreSettings {
    StoreSettings {
        upkeep_records_max: records_max,
        ..settings(Path::new("/store"))
    }
}

/// Makes so many channels with a message each.
pub(super) fn make_channels(store: &mut dyn Store, count: usize) {
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
        // A batch has more than a piece reads.
        for number in 0..1_000 {
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
    // 4 MiB, 64 KiB at once.
    assert!(pieces > 50, "{pieces}");
    assert_eq!(heard(&*store.reader(), "kept").len(), kept);
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

    fn set_settings(&mut self, settings: StoreSettings) {
        self.store.set_settings(settings);
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
fn between_two_batches_there_is_one_piece_and_the_rest_comes_in_pauses_when_nobody_waits() {
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
    let (disk, queue) = Disk::new(disk_settings);
    for _ in 0..3 {
        disk.submit(Say);
    }
    let thread = queue.start(Box::new(store), (), || {}, || {}).unwrap();
    let begun = Instant::now();
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
    // Others had the core in between.
    assert!(begun.elapsed() >= BETWEEN_PIECES * (PIECES as u32 - 3));
    drop(disk);
    thread.join().unwrap();
}
