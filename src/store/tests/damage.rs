//! What a start makes of files that are not as they were written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::broken::Disk;
use super::common::{NOW, epoch, heard, message, say, settings};
use crate::store::batch::BATCH_SIZE;
use crate::store::segment_head::SEGMENT_HEAD_SIZE;
use crate::store::{
    Channel, Journal, MessageRecord, Record, Store, StoreError, StoreSettings, names,
};

const DIRECTORY: &str = "/store";

fn open(disk: &Disk) -> Result<Journal, StoreError> {
    open_with(disk, settings(Path::new(DIRECTORY)))
}

fn open_with(disk: &Disk, settings: StoreSettings) -> Result<Journal, StoreError> {
    Journal::open_on(Arc::new(disk.clone()), settings)
}

fn file(number: u32) -> PathBuf {
    Path::new(DIRECTORY).join(names::segment(number))
}

/// A disk with a file of three batches, and where each ends; nothing vouches for the last.
fn three_batches() -> (Disk, Vec<usize>) {
    let disk = Disk::default();
    let mut store = open(&disk).unwrap();
    let mut ends = vec![disk.read(&file(1)).len()];
    for number in 1..=3 {
        let private = MessageRecord {
            second: Some(Channel::stored("@ann", epoch(9))),
            ..message("@bob", "id", "private")
        };
        say(&mut store, "tea", &number.to_string());
        store.append(NOW, &Record::Message(private)).unwrap();
        store.commit().unwrap();
        ends.push(disk.read(&file(1)).len());
    }
    disk.die();
    drop(store);
    disk.revive();
    (disk, ends)
}

/// The store has the first `count` batches and nothing else.
fn assert_has(store: &Journal, count: usize, what: &str) {
    let reader = store.reader();
    let expected: Vec<String> = (1..=count).map(|number| number.to_string()).collect();
    assert_eq!(heard(&*reader, "tea"), expected, "{what}");
    assert_eq!(heard(&*reader, "@ann").len(), count, "{what}");
    assert_eq!(heard(&*reader, "@bob").len(), count, "{what}");
}

/// Says that something is damaged, in which file, where, and what to do.
fn assert_names(error: &StoreError, path: &Path, what: &str) -> u64 {
    let StoreError::Damaged {
        file,
        at,
        what: told,
    } = error
    else {
        panic!("{what}: {error:?}");
    };
    assert_eq!(file, path, "{what}");
    assert!(told.contains("tidings store"), "{what}: {told}");
    *at
}

#[test]
fn a_tail_is_cut_at_the_end_of_the_last_whole_batch_wherever_it_is_torn() {
    let (disk, ends) = three_batches();
    let bytes = disk.read(&file(1));
    for size in SEGMENT_HEAD_SIZE..=bytes.len() {
        let what = format!("cut to {size} bytes");
        let disk = disk.copy();
        disk.put(&file(1), &bytes[..size]);
        let opened = open(&disk);
        if size < ends[0] {
            assert_names(&opened.unwrap_err(), &file(1), &what);
            continue;
        }
        let mut store = opened.unwrap();
        let whole = ends.iter().filter(|end| **end <= size).count() - 1;
        assert_has(&store, whole, &what);
        let torn = store.reader().totals().torn_bytes;
        assert_eq!(torn, (size - ends[whole]) as u64, "{what}");
        say(&mut store, "pot", "it goes on");
        store.commit().unwrap();
        drop(store);
        let store = open(&disk).unwrap();
        assert_has(&store, whole, &what);
        assert_eq!(heard(&*store.reader(), "pot"), ["it goes on"]);
        assert_eq!(store.reader().totals().torn_bytes, 0, "{what}");
    }
}

#[test]
fn zeros_behind_the_last_batch_are_a_torn_tail() {
    let (disk, ends) = three_batches();
    let mut bytes = disk.read(&file(1));
    bytes.resize(bytes.len() + 4_096, 0);
    bytes[ends[2] + 20..].fill(0);
    disk.put(&file(1), &bytes);
    let store = open(&disk).unwrap();
    assert_has(&store, 2, "zeros");
    assert_eq!(
        store.reader().totals().torn_bytes,
        (bytes.len() - ends[2]) as u64
    );
}

#[test]
fn every_flipped_bit_is_damage_with_a_name_or_a_torn_last_batch() {
    let (disk, ends) = three_batches();
    let bytes = disk.read(&file(1));
    for bit in 0..bytes.len() * 8 {
        let what = format!("bit {bit}, byte {}", bit / 8);
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let disk = disk.copy();
        disk.put(&file(1), &flipped);
        match open(&disk) {
            // Nothing vouches for it: it may never have been written to its end.
            Ok(store) => {
                assert!(bit / 8 >= ends[2], "{what}");
                assert_has(&store, 2, &what);
                assert!(store.reader().totals().torn_bytes > 0, "{what}");
            }
            Err(error) => {
                assert!(bit / 8 < ends[2], "{what}");
                let at = assert_names(&error, &file(1), &what) as usize;
                let batch = ends.iter().rposition(|end| *end <= bit / 8);
                let begins = batch.map_or(0, |batch| ends[batch]);
                assert!((begins..=bit / 8).contains(&at), "{what}: {at}");
            }
        }
    }
}

