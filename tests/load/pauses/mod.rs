//! Long work of the store holds up no stored message: while a client says some at a fixed rate,
//! segments with the state of many channels are begun, nearly dead ones are compacted, many are
//! removed at once, and thousands log in.
//!
//! The full size, with the bounds that have to hold on a machine of its own:
//! `TIDINGS_PAUSE_CHANNELS=1000000 TIDINGS_PAUSE_RATE=1000 TIDINGS_PAUSE_SECONDS=20`
//! `TIDINGS_PAUSE_MEGABYTES=512 TIDINGS_PAUSE_LOGINS=9000 TIDINGS_PAUSE_MS_MAX=5`, with `--release
//! pauses -- --nocapture`; about three minutes. `TIDINGS_PAUSE_DATA` is the folder that the data go
//! to, such as `/dev/shm`; `TIDINGS_PAUSE_BINARY` is another build to measure. On a disk that isn't
//! memory, `TIDINGS_PAUSE_SYNCS_MAX=3` adds so many times its own p99.9 of a sync to the bound.

mod logins;
mod talker;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::PATIENCE;
use crate::support::api::number;
use crate::support::http::HttpClient;
use crate::support::number_in_env;
use crate::support::program::Program;
use crate::support::wait::until_within;
use talker::{Delays, talk};

/// Messages in a request.
const BATCH: u64 = 1_000;

/// How often the messages are said that are going to be removed, until there are segments of them: one
/// segment takes up to four times what it is meant to, where messages come faster than the next is
/// made.
const GONE_FILLS_MAX: u32 = 8;

/// The size of a run.
struct Size {
    channels: u64,
    rate: u32,
    time: Duration,
    megabytes: u64,
    logins: u64,
}

impl Size {
    fn from_env() -> Self {
        let number = |name: &str, otherwise| {
            number_in_env(&format!("TIDINGS_PAUSE_{name}")).unwrap_or(otherwise)
        };
        Self {
            channels: number("CHANNELS", 3_000),
            rate: number("RATE", 200) as u32,
            time: Duration::from_secs(number("SECONDS", 1)),
            megabytes: number("MEGABYTES", 4),
            logins: number("LOGINS", 100),
        }
    }
}

fn serve(data: &Path, settings: &[&str]) -> Program {
    let binary = std::env::var("TIDINGS_PAUSE_BINARY");
    let binary = binary.unwrap_or_else(|_| env!("CARGO_BIN_EXE_tidings").into());
    let mut command = Command::new(binary);
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    command.arg("--data").arg(data);
    // The talker and those who log in need some beside the many, of which a tenth is kept free.
    command.args(["--set", "chat.channels_max=1300000"]);
    for setting in settings {
        command.args(["--set", setting]);
    }
    Program::start(&mut command)
}

/// Posts messages of `size` bytes to the rooms that `room` names, `count` of them.
fn fill(http: &mut HttpClient, count: u64, size: usize, room: impl Fn(u64) -> String) {
    let data = "x".repeat(size);
    let batch = BATCH.min(600_000 / (size as u64 + 64));
    for first in (0..count).step_by(batch as usize) {
        let messages: Vec<Value> = (first..(first + batch).min(count))
            .map(|number| json!({"to": {"room": room(number)}, "data": data}))
            .collect();
        let body = json!({ "messages": messages });
        let (status, answer) = http.json("POST", "/v1/messages/batch", &body);
        assert_eq!(status, 200, "{answer}");
    }
}

/// The number of the newest segment in a folder.
fn newest_segment(data: &Path) -> u32 {
    let files = std::fs::read_dir(data).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let numbers = names.filter_map(|name| {
        let digits = name.strip_prefix("journal-")?.strip_suffix(".log")?;
        digits.parse().ok()
    });
    numbers.max().unwrap()
}

fn has_segment(data: &Path, number: u32) -> bool {
    data.join(format!("journal-{number:010}.log")).exists()
}

/// Talks while `work` goes on, and for at least the time of the run.
fn talk_beside(server: &Program, size: &Size, work: impl FnOnce(Instant)) -> Delays {
    let (is_over, address) = (&AtomicBool::new(false), server.address);
    thread::scope(|scope| {
        let talked = scope.spawn(move || talk(address, size.rate, is_over));
        let end = Instant::now() + size.time;
        work(end);
        thread::sleep(end.saturating_duration_since(Instant::now()));
        is_over.store(true, Relaxed);
        talked.join().unwrap()
    })
}

/// Prints what a stage showed, and holds it against the bounds that the environment gives.
fn report(server: &Program, stage: &str, delays: &Delays, what: &str) {
    let (_, stats) = server.http().json("GET", "/v1/stats", &Value::Null);
    let store = &stats["store"];
    let sync_p999 = Duration::from_micros(store["sync_us_p999"].as_u64().unwrap_or(0));
    let p999 = delays.of_thousand(999);
    println!(
        "{stage}: {} messages, p50 {:?}, p99 {:?}, p99.9 {p999:?}, max {:?}; sync p99.9 \
         {sync_p999:?}, longest piece {} us; {what}",
        delays.count(),
        delays.of_thousand(500),
        delays.of_thousand(990),
        delays.longest(),
        store["upkeep_us_max"],
    );
    if let Some(ms_max) = number_in_env("TIDINGS_PAUSE_MS_MAX") {
        let syncs = number_in_env("TIDINGS_PAUSE_SYNCS_MAX").unwrap_or(0) as u32;
        let bound = Duration::from_millis(ms_max) + sync_p999 * syncs;
        assert!(p999 <= bound, "{stage}: {p999:?} is more than {bound:?}");
    }
}

