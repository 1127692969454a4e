//! A disk that fails, is full, or comes back.

use std::path::Path;
use std::sync::Arc;

use super::broken::{Disk, EIO, ENOSPC, Fault};
use super::common::{NOW, heard, say, settings};
use crate::store::{Journal, Record, Store, StoreError, StoreSettings, SyncPolicy};

fn open(disk: &Disk, settings: &StoreSettings) -> Journal {
    Journal::open_on(Arc::new(disk.clone()), settings.clone()).unwrap()
}

fn plain() -> StoreSettings {
    settings(Path::new("/store"))
}

/// A store with one message.
fn begun(disk: &Disk) -> Journal {
    let mut store = open(disk, &plain());
    say(&mut store, "tea", "1");
    store.commit().unwrap();
    store
}

#[test]
fn a_write_that_stops_anywhere_leaves_nothing_and_the_next_one_goes_on() {
    for written in 0..400 {
        for code in [EIO, ENOSPC] {
            for crashes in [false, true] {
                let disk = Disk::default();
                let mut store = begun(&disk);
                say(&mut store, "tea", "lost");
                say(&mut store, "pot", "lost");
                disk.fail(0, 1, Fault::Error { code, written });
                let error = store.commit().unwrap_err();
                match code {
                    ENOSPC => assert!(matches!(error, StoreError::DiskFull { .. })),
                    _ => assert!(matches!(error, StoreError::Failed { .. })),
                }
                let reader = store.reader();
                assert_eq!(heard(&*reader, "tea"), ["1"]);
                assert_eq!(reader.channel("pot"), None);
                if crashes {
                    disk.die();
                    drop(store);
                    disk.revive();
                    store = open(&disk, &plain());
                } else {
                    store.maintain(NOW + 1_000).unwrap();
                }
                say(&mut store, "tea", "2");
                store.commit().unwrap();
                drop(store);
                let store = open(&disk, &plain());
                assert_eq!(heard(&*store.reader(), "tea"), ["1", "2"], "{written}");
                assert_eq!(store.reader().channel("pot"), None);
            }
        }
    }
}

#[test]
fn after_a_failed_sync_nothing_is_taken_until_the_file_was_verified() {
    for fault in [
        Fault::Error {
            code: EIO,
            written: 0,
        },
        Fault::Forgets,
    ] {
        let disk = Disk::default();
        let mut store = begun(&disk);
        say(&mut store, "tea", "lost");
        disk.fail(1, 1, fault);
        let error = store.commit().unwrap_err();
        assert!(matches!(error, StoreError::Failed { .. }), "{error:?}");
        assert_eq!(heard(&*store.reader(), "tea"), ["1"]);
        let record = Record::Serials { below: 1 };
        let refused = store.append(NOW, &record).unwrap_err();
        assert!(matches!(refused, StoreError::Failed { .. }), "{refused:?}");
        store.commit().unwrap();

        // The disk is not well yet: it is tried again later, and reading goes on.
        let fault = Fault::Error {
            code: EIO,
            written: 0,
        };
        disk.fail(0, u64::MAX / 2, fault);
        store.maintain(NOW + 100).unwrap_err();
        disk.heal();
        assert!(store.append(NOW, &record).is_err());
        store.maintain(NOW + 150).unwrap_err();
        assert_eq!(heard(&*store.reader(), "tea"), ["1"]);
        store.maintain(NOW + 1_000).unwrap();
        assert_eq!(store.reader().totals().segments, 2);
        say(&mut store, "tea", "2");
        store.commit().unwrap();
        assert_eq!(store.reader().totals().failures, 1);
        disk.die();
        drop(store);
        disk.revive();
        let store = open(&disk, &plain());
        assert_eq!(heard(&*store.reader(), "tea"), ["1", "2"]);
    }
}

#[test]
fn a_batch_that_was_appended_before_a_failure_is_not_written_after_it() {
    let disk = Disk::default();
    let mut store = begun(&disk);
    say(&mut store, "tea", "lost");
    // Writing the batch that vouches for the last one, and taking it back.
    let fault = Fault::Error {
        code: EIO,
        written: 1,
    };
    disk.fail(0, 2, fault);
    store.maintain(NOW).unwrap_err();
    disk.heal();
    let before = disk.operations();
    let error = store.commit().unwrap_err();
    assert!(matches!(error, StoreError::Failed { .. }), "{error:?}");
    assert_eq!(disk.operations(), before);
    store.maintain(NOW + 1_000).unwrap();
    say(&mut store, "tea", "2");
    store.commit().unwrap();
    assert_eq!(heard(&*store.reader(), "tea"), ["1", "2"]);
}

#[test]
fn a_file_that_changed_behind_our_back_is_not_written_to_again() {
    let disk = Disk::default();
    let mut store = begun(&disk);
    say(&mut store, "tea", "lost");
    disk.fail(1, 1, Fault::Forgets);
    store.commit().unwrap_err();
    let path = store.active.path.clone();
    let mut bytes = disk.read(&path);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    disk.put(&path, &bytes);
    for second in 1..100 {
        let error = store.maintain(NOW + second * 1_000).unwrap_err();
        let is_named = matches!(
            &error,
            StoreError::Damaged { .. } | StoreError::Failed { .. }
        );
        assert!(is_named, "{error:?}");
        assert!(store.append(NOW, &Record::Serials { below: 1 }).is_err());
    }
}

