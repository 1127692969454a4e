//! Upgrades, and renewals of the workers, under full load: 8 who talk by HTTP and by WebSocket, stored and in
//! memory, a gateway that is linked and sends, listeners, and visitors who come, are cut and resume, all at
//! once.
//!
//! In full: `TIDINGS_UPGRADES=100 TIDINGS_RENEWALS=100 TIDINGS_UPGRADE_LISTENERS=1000` with `--release --test
//! load upgrades -- --nocapture --test-threads 1`. `TIDINGS_UPGRADE_BINARIES="one another"` has the programs
//! follow each other in turns, and begins with the first one.

mod crowded;
mod ledger;
mod listeners;
mod talkers;
mod visitors;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::api::ask_json;
use crate::support::http::HttpClient;
use crate::support::number_in_env;
use crate::support::program::Program;
use ledger::{Board, Ending, Finishing, Ledger, Placed, ROOMS, Said};
use listeners::Listeners;
use talkers::{ask, by_gateway, by_http, by_websocket};
use visitors::{Slow, Visits, come_and_go};

const LINK_KEY: &str = "a-link-key-of-the-tests";

/// Who talks to each room in each way.
const TALKERS: u64 = 2;

/// The gateway's number among those who talk.
const GATEWAY: u64 = 100;

/// Messages to each listener before and after a change that belong to it.
const AROUND: u64 = 20;

/// Bytes that wait for one who listens slowly at a change, at least.
const WAITING_MIN: u64 = 100_000;

/// The programs that follow each other, the first one first.
fn binaries() -> Vec<PathBuf> {
    let named = std::env::var("TIDINGS_UPGRADE_BINARIES").unwrap_or_default();
    let named: Vec<PathBuf> = named.split_whitespace().map(PathBuf::from).collect();
    match named.is_empty() {
        true => vec![env!("CARGO_BIN_EXE_tidings").into()],
        false => named,
    }
}

/// A server in a folder, and a gateway that is linked to it.
struct Pair {
    binaries: Vec<PathBuf>,
    folder: tempfile::TempDir,
    server: Program,
    gateway: Program,
}

impl Pair {
    /// With the server's data there, and more arguments for it.
    fn start(data: &str, more: &[&str]) -> Self {
        let binaries = binaries();
        let folder = tempfile::tempdir().unwrap();
        let begin = |command: &str, data: &str| {
            let mut begun = Command::new(&binaries[0]);
            begun.args([command, "--listen", "127.0.0.1:0", "--data"]);
            begun.arg(data).current_dir(folder.path());
            begun
        };
        let mut serve = begin("serve", data);
        serve.env("TIDINGS_UPLINK_KEY", LINK_KEY).args(more);
        for setting in [
            "control=control",
            "chat.in_memory=mem-*",
            "chat.ring_messages_max=100000",
            "outbox.size_max=16777216",
        ] {
            serve.args(["--set", setting]);
        }
        let server = Program::start(&mut serve);
        let mut gateway = begin("gateway", "gateway");
        gateway.env("TIDINGS_GATEWAY_LINK_KEY", LINK_KEY);
        gateway.args(["--upstream", &server.url("ws", "/link")]);
        let gateway = Program::start(&mut gateway);
        Self {
            binaries,
            folder,
            server,
            gateway,
        }
    }

    /// The `number`th upgrade: how long the server stood still, by its own clock.
    fn upgrade(&self, number: usize) -> Duration {
        let next = &self.binaries[(number + 1) % self.binaries.len()];
        let said = said_of_upgrade(self.folder.path(), next, &[]);
        Duration::from_millis(number_in(&said, "a pause of ", " ms"))
    }

    /// The `number`th renewal of the workers: how long that took.
    fn renew(&self, _number: usize) -> Duration {
        let began = Instant::now();
        let mut command = Command::new(&self.binaries[0]);
        command.args(["reload", "--workers", "--control", "control"]);
        said(command.current_dir(self.folder.path()));
        began.elapsed()
    }
}

