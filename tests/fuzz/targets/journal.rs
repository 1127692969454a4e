//! A file of a journal: what is told of it was there, a shorter file tells no more, and what
//! `verify` calls good opens.
//!
//! The first byte says what is done to the file before it is read: with `m` (and any odd byte) its
//! checksums are mended, so that what stands behind them is tried too; else it is read as it is.
//! The rest is the file.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use tidings::store::{
    Journal, PageRange, StateRecord, Store, StoreError, StoreSettings, SyncPolicy, dump, repair,
    verify,
};

/// Bytes of a file's head, of a frame without its payload, and of the frame a batch begins with.
const HEAD_SIZE: usize = 48;
const FRAME_SIZE: usize = 9;
const BATCH_SIZE: usize = FRAME_SIZE + 28;

/// Shorter files that are tried of each.
const CUTS: usize = 3;

/// Repairs that may be needed: of each file that is there or missing, and of what they contradict.
const REPAIRS_MAX: usize = 8;

const ALL: PageRange = PageRange {
    after: None,
    before: None,
    limit: usize::MAX,
    bytes_max: usize::MAX,
};

thread_local! {
    /// A folder that is used again and again.
    static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

/// Reads a file of a journal in every way there is.
pub fn journal(data: &[u8]) {
    let Some((first, file)) = data.split_first() else {
        return;
    };
    let mut file = file.to_vec();
    if first % 2 == 1 {
        mend(&mut file);
    }
    FOLDER.with_borrow_mut(|folder| {
        let folder = folder.get_or_insert_with(folder_in_memory);
        read_in(folder.path(), &file);
    });
}

/// In memory where that can be, since a journal syncs.
fn folder_in_memory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let folder = match memory.is_dir() {
        true => TempDir::new_in(memory),
        false => TempDir::new(),
    };
    folder.expect("a folder of our own")
}

fn read_in(folder: &Path, file: &[u8]) {
    let told = told_of(folder, file);
    for cut in (1..=CUTS).map(|part| file.len() * part / (CUTS + 1)) {
        let less = told_of(folder, &file[..cut]);
        assert!(
            told.starts_with(&less),
            "cut at {cut}: {less:?} of {told:?}"
        );
    }
    put(folder, file);
    let report = verify(folder).expect("the folder can be read");
    assert!(report.torn_bytes <= file.len() as u64);
    mend_and_open(folder, file.len() as u64);
}

/// Opens the store, after every damage that is told has been repaired as the error says. One that
/// needs several repairs was contradictory, and not only damaged.
fn mend_and_open(folder: &Path, size: u64) {
    for _ in 0..REPAIRS_MAX {
        let report = verify(folder).expect("the folder can be read");
        let Some(damage) = report.damage else {
            let journal = open(folder).expect("verify found nothing");
            assert_eq!(journal.reader().totals().messages, report.messages);
            return;
        };
        let StoreError::Damaged { file, at, .. } = damage else {
            return;
        };
        assert!(at <= size || !file.exists(), "behind its end: {at}");
        if repair(&file, at).is_err() {
            return;
        }
    }
    panic!("it was repaired {REPAIRS_MAX} times, and is damaged still");
}

/// Every record that is told of the file, with its place; damage is told too, and left out.
fn told_of(folder: &Path, file: &[u8]) -> Vec<Value> {
    put(folder, file);
    let mut told = Vec::new();
    let mut place = 0;
    dump(folder, &mut |line| {
        let line: Value = serde_json::from_str(line).expect("a line is JSON");
        let at = line["at"].as_u64().expect("a line has its place");
        assert!(at <= file.len() as u64, "{line} is behind the end");
        if line["damage"].is_null() {
            assert!(at > place, "{line} is told behind {place}");
            assert!(at + FRAME_SIZE as u64 <= file.len() as u64, "{line}");
            place = at;
            told.push(line);
        }
        Ok(())
    })
    .expect("the folder can be read");
    told
}

/// Makes this the only file of the folder.
fn put(folder: &Path, file: &[u8]) -> PathBuf {
    for entry in fs::read_dir(folder).expect("our own folder") {
        fs::remove_file(entry.expect("our own folder").path()).expect("our own file");
    }
    // Its name has to be the number in its head.
    let number = file.get(12..16).and_then(|bytes| bytes.first_chunk());
    let number = number.map_or(1, |bytes| u32::from_le_bytes(*bytes)).max(1);
    let path = folder.join(format!("journal-{number:010}.log"));
    fs::write(&path, file).expect("our own file");
    path
}

/// Opens the store, and reads all of it.
fn open(folder: &Path) -> Result<Journal, StoreError> {
    let journal = Journal::open(StoreSettings {
        free_bytes_min: 0,
        sync: SyncPolicy::Os,
        ..StoreSettings::new(folder)
    })?;
    let reader = journal.reader();
    let mut channels = Vec::new();
    reader.each(&mut |known| {
        if let StateRecord::Channel(name, _) = known {
            channels.push(name.to_owned());
        }
    });
    for channel in channels {
        reader.page(&channel, ALL).expect("a channel can be read");
    }
    Ok(journal)
}

/// Makes the checksums right, and the count of each batch, as far as the lengths go. Written by the
/// description of the format alone, so that a checksum which the reader takes for right is.
fn mend(file: &mut [u8]) {
    if file.len() < HEAD_SIZE {
        return;
    }
    let checksum = crc32c::crc32c(&file[..HEAD_SIZE - 4]);
    file[HEAD_SIZE - 4..HEAD_SIZE].copy_from_slice(&checksum.to_le_bytes());
    let key_then_number = [&file[16..32], &file[12..16]].concat();
    let seed = crc32c::crc32c(&key_then_number);
    let mut at = HEAD_SIZE;
    while let Some(size) = mend_batch(&mut file[at..], seed, at) {
        at += size;
    }
}

/// The size of the batch that `bytes`, which stand at `at`, begin with.
fn mend_batch(bytes: &mut [u8], seed: u32, at: usize) -> Option<usize> {
    let body_size = u32_at(bytes, FRAME_SIZE + 16)? as usize;
    let size = BATCH_SIZE.checked_add(body_size)?;
    let bytes = bytes.get_mut(..size)?;
    let (mut start, mut records, mut all) = (BATCH_SIZE, 0_u32, 0);
    while start < size {
        let length = u32_at(&bytes[start..], 0)? as usize;
        let end = start.checked_add(FRAME_SIZE)?.checked_add(length)?;
        let checksum = mend_frame(bytes.get_mut(start..end)?, seed, at + start);
        all = crc32c::crc32c_append(all, &checksum);
        records += 1;
        start = end;
    }
    bytes[FRAME_SIZE + 20..FRAME_SIZE + 24].copy_from_slice(&records.to_le_bytes());
    bytes[FRAME_SIZE + 24..FRAME_SIZE + 28].copy_from_slice(&all.to_le_bytes());
    mend_frame(&mut bytes[..BATCH_SIZE], seed, at);
    Some(size)
}

fn mend_frame(frame: &mut [u8], seed: u32, at: usize) -> [u8; 4] {
    let place = [&(at as u64).to_le_bytes(), &frame[..4]].concat();
    let checksum = crc32c::crc32c_append(seed, &place);
    let checksum = crc32c::crc32c_append(checksum, &frame[8..]).to_le_bytes();
    frame[4..8].copy_from_slice(&checksum);
    checksum
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}