#[test]
fn long_work_of_the_store_holds_up_no_stored_message() {
    let size = Size::from_env();
    let data = match std::env::var("TIDINGS_PAUSE_DATA") {
        Ok(folder) => TempDir::new_in(folder).unwrap(),
        Err(_) => TempDir::new().unwrap(),
    };
    let server = serve(data.path(), &[]);
    fill(&mut server.http(), size.channels, 30, |n| {
        format!("room-{n}")
    });
    let channels = number(&server, "store", "channels");
    assert_eq!(channels, size.channels);
    server.stop();

    let began = Instant::now();
    let server = serve(data.path(), &[]);
    println!("{channels} channels, started in {:?}", began.elapsed());
    let quiet = talk_beside(&server, &size, |_| {});
    report(&server, "nothing", &quiet, "-");
    server.stop();

    // First, since a compaction would move messages into the segments that are to go.
    trims(data.path(), &size);
    checkpoints(data.path(), &size);
    oldest_files_go(data.path(), &size);
    compaction(data.path(), &size);
    let server = serve(data.path(), &[]);
    let all = logins::prepare(&server, size.logins);
    let mut took = Duration::ZERO;
    let delays = talk_beside(&server, &size, |_| took = logins::log_in(all));
    let what = format!("{} logins in {took:?}", size.logins);
    report(&server, "logins", &delays, &what);
    server.stop();

    let began = Instant::now();
    let server = serve(data.path(), &[]);
    println!("started again in {:?}", began.elapsed());
    server.stop();
}

/// Small segments, so that what is said fills some of them.
fn checkpoints(data: &Path, size: &Size) {
    let segment = format!("store.segment_size_max={}", segment_bytes(size));
    let server = serve(data, &[&segment]);
    let before = newest_segment(data);
    let delays = talk_beside(&server, size, |_| {
        until_within("a segment begins", size.time + PATIENCE, || {
            newest_segment(data) > before
        });
    });
    let what = format!("{} segments begun", newest_segment(data) - before);
    report(&server, "checkpoint", &delays, &what);
    server.stop();
}

/// The bytes that are said in a third of a run.
fn segment_bytes(size: &Size) -> u64 {
    (u64::from(size.rate) * 100 * size.time.as_secs() / 3).max(65_536)
}

/// The store is full: with each segment that begins, messages are let go out of all channels.
fn oldest_files_go(data: &Path, size: &Size) {
    let segment = format!("store.segment_size_max={}", segment_bytes(size));
    let server = serve(data, &[&segment]);
    let bytes = number(&server, "store", "bytes");
    server.stop();
    let total = format!("store.total_size_max={}", bytes.max(1 << 20));
    let server = serve(data, &[&segment, &total]);
    let (before, trimmed) = (newest_segment(data), number(&server, "store", "trimmed"));
    let delays = talk_beside(&server, size, |_| {
        until_within("a segment begins", size.time + PATIENCE, || {
            newest_segment(data) > before
        });
    });
    let trimmed = number(&server, "store", "trimmed") - trimmed;
    let what = format!(
        "{} segments begun, {trimmed} messages let go",
        newest_segment(data) - before
    );
    report(&server, "oldest go", &delays, &what);
    server.stop();
}

/// Segments that hold nothing but what is purged are removed, all of them at once.
fn trims(data: &Path, size: &Size) {
    let bytes = size.megabytes << 20;
    let server = serve(data, &[&sixteenth_of(bytes)]);
    let mut http = server.http();
    let first = newest_segment(data);
    for _ in 0..GONE_FILLS_MAX {
        if newest_segment(data) > first + 2 {
            break;
        }
        fill(&mut http, bytes / 1_100, 1_000, |_| "gone".into());
    }
    let last = newest_segment(data);
    assert!(last > first + 2, "segments {first} to {last}");
    // Retention may have let some go already.
    let left = || (first + 1..last).filter(|number| has_segment(data, *number));
    let before = left().count();
    let delays = talk_beside(&server, size, |_| {
        purge_gone(&mut http);
        until_within("segments are removed", size.time + PATIENCE, || {
            left().next().is_none()
        });
    });
    report(&server, "trim", &delays, &format!("{before} segments gone"));
    server.stop();
}

/// Most of what was said is purged, and segments that hold a little else are compacted.
fn compaction(data: &Path, size: &Size) {
    let bytes = size.megabytes << 20;
    let server = serve(data, &[&sixteenth_of(bytes)]);
    let mut http = server.http();
    fill(&mut http, bytes / 2 / 1_100, 1_000, |n| {
        let room = if n % 20 == 0 { "kept" } else { "gone" };
        room.into()
    });
    let moved = number(&server, "store", "moved");
    let delays = talk_beside(&server, size, |end| {
        purge_gone(&mut http);
        until_within("messages are moved", size.time + PATIENCE, || {
            number(&server, "store", "moved") > moved || Instant::now() > end
        });
    });
    let moved = number(&server, "store", "moved") - moved;
    report(&server, "compaction", &delays, &format!("{moved} moved"));
    server.stop();
}

fn sixteenth_of(bytes: u64) -> String {
    format!("store.segment_size_max={}", (bytes / 16).max(65_536))
}

fn purge_gone(http: &mut HttpClient) {
    let (status, _) = http.json("DELETE", "/v1/rooms/gone/messages", &Value::Null);
    assert_eq!(status, 200);
}