/// What `tidings upgrade` with more arguments said of the server in this folder.
fn said_of_upgrade(folder: &Path, next: &Path, more: &[&str]) -> String {
    let mut command = Command::new(next);
    command.args(["upgrade", "--control", "control", "--binary"]);
    said(command.arg(next).args(more).current_dir(folder))
}

/// What a command that has to go well has said.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{out}{err}");
    out.into_owned()
}

/// The number between two texts.
fn number_in(said: &str, before: &str, behind: &str) -> u64 {
    let rest = said.split_once(before).map(|(_, rest)| rest);
    let number = rest.and_then(|rest| rest.split_once(behind)?.0.parse().ok());
    number.unwrap_or_else(|| panic!("no {before}…{behind} in {said}"))
}

/// The middle one and the longest one.
fn middle_and_longest(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let longest = times.last().unwrap();
    format!("p50 {:?}, max {longest:?}", times[times.len() / 2])
}

/// What all of them were answered.
#[derive(Default)]
struct Told {
    answered: Vec<Placed>,
    relayed: Vec<Said>,
    visits: Vec<Visits>,
    asked: u64,
}

/// What is done to a server while everybody talks.
struct Change {
    name: &'static str,
    times: usize,
    /// Does it, and gives how long it took.
    make: fn(&Pair, usize) -> Duration,
}

/// Changes the server while everybody talks, and gives what they were answered.
fn change_under_load(pair: &Pair, board: &Board, change: &Change, seed: u64) -> Told {
    let (server, gateway) = (pair.server.address, pair.gateway.address);
    let mut told = Told::default();
    thread::scope(|scope| {
        let _ending = Ending(board);
        let talkers: Vec<_> = (0..TALKERS * 4)
            .map(|talker| {
                let room = (talker / TALKERS % 2) as usize;
                let by = if talker < TALKERS * 2 {
                    by_websocket
                } else {
                    by_http
                };
                scope.spawn(move || by(server, talker, room, board))
            })
            .collect();
        let relayed = scope.spawn(move || by_gateway(gateway, GATEWAY, board));
        let asked = scope.spawn(move || ask(server, board));
        let visitors = number_in_env("TIDINGS_UPGRADE_VISITORS").unwrap_or(3);
        let visits: Vec<_> = (0..visitors)
            .map(|number| scope.spawn(move || come_and_go(server, number, seed, board)))
            .collect();
        let (mut took, mut with, mut without) = (Vec::new(), Vec::new(), Vec::new());
        let mut waiting = Vec::new();
        for number in 0..change.times {
            board.wait_for_more(AROUND);
            without.push(board.take_longest_gap());
            let slow = Slow::come(server);
            let (_, stats) = HttpClient::connect(server).json("GET", "/v1/stats", &Value::Null);
            let waits = stats["outbox_bytes"].as_u64().unwrap();
            assert!(waits >= WAITING_MIN, "only {waits} bytes wait");
            waiting.push(waits);
            took.push((change.make)(pair, number));
            slow.hear();
            board.wait_for_more(AROUND);
            with.push(board.take_longest_gap());
        }
        board.end();
        for talker in talkers {
            told.answered.extend(talker.join().unwrap());
        }
        told.relayed = relayed.join().unwrap();
        told.asked = asked.join().unwrap();
        told.visits = visits.into_iter().map(|one| one.join().unwrap()).collect();
        board.wait_for_all();
        println!(
            "{}: {}; longest silence of any listener meanwhile: {}; before: {}; bytes that waited in \
             outboxes: {} to {}",
            change.name,
            middle_and_longest(took),
            middle_and_longest(with),
            middle_and_longest(without),
            waiting.iter().min().unwrap(),
            waiting.iter().max().unwrap(),
        );
    });
    told
}

/// No two connections ever had one name.
fn have_names_of_their_own(fds: &[u64], told: &Told) {
    let of_visits = told.visits.iter().flat_map(|visits| &visits.fds);
    let all: Vec<_> = fds.iter().chain(of_visits).collect();
    let different: HashSet<_> = all.iter().collect();
    assert_eq!(different.len(), all.len());
}