#[test]
fn after_a_quiet_moment_or_a_clean_end_a_flipped_bit_in_the_last_batch_is_damage_too() {
    for ends_cleanly in [false, true] {
        let (disk, ends) = three_batches();
        let mut store = open(&disk).unwrap();
        if ends_cleanly {
            drop(store);
        } else {
            store.maintain(NOW).unwrap();
            disk.die();
            drop(store);
            disk.revive();
        }
        let bytes = disk.read(&file(1));
        assert_eq!(bytes.len(), ends[3] + BATCH_SIZE, "one batch vouches");
        for bit in ends[2] * 8..bytes.len() * 8 {
            let what = format!("bit {bit}, byte {}", bit / 8);
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let disk = disk.copy();
            disk.put(&file(1), &flipped);
            match open(&disk) {
                Ok(store) => {
                    assert!(bit / 8 >= ends[3], "{what}");
                    assert_has(&store, 3, &what);
                }
                Err(error) => {
                    assert!(bit / 8 < ends[3], "{what}");
                    assert_names(&error, &file(1), &what);
                }
            }
        }
    }
}

#[test]
fn a_start_that_changes_nothing_does_not_grow_the_file() {
    let (disk, _) = three_batches();
    drop(open(&disk).unwrap());
    let size = disk.read(&file(1)).len();
    for _ in 0..3 {
        let mut store = open(&disk).unwrap();
        store.maintain(NOW).unwrap();
    }
    assert_eq!(disk.read(&file(1)).len(), size);
}

/// A store in many files, all of them needed.
fn many_files() -> (Disk, StoreSettings, u32) {
    let disk = Disk::default();
    let settings = StoreSettings {
        segment_bytes_max: 300,
        ..settings(Path::new(DIRECTORY))
    };
    let mut store = open_with(&disk, settings.clone()).unwrap();
    for number in 0..40 {
        say(&mut store, "tea", &number.to_string());
        store.commit().unwrap();
    }
    let newest = store.reader().totals().segments as u32;
    assert!(newest >= 3);
    drop(store);
    (disk, settings, newest)
}

#[test]
fn a_missing_file_is_damage_with_a_name() {
    let (whole, settings, newest) = many_files();
    for number in 1..=newest {
        let disk = Disk::default();
        for path in whole.paths() {
            if path != file(number) {
                disk.put(&path, &whole.read(&path));
            }
        }
        let error = open_with(&disk, settings.clone()).unwrap_err();
        assert_names(&error, &file(number), "missing");
    }
}

#[test]
fn a_directory_without_its_files_is_no_new_store() {
    let (whole, settings, newest) = many_files();
    let lock = Path::new(DIRECTORY).join(names::LOCK);
    let disk = Disk::default();
    disk.put(&lock, &whole.read(&lock));
    let error = open_with(&disk, settings.clone()).unwrap_err();
    assert_names(&error, &file(newest), "no files");
    disk.put(&lock, b"something else");
    let error = open_with(&disk, settings).unwrap_err();
    assert_names(&error, &lock, "no files, and no identity");
}

#[test]
fn any_flipped_bit_of_an_older_file_is_damage_and_so_is_a_cut() {
    let (whole, settings, _) = many_files();
    let bytes = whole.read(&file(2));
    for bit in 0..bytes.len() * 8 {
        let disk = whole.copy();
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        disk.put(&file(2), &flipped);
        let error = open_with(&disk, settings.clone()).unwrap_err();
        assert_names(&error, &file(2), &format!("bit {bit}"));
    }
    for size in 0..bytes.len() {
        let disk = whole.copy();
        disk.put(&file(2), &bytes[..size]);
        let error = open_with(&disk, settings.clone()).unwrap_err();
        assert_names(&error, &file(2), &format!("cut to {size}"));
    }
}

#[test]
fn a_file_in_another_s_place_is_damage() {
    let (whole, settings, _) = many_files();
    let disk = whole.copy();
    disk.put(&file(2), &whole.read(&file(1)));
    let error = open_with(&disk, settings.clone()).unwrap_err();
    assert_names(&error, &file(2), "another file of this store");
    let (other, ..) = many_files();
    disk.put(&file(2), &other.read(&file(2)));
    let error = open_with(&disk, settings).unwrap_err();
    assert_names(&error, &file(2), "a file of another store");
}

#[test]
fn another_format_is_refused_by_its_number() {
    let (disk, _) = three_batches();
    let mut bytes = disk.read(&file(1));
    bytes[8] = 9;
    let checksum = crc32c::crc32c(&bytes[..SEGMENT_HEAD_SIZE - 4]);
    bytes[SEGMENT_HEAD_SIZE - 4..SEGMENT_HEAD_SIZE].copy_from_slice(&checksum.to_le_bytes());
    disk.put(&file(1), &bytes);
    let error = open(&disk).unwrap_err();
    assert!(
        matches!(&error, StoreError::Format { file: at, found: 9, readable: 1 } if *at == file(1)),
        "{error:?}"
    );
}

#[test]
fn a_damaged_record_is_named_by_the_page_that_needs_it() {
    let (disk, ends) = three_batches();
    let mut store = open(&disk).unwrap();
    let mut bytes = disk.read(&file(1));
    bytes[ends[1] + BATCH_SIZE + 12] ^= 1;
    disk.put(&file(1), &bytes);
    say(&mut store, "tea", "4");
    store.commit().unwrap();
    let reader = store.reader();
    let page = |channel| reader.page(channel, super::common::ALL);
    let at = assert_names(&page("tea").unwrap_err(), &file(1), "a page");
    assert_eq!(at as usize, ends[1] + BATCH_SIZE);
    assert_eq!(page("@ann").unwrap().messages.len(), 3);
}
