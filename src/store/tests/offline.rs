//! Looking at damaged stores, and mending them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::broken::Disk;
use super::common::{NOW, epoch, heard, message, put, say, settings};
use crate::base::{Epoch, Position};
use crate::store::dump::dump_on;
use crate::store::repair::{Repaired, repair_on};
use crate::store::verify::verify_on;
use crate::store::{Appended, Journal, Record, Store, StoreError, StoreSettings, names};

const DIRECTORY: &str = "/store";
const CHANNELS: [&str; 3] = ["tea", "pot", "cup"];

fn file(number: u32) -> PathBuf {
    Path::new(DIRECTORY).join(names::segment(number))
}

fn small() -> StoreSettings {
    StoreSettings {
        segment_bytes_max: 600,
        ..settings(Path::new(DIRECTORY))
    }
}

fn open(disk: &Disk) -> Result<Journal, StoreError> {
    Journal::open_on(Arc::new(disk.clone()), small())
}

/// A store in at least five files, with 40 messages in each channel.
fn filled() -> Disk {
    let disk = Disk::default();
    let mut store = open(&disk).unwrap();
    for number in 1..=40 {
        for channel in CHANNELS {
            say(&mut store, channel, &number.to_string());
        }
        store.commit().unwrap();
    }
    put(&mut store, Record::Serials { below: 64 }).unwrap();
    drop(store);
    assert!(disk.paths().len() > 5);
    disk
}

fn flip(disk: &Disk, path: &Path, at: u64) {
    let mut bytes = disk.read(path);
    bytes[at as usize] ^= 1;
    disk.put(path, &bytes);
}

