//! The journal on real disks: a full one, and a large store.
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tidings::store::{
    Appended, Channel, Epoch, Journal, MessageBody, MessageRecord, PageRange, Record, Store,
    StoreError, StoreSettings,
};

use super::small_disk::SmallDisk;
use crate::support::alone::{part, passes_alone};
use crate::support::number_in_env;

const NOW: u64 = 1_700_000_000_000;

fn message<'a>(channel: &'a str, id: &'a str, data: &'a str) -> MessageRecord<'a> {
    MessageRecord {
        channel: Channel::stored(channel, Epoch::from_bits(1)),
        second: None,
        body: MessageBody {
            id,
            from: Some("ann"),
            to: None,
            ts: NOW,
            data,
        },
        idempotency_key: None,
        id_owner: 0,
        opens: false,
        mark: None,
        except: &[],
    }
}

#[test]
fn a_full_disk_refuses_loses_nothing_and_takes_again_when_there_is_room() {
    let disk = SmallDisk::mount("2m");
    let settings = StoreSettings {
        free_bytes_min: 0,
        segment_bytes_max: 100 << 10,
        ..StoreSettings::new(disk.data())
    };
    let mut store = Journal::open(settings.clone()).unwrap();
    let reader = store.reader();
    fs::write(disk.filler(), vec![0; 1 << 20]).unwrap();
    let data = "x".repeat(1_000);
    let (mut stored, mut now) = (0, NOW);
    let put = |store: &mut Journal, now| {
        let record = Record::Message(message("tea", "id", &data));
        let appended = store.append(now, &record)?;
        store.commit().map(|()| appended)
    };
    let refused = loop {
        match put(&mut store, now) {
            Ok(Appended::Message(position, None)) => {
                stored += 1;
                assert_eq!(position.offset, stored);
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
        assert!(stored < 2_000, "it must be full by now");
        now += 1;
    };
    assert!(
        matches!(refused, StoreError::DiskFull { .. }),
        "{refused:?}"
    );
    assert!(stored > 500, "{stored}");
    for _ in 0..100 {
        now += 100;
        let again = put(&mut store, now).unwrap_err();
        assert!(matches!(again, StoreError::DiskFull { .. }), "{again:?}");
        _ = store.maintain(now);
    }
    let range = PageRange {
        after: Some(stored - 1),
        before: None,
        limit: 10,
        bytes_max: usize::MAX,
    };
    assert_eq!(reader.page("tea", range).unwrap().messages.len(), 1);

    disk.clear();
    now += 100;
    store.maintain(now).unwrap();
    for _ in 0..10 {
        put(&mut store, now).unwrap();
        stored += 1;
    }
    drop(store);
    let store = Journal::open(settings).unwrap();
    let state = store.reader().channel("tea").unwrap();
    assert_eq!((state.newest, state.floor), (stored, 0));
}

#[test]
fn a_disk_with_less_than_its_bound_free_refuses_before_it_is_full() {
    let disk = SmallDisk::mount("2m");
    let settings = StoreSettings {
        free_bytes_min: 1 << 20,
        ..StoreSettings::new(disk.data())
    };
    let mut store = Journal::open(settings).unwrap();
    let record = Record::Message(message("tea", "id", "1"));
    store.append(NOW, &record).unwrap();
    store.commit().unwrap();
    fs::write(disk.filler(), vec![0; 1_200 << 10]).unwrap();
    let refused = store.append(NOW + 100, &record).unwrap_err();
    assert!(
        matches!(refused, StoreError::DiskFull { free_bytes_min } if free_bytes_min == 1 << 20)
    );
    assert!(store.maintain(NOW + 200).is_err());
    disk.clear();
    store.maintain(NOW + 300).unwrap();
    store.append(NOW + 301, &record).unwrap();
    store.commit().unwrap();
}

/// A number from `/proc/self/status`, in bytes.
fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Drops what the system has read, where it lets us.
fn forget_cache(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let file = fs::File::open(entry.unwrap().path()).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
}

const CHANNELS: u64 = 10_000;

fn fill(settings: &StoreSettings, messages: u64) {
    let mut store = Journal::open(settings.clone()).unwrap();
    let data = format!("\"{}\"", "x".repeat(62));
    for number in 0..messages {
        let (channel, id) = (
            format!("room-{}", number % CHANNELS),
            format!("{number:032x}"),
        );
        let message = MessageRecord {
            // Spread, as a keyed hash is: keys with equal lower halves would all collide.
            idempotency_key: Some(number.wrapping_mul(0x9E37_79B9_7F4A_7C15).into()),
            ..message(&channel, &id, &data)
        };
        store
            .append(NOW + number / 100, &Record::Message(message))
            .unwrap();
        if number % 1_000 == 999 {
            store.commit().unwrap();
        }
        if number % 10_000 == 9_999 {
            store.maintain(NOW + number / 100).unwrap();
        }
    }
    store.commit().unwrap();
}

/// The full size by `TIDINGS_STORE_MESSAGES=1000000`, and in a release build.
#[test]
fn a_large_store_starts_soon_needs_little_memory_and_gives_a_cold_page() {
    const NAME: &str = "a_large_store_starts_soon_needs_little_memory_and_gives_a_cold_page";
    let messages = number_in_env("TIDINGS_STORE_MESSAGES").unwrap_or(50_000);
    if let Some(filled) = part() {
        return look(settings(filled.into()), messages);
    }
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fill(&settings(directory.path().into()), messages);
    // In a process of its own, so that what filling took, and the tests beside it, count for nothing.
    passes_alone(module_path!(), NAME, directory.path().to_str().unwrap());
}

fn settings(directory: PathBuf) -> StoreSettings {
    StoreSettings {
        free_bytes_min: 0,
        ..StoreSettings::new(directory)
    }
}

fn look(settings: StoreSettings, messages: u64) {
    forget_cache(&settings.directory);
    let (begun, cpu, before) = (Instant::now(), cpu_time(), memory("VmRSS"));
    let store = Journal::open(settings.clone()).unwrap();
    let (start, cpu) = (begun.elapsed(), cpu_time() - cpu);
    let (rss, peak) = (memory("VmRSS") - before, memory("VmHWM"));
    let reader = store.reader();
    let totals = reader.totals();
    assert_eq!((totals.messages, totals.channels), (messages, CHANNELS));

    forget_cache(&settings.directory);
    let range = PageRange {
        after: None,
        before: Some(u64::MAX),
        limit: 50,
        bytes_max: 256 << 10,
    };
    let mut times: Vec<Duration> = (0..200)
        .map(|number| {
            let channel = format!("room-{}", (number * 7_919) % CHANNELS);
            let begun = Instant::now();
            let page = reader.page(&channel, range).unwrap();
            let time = begun.elapsed();
            assert_eq!(
                page.messages.len() as u64,
                u64::min(50, messages / CHANNELS)
            );
            time
        })
        .collect();
    times.sort_unstable();
    println!(
        "{messages} messages, {} files, {} bytes: start {start:?} (CPU {cpu:?}), RSS +{rss} (peak {peak}), index \
         {}, cold page median {:?}, p99 {:?}",
        totals.segments, totals.bytes, totals.index_bytes, times[100], times[198]
    );
    if !cfg!(debug_assertions) {
        // What others take of the machine meanwhile is not the store's.
        assert!(cpu < Duration::from_secs(2), "{cpu:?}");
        assert!(times[100] < Duration::from_millis(5), "{:?}", times[100]);
    }
    assert!(peak < 200 << 20, "{peak}");
}
