//! What holds for every store.

use super::common::{ALL, NOW, at, data, epoch, heard, message, put, say, settings};
use crate::store::{
    Appended, Channel, ChannelState, Journal, MemoryStore, MessageBody, MessageRecord, PageRange,
    Record, Retention, StateRecord, Store, StoreError, StoreSettings,
};
use std::sync::Arc;

/// Runs a test with both stores; the journal's directory is empty.
fn both(change: impl Fn(&mut StoreSettings), test: impl Fn(&mut dyn Store)) {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(directory.path());
    change(&mut settings);
    test(&mut MemoryStore::new(settings.clone()));
    test(&mut Journal::open(settings).unwrap());
}

fn same(idempotency_key: u128, message: MessageRecord<'_>) -> Record<'_> {
    Record::Message(MessageRecord {
        idempotency_key: Some(idempotency_key),
        ..message
    })
}

#[test]
fn a_message_is_seen_once_it_is_committed_and_not_before() {
    both(
        |_| {},
        |store| {
            let reader = store.reader();
            assert_eq!(say(store, "tea", "1"), Appended::Message(at(7, 1), None));
            assert_eq!(say(store, "tea", "2"), Appended::Message(at(7, 2), None));
            assert_eq!(reader.channel("tea"), None);
            assert_eq!(heard(&*reader, "tea"), [""; 0]);
            store.commit().unwrap();
            let state = ChannelState {
                epoch: epoch(7),
                newest: 2,
                floor: 0,
            };
            assert_eq!(reader.channel("tea"), Some(state));
            let page = reader.page("tea", ALL).unwrap();
            assert_eq!(
                (data(&page), page.state),
                (vec!["1".into(), "2".into()], Some(state))
            );
            assert_eq!(page.messages[1].position, at(7, 2));
            assert_eq!(page.messages[0].body.from.as_deref(), Some("ann"));
            assert_eq!(
                (
                    page.messages[0].body.to.as_deref(),
                    page.messages[0].body.ts
                ),
                (None, NOW)
            );
        },
    );
}

#[test]
fn a_private_message_stands_in_two_channels() {
    both(
        |_| {},
        |store| {
            let private = MessageRecord {
                second: Some(Channel::stored("@ann", epoch(9))),
                body: MessageBody {
                    to: Some("bob"),
                    ..message("@bob", "id", "psst").body
                },
                ..message("@bob", "id", "psst")
            };
            say(store, "@ann", "before");
            let appended = put(store, Record::Message(private)).unwrap();
            assert_eq!(appended, Appended::Message(at(7, 1), Some(at(7, 2))));
            let reader = store.reader();
            assert_eq!(heard(&*reader, "@ann"), ["before", "psst"]);
            assert_eq!(heard(&*reader, "@bob"), ["psst"]);
        },
    );
}

#[test]
fn a_repeat_is_known_in_its_batch_and_after_it_until_its_time_is_over() {
    both(
        |settings| settings.dedup_ms = 1_000,
        |store| {
            let record = same(5, message("tea", "a", "1"));
            let first = store.append(NOW, &record).unwrap();
            assert_eq!(first, Appended::Message(at(7, 1), None));
            assert_eq!(
                store.append(NOW, &record).unwrap(),
                Appended::Repeat(at(7, 1))
            );
            store.commit().unwrap();
            assert_eq!(
                store.append(NOW + 1_000, &record).unwrap(),
                Appended::Repeat(at(7, 1))
            );
            assert_eq!(
                store.append(NOW + 1_001, &record).unwrap(),
                Appended::Message(at(7, 2), None)
            );
            store.commit().unwrap();
            assert_eq!(store.reader().totals().repeats, 2);
        },
    );
}

#[test]
fn a_repeat_of_a_message_that_had_to_be_forgotten_early_is_a_new_one_and_that_is_counted() {
    both(
        |settings| settings.dedup_entries_max = 2,
        |store| {
            for key in 1..=3 {
                put(store, same(key, message("tea", "a", "1"))).unwrap();
            }
            let described = store.reader().totals().described();
            let forgotten = described.iter().find(|n| n.name == "repeats_forgotten");
            assert_eq!(forgotten.map(|number| number.value), Some(1));
            let mut again = |key| put(store, same(key, message("tea", "a", "1"))).unwrap();
            assert_eq!(again(3), Appended::Repeat(at(7, 3)));
            assert_eq!(again(1), Appended::Message(at(7, 4), None));
        },
    );
}

#[test]
fn a_mark_settles_with_its_message_with_a_repeat_and_alone() {
    both(
        |_| {},
        |store| {
            let marked = |number, idempotency_key| {
                Record::Message(MessageRecord {
                    mark: Some(("gate", number)),
                    idempotency_key: Some(idempotency_key),
                    ..message("tea", "a", "1")
                })
            };
            let reader = store.reader();
            let first = put(store, marked(3, 1)).unwrap();
            assert_eq!(first, Appended::Message(at(7, 1), None));
            assert_eq!(reader.mark("gate"), 3);
            assert_eq!(put(store, marked(3, 2)).unwrap(), Appended::Settled);
            assert_eq!(
                put(store, marked(4, 1)).unwrap(),
                Appended::Repeat(at(7, 1))
            );
            assert_eq!(reader.mark("gate"), 4);
            let mark = |number| Record::Mark {
                producer: "gate",
                number,
            };
            assert_eq!(put(store, mark(9)).unwrap(), Appended::Noted);
            assert_eq!(put(store, mark(8)).unwrap(), Appended::Noted);
            assert_eq!((reader.mark("gate"), reader.mark("other")), (9, 0));
            assert_eq!(reader.totals().messages, 1);
        },
    );
}

#[test]
fn ranges_are_those_of_the_history() {
    both(
        |_| {},
        |store| {
            for number in 1..=9 {
                say(store, "tea", &number.to_string());
            }
            store.commit().unwrap();
            let trim = Record::Trim {
                channel: "tea",
                through: 2,
            };
            put(store, trim).unwrap();
            let reader = store.reader();
            let page = |after, before, limit| {
                let range = PageRange {
                    after,
                    before,
                    limit,
                    ..ALL
                };
                let page = reader.page("tea", range).unwrap();
                (data(&page).concat(), page.more)
            };
            assert_eq!(page(None, None, 3), ("345".into(), true));
            assert_eq!(page(Some(0), None, 3), ("345".into(), true));
            assert_eq!(page(Some(6), None, 3), ("789".into(), false));
            assert_eq!(page(Some(9), None, 3), (String::new(), false));
            assert_eq!(page(Some(99), None, 3), (String::new(), false));
            assert_eq!(page(Some(4), Some(7), 9), ("56".into(), false));
            assert_eq!(page(None, Some(7), 3), ("654".into(), true));
            assert_eq!(page(None, Some(5), 3), ("43".into(), false));
            assert_eq!(page(None, Some(3), 3), (String::new(), false));
            assert_eq!(page(None, Some(99), 2), ("98".into(), true));
            assert_eq!(page(None, None, 0), (String::new(), true));
            let range = PageRange {
                bytes_max: 1,
                ..ALL
            };
            let page = reader.page("tea", range).unwrap();
            assert_eq!((data(&page).concat(), page.more), ("3".into(), true));
        },
    );
}

#[test]
fn a_purge_begins_anew_and_a_forgotten_channel_is_gone() {
    both(
        |_| {},
        |store| {
            say(store, "tea", "1");
            store.commit().unwrap();
            let ack = Record::Ack {
                channel: "tea",
                reader: "bob",
                offset: 1,
            };
            put(store, ack).unwrap();
            let reader = store.reader();
            assert_eq!(reader.acked("tea", "bob"), Some(1));
            put(store, Record::Forget { channel: "tea" }).unwrap();
            assert_eq!(
                (reader.channel("tea").unwrap().newest, reader.forgotten()),
                (1, 0)
            );
            let purge = Record::Purge {
                channel: "tea",
                epoch: epoch(8),
            };
            put(store, purge).unwrap();
            let empty = ChannelState {
                epoch: epoch(8),
                newest: 0,
                floor: 0,
            };
            assert_eq!(reader.channel("tea"), Some(empty));
            assert_eq!(reader.acked("tea", "bob"), None);
            assert_eq!(say(store, "tea", "2"), Appended::Message(at(8, 1), None));
            store.commit().unwrap();
            put(
                store,
                Record::Purge {
                    channel: "tea",
                    epoch: epoch(9),
                },
            )
            .unwrap();
            put(store, Record::Forget { channel: "tea" }).unwrap();
            assert_eq!((reader.channel("tea"), reader.forgotten()), (None, 1));
            put(store, Record::Forget { channel: "tea" }).unwrap();
            put(store, ack).unwrap();
            assert_eq!((reader.acked("tea", "bob"), reader.forgotten()), (None, 1));
        },
    );
}

#[test]
fn members_and_serials_are_told_and_each_once() {
    both(
        |_| {},
        |store| {
            let member = |user, lasting| Record::Member {
                room: "tea",
                user,
                lasting,
            };
            say(store, "tea", "1");
            for record in [
                member("ann", true),
                member("bob", true),
                member("ann", false),
            ] {
                store.append(NOW, &record).unwrap();
            }
            store.append(NOW, &Record::Serials { below: 64 }).unwrap();
            store.append(NOW, &Record::Serials { below: 32 }).unwrap();
            store
                .append(
                    NOW,
                    &Record::Ack {
                        channel: "tea",
                        reader: "bob",
                        offset: 1,
                    },
                )
                .unwrap();
            store.commit().unwrap();
            let (mut told, reader) = (Vec::new(), store.reader());
            reader.each(&mut |known| told.push(format!("{known:?}")));
            let state = reader.channel("tea").unwrap();
            let expected = [
                StateRecord::Channel("tea", state),
                StateRecord::Ack {
                    channel: "tea",
                    reader: "bob",
                    offset: 1,
                },
                StateRecord::Member {
                    room: "tea",
                    user: "bob",
                },
            ];
            assert_eq!(told, expected.map(|known| format!("{known:?}")));
            assert_eq!(reader.serials_below(), 64);
        },
    );
}

#[test]
fn retention_lets_the_oldest_go_by_count_bytes_and_age() {
    let retention = |name: &str| match name {
        "count" => Retention {
            messages_max: 2,
            ..Retention::UNBOUNDED
        },
        "bytes" => Retention {
            bytes_max: 200,
            ..Retention::UNBOUNDED
        },
        "age" => Retention {
            age_ms_max: 5_000,
            ..Retention::UNBOUNDED
        },
        _ => Retention::UNBOUNDED,
    };
    both(
        |settings| settings.retention = Arc::new(retention),
        |store| {
            for number in 1..=20 {
                for channel in ["count", "bytes", "age", "all"] {
                    let message = MessageRecord {
                        body: MessageBody {
                            ts: NOW + number * 1_000,
                            ..message(channel, "id", "12345678").body
                        },
                        ..message(channel, "id", "12345678")
                    };
                    store.append(NOW, &Record::Message(message)).unwrap();
                }
            }
            store.commit().unwrap();
            store.maintain(NOW + 20_000).unwrap();
            let reader = store.reader();
            let kept = |name| {
                let state = reader.channel(name).unwrap();
                assert_eq!(state.newest, 20);
                assert_eq!(
                    heard(&*reader, name).len() as u64,
                    20 - state.floor,
                    "{name}"
                );
                20 - state.floor
            };
            assert_eq!((kept("count"), kept("age"), kept("all")), (2, 5, 20));
            assert!((2..6).contains(&kept("bytes")), "{}", kept("bytes"));
            let totals = reader.totals();
            assert_eq!(totals.trimmed, 18 + 15 + 20 - kept("bytes"));
            assert_eq!(totals.messages, 27 + kept("bytes"));
        },
    );
}

#[test]
fn every_bound_is_named_and_the_rest_of_the_batch_stays() {
    both(
        |settings| {
            settings.channels_max = 2;
            settings.acks_per_channel_max = 1;
            settings.producers_max = 1;
            settings.members_max = 1;
        },
        |store| {
            say(store, "a", "1");
            let private = MessageRecord {
                second: Some(Channel::stored("c", epoch(1))),
                ..message("b", "id", "1")
            };
            let ack = |reader| Record::Ack {
                channel: "a",
                reader,
                offset: 1,
            };
            let mark = |producer| Record::Mark {
                producer,
                number: 1,
            };
            let member = |user| Record::Member {
                room: "a",
                user,
                lasting: true,
            };
            let mut refused = |record| match store.append(NOW, &record) {
                Err(StoreError::TooMany { what, .. }) => what,
                other => panic!("{other:?}"),
            };
            assert_eq!(refused(Record::Message(private)), "channels");
            say(store, "b", "1");
            for record in [ack("x"), mark("x"), member("x")] {
                store.append(NOW, &record).unwrap();
            }
            let mut refused = |record| match store.append(NOW, &record) {
                Err(StoreError::TooMany { what, .. }) => what,
                other => panic!("{other:?}"),
            };
            assert_eq!(
                refused(Record::Purge {
                    channel: "c",
                    epoch: epoch(1)
                }),
                "channels"
            );
            assert_eq!(refused(ack("y")), "readers of one channel");
            assert_eq!(refused(mark("y")), "producers");
            assert_eq!(refused(member("y")), "lasting members");
            store.commit().unwrap();
            let reader = store.reader();
            assert_eq!(
                (heard(&*reader, "b").len(), reader.totals().channels),
                (1, 2)
            );
            assert!(store.append(NOW, &ack("y")).is_err());
            store.append(NOW, &ack("x")).unwrap();
        },
    );
}

#[test]
fn a_store_that_may_not_let_go_says_that_it_is_full() {
    both(
        |settings| {
            settings.bytes_max = 20_000;
            settings.when_full = crate::store::WhenFull::Refuse;
        },
        |store| {
            let refused = (0..1_000).find_map(|_| {
                let message = message("tea", "id", "12345678");
                let error = store.append(NOW, &Record::Message(message)).err();
                store.commit().unwrap();
                error
            });
            let bytes = store.reader().totals().bytes;
            assert!(matches!(
                refused,
                Some(StoreError::Full { bytes_max: 20_000 })
            ));
            assert!((19_000..21_000).contains(&bytes), "{bytes}");
            let purge = Record::Purge {
                channel: "tea",
                epoch: epoch(8),
            };
            put(store, purge).unwrap();
            store.maintain(NOW + 2_000).unwrap();
            say(store, "tea", "there is room again");
        },
    );
}

#[test]
fn a_store_that_may_let_go_stays_in_its_bound() {
    both(
        |settings| settings.bytes_max = 64 << 10,
        |store| {
            for number in 0..3_000 {
                say(store, if number % 2 == 0 { "a" } else { "b" }, "12345678");
                store.commit().unwrap();
                let bytes = store.reader().totals().bytes;
                assert!(bytes <= 64 << 10, "{bytes}");
            }
            let reader = store.reader();
            let state = reader.channel("a").unwrap();
            assert_eq!(state.newest, 1_500);
            assert!(state.floor > 500, "{state:?}");
            assert_eq!(heard(&*reader, "a").len() as u64, 1_500 - state.floor);
        },
    );
}
