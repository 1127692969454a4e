//! Reloads under load: a room of 100 at 100 messages a second notices nothing of them.
//!
//! The full size, with the bound that has to hold on a machine of its own: `TIDINGS_RELOADS=1000`
//! `TIDINGS_RELOAD_SECONDS=20 TIDINGS_RELOAD_ROUNDS=3 TIDINGS_RELOAD_MS_MAX=5`, with `--release reloads --
//! --nocapture`: the p99.9 of a delivery may be so many milliseconds above that without reloads, in turns.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::chat_client::{ChatClient, say};
use crate::support::number_in_env;
use crate::support::program::Program;

const MEMBERS: usize = 100;

/// Between two messages: 100 a second.
const EVERY: Duration = Duration::from_millis(10);

/// Two files that differ in a setting of each owner: reactors, chat, disk thread, the daemon itself.
fn settings(number: u64) -> String {
    let (page, more) = if number.is_multiple_of(2) {
        ("on", 0)
    } else {
        ("off", 1)
    };
    format!(
        "page = \"{page}\"\n[websocket]\nping_ms = {}\n[http]\nidle_ms_max = {}\n\
         [chat]\nring_messages_max = {}\n[store]\nmessages_max = {}\nsync = \"os\"\n",
        25_000 + more,
        60_000 + more,
        100 + more,
        100_000 + more,
    )
}

/// Has a server read its settings anew; how long that took until they were in force everywhere.
fn reload(folder: &Path, number: u64) -> Duration {
    fs::write(folder.join("t.toml"), settings(number)).unwrap();
    let began = Instant::now();
    let mut stream = UnixStream::connect(folder.join("data/control.sock")).unwrap();
    stream.write_all(b"{\"command\":\"reload\"}\n").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    let took = began.elapsed();
    let answer: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(answer["ok"], true, "{answer}");
    assert_eq!(answer["changes"].as_array().unwrap().len(), 5, "{answer}");
    took
}

/// The entry that so many of 1,000 have at the most.
fn of_thousand(sorted: &[Duration], count: usize) -> Duration {
    sorted[(sorted.len() * count).div_ceil(1_000).max(1) - 1]
}

/// Says `messages` to the room while `meanwhile` runs, and gives the times from the moment at which each
/// was due until each member had it, the shortest first.
fn talk(
    (sender, members): (&mut ChatClient, &mut [ChatClient]),
    (first, messages): (u64, u64),
    meanwhile: impl FnOnce() + Send,
) -> Vec<Duration> {
    let due: Vec<Instant> = (0..messages)
        .scan(Instant::now() + EVERY, |at, _| {
            *at += EVERY;
            Some(*at)
        })
        .collect();
    let delays = Mutex::new(Vec::new());
    thread::scope(|scope| {
        scope.spawn(meanwhile);
        for member in members {
            let (due, delays) = (&due, &delays);
            scope.spawn(move || {
                let hear = |(number, due): (usize, &Instant)| {
                    let offset = first + number as u64;
                    member.hear_offsets("tea", offset..=offset);
                    due.elapsed()
                };
                let own: Vec<Duration> = due.iter().enumerate().map(hear).collect();
                delays.lock().unwrap().extend(own);
            });
        }
        for at in &due {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            sender.send(say("tea", "a word or two"));
        }
    });
    let mut delays = delays.into_inner().unwrap();
    delays.sort_unstable();
    delays
}

#[test]
fn a_busy_room_notices_nothing_of_a_thousand_reloads() {
    let number = |name: &str, otherwise| number_in_env(name).unwrap_or(otherwise);
    let reloads = number("TIDINGS_RELOADS", 30);
    let messages = number("TIDINGS_RELOAD_SECONDS", 1) * 100;
    let rounds = number("TIDINGS_RELOAD_ROUNDS", 1);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("t.toml"), settings(0)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command.current_dir(folder.path()).args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--config",
        "t.toml",
        "--data",
        "data",
    ]);
    let server = Program::start(&mut command);
    let mut members: Vec<_> = (0..MEMBERS)
        .map(|number| ChatClient::login(&server, &format!("u{number}"), &["tea"]))
        .collect();
    let mut sender = ChatClient::connect(&server);
    sender.ok(json!({"type": "login", "uid": "sender", "rooms": []}));
    let (mut said, mut done) = (0, 0);
    for round in 0..rounds {
        let mut run = |count: u64| {
            let (mut took, first) = (Vec::new(), said + 1);
            said += messages;
            let meanwhile = || {
                let every = EVERY * messages as u32 / count.max(1) as u32;
                let mut at = Instant::now();
                for _ in 0..count {
                    at += every;
                    thread::sleep(at.saturating_duration_since(Instant::now()));
                    done += 1;
                    took.push(reload(folder.path(), done));
                }
            };
            let clients = (&mut sender, &mut members[..]);
            let delays = talk(clients, (first, messages), meanwhile);
            took.sort_unstable();
            (delays, took)
        };
        let ((without, _), (with, took)) = (run(0), run(reloads));
        let shown = |delays: &[Duration]| [500, 990, 999, 1_000].map(|of| of_thousand(delays, of));
        println!(
            "round {round}: p50, p99, p99.9, max of a delivery without reloads {:?}, with {:?}; a \
             reload until all have it {:?}",
            shown(&without),
            shown(&with),
            shown(&took),
        );
        if let Some(ms_max) = number_in_env("TIDINGS_RELOAD_MS_MAX") {
            let bound = of_thousand(&without, 999) + Duration::from_millis(ms_max);
            let p999 = of_thousand(&with, 999);
            assert!(p999 <= bound, "{p999:?} is more than {bound:?}");
        }
    }
    let (_, stats) = server.http().json("GET", "/v1/stats", &Value::Null);
    assert_eq!(stats["settings_generation"], done + 1);
    assert_eq!(
        stats["chat"]["connections"],
        MEMBERS + 1,
        "nobody was closed"
    );
    drop((members, sender));
    server.stop();
}