#[test]
fn a_commit_that_was_answered_was_synced_before() {
    let disk = Disk::default();
    let mut store = begun(&disk);
    for number in 2..50 {
        say(&mut store, "tea", &number.to_string());
        store.commit().unwrap();
        // Nothing that isn't durable is there after this.
        let after = disk.copy_of_durable();
        let reopened = open(&after, &plain());
        assert_eq!(heard(&*reopened.reader(), "tea").len(), number);
    }
}

#[test]
fn a_commit_is_one_write_and_one_sync() {
    let disk = Disk::default();
    let mut store = begun(&disk);
    for _ in 0..1_000 {
        say(&mut store, "tea", "1");
    }
    let before = disk.operations();
    store.commit().unwrap();
    assert_eq!(disk.operations() - before, 2);
}

#[test]
fn with_an_interval_the_sync_comes_when_it_is_due() {
    let disk = Disk::default();
    let mut settings = plain();
    settings.sync = SyncPolicy::IntervalMs(500);
    let mut store = open(&disk, &settings);
    store.maintain(NOW).unwrap();
    say(&mut store, "tea", "1");
    store.commit().unwrap();
    let durable = |disk: &Disk| {
        let reopened = open(&disk.copy_of_durable(), &plain());
        heard(&*reopened.reader(), "tea").len()
    };
    assert_eq!(heard(&*store.reader(), "tea"), ["1"]);
    assert_eq!(durable(&disk), 0);
    store.maintain(NOW + 499).unwrap();
    say(&mut store, "tea", "2");
    store.commit().unwrap();
    assert_eq!(durable(&disk), 1, "the first sync was due at once");
    store.maintain(NOW + 998).unwrap();
    assert_eq!(durable(&disk), 1);
    store.maintain(NOW + 999).unwrap();
    assert_eq!(durable(&disk), 2);
}

#[test]
fn a_disk_without_room_refuses_what_takes_some_and_comes_back_by_itself() {
    let disk = Disk::default();
    let mut settings = plain();
    settings.free_bytes_min = 1_000;
    let mut store = open(&disk, &settings);
    say(&mut store, "tea", "1");
    store.commit().unwrap();
    disk.set_free_bytes(999);
    let refused = |store: &mut Journal, now| {
        let message = super::common::message("tea", "id", "2");
        let refused = store.append(now, &Record::Message(message));
        matches!(
            refused,
            Err(StoreError::DiskFull {
                free_bytes_min: 1_000
            })
        )
    };
    assert!(refused(&mut store, NOW + 100));
    let maintained = store.maintain(NOW + 200);
    assert!(matches!(maintained, Err(StoreError::DiskFull { .. })));
    assert_eq!(heard(&*store.reader(), "tea"), ["1"]);
    let trim = Record::Trim {
        channel: "tea",
        through: 1,
    };
    store.append(NOW + 250, &trim).unwrap();
    store.commit().unwrap();
    disk.set_free_bytes(1_000);
    assert!(
        refused(&mut store, NOW + 299),
        "it is not asked all the time"
    );
    store.maintain(NOW + 300).unwrap();
    assert!(!refused(&mut store, NOW + 300));
    store.commit().unwrap();
    assert_eq!(heard(&*store.reader(), "tea"), ["2"]);
}

#[test]
fn where_no_new_file_can_be_begun_the_old_one_goes_on() {
    let disk = Disk::default();
    let mut settings = plain();
    settings.segment_bytes_max = 500;
    let mut store = open(&disk, &settings);
    let full = Fault::Error {
        code: ENOSPC,
        written: 0,
    };
    let mut number = 0;
    while store.active.written() < 500 {
        number += 1;
        say(&mut store, "tea", &number.to_string());
        store.commit().unwrap();
    }
    // Making the file, and removing what was made.
    disk.fail(0, 2, full);
    say(&mut store, "tea", "more");
    store.commit().unwrap();
    assert_eq!(store.reader().totals().segments, 1);
    say(&mut store, "tea", "still more");
    store.commit().unwrap();
    assert_eq!(store.reader().totals().segments, 2);
    drop(store);
    let store = open(&disk, &settings);
    assert_eq!(heard(&*store.reader(), "tea").len(), number + 2);
}

#[test]
fn any_single_operation_may_fail_and_nothing_is_lost() {
    let mut settings = plain();
    settings.segment_bytes_max = 700;
    for code in [EIO, ENOSPC] {
        for nth in 0..200 {
            let disk = Disk::default();
            let mut store = open(&disk, &settings);
            disk.fail(nth, 1, Fault::Error { code, written: 9 });
            let (mut kept, mut now) = (Vec::new(), NOW);
            for number in 0..24 {
                let data = number.to_string();
                let message = super::common::message("tea", "id", &data);
                let taken = store.append(now, &Record::Message(message)).is_ok();
                let committed = store.commit().is_ok();
                if taken && committed {
                    kept.push(data);
                }
                let through = number / 2;
                let channel = "tea";
                _ = store.append(now, &Record::Trim { channel, through });
                _ = store.commit();
                now += 2_000;
                _ = store.maintain(now);
            }
            disk.heal();
            now += 10_000;
            store.maintain(now).unwrap();
            let floor = store.reader().channel("tea").unwrap().floor as usize;
            assert!(kept.len() >= 22, "{nth}: one failure costs a batch or two");
            assert_eq!(heard(&*store.reader(), "tea"), kept[floor..], "{nth}");
            drop(store);
            let store = open(&disk, &settings);
            assert_eq!(heard(&*store.reader(), "tea"), kept[floor..], "{nth}");
        }
    }
}
