//! A journal in the next image of the program: it goes on by what was written down as if nothing had
//! been, or reads its files on any doubt; and changes nothing before its first record.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::broken::Disk;
use super::common::{NOW, at, epoch, heard, message, put, say, settings};
use super::model::Model;
use super::property::{Batch, Pair, open, rounds};
use crate::handover::{HandoverError, Section, SectionWriter};
use crate::store::{
    Appended, JOURNAL_FORMAT, Journal, MessageRecord, Reader, Record, Retention, StateRecord,
    Store, StoreError, StoreSettings, names,
};

const DIRECTORY: &str = "/store";

fn small() -> StoreSettings {
    StoreSettings {
        segment_bytes_max: 2_000,
        ..settings(Path::new(DIRECTORY))
    }
}

fn segment(number: u32) -> PathBuf {
    Path::new(DIRECTORY).join(names::segment(number))
}

/// What a store writes down once nothing is left to do.
fn handed_over(store: &mut Journal) -> SectionWriter {
    // The first one confirms what was written, and the second one makes that durable.
    (0..2).for_each(|_| store.rest());
    store.hand_over().expect("its files are as they should be")
}

fn of(bytes: &[u8]) -> Section<'_> {
    Section::of(JOURNAL_FORMAT.name, JOURNAL_FORMAT.version, bytes)
}

/// The store in the next image, and whether its files were left unread.
fn resume(
    disk: &Disk,
    settings: &StoreSettings,
    section: Option<Section<'_>>,
) -> Result<(Journal, bool), StoreError> {
    Journal::resume_on(Arc::new(disk.clone()), settings.clone(), section.as_ref())
}

fn repeatable(channel: &'static str, key: u128) -> Record<'static> {
    Record::Message(MessageRecord {
        idempotency_key: Some(key),
        ..message(channel, "id", "again")
    })
}

/// What a store says to each message that may be a repeat.
fn repeats(store: &mut Journal, now_ms: u64) -> Vec<Appended> {
    let said = (0..60).map(|key| store.append(now_ms, &repeatable("tea", key)));
    said.map(Result::unwrap).collect()
}

/// A store in which each thing that can be written down is there, and its disk.
fn with_everything() -> (Disk, Journal) {
    let disk = Disk::default();
    let mut store = open(&disk, &small()).unwrap();
    for number in 0..40 {
        let channel = ["tea", "pot", "@ann"][number % 3];
        say(&mut store, channel, &format!("said {number}"));
        store.commit().unwrap();
    }
    let opening = MessageRecord {
        opens: true,
        idempotency_key: Some(7),
        mark: Some(("shop", 3)),
        ..message("club", "id", "opened")
    };
    let member = |user: &'static str| Record::Member {
        room: "club",
        user,
        lasting: true,
    };
    let ack = Record::Ack {
        channel: "tea",
        reader: "bob",
        offset: 2,
    };
    let records = [
        Record::Message(opening),
        repeatable("pot", 8),
        member("ann"),
        member("bob"),
        ack,
        Record::Trim {
            channel: "pot",
            through: 3,
        },
        Record::Trim {
            channel: "@ann",
            through: 13,
        },
        Record::Forget { channel: "@ann" },
        Record::Serials { below: 9 },
        Record::Purge {
            channel: "tea",
            epoch: epoch(11),
        },
        Record::Ack {
            channel: "pot",
            reader: "cy",
            offset: 5,
        },
    ];
    for record in records {
        put(&mut store, record).unwrap();
    }
    say(&mut store, "tea", "anew");
    store.commit().unwrap();
    (disk, store)
}

