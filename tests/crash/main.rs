//! The server is killed at random moments under load, again and again: no answered message is
//! lost or kept twice, and a client that resumes receives each message exactly once, in order.
//!
//! `TIDINGS_CRASH_ROUNDS=100` kills it that often, `TIDINGS_CRASH_SEED` as it was once (as far as
//! the threads allow).
//!
//! A binary of its own: it bounds the time of a start, which it would share with the tests beside it;
//! and who looks for a lost message runs nothing else, for hours.
#![cfg(feature = "cli")]

mod reader;
mod record;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::api::ask_json;
use crate::support::chat_client::Position;
use crate::support::ledger::{Ledger, Promise, Refusals};
use crate::support::number_in_env;
use crate::support::place::Place;
use crate::support::program::Program;
use crate::support::random::Random;
use crate::support::sender::{self, Messages, USERS};
use record::Record;

/// From the start of the process to its first answer: a generous bound for a busy machine.
const RESTART_MAX: Duration = Duration::from_secs(15);

#[test]
fn nothing_is_lost_and_nothing_doubled_however_often_it_is_killed() {
    let rounds = number_in_env("TIDINGS_CRASH_ROUNDS").unwrap_or(3);
    let clock = || std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = number_in_env("TIDINGS_CRASH_SEED").unwrap_or_else(clock);
    println!("seed {seed}, {rounds} rounds");
    let place = Place::new(1, Duration::from_secs(60 + 6 * rounds));
    let ledger = Ledger::new(Refusals::Fault);
    let senders: Vec<String> = (0..7).map(|number| format!("s{number}")).collect();
    thread::scope(|scope| {
        let (place, ledger) = (&place, &ledger);
        let _watch = place.watch();
        let speakers: Vec<_> = (senders.iter().enumerate())
            .map(|(number, uid)| {
                let messages = Messages::new(uid.clone(), seed + number as u64);
                scope.spawn(move || match number {
                    0..3 => sender::by_http(place, ledger, messages, false),
                    3..5 => sender::by_http(place, ledger, messages, true),
                    _ => sender::by_websocket(place, ledger, messages),
                })
            })
            .collect();
        let readers: Vec<_> = (0..USERS)
            .map(|number| {
                scope.spawn(move || reader::read(place, format!("u{number}"), seed + 100 + number))
            })
            .collect();

        let data = TempDir::new().unwrap();
        let mut killer = Killer::new(data.path(), seed, &senders);
        for _ in 0..rounds {
            killer.round(place, ledger);
        }
        let server = killer.start(place);
        place.set_over();
        let said: u64 = speakers.into_iter().map(|one| one.join().unwrap()).sum();
        killer.judge_the_end(&server, ledger, said);
        let ends = killer.record.0.iter().map(|(name, channel)| {
            let end = Position {
                epoch: channel.epoch.clone(),
                offset: channel.entries.len() as u64,
            };
            (name.clone(), end)
        });
        place.set_ends(ends.collect());
        let heard: Vec<_> = readers.into_iter().map(|one| one.join().unwrap()).collect();
        let mut resumes = 0;
        for one in heard {
            resumes += one.resumes;
            for (name, ids) in one.ids {
                let entries = &killer.record.0[&name].entries;
                assert!(entries.iter().map(|entry| &entry.id).eq(&ids), "{name}");
            }
        }
        println!("{resumes} resumes, all of them filled");
        server.stop();
    });
}

/// Starts the server and kills it, and looks after each start whether everything is there.
struct Killer<'a> {
    data: &'a Path,
    random: Random,
    senders: &'a [String],
    record: Record,
    /// What was promised before the last kill, and is to be looked for.
    promised: Vec<Promise>,
    /// Promises that were found kept.
    judged: usize,
    starts: Vec<Duration>,
    killed_at_start: u64,
}

impl<'a> Killer<'a> {
    fn new(data: &'a Path, seed: u64, senders: &'a [String]) -> Self {
        Self {
            data,
            random: Random::new(seed),
            senders,
            record: Record::default(),
            promised: Vec::new(),
            judged: 0,
            starts: Vec::new(),
            killed_at_start: 0,
        }
    }

    /// Serves for a random time, then ends at once.
    fn round(&mut self, place: &Place, ledger: &Ledger) {
        let mut server = self.start(place);
        thread::sleep(Duration::from_micros(self.random.below(400_000)));
        if self.random.below(2) == 0 {
            // Where a server answers too early, this is when it shows.
            ledger.await_next();
        }
        server.signal(Signal::KILL);
        place.set(0, None);
        server.ended();
        let told = ledger.told();
        self.promised = told.promises[self.judged..].to_vec();
        self.judged = told.promises.len();
        drop(told);
        while self.random.below(3) == 0 {
            self.kill_at_start();
        }
    }

    /// Starts it, has it answer, and judges what it has.
    fn start(&mut self, place: &Place) -> Program {
        let flags = self.flags();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let began = Instant::now();
        let server = Program::serve(&flags);
        let (status, _) = ask_json(&server, "GET", "/v1/rooms/r0/messages?limit=1");
        let took = began.elapsed();
        assert!(status == 200 || status == 404, "{status}");
        assert!(took < RESTART_MAX, "the first answer took {took:?}");
        self.starts.push(took);
        self.record.read(&server, self.senders);
        self.record.judge(&self.promised);
        place.set(0, Some(server.address));
        server
    }

    /// Kills it before it is there, most likely.
    fn kill_at_start(&mut self) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidings"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(self.flags())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_micros(self.random.below(30_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        self.killed_at_start += 1;
    }

    /// Small files and little memory: there is much to do while it is killed.
    fn flags(&mut self) -> Vec<String> {
        let workers = [0, 1, 2][self.random.below(3) as usize];
        let data = self.data.to_str().unwrap();
        let mut flags = vec![format!("--data={data}"), format!("--workers={workers}")];
        for setting in [
            "chat.ring_messages_max=20",
            "store.segment_size_max=262144",
            "store.messages_max=100000000",
        ] {
            flags.extend(["--set".to_owned(), setting.to_owned()]);
        }
        flags
    }

    /// Reads all of it once more, from the beginning.
    fn judge_the_end(&mut self, server: &Program, ledger: &Ledger, said: u64) {
        let mut record = Record::default();
        record.read(server, self.senders);
        self.record.read(server, self.senders);
        assert!(self.record == record, "what was there before is another");
        let promises = &ledger.told().promises;
        assert_eq!(promises.len() as u64, said, "each message was answered");
        record.judge(promises);
        let (messages, private) = record.judge_whole();
        // Private ones stand in two inboxes.
        assert_eq!((messages - private / 2) as u64, said);
        let repeats = promises.iter().filter(|one| one.duplicate).count();
        self.starts.sort();
        println!(
            "{said} messages, {} of them private, {repeats} answered as repeats; {} starts (and {} \
             that were killed), first answer after {:?} (median), {:?} (worst)",
            private / 2,
            self.starts.len(),
            self.killed_at_start,
            self.starts[self.starts.len() / 2],
            self.starts[self.starts.len() - 1],
        );
    }
}
