//! Reloads under load: a room of 100 at 100 messages a second notices nothing of them.
//!
//! In full: `TIDINGS_RELOADS=1000` with `--release --test load reloads -- --nocapture`. That is three rounds
//! of 20 s without reloads and 20 s with so many of them, in turns, the one that begins in turns, too. With
//! `TIDINGS_RELOAD_MS_MAX=5`, on a machine of its own, the p99.9 of a delivery may be so many milliseconds
//! above that without reloads, in the middle one of the rounds. `TIDINGS_RELOAD_SECONDS` and
//! `TIDINGS_RELOAD_ROUNDS` change the rest.

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

/// What of 1,000 times is shown: p50, p99, p99.9 and the longest.
const SHOWN: [usize; 4] = [500, 990, 999, 1_000];

/// The times that are shown.
fn shown(times: &mut [Duration]) -> [Duration; SHOWN.len()] {
    times.sort_unstable();
    SHOWN.map(|of| times[(times.len() * of).div_ceil(1_000).max(1) - 1])
}

/// The same of some rounds: in each place the middle one of them.
fn middle(rounds: &[[Duration; SHOWN.len()]]) -> [Duration; SHOWN.len()] {
    std::array::from_fn(|place| {
        let mut times: Vec<Duration> = rounds.iter().map(|round| round[place]).collect();
        times.sort_unstable();
        times[times.len() / 2]
    })
}

/// Says `messages` to the room while `meanwhile` runs, and gives the times from the moment at which each
/// was due until each member had it.
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
    delays.into_inner().unwrap()
}

/// A server with its settings in a file, and a room of members.
struct Room {
    folder: tempfile::TempDir,
    server: Program,
    sender: ChatClient,
    members: Vec<ChatClient>,
    said: u64,
    reloads: u64,
}

impl Room {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("t.toml"), settings(0)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
        command.current_dir(folder.path());
        command.args(["serve", "--listen", "127.0.0.1:0", "--config", "t.toml"]);
        let server = Program::start(command.args(["--data", "data"]));
        let members = (0..MEMBERS)
            .map(|number| ChatClient::login(&server, &format!("u{number}"), &["tea"]))
            .collect();
        let mut sender = ChatClient::connect(&server);
        sender.ok(json!({"type": "login", "uid": "sender", "rooms": []}));
        Self {
            folder,
            server,
            sender,
            members,
            said: 0,
            reloads: 0,
        }
    }

    /// Says so many messages beside so many reloads, evenly spread; gives what is shown of the deliveries,
    /// and what of the reloads, if there are any.
    fn run(&mut self, messages: u64, reloads: u64) -> [Option<[Duration; SHOWN.len()]>; 2] {
        let (mut took, first) = (Vec::new(), self.said + 1);
        self.said += messages;
        let (done, folder) = (&mut self.reloads, self.folder.path());
        let meanwhile = || {
            let every = EVERY * messages as u32 / reloads.max(1) as u32;
            let mut at = Instant::now();
            for _ in 0..reloads {
                at += every;
                thread::sleep(at.saturating_duration_since(Instant::now()));
                *done += 1;
                took.push(reload(folder, *done));
            }
        };
        let clients = (&mut self.sender, &mut self.members[..]);
        let mut delays = talk(clients, (first, messages), meanwhile);
        [&mut delays, &mut took].map(|times| (!times.is_empty()).then(|| shown(times)))
    }
}

#[test]
fn a_busy_room_notices_nothing_of_a_thousand_reloads() {
    let reloads = number_in_env("TIDINGS_RELOADS");
    let number = |name: &str, few, full| {
        let otherwise = if reloads.is_some() { full } else { few };
        number_in_env(name).unwrap_or(otherwise)
    };
    let messages = number("TIDINGS_RELOAD_SECONDS", 1, 20) * 100;
    let rounds = number("TIDINGS_RELOAD_ROUNDS", 1, 3);
    let reloads = reloads.unwrap_or(30);
    let mut room = Room::open();
    let (mut without, mut with, mut took) = (Vec::new(), Vec::new(), Vec::new());
    println!("p50, p99, p99.9 and max of");
    for round in 0..rounds {
        for turn in 0..2 {
            let count = if (round + turn) % 2 == 0 { 0 } else { reloads };
            let [delays, reloads] = room.run(messages, count);
            let delays = delays.expect("something was said");
            println!("round {round}, {count} reloads: deliveries {delays:?}, reloads {reloads:?}");
            match reloads {
                None => without.push(delays),
                Some(reloads) => {
                    with.push(delays);
                    took.push(reloads);
                }
            }
        }
    }
    let [without, with, took] = [without, with, took].map(|rounds| middle(&rounds));
    println!(
        "the middle rounds: a delivery without reloads {without:?}, with {with:?}; a reload until all have \
         it {took:?}"
    );
    if let Some(ms_max) = number_in_env("TIDINGS_RELOAD_MS_MAX") {
        let [bound, p999] = [without, with].map(|[_, _, p999, _]| p999);
        let bound = bound + Duration::from_millis(ms_max);
        assert!(p999 <= bound, "{p999:?} is more than {bound:?}");
    }
    let (_, stats) = room.server.http().json("GET", "/v1/stats", &Value::Null);
    assert_eq!(stats["settings_generation"], room.reloads + 1);
    let connections = &stats["chat"]["connections"];
    assert_eq!(*connections, MEMBERS + 1, "nobody was closed");
    drop((room.members, room.sender));
    room.server.stop();
}