/// Whoever stayed has the name that it had.
fn keep_their_names(server: &Program, fds: &[u64]) {
    let mut http = server.http();
    let all: Vec<_> = fds.iter().enumerate().collect();
    for some in all.chunks(50) {
        let uids: Vec<_> = some
            .iter()
            .map(|(number, _)| format!("uid=u{number}"))
            .collect();
        let path = format!("/v1/users?{}", uids.join("&"));
        let (_, answer) = http.json("GET", &path, &Value::Null);
        for (user, (_, fd)) in answer["users"].as_array().unwrap().iter().zip(some) {
            assert_eq!(user["connections"], json!([fd]), "{user}");
        }
    }
}

fn judge(ledger: &Ledger, told: &Told, server: &Program) {
    ledger.judge(&told.answered, &told.relayed);
    let visited = || told.visits.iter().flat_map(|visits| &visits.heard);
    visited().for_each(|heard| ledger.agrees(heard));
    let mut newest = 0;
    for room in ROOMS {
        let path = format!("/v1/rooms/{room}/messages?limit=1");
        let (_, page) = ask_json(server, "GET", &path);
        newest += page["offset"].as_u64().unwrap_or_else(|| panic!("{page}"));
    }
    assert_eq!(newest, ledger.messages(), "the server has what was heard");
    let cuts: u64 = told.visits.iter().map(|visits| visits.cuts).sum();
    println!(
        "{} messages answered, {} of them by the gateway; {} requests beside; visitors were cut {cuts} \
         times, and heard {} messages",
        told.answered.len() + told.relayed.len(),
        told.relayed.len(),
        told.asked,
        visited().count(),
    );
}

/// Has a change made again and again under load: nobody is cut, nothing is lost, doubled or out of order.
fn nothing_is_lost_by(change: &Change, data: &str, more: &[&str]) {
    let count = number_in_env("TIDINGS_UPGRADE_LISTENERS").unwrap_or(50) as usize;
    let seed = number_in_env("TIDINGS_UPGRADE_SEED").unwrap_or(std::process::id().into());
    println!(
        "seed {seed}, {} times, {count} listeners, data {data}, {more:?}",
        change.times
    );
    let pair = Pair::start(data, more);
    let mut listeners = Listeners::connect(pair.server.address, count, count);
    let fds = listeners.fds();
    let board = Board::new(count);
    let told = thread::scope(|scope| {
        let finishing = Finishing(&board);
        let hear = scope.spawn(|| listeners.hear(&board));
        let told = change_under_load(&pair, &board, change, seed);
        keep_their_names(&pair.server, &fds);
        drop(finishing);
        hear.join().unwrap();
        told
    });
    have_names_of_their_own(&fds, &told);
    judge(&listeners.ledger, &told, &pair.server);
    drop(listeners);
    pair.gateway.stop();
    pair.server.stop();
}

fn upgrades_lose_nothing(data: &str, more: &[&str]) {
    let upgrades = Change {
        name: "pauses by the server's clock",
        times: number_in_env("TIDINGS_UPGRADES").unwrap_or(2) as usize,
        make: Pair::upgrade,
    };
    nothing_is_lost_by(&upgrades, data, more);
}

#[test]
fn with_workers_and_reactors_nobody_is_cut_and_everything_is_heard_once_in_order() {
    upgrades_lose_nothing("data", &["--reactors", "2", "--workers", "2"]);
}

#[test]
fn without_workers_and_a_disk_nobody_is_cut_and_everything_is_heard_once_in_order() {
    upgrades_lose_nothing("none", &["--workers", "0"]);
}

#[test]
fn renewals_of_workers_cut_nobody_and_everything_is_heard_once_in_order() {
    let renewals = Change {
        name: "renewals",
        times: number_in_env("TIDINGS_RENEWALS").unwrap_or(5) as usize,
        make: Pair::renew,
    };
    for workers in ["0", "2"] {
        nothing_is_lost_by(&renewals, "data", &["--workers", workers]);
    }
}
