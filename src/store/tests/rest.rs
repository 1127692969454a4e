//! A journal at rest is whole for whoever opens the files, though nothing was dropped; and a store in
//! memory goes on in the next image.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::broken::Disk;
use super::common::{NOW, at, heard, message, say, settings};
use super::dice::Dice;
use crate::base::rest::RestOrder;
use crate::handover::{HandoverError, Section, SectionWriter};
use crate::store::{
    self, Appended, DiskJob, DiskSettings, JobOutcomes, Journal, MemoryStore, MessageRecord,
    Reader, Record, STORE_FORMAT, StateRecord, Store, StoreError, StoreSettings, SyncPolicy, names,
};

const DIRECTORY: &str = "/store";

const CHANNELS: [&str; 4] = ["tea", "nut", "@ann", "*"];

fn small() -> StoreSettings {
    StoreSettings {
        segment_bytes_max: 2_000,
        upkeep_records_max: 2,
        ..settings(Path::new(DIRECTORY))
    }
}

fn open(disk: &Disk, settings: StoreSettings) -> Result<Journal, StoreError> {
    Journal::open_on(Arc::new(disk.clone()), settings)
}

fn repeatable(channel: &'static str, key: u128) -> Record<'static> {
    Record::Message(MessageRecord {
        idempotency_key: Some(key),
        ..message(channel, "id", "again")
    })
}

/// Does something that a server asks of its store.
fn step(store: &mut dyn Store, dice: &mut Dice, now_ms: u64) {
    let name = CHANNELS[dice.below(4) as usize];
    match dice.below(12) {
        0..6 => _ = say(store, name, &format!("said {}", dice.below(1_000))),
        6 | 7 => _ = store.append(now_ms, &repeatable(name, dice.below(20).into())),
        8 => {
            let offset = dice.below(3);
            let record = Record::Ack {
                channel: name,
                reader: "bob",
                offset,
            };
            _ = store.append(now_ms, &record);
        }
        9 => {
            let number = dice.below(1_000);
            let mark = Record::Mark {
                producer: "shop",
                number,
            };
            _ = store.append(now_ms, &mark);
        }
        10 => {
            let member = Record::Member {
                room: "tea",
                user: "ann",
                lasting: dice.below(2) == 0,
            };
            _ = store.append(now_ms, &member);
        }
        _ => store.maintain(now_ms).unwrap(),
    }
    store.commit().unwrap();
    store.upkeep();
}

/// All that a reader can see.
fn seen(reader: &dyn Reader) -> Vec<String> {
    let mut seen = Vec::new();
    reader.each(&mut |known: StateRecord<'_>| seen.push(format!("{known:?}")));
    seen.sort_unstable();
    for channel in CHANNELS {
        seen.extend(heard(reader, channel));
    }
    seen.push(format!(
        "{} {} {}",
        reader.mark("shop"),
        reader.serials_below(),
        reader.forgotten()
    ));
    seen
}

#[test]
fn a_journal_at_rest_is_the_same_for_whoever_opens_its_files() {
    for seed in 0..30 {
        let (disk, mut dice) = (Disk::default(), Dice::new(seed));
        let mut store = open(&disk, small()).unwrap();
        for step_number in 0..120 {
            step(&mut store, &mut dice, NOW + step_number);
            if dice.below(20) > 0 {
                continue;
            }
            store.rest();
            let mut next = open(&disk.copy(), small()).unwrap();
            let totals = next.reader().totals();
            assert_eq!(totals.torn_bytes, 0, "seed {seed}, step {step_number}");
            assert_eq!(seen(&*next.reader()), seen(&*store.reader()), "{seed}");
            // Repeats are known in both, or in neither.
            for key in 0..20 {
                let record = repeatable("pot", key);
                let (theirs, ours) = (
                    next.append(NOW + 200, &record),
                    store.append(NOW + 200, &record),
                );
                assert_eq!(theirs.unwrap(), ours.unwrap(), "seed {seed}, key {key}");
            }
            store.commit().unwrap();
        }
    }
}

#[test]
fn the_last_batch_of_a_journal_at_rest_is_durable_and_vouched_for() {
    let disk = Disk::default();
    let by_interval = StoreSettings {
        sync: SyncPolicy::Os,
        ..settings(Path::new(DIRECTORY))
    };
    let mut store = open(&disk, by_interval.clone()).unwrap();
    for data in ["1", "2", "3"] {
        say(&mut store, "tea", data);
        store.commit().unwrap();
    }
    let file = Path::new(DIRECTORY).join(names::segment(1));
    let end = disk.read(&file).len();
    let before = disk.copy_of_durable();
    store.rest();
    let opened = open(&disk.copy_of_durable(), by_interval.clone()).unwrap();
    assert_eq!(heard(&*opened.reader(), "tea"), ["1", "2", "3"]);
    let forgotten = open(&before, by_interval.clone()).unwrap();
    assert_eq!(heard(&*forgotten.reader(), "tea"), [""; 0]);
    let damaged = disk.copy();
    let mut bytes = damaged.read(&file);
    bytes[end - 3] ^= 1;
    damaged.put(&file, &bytes);
    let refused = open(&damaged, by_interval).map(drop);
    assert!(
        matches!(refused, Err(StoreError::Damaged { .. })),
        "{refused:?}"
    );
}

/// Says something in a channel.
struct Say;

impl DiskJob for Say {
    type Context = ();

    fn size(&self) -> usize {
        1
    }

    fn record<'a>(&'a self, _place: usize, (): &'a ()) -> Record<'a> {
        Record::Message(message("tea", "id", "1"))
    }

    fn done(self, (): &(), outcomes: JobOutcomes<'_>) {
        outcomes.first().unwrap();
    }
}

#[test]
fn a_disk_thread_that_rests_has_made_everything_durable() {
    let files = Disk::default();
    let never_synced = StoreSettings {
        sync: SyncPolicy::Os,
        ..settings(Path::new(DIRECTORY))
    };
    let store = Box::new(open(&files, never_synced.clone()).unwrap());
    let (disk, queue) = store::Disk::new(DiskSettings::default());
    let thread = queue.start(store, (), || {}, || {}).unwrap();
    disk.submit(Say);
    let (arrive, arrived) = channel();
    disk.rest(RestOrder::new(1, move || arrive.send(()).unwrap()));
    arrived.recv_timeout(Duration::from_secs(30)).unwrap();
    let opened = open(&files.copy_of_durable(), never_synced).unwrap();
    assert_eq!(heard(&*opened.reader(), "tea"), ["1"]);
    disk.thaw();
    disk.end();
    thread.join().unwrap();
}

#[test]
fn a_journal_that_rests_again_and_again_writes_nothing_more() {
    let disk = Disk::default();
    let mut store = open(&disk, small()).unwrap();
    say(&mut store, "tea", "1");
    store.commit().unwrap();
    store.rest();
    let file = Path::new(DIRECTORY).join(names::segment(1));
    let size = disk.read(&file).len();
    (0..3).for_each(|_| store.rest());
    assert_eq!(disk.read(&file).len(), size);
}

fn handed_over(store: &MemoryStore) -> SectionWriter {
    let mut section = SectionWriter::new();
    store.reader().hand_over(&mut section);
    section
}

fn take_over(bytes: &[u8]) -> Result<MemoryStore, HandoverError> {
    let section = Section::of(STORE_FORMAT.name, STORE_FORMAT.version, bytes);
    MemoryStore::take_over(&section, small())
}

#[test]
fn a_store_in_memory_is_the_same_in_the_next_image_and_goes_on() {
    for seed in 0..20 {
        let (mut store, mut dice) = (MemoryStore::new(small()), Dice::new(seed));
        for step_number in 0..100 {
            step(&mut store, &mut dice, NOW + step_number);
            if dice.below(15) > 0 {
                continue;
            }
            store.rest();
            let mut next = take_over(handed_over(&store).as_bytes()).unwrap();
            assert_eq!(seen(&*next.reader()), seen(&*store.reader()), "{seed}");
            assert_eq!(next.reader().key(), store.reader().key());
            next.rest();
            let again = take_over(handed_over(&next).as_bytes()).unwrap();
            assert_eq!(handed_over(&again), handed_over(&next), "seed {seed}");
            store = next;
        }
    }
}

#[test]
fn a_message_of_a_store_in_memory_is_not_said_twice_across_a_handover() {
    let mut store = MemoryStore::new(small());
    let first = store.append(NOW, &repeatable("tea", 7)).unwrap();
    store.commit().unwrap();
    assert_eq!(first, Appended::Message(at(7, 1), None));
    store.rest();
    let mut next = take_over(handed_over(&store).as_bytes()).unwrap();
    let again = next.append(NOW + 1, &repeatable("tea", 7)).unwrap();
    assert_eq!(again, Appended::Repeat(at(7, 1)));
    let late = NOW + small().dedup_ms + 1;
    let later = next.append(late, &repeatable("tea", 7)).unwrap();
    assert_eq!(later, Appended::Message(at(7, 2), None), "its age is known");
}

#[test]
fn a_store_in_memory_that_is_damaged_on_its_way_is_refused_or_says_nothing_else() {
    let mut store = MemoryStore::new(small());
    for data in ["1", "2", "3"] {
        say(&mut store, "tea", data);
        store.commit().unwrap();
    }
    store.rest();
    let bytes = handed_over(&store).as_bytes().to_vec();
    let mut refused = 0;
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1 << (place % 8);
        match take_over(&damaged) {
            Err(_) => refused += 1,
            Ok(next) => {
                // The checksum of the section comes before; here the files speak for themselves.
                let there = heard(&*next.reader(), "tea");
                assert!(
                    ["1", "2", "3"]
                        .starts_with(&there.iter().map(|data| &**data).collect::<Vec<_>>())
                );
            }
        }
    }
    assert!(refused > 100, "{refused} of {}", bytes.len());
    assert!(take_over(&[]).is_ok_and(|empty| seen(&*empty.reader()).len() == 1));
}