/// All that a reader can see, but for the bodies.
fn known(reader: &dyn Reader) -> Vec<String> {
    let mut known = Vec::new();
    reader.each(&mut |record: StateRecord<'_>| known.push(format!("{record:?}")));
    known.sort_unstable();
    let (serials, forgotten) = (reader.serials_below(), reader.forgotten());
    let mark = reader.mark("shop");
    known.push(format!("{mark} {serials} {forgotten} {:?}", reader.key()));
    known
}

#[test]
fn a_journal_goes_on_by_what_was_written_down_as_if_nothing_had_been() {
    let (mut handovers, mut moved, mut dropped, mut rolled) = (0, 0, 0, 0);
    for seed in 0..rounds(20) {
        let mut disk = Disk::default();
        let mut pair = Pair::new(seed);
        let mut store = open(&disk, &pair.settings).unwrap();
        for _ in 0..40 {
            assert!(matches!(pair.batch(&mut store), Batch::Committed), "{seed}");
            pair.pass(&mut store).unwrap();
            pair.compare(&store);
            if pair.dice.below(4) > 0 {
                continue;
            }
            handovers += 1;
            let totals = store.reader().totals();
            (moved, rolled) = (moved + totals.moved, rolled + totals.segments_begun);
            dropped += u64::from(totals.bytes < pair.settings.bytes_max && totals.trimmed > 0);
            let section = handed_over(&mut store);
            let next_disk = disk.as_it_is();
            let section_of = Some(of(section.as_bytes()));
            let (mut next, is_resumed) = resume(&next_disk, &pair.settings, section_of).unwrap();
            assert!(is_resumed, "{seed}");
            assert_eq!(handed_over(&mut next).as_bytes(), section.as_bytes());
            pair.compare(&next);
            compare_with_a_start(&disk, &pair, &section);
            (store, disk) = (next, next_disk);
        }
    }
    // Otherwise nothing was tried.
    assert!(handovers > 0 && moved > 0 && dropped > 0 && rolled > 0);
}

/// A store that reads its files knows the same as one that was written down.
fn compare_with_a_start(disk: &Disk, pair: &Pair, section: &SectionWriter) {
    if pair.settings.bytes_max < 1 << 30 {
        // What had to go for want of room comes back with a start.
        return;
    }
    let mut started = open(&disk.as_it_is(), &pair.settings).unwrap();
    let section = Some(of(section.as_bytes()));
    let (mut resumed, _) = resume(&disk.as_it_is(), &pair.settings, section).unwrap();
    for store in [&mut started, &mut resumed] {
        store.maintain(pair.now).unwrap();
    }
    let seen = |store: &Journal| Model::of(&*store.reader(), &pair.model);
    assert_eq!(seen(&started), seen(&resumed));
    let repeats_of = |store| repeats(store, pair.now);
    assert_eq!(repeats_of(&mut started), repeats_of(&mut resumed));
}

#[test]
fn each_thing_that_was_written_down_is_there() {
    let (disk, mut store) = with_everything();
    let section = handed_over(&mut store);
    let next_disk = disk.as_it_is();
    let (mut next, is_resumed) =
        resume(&next_disk, &small(), Some(of(section.as_bytes()))).unwrap();
    assert!(is_resumed);
    assert_eq!(known(&*next.reader()), known(&*store.reader()));
    for channel in ["tea", "pot", "@ann", "club"] {
        let (here, there) = (store.reader(), next.reader());
        assert_eq!(heard(&*here, channel), heard(&*there, channel));
    }
    let (before, after) = (store.reader().totals(), next.reader().totals());
    assert_eq!(
        (before.messages, store.bytes()),
        (after.messages, after.bytes)
    );
    assert_eq!(
        (before.segments, before.trimmed),
        (after.segments, after.trimmed)
    );
    let again = put(&mut next, repeatable("pot", 8)).unwrap();
    assert!(matches!(again, Appended::Repeat(_)), "{again:?}");
    let late = NOW + small().dedup_ms + 1;
    let later = next.append(late, &repeatable("pot", 8)).unwrap();
    assert!(matches!(later, Appended::Message(..)), "its age is known");
    next.commit().unwrap();
    assert_eq!(
        say(&mut next, "tea", "goes on"),
        Appended::Message(at(11, 2), None)
    );
    next.commit().unwrap();
    let goes_on = known(&*next.reader());
    drop(next);
    let read = open(&next_disk, &small()).unwrap();
    assert_eq!(known(&*read.reader()), goes_on);
}

#[test]
fn a_file_that_was_changed_has_all_of_them_read() {
    let (disk, mut store) = with_everything();
    let section = handed_over(&mut store);
    let sealed = segment(*store.sealed.keys().next().unwrap());
    let active = store.active.path.clone();
    let later = segment(store.active.head.number + 1);
    let expected = known(&*store.reader());
    let same_bytes: &dyn Fn(&Disk, &Path) = &|disk, path| disk.put(path, &disk.read(path));
    let longer: &dyn Fn(&Disk, &Path) = &|disk, path| {
        disk.append(path, b"more");
    };
    let changes = [
        ("another file", &sealed, same_bytes),
        ("another file", &active, same_bytes),
        ("more bytes", &sealed, longer),
        ("more bytes", &active, longer),
    ];
    for (what, path, change) in changes {
        let next_disk = disk.as_it_is();
        change(&next_disk, path);
        let (next, is_resumed) =
            resume(&next_disk, &small(), Some(of(section.as_bytes()))).unwrap();
        assert!(!is_resumed, "{what}: {}", path.display());
        assert_eq!(known(&*next.reader()), expected, "{what}");
    }
    for path in [&sealed, &active] {
        let next_disk = disk.as_it_is();
        next_disk.take_away(path);
        let refused = resume(&next_disk, &small(), Some(of(section.as_bytes()))).map(drop);
        let started = open(&next_disk.as_it_is(), &small()).map(drop);
        assert!(refused.is_err() && started.is_err(), "{refused:?}");
    }
    let next_disk = disk.as_it_is();
    next_disk.put(&later, &disk.read(&active));
    let refused = resume(&next_disk, &small(), Some(of(section.as_bytes()))).map(drop);
    assert!(
        matches!(refused, Err(StoreError::Damaged { .. })),
        "a start would take it for the newest: {refused:?}"
    );
}

#[test]
fn without_a_section_that_this_version_knows_the_files_are_read() {
    let (disk, mut store) = with_everything();
    let section = handed_over(&mut store);
    let bytes = section.as_bytes();
    let newer = Section::of(JOURNAL_FORMAT.name, JOURNAL_FORMAT.version + 1, bytes);
    let cut = of(&bytes[..bytes.len() - 1]);
    let longer = [bytes, &[1, 0]].concat();
    for section in [
        None,
        Some(newer),
        Some(cut),
        Some(of(&longer)),
        Some(of(&[])),
    ] {
        let (next, is_resumed) = resume(&disk.as_it_is(), &small(), section).unwrap();
        assert!(!is_resumed);
        assert_eq!(known(&*next.reader()), known(&*store.reader()));
    }
}

#[test]
fn each_bit_that_is_flipped_is_refused_or_stands_for_what_it_says() {
    let (disk, mut store) = with_everything();
    let section = handed_over(&mut store);
    let bytes = section.as_bytes();
    let (mut refused, mut taken) = (0, 0);
    for place in 0..bytes.len() * 8 {
        let mut damaged = bytes.to_vec();
        damaged[place / 8] ^= 1 << (place % 8);
        match Journal::rehearse(&of(&damaged), small(), true) {
            Err(_) => refused += 1,
            // It is compared with what would be written down of it.
            Ok(next) => {
                taken += 1;
                assert_ne!(known(&*next.reader()).len(), 0);
            }
        }
        if place % 61 == 0 {
            let next_disk = disk.as_it_is();
            let (mut next, _) = resume(&next_disk, &small(), Some(of(&damaged))).unwrap();
            // Whatever became of it, nothing panics.
            for number in 0..4 {
                say(&mut next, "tea", "more");
                _ = next.append(NOW, &repeatable("pot", number));
                next.commit().unwrap();
                _ = next.maintain(NOW + number as u64);
                next.upkeep();
            }
            _ = next.reader().page("pot", super::common::ALL);
        }
    }
    assert!(refused > 1_000 && taken > 1_000, "{refused} {taken}");
}

#[test]
fn nothing_is_changed_before_the_first_record_and_a_start_left_undone_is_made_up_for() {
    let (disk, mut store) = with_everything();
    // The first file goes: nothing in it is needed any more.
    let trim = Record::Trim {
        channel: "pot",
        through: 100,
    };
    put(&mut store, trim).unwrap();
    for number in 0..40 {
        say(&mut store, "tea", "later");
        store.commit().unwrap();
        store.maintain(NOW + 400_000 + 1_000 * number).unwrap();
    }
    let section = handed_over(&mut store);
    let active = store.active.path.clone();
    let mut numbers = 1..store.active.head.number;
    let unneeded = numbers.find(|number| !store.sealed.contains_key(number));
    let unneeded = segment(unneeded.unwrap());
    let unfinished =
        segment(store.active.head.number + 1).display().to_string() + names::UNFINISHED;
    let unfinished = Path::new(&unfinished);
    for is_by_index in [true, false] {
        let next_disk = disk.as_it_is();
        next_disk.put(unfinished, b"half");
        if !is_by_index {
            next_disk.append(&active, b"torn");
            next_disk.put(&unneeded, b"of no use");
        }
        let before = everything(&next_disk);
        let given = is_by_index.then(|| of(section.as_bytes()));
        let (next, is_resumed) = resume(&next_disk, &small(), given).unwrap();
        assert_eq!(is_resumed, is_by_index);
        assert_eq!(everything(&next_disk), before);
        drop(next);
        assert_eq!(everything(&next_disk), before, "it can be gone back to");
        let given = is_by_index.then(|| of(section.as_bytes()));
        let next_disk = next_disk.as_it_is();
        let (mut next, _) = resume(&next_disk, &small(), given).unwrap();
        next.maintain(NOW).unwrap();
        let paths = next_disk.paths();
        assert!(!paths.contains(&unfinished.into()) && !paths.contains(&unneeded));
        say(&mut next, "tea", "goes on");
        next.commit().unwrap();
        let known_there = known(&*next.reader());
        drop(next);
        let read = open(&next_disk, &small()).unwrap();
        assert_eq!(read.reader().totals().torn_bytes, 0);
        assert_eq!(known(&*read.reader()), known_there);
    }
}

fn everything(disk: &Disk) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = disk.paths().into_iter();
    paths.map(|path| (path.clone(), disk.read(&path))).collect()
}