fn damage(disk: &Disk) -> Option<(PathBuf, u64)> {
    let report = verify_on(disk, Path::new(DIRECTORY)).unwrap();
    match report.damage? {
        StoreError::Damaged { file, at, .. } => Some((file, at)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_store_that_is_right_is_said_to_be_and_nothing_changes() {
    let disk = filled();
    disk.put(&file(1).with_extension("log.tmp"), b"unfinished");
    let before: Vec<_> = disk.paths().iter().map(|path| disk.read(path)).collect();
    let report = verify_on(&disk, Path::new(DIRECTORY)).unwrap();
    assert!(report.damage.is_none(), "{:?}", report.damage);
    assert_eq!(
        (report.channels, report.messages, report.torn_bytes),
        (3, 120, 0)
    );
    assert!(report.files.len() > 4);
    let after: Vec<_> = disk.paths().iter().map(|path| disk.read(path)).collect();
    assert_eq!(before, after);
}

#[test]
fn a_store_that_is_open_is_left_alone() {
    let disk = filled();
    let _open = open(&disk).unwrap();
    let directory = Path::new(DIRECTORY);
    let is_locked = |error| matches!(error, StoreError::Locked { .. });
    assert!(is_locked(verify_on(&disk, directory).unwrap_err()));
    assert!(is_locked(
        dump_on(&disk, directory, &mut |_| Ok(())).unwrap_err()
    ));
    assert!(is_locked(repair_on(&disk, &file(1), 0).unwrap_err()));
}

#[test]
fn a_dump_tells_every_record_and_reads_on_behind_damage() {
    let disk = filled();
    let dump = |disk: &Disk| {
        let mut lines = Vec::new();
        let mut tell = |line: &str| {
            lines.push(serde_json::from_str::<Value>(line).unwrap());
            Ok(())
        };
        dump_on(disk, Path::new(DIRECTORY), &mut tell).unwrap();
        lines
    };
    let is_message = |line: &&Value| line["kind"] == "message";
    let lines = dump(&disk);
    assert_eq!(lines.iter().filter(is_message).count(), 120);
    assert!(lines.iter().all(|line| line["damage"].is_null()));
    let first = lines.iter().find(is_message).unwrap();
    assert_eq!(first["data"], "1");
    assert_eq!(first["places"][0]["channel"], "tea");
    assert_eq!(first["file"], names::segment(1));

    let second = lines.iter().filter(is_message).nth(4).unwrap();
    let at = second["at"].as_u64().unwrap();
    flip(&disk, &file(1), at + 20);
    let lines = dump(&disk);
    let flaws: Vec<&Value> = (lines.iter())
        .filter(|line| !line["damage"].is_null())
        .collect();
    assert_eq!(flaws.len(), 1, "{flaws:?}");
    assert_eq!(flaws[0]["at"].as_u64(), Some(at));
    assert_eq!(
        lines.iter().filter(is_message).count(),
        117,
        "one batch is lost"
    );
}

#[test]
fn a_damaged_older_file_is_cut_and_the_rest_goes_on() {
    let whole = filled();
    let size = whole.read(&file(2)).len() as u64;
    for flipped in 0..size {
        let disk = whole.copy();
        flip(&disk, &file(2), flipped);
        let (damaged, at) = damage(&disk).unwrap();
        assert_eq!(damaged, file(2));
        assert!(open(&disk).is_err());
        let repaired = repair_on(&disk, &damaged, at).unwrap();
        assert!(repaired.cut_at <= flipped && repaired.bytes == size - repaired.cut_at);
        assert_eq!(disk.read(&repaired.kept).len() as u64, repaired.bytes);
        assert_eq!(damage(&disk), None, "{flipped}");
        let mut store = open(&disk).unwrap();
        let reader = store.reader();
        for channel in CHANNELS {
            let state = reader.channel(channel).unwrap();
            let lost = repaired.lost.iter().find(|(name, _)| name == channel);
            assert_eq!(lost.map_or(0, |(_, count)| *count), state.floor);
            assert_eq!(state.newest, 40);
            assert!(state.floor < 30, "the files behind it are not lost");
            let expected: Vec<String> = (state.floor + 1..=40).map(|n| n.to_string()).collect();
            assert_eq!(heard(&*reader, channel), expected);
            let next = Position {
                epoch: epoch(7),
                offset: 41,
            };
            assert_eq!(
                say(&mut store, channel, "41"),
                Appended::Message(next, None)
            );
        }
        assert_eq!(reader.serials_below(), 64, "later checkpoints have it");
        store.commit().unwrap();
        drop(store);
        open(&disk).unwrap();
    }
}

#[test]
fn a_damaged_newest_file_is_cut_and_what_is_before_stays() {
    let whole = filled();
    let report = verify_on(&whole, Path::new(DIRECTORY)).unwrap();
    let newest = report.files.last().unwrap();
    for flipped in 0..whole.read(newest).len() as u64 {
        let disk = whole.copy();
        flip(&disk, newest, flipped);
        let Some((damaged, at)) = damage(&disk) else {
            continue; // the last batch, which says nothing
        };
        repair_on(&disk, &damaged, at).unwrap();
        assert_eq!(damage(&disk), None, "{flipped}");
        let store = open(&disk).unwrap();
        for channel in CHANNELS {
            let kept = heard(&*store.reader(), channel);
            let expected: Vec<String> = (1..=kept.len()).map(|n| n.to_string()).collect();
            assert_eq!(kept, expected);
            assert!(kept.len() > 30);
        }
    }
}

fn epoch_of(disk: &Disk, channel: &str) -> Epoch {
    let store = open(disk).unwrap();
    store.reader().channel(channel).unwrap().epoch
}

/// Damages the newest file in its last message, and repairs it.
fn lose_the_newest_message(disk: &Disk) -> Repaired {
    let report = verify_on(disk, Path::new(DIRECTORY)).unwrap();
    let newest = report.files.last().unwrap();
    let size = disk.read(newest).len() as u64;
    repair_on(disk, newest, size - 1).unwrap()
}

#[test]
fn where_offsets_are_given_again_every_channel_has_a_new_epoch_and_its_messages_stay() {
    let disk = filled();
    let before = CHANNELS.map(|channel| heard(&*open(&disk).unwrap().reader(), channel));
    // Once more: what is older than two repairs is still read.
    for _ in 0..2 {
        let old = epoch_of(&disk, "tea");
        let repaired = lose_the_newest_message(&disk);
        assert_eq!(repaired.new_epochs, ["cup", "pot", "tea"]);
        assert_eq!(damage(&disk), None);
        for (channel, before) in CHANNELS.iter().zip(&before) {
            assert_ne!(epoch_of(&disk, channel), old);
            let reader = open(&disk).unwrap().reader();
            let kept = heard(&*reader, channel);
            assert!(kept.len() > 30 && before.starts_with(&kept), "{kept:?}");
        }
    }
    // New messages stand under the new epoch, also after a start and when old segments have gone.
    let new = epoch_of(&disk, "tea");
    let mut store = open(&disk).unwrap();
    for number in 0..40 {
        let message = message("tea", "id", "new");
        let Ok(Appended::Message(position, _)) = put(&mut store, Record::Message(message)) else {
            panic!("message {number} wasn't taken");
        };
        assert_eq!(position.epoch, new);
        store.maintain(NOW + number).unwrap();
    }
    drop(store);
    assert_eq!(damage(&disk), None);
    assert_eq!(epoch_of(&disk, "tea"), new);
}

#[test]
fn a_channel_that_was_cut_off_as_a_whole_gets_no_epoch_that_it_had() {
    let disk = filled();
    let before = open(&disk).unwrap().reader().forgotten();
    lose_the_newest_message(&disk);
    // The epoch of a new channel is made from this number.
    assert_ne!(open(&disk).unwrap().reader().forgotten(), before);
}

#[test]
fn where_a_later_file_knows_the_offsets_epochs_stay() {
    let disk = filled();
    let old = epoch_of(&disk, "tea");
    let repaired = repair_on(&disk, &file(2), 400).unwrap();
    assert!(repaired.new_epochs.is_empty(), "{:?}", repaired.new_epochs);
    assert_eq!(epoch_of(&disk, "tea"), old);
}

#[test]
fn a_missing_file_is_given_up_by_a_repair() {
    let whole = filled();
    let disk = Disk::default();
    for path in whole.paths() {
        if path != file(2) {
            disk.put(&path, &whole.read(&path));
        }
    }
    assert_eq!(damage(&disk), Some((file(2), 0)));
    let repaired = repair_on(&disk, &file(2), 0).unwrap();
    assert_eq!((repaired.bytes, repaired.lost.len()), (0, 3));
    assert_eq!(damage(&disk), None);
    assert_eq!(
        open(&disk).unwrap().reader().channel("tea").unwrap().newest,
        40
    );
}

#[test]
fn what_was_cut_off_is_never_written_over() {
    let disk = filled();
    repair_on(&disk, &file(2), 400).unwrap();
    let again = repair_on(&disk, &file(2), 300).unwrap_err();
    assert!(matches!(again, StoreError::Io { .. }), "{again:?}");
    assert_eq!(damage(&disk), None);
}

#[test]
fn a_torn_tail_is_no_damage() {
    let disk = filled();
    let mut store = open(&disk).unwrap();
    let tea = message("tea", "id", "41");
    put(&mut store, Record::Message(tea)).unwrap();
    let path = store.active.path.clone();
    disk.die();
    drop(store);
    disk.revive();
    let mut bytes = disk.read(&path);
    bytes.truncate(bytes.len() - 3);
    disk.put(&path, &bytes);
    let report = verify_on(&disk, Path::new(DIRECTORY)).unwrap();
    assert!(report.damage.is_none() && report.torn_bytes > 0);
    assert_eq!(report.messages, 120);
    assert_eq!(disk.read(&path), bytes, "nothing changes");
    open(&disk).unwrap().maintain(NOW).unwrap();
}

#[test]
fn two_damaged_files_are_repaired_one_after_the_other() {
    let disk = filled();
    flip(&disk, &file(2), 300);
    flip(&disk, &file(3), 300);
    let (first, at) = damage(&disk).unwrap();
    assert_eq!(first, file(2));
    let other = repair_on(&disk, &first, at).unwrap_err();
    assert!(matches!(&other, StoreError::Damaged { file: at, .. } if *at == file(3)));
    repair_on(&disk, &file(3), 300).unwrap();
    // Once more, on what is cut already, changes nothing.
    repair_on(&disk, &file(2), at).unwrap();
    assert_eq!(damage(&disk), None);
    assert_eq!(
        open(&disk).unwrap().reader().channel("tea").unwrap().newest,
        40
    );
}

#[test]
fn a_repair_counts_what_it_cut_off_and_what_of_it_can_be_read() {
    let disk = Disk::default();
    let settings = settings(Path::new(DIRECTORY));
    let mut store = Journal::open_on(Arc::new(disk.clone()), settings).unwrap();
    let mut batches = |disk: &Disk, sizes: &[usize]| {
        for size in sizes {
            for _ in 0..*size {
                say(&mut store, "tea", "one");
                say(&mut store, "cup", "one");
            }
            store.commit().unwrap();
        }
        disk.read(&file(1)).len() as u64
    };
    let end = batches(&disk, &[1]);
    let middle = batches(&disk, &[3]);
    let size = batches(&disk, &[2, 1]);
    drop(store);
    for (is_flipped, records) in [(false, 12), (true, 6)] {
        let disk = disk.copy();
        if is_flipped {
            flip(&disk, &file(1), middle - 1);
        }
        let whole = disk.read(&file(1));
        let repaired = repair_on(&disk, &file(1), end + 1).unwrap();
        assert_eq!(
            (repaired.cut_at, repaired.bytes, repaired.records),
            (end, whole.len() as u64 - end, records)
        );
        assert!(whole.len() as u64 >= size);
        assert_eq!(disk.read(&repaired.kept), whole[end as usize..]);
        assert_eq!(repaired.lost, [], "no later file knows of them");
        assert_eq!(repaired.new_epochs, ["cup", "tea"]);
        let store = open(&disk).unwrap();
        assert_eq!(heard(&*store.reader(), "tea"), ["one"]);
    }
}
