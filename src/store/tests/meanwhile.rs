//! What is stored while a segment is made: it is there after a crash, whenever that is.

use std::sync::Arc;

use super::broken::{Disk, Fault};
use super::common::{NOW, heard, message, put, say};
use super::pauses::{in_pieces, make_channels};
use super::restart::{everything, fill};
use crate::store::{Appended, Journal, Record, Store, StoreError, StoreSettings, Upkeep};

fn open(disk: &Disk, settings: &StoreSettings) -> Journal {
    Journal::open_on(Arc::new(disk.clone()), settings.clone()).unwrap()
}

#[test]
fn whatever_is_stored_while_a_segment_is_made_is_there_after_a_crash_at_any_piece() {
    let disk = Disk::default();
    let mut settings = in_pieces(1);
    settings.segment_bytes_max = 12_000;
    let mut store = open(&disk, &settings);
    make_channels(&mut store, 150);
    // More than one piece for this channel alone, which changes all the time.
    for reader in 0..60 {
        let reader = &format!("reader-{reader}");
        let (channel, offset) = ("room-7", 1);
        let ack = Record::Ack {
            channel,
            reader,
            offset,
        };
        store.append(NOW, &ack).unwrap();
    }
    store.commit().unwrap();
    store.upkeep();
    let (mut copied, mut round) = (0, 0);
    while store.active.head.number < 5 {
        round += 1;
        assert!(round < 300, "no segment is made");
        if round % 8 == 0 {
            fill(&mut store, round / 8);
        }
        say(&mut store, "room-7", "meanwhile");
        say(&mut store, &format!("room-{}", round % 150), "meanwhile");
        store.commit().unwrap();
        store.maintain(NOW).unwrap();
        store.upkeep();
        copied += usize::from(store.active.begun_at > store.active.head.checkpoint_end);
        let before = everything(&*store.reader());
        let again = open(&disk.copy_of_durable(), &settings);
        assert_eq!(everything(&*again.reader()), before, "round {round}");
    }
    assert!(copied > 5, "{copied} of {round}");
}

#[test]
fn a_repeat_of_what_was_said_while_a_segment_was_made_is_known_after_a_start() {
    let disk = Disk::default();
    let mut settings = in_pieces(1);
    settings.segment_bytes_max = 8_000;
    let mut store = open(&disk, &settings);
    make_channels(&mut store, 100);
    let first = store.active.head.number;
    // Those that stand in the copied part only.
    let (mut said, mut keys) = (0, Vec::new());
    while store.active.head.number == first {
        said += 1;
        let mut message = message("tea", "id", "once");
        if store.rollover.is_some() {
            message.idempotency_key = Some(said.into());
            keys.push(said);
        }
        put(&mut store, Record::Message(message)).unwrap();
        store.maintain(NOW).unwrap();
        store.upkeep();
    }
    assert!(keys.len() > 3 && store.active.begun_at > store.active.head.checkpoint_end);
    while store.upkeep() == Upkeep::More {}
    // So it is not given up while the repeats are known, or one of its messages is kept.
    assert_eq!(store.active.repeatable_ms, Some(NOW));
    let newest = {
        let state = store.view.state();
        state.channel("tea").unwrap().log.location(said).unwrap()
    };
    assert_eq!(newest.segment, store.active.head.number);
    drop(store);
    let mut store = open(&disk, &settings);
    for key in keys {
        let mut message = message("tea", "id", "again");
        message.idempotency_key = Some(key.into());
        let appended = store.append(NOW, &Record::Message(message)).unwrap();
        assert!(
            matches!(appended, Appended::Repeat(at) if at.offset == key),
            "{key}"
        );
    }
}

#[test]
fn an_operation_that_fails_while_a_segment_is_begun_loses_nothing_of_what_comes_then() {
    for nth in 0..16 {
        let disk = Disk::default();
        let mut settings = in_pieces(1);
        settings.segment_bytes_max = 4_000;
        let mut store = open(&disk, &settings);
        make_channels(&mut store, 40);
        let mut kept = Vec::new();
        while store.active.written() < 3_000 {
            say(&mut store, "tea", "before");
            store.commit().unwrap();
            store.upkeep();
            kept.push("before".to_owned());
        }
        disk.fail(nth, 1, Fault::Forgets);
        let mut now = NOW;
        _ = store.maintain(now);
        for number in 0..30 {
            let data = number.to_string();
            let message = message("tea", "id", &data);
            let taken = store.append(now, &Record::Message(message)).is_ok();
            if store.commit().is_ok() && taken {
                kept.push(data);
            }
            store.upkeep();
        }
        disk.heal();
        while let Err(error) = store.maintain(now) {
            now += 1_000;
            assert!(now < NOW + 20_000, "{nth}: {error}");
        }
        assert_eq!(heard(&*store.reader(), "tea"), kept, "{nth}");
        drop(store);
        assert_eq!(
            heard(&*open(&disk, &settings).reader(), "tea"),
            kept,
            "{nth}"
        );
    }
}

#[test]
fn damage_to_what_was_said_while_a_segment_was_made_is_named() {
    let disk = Disk::default();
    let mut settings = in_pieces(1);
    settings.segment_bytes_max = 4_000;
    let mut store = open(&disk, &settings);
    make_channels(&mut store, 30);
    let first = store.active.head.number;
    while store.active.head.number == first {
        say(&mut store, "tea", "meanwhile");
        store.commit().unwrap();
        store.maintain(NOW).unwrap();
        store.upkeep();
    }
    let (tail, path) = (store.active.head.checkpoint_end, store.active.path.clone());
    assert!(tail < store.active.begun_at);
    store.maintain(NOW).unwrap();
    let crashed = disk.copy();
    let mut bytes = crashed.read(&path);
    bytes[tail as usize + 60] ^= 1;
    crashed.put(&path, &bytes);
    let opened = Journal::open_on(Arc::new(crashed), settings);
    assert!(
        matches!(opened, Err(StoreError::Damaged { .. })),
        "{opened:?}"
    );
}
