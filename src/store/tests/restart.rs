//! What is there after a start.

use std::sync::Arc;

use super::common::{ALL, NOW, at, data, heard, message, put, say, settings};
use crate::store::{
    Appended, Channel, Journal, Known, Message, Reader, Record, Retention, Store, StoreError,
};

/// All that a reader can be asked.
fn everything(reader: &dyn Reader) -> String {
    let mut told = Vec::new();
    reader.each(&mut |known| {
        told.push(format!("{known:?}"));
        if let Known::Channel(name, _) = known {
            told.push(format!("{:?}", reader.page(name, ALL).unwrap()));
        }
    });
    told.sort_unstable();
    let totals = reader.totals();
    format!(
        "{told:#?} {} {} {:?} {} {} {}",
        reader.mark("gate"),
        reader.serials_below(),
        reader.key(),
        reader.forgotten(),
        totals.messages,
        totals.channels
    )
}

fn fill(store: &mut dyn Store, round: u64) {
    let number = round.to_string();
    let private = Message {
        second: Some(Channel {
            name: "@ann",
            epoch: 9,
        }),
        sameness: Some(round.into()),
        mark: Some(("gate", round)),
        to: Some("bob"),
        ..message("@bob", "id", &number)
    };
    let records = [
        Record::Message(private),
        Record::Message(message("tea", "id", &number)),
        Record::Ack {
            channel: "tea",
            reader: "bob",
            offset: round,
        },
        Record::Member {
            room: "tea",
            user: if round.is_multiple_of(2) {
                "bob"
            } else {
                "ann"
            },
            lasting: !round.is_multiple_of(3),
        },
        Record::Serials { below: round * 64 },
        Record::Trim {
            channel: "@bob",
            through: round / 2,
        },
        Record::Purge {
            channel: "pot",
            epoch: round as u32,
        },
        Record::Message(message("pot", "id", &number)),
        Record::Purge {
            channel: "cup",
            epoch: round as u32,
        },
        Record::Forget { channel: "cup" },
    ];
    for record in records {
        store.append(NOW, &record).unwrap();
    }
    store.commit().unwrap();
}

#[test]
fn all_is_there_again_after_a_start_also_over_many_files() {
    for segment_bytes_max in [64 << 20, 2_000] {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = settings(directory.path());
        settings.segment_bytes_max = segment_bytes_max;
        let mut before = String::new();
        for round in 1..=60 {
            let mut store = Journal::open(settings.clone()).unwrap();
            if round > 1 {
                assert_eq!(everything(&*store.reader()), before, "round {round}");
                let repeat = Message {
                    sameness: Some(u128::from(round - 1)),
                    ..message("@bob", "id", "again")
                };
                let position = at(7, round - 1);
                let appended = store.append(NOW, &Record::Message(repeat)).unwrap();
                assert_eq!(appended, Appended::Repeat(position));
            }
            fill(&mut store, round);
            store.maintain(NOW).unwrap();
            before = everything(&*store.reader());
        }
    }
}

#[test]
fn a_second_process_is_kept_out() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(directory.path());
    let store = Journal::open(settings.clone()).unwrap();
    let second = Journal::open(settings.clone());
    assert!(matches!(second, Err(StoreError::Locked { .. })));
    drop(store);
    Journal::open(settings).unwrap();
}

#[test]
fn retention_holds_after_a_start_and_dead_files_go() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(directory.path());
    settings.segment_bytes_max = 4_000;
    settings.retention = Arc::new(|_| Retention {
        messages_max: 5,
        ..Retention::UNBOUNDED
    });
    let mut store = Journal::open(settings.clone()).unwrap();
    for number in 1..=1_000 {
        say(&mut store, "tea", &number.to_string());
        store.commit().unwrap();
    }
    let heard_before = heard(&*store.reader(), "tea");
    assert_eq!(heard_before, ["996", "997", "998", "999", "1000"]);
    assert!(store.reader().totals().segments <= 3);
    drop(store);
    let store = Journal::open(settings).unwrap();
    assert_eq!(heard(&*store.reader(), "tea"), heard_before);
    assert_eq!(store.reader().channel("tea").unwrap().floor, 995);
}

#[test]
fn a_page_is_read_while_its_files_go_away() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(directory.path());
    settings.segment_bytes_max = 1_000;
    let mut store = Journal::open(settings).unwrap();
    let reader = store.reader();
    say(&mut store, "tea", "0");
    store.commit().unwrap();
    let reads = std::thread::spawn(move || {
        let mut pages = 0;
        loop {
            let page = reader.page("tea", ALL).unwrap();
            let state = page.state.unwrap();
            assert_eq!(data(&page).len() as u64, state.newest - state.floor);
            pages += 1;
            if state.epoch == 99 {
                return pages;
            }
        }
    });
    for number in 0..300 {
        say(&mut store, "tea", "12345678");
        if number % 5 == 0 {
            let through = u64::max(number, 5) - 5;
            let channel = "tea";
            (store.append(NOW, &Record::Trim { channel, through })).unwrap();
        }
        store.commit().unwrap();
    }
    let purge = Record::Purge {
        channel: "tea",
        epoch: 99,
    };
    put(&mut store, purge).unwrap();
    assert!(reads.join().unwrap() > 0);
}
