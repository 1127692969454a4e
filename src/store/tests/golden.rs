//! Bytes that an earlier version wrote: they are read, and would be written today as they are.

use std::collections::BTreeSet;

use crate::store::batch::WriteBatch;
use crate::store::files::{FileSystem, OpenMode, OsFiles};
use crate::store::log_record::LogRecord;
use crate::store::raw_record::{kind, raw_records};
use crate::store::scan::{Scan, ScanStep};

/// A file with a record of each kind; the first byte is for the fuzzer.
const EARLIER: &[u8] = include_bytes!("../../../tests/fuzz/corpus/journal/all-kinds-plain");

/// The kinds of the records in a file, each of which is written again as it stands there.
fn kinds_written_again(file: &[u8]) -> BTreeSet<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("segment");
    std::fs::write(&path, file).unwrap();
    let number = u32::from_le_bytes(file[12..16].try_into().unwrap());
    let opened = OsFiles::default().open(&path, OpenMode::Read).unwrap();
    let mut scan = Scan::begin(opened, &path, number).unwrap();
    let mut kinds = BTreeSet::new();
    loop {
        match scan.step().unwrap() {
            ScanStep::Batch { body, .. } => {
                for (_, raw) in raw_records(body) {
                    let mut batch = WriteBatch::default();
                    LogRecord::read(raw).unwrap().write(&mut batch);
                    let (_, again) = batch.raw_records().next().unwrap();
                    assert_eq!(again, raw);
                    kinds.insert(raw.kind);
                }
            }
            ScanStep::End => return kinds,
            ScanStep::Bad { at, flaw, .. } => panic!("{flaw} at {at}"),
        }
    }
}

#[test]
fn each_record_of_an_earlier_version_is_written_again_byte_for_byte() {
    let kinds = kinds_written_again(&EARLIER[1..]);
    for known in [kind::MESSAGE, kind::ACK, kind::MEMBER, kind::CHECKPOINT] {
        assert!(kinds.contains(&known), "{known} of {kinds:?}");
    }
    assert!(!kinds.contains(&kind::OPENER));
}
