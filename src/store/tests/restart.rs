//! What is there after a start.

use std::sync::Arc;

use super::common::{ALL, NOW, at, data, epoch, heard, message, put, say, settings};
use crate::store::{
    Appended, Channel, Journal, MessageBody, MessageRecord, Reader, Record, Retention, StateRecord,
    Store, StoreError,
};

/// All that a reader can be asked.
pub(super) fn everything(reader: &dyn Reader) -> String {
    let mut told = Vec::new();
    reader.each(&mut |known| {
        told.push(format!("{known:?}"));
        if let StateRecord::Channel(name, _) = known {
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

/// Records of each kind, in channels that last and in a new one.
pub(super) fn fill(store: &mut dyn Store, round: u64) {
    let number = round.to_string();
    let (line, before) = (format!("@{round}"), format!("@{}", round - 1));
    let private = MessageRecord {
        second: Some(Channel::stored("@ann", epoch(9))),
        idempotency_key: Some(round.into()),
        mark: Some(("gate", round)),
        body: MessageBody {
            to: Some("bob"),
            ..message("@bob", "id", &number).body
        },
        ..message("@bob", "id", &number)
    };
    let records = [
        Record::Message(private),
        Record::Message(message("tea", "id", &number)),
        Record::Message(MessageRecord {
            opens: true,
            ..message(&line, "id", &number)
        }),
        Record::Claim {
            channel: if round.is_multiple_of(3) {
                &before
            } else {
                "nowhere"
            },
        },
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
            epoch: epoch(round as u32),
        },
        Record::Message(message("pot", "id", &number)),
        Record::Purge {
            channel: "cup",
            epoch: epoch(round as u32),
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
                let repeat = MessageRecord {
                    idempotency_key: Some(u128::from(round - 1)),
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

/// Who opened which channel.
fn openers(reader: &dyn Reader) -> Vec<(String, String)> {
    let mut openers = Vec::new();
    reader.each(&mut |known| {
        if let StateRecord::Opener { channel, user } = known {
            openers.push((channel.to_owned(), user.to_owned()));
        }
    });
    openers.sort_unstable();
    openers
}

#[test]
fn a_channel_counts_for_the_one_who_opened_it_until_it_is_claimed_also_after_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(directory.path());
    let opening = |channel, from| {
        let mut record = message(channel, "id", "1");
        record.body.from = Some(from);
        record.opens = true;
        Record::Message(record)
    };
    let mut store = Journal::open(settings.clone()).unwrap();
    for (channel, from) in [("@x", "ann"), ("@y", "ann"), ("tea", "bob"), ("@x", "bob")] {
        put(&mut store, opening(channel, from)).unwrap();
    }
    say(&mut store, "@z", "not opened by anybody");
    put(&mut store, opening("@z", "bob")).unwrap();
    let pair = |channel: &str, user: &str| (channel.to_owned(), user.to_owned());
    let opened = [pair("@x", "ann"), pair("@y", "ann"), pair("tea", "bob")];
    assert_eq!(openers(&*store.reader()), opened);
    drop(store);
    let mut store = Journal::open(settings.clone()).unwrap();
    assert_eq!(openers(&*store.reader()), opened);
    put(&mut store, Record::Claim { channel: "@x" }).unwrap();
    drop(store);
    let store = Journal::open(settings).unwrap();
    assert_eq!(openers(&*store.reader()), opened[1..]);
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
            if state.epoch == epoch(99) {
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
        epoch: epoch(99),
    };
    put(&mut store, purge).unwrap();
    assert!(reads.join().unwrap() > 0);
}

#[test]
fn what_is_too_old_gives_its_room_back_while_more_comes() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(directory.path());
    settings.segment_bytes_max = 20_000;
    settings.dedup_ms = 1_000;
    settings.retention = Arc::new(|_| Retention {
        age_ms_max: 5_000,
        ..Retention::UNBOUNDED
    });
    let mut store = Journal::open(settings).unwrap();
    let (mut now, mut most) = (NOW, 0);
    for number in 0..3_000_u64 {
        now += 20;
        let message = MessageRecord {
            body: MessageBody {
                ts: now,
                ..message("tea", "id", "12345678").body
            },
            idempotency_key: Some(number.into()),
            ..message("tea", "id", "12345678")
        };
        store.append(now, &Record::Message(message)).unwrap();
        store.commit().unwrap();
        if number % 5 == 0 {
            store.maintain(now).unwrap();
            most = most.max(store.reader().totals().bytes);
        }
    }
    // Five seconds are 250 messages of some 120 bytes with their batches.
    assert!(most < 80_000, "{most}");
    let files = std::fs::read_dir(directory.path()).unwrap();
    let bytes: u64 = files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes < 80_000, "{bytes}");
    store.maintain(now + 10_000).unwrap();
    store.maintain(now + 12_000).unwrap();
    let totals = store.reader().totals();
    assert_eq!((totals.messages, totals.trimmed), (0, 3_000));
    assert!(totals.bytes < 20_000, "{}", totals.bytes);
}

#[test]
fn the_last_records_of_a_nearly_dead_file_move_on_and_stay_where_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(directory.path());
    settings.segment_bytes_max = 20_000;
    settings.retention = Arc::new(|name| Retention {
        messages_max: if name == "busy" { 10 } else { u64::MAX },
        ..Retention::UNBOUNDED
    });
    let mut store = Journal::open(settings.clone()).unwrap();
    let quiet = MessageRecord {
        second: Some(Channel::stored("quiet too", epoch(9))),
        body: MessageBody {
            to: Some("bob"),
            ..message("quiet", "the id", "old").body
        },
        ..message("quiet", "the id", "old")
    };
    for number in 0..2_000 {
        if number % 100 == 0 {
            store.append(NOW, &Record::Message(quiet)).unwrap();
        }
        say(&mut store, "busy", "12345678");
        // What moves is no part of what was appended meanwhile.
        if number % 2 == 0 {
            store.maintain(NOW).unwrap();
        }
        store.commit().unwrap();
        store.maintain(NOW).unwrap();
    }
    let reader = store.reader();
    let before = reader.page("quiet", ALL).unwrap();
    assert_eq!(before.messages.len(), 20);
    assert_eq!(before.messages[19].position, at(7, 20));
    assert_eq!(&*before.messages[0].body.id, "the id");
    let totals = reader.totals();
    assert!(totals.moved >= 10, "{totals:?}");
    assert!(totals.segments <= 4, "{totals:?}");
    drop(store);
    let mut tell = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        if line["kind"] == "moved" && line["id"] == "the id" {
            assert_eq!(line["places"].as_array().unwrap().len(), 2, "{line}");
        }
        Ok(())
    };
    crate::store::dump(directory.path(), &mut tell).unwrap();
    let store = Journal::open(settings).unwrap();
    let reader = store.reader();
    assert_eq!(reader.page("quiet", ALL).unwrap(), before);
    assert_eq!(heard(&*reader, "quiet too").len(), 20);
}