#[test]
fn messages_beyond_a_retention_that_has_become_smaller_go_in_the_next_image() {
    let (disk, mut store) = with_everything();
    let section = handed_over(&mut store);
    let fewer = StoreSettings {
        retention: Arc::new(|_| Retention {
            messages_max: 2,
            ..Retention::UNBOUNDED
        }),
        ..small()
    };
    let (mut next, is_resumed) =
        resume(&disk.as_it_is(), &fewer, Some(of(section.as_bytes()))).unwrap();
    assert!(is_resumed);
    next.maintain(NOW).unwrap();
    while next.upkeep() == crate::store::Upkeep::More {}
    assert_eq!(heard(&*next.reader(), "pot").len(), 2);
}

#[test]
fn a_rehearsal_has_the_index_and_compares_it() {
    let (_, mut store) = with_everything();
    let section = handed_over(&mut store);
    let rehearsed = Journal::rehearse(&of(section.as_bytes()), small(), true).unwrap();
    assert_eq!(known(&*rehearsed.reader()), known(&*store.reader()));
    let longer = [section.as_bytes(), &[1, 0]].concat();
    let refused = Journal::rehearse(&of(&longer), small(), false).map(drop);
    assert!(matches!(refused, Err(HandoverError::Field { .. })));
}

#[test]
fn a_journal_whose_file_isnt_what_it_wrote_writes_nothing_down() {
    let (disk, mut store) = with_everything();
    assert!(store.hand_over().is_none(), "it hasn't come to rest");
    store.rest();
    assert!(store.hand_over().is_some());
    disk.append(&store.active.path.clone(), b"by somebody else");
    assert!(store.hand_over().is_none());
}

/// Made by the first version that writes a journal down, of [`with_everything`].
const FIRST: &[u8] = include_bytes!("resume-1.bin");

#[test]
fn what_the_first_version_wrote_down_is_read() {
    let read = Journal::rehearse(&of(FIRST), small(), true).unwrap();
    let reader = read.reader();
    let mut channels = Vec::new();
    reader.each(&mut |known| {
        if let StateRecord::Channel(name, state) = known {
            channels.push((
                name.to_owned(),
                state.epoch.bits(),
                state.floor,
                state.newest,
            ));
        }
    });
    channels.sort_unstable();
    let expected = [("club", 7, 0, 1), ("pot", 7, 3, 14), ("tea", 11, 0, 1)];
    let expected = expected.map(|(name, epoch, floor, newest)| (name.into(), epoch, floor, newest));
    assert_eq!(channels, expected);
    assert_eq!(reader.acked("pot", "cy"), Some(5));
    assert_eq!((reader.mark("shop"), reader.serials_below()), (3, 9));
    assert_eq!(reader.forgotten(), 1);
}
