//! One client of the crowd: it does what its random numbers say, and checks all that it hears.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::SockRef;
use tungstenite::{Error, Message};

use super::ledger::Heard;
use crate::support::PATIENCE;
use crate::support::chat_client::Position;
use crate::support::random::Random;
use crate::support::websocket::WebSocketClient;

/// Commands that may wait for their answers.
const UNANSWERED_MAX: usize = 8;

/// Sent to every channel at the end.
pub const END: &str = "the end";

/// What all clients share.
pub struct Run {
    pub address: SocketAddr,
    pub rooms: u64,
    pub users: u64,
    /// Messages that a channel keeps.
    pub kept_max: u64,
    /// Nothing new is begun any more.
    pub over: AtomicBool,
    /// Somebody found a fault: there will be no [`END`].
    pub is_spoilt: AtomicBool,
}

/// What a client did and heard.
#[derive(Debug, Default)]
pub struct Report {
    pub heard: Vec<Heard>,
    pub said: u64,
    pub duplicates: u64,
    pub cuts: u64,
    pub recovered: u64,
    pub unrecovered: u64,
    pub gaps: u64,
    pub passing: u64,
}

/// A command that waits for its answer.
#[derive(Debug)]
enum Asked {
    /// A login or a join, with what it asked to resume.
    Join(HashMap<String, Position>),
    Leave(String),
    Say(Value),
    History(String),
}

pub struct RandomClient<'a> {
    run: &'a Run,
    number: u64,
    uid: String,
    random: Random,
    client: WebSocketClient,
    seq: u64,
    asked: BTreeMap<u64, Asked>,
    /// The newest position of each channel that the client hears or heard.
    positions: HashMap<String, Position>,
    /// Channels whose messages may come.
    hears: BTreeSet<String>,
    /// The number of messages that the client said, by channel.
    counts: HashMap<String, u64>,
    /// The ids of messages without an offset that the client heard.
    passing: BTreeSet<String>,
    ended: BTreeSet<String>,
    report: Report,
}

impl<'a> RandomClient<'a> {
    pub fn connect(run: &'a Run, number: u64, seed: u64) -> Self {
        let mut client = Self {
            run,
            number,
            uid: format!("u{}", number % run.users),
            random: Random::new(seed ^ (number << 32)),
            client: WebSocketClient::connect(run.address, "/ws"),
            seq: 0,
            asked: BTreeMap::new(),
            positions: HashMap::new(),
            hears: BTreeSet::new(),
            counts: HashMap::new(),
            passing: BTreeSet::new(),
            ended: BTreeSet::new(),
            report: Report::default(),
        };
        client.login();
        client
    }

    /// Acts at random until the run is over.
    pub fn act_until_over(&mut self) {
        while !self.run.over.load(Relaxed) {
            self.act();
            let pause = Duration::from_millis(20 + self.random.below(280));
            self.listen_for(pause);
        }
        let late = Instant::now() + PATIENCE;
        while !self.asked.is_empty() {
            assert!(Instant::now() < late, "no answer to {:?}", self.asked);
            self.listen_for(Duration::from_millis(20));
        }
    }

    /// Hears out the end in every channel, and leaves.
    pub fn hear_the_end(mut self) -> Report {
        let late = Instant::now() + PATIENCE;
        while self.ended != self.hears && !self.run.is_spoilt.load(Relaxed) {
            assert!(
                Instant::now() < late,
                "{:?} of {:?}",
                self.ended,
                self.hears
            );
            self.listen_for(Duration::from_millis(20));
        }
        let socket = self.client.socket.get_mut();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        self.client.leave();
        self.report
    }

    fn act(&mut self) {
        if self.asked.len() >= UNANSWERED_MAX {
            return;
        }
        match self.random.below(100) {
            0..50 => self.say_in_a_room(true),
            50..58 => self.say_in_a_room(false),
            58..70 => self.say_to_a_user(),
            70..82 => self.join(),
            82..88 => self.leave(),
            88..94 => self.ask_for_history(),
            _ => self.cut(),
        }
    }

    fn a_room(&mut self) -> String {
        format!("r{}", self.random.below(self.run.rooms))
    }

    fn rooms(&self) -> Vec<String> {
        let rooms = self.hears.iter().filter(|name| name.starts_with('r'));
        rooms.cloned().collect()
    }

    fn say_in_a_room(&mut self, store: bool) {
        let room = self.a_room();
        self.say(json!({"room": room}), room, store);
    }

    fn say_to_a_user(&mut self) {
        let user = format!("u{}", self.random.below(self.run.users));
        let to = format!("@{user}");
        self.say(json!({"user": user}), to, true);
    }

    fn say(&mut self, to: Value, channel: String, store: bool) {
        let count = self.counts.entry(channel.clone()).or_default();
        *count += 1;
        let mut command = json!({"type": "say", "to": to, "id": format!("{}-{channel}-{count}", self.number),
            "data": {"client": self.number, "to": channel, "n": count}});
        if !store {
            command["store"] = false.into();
        }
        self.report.said += 1;
        self.ask(command.clone(), Asked::Say(command));
    }

    fn join(&mut self) {
        let room = self.a_room();
        if self.hears.contains(&room) || self.is_moving() {
            return;
        }
        let mut command = json!({"type": "join", "room": room});
        let mut resumes = HashMap::new();
        if let Some(position) = self
            .positions
            .get(&room)
            .filter(|_| self.random.below(4) > 0)
        {
            command["resume"] = position.json();
            resumes.insert(room, position.clone());
        }
        self.ask(command, Asked::Join(resumes));
    }

    fn leave(&mut self) {
        let rooms = self.rooms();
        let Some(room) = self.random.one_of(&rooms).cloned() else {
            return;
        };
        if !self.is_moving() {
            let command = json!({"type": "leave", "room": room});
            self.ask(command, Asked::Leave(room));
        }
    }

    fn ask_for_history(&mut self) {
        let rooms = self.rooms();
        let Some(room) = self.random.one_of(&rooms).cloned() else {
            return;
        };
        if !self.is_moving() {
            let command =
                json!({"type": "history", "channel": room, "before": 1u64 << 40, "limit": 10});
            self.ask(command, Asked::History(room));
        }
    }

    /// Whether a login, join or leave waits for its answer: one at a time.
    fn is_moving(&self) -> bool {
        self.asked
            .values()
            .any(|asked| matches!(asked, Asked::Join(_) | Asked::Leave(_)))
    }

    /// Ends the connection in one of three ways, and resumes what the client missed.
    fn cut(&mut self) {
        self.report.cuts += 1;
        // Said into the cut: they come or don't.
        for _ in 0..self.random.below(4) {
            self.say_in_a_room(true);
        }
        let socket = self.client.socket.get_mut();
        match self.random.below(3) {
            // A reset: also what was on its way to the server may be gone.
            0 => SockRef::from(&*socket)
                .set_linger(Some(Duration::ZERO))
                .unwrap(),
            // Half a frame.
            1 => drop(socket.write_all(b"\x81")),
            _ => {}
        }
        self.client = WebSocketClient::connect(self.run.address, "/ws");
        let away = self.random.below(5) == 0;
        if away {
            std::thread::sleep(Duration::from_millis(self.random.below(4_000)));
        }
        let before = std::mem::take(&mut self.asked);
        // Whatever was answered or not: it was in there before, and is once more.
        self.login();
        // What may not have come is said again, in its order.
        for (_, asked) in before {
            if let Asked::Say(command) = asked {
                self.ask(command.clone(), Asked::Say(command));
            }
        }
    }

    fn login(&mut self) {
        let rooms = self.rooms();
        let inbox = format!("@{}", self.uid);
        let mut resumes = HashMap::new();
        let mut resume = json!({});
        for channel in rooms.iter().chain([&inbox]) {
            if let Some(position) = self.positions.get(channel) {
                resume[channel] = position.json();
                resumes.insert(channel.clone(), position.clone());
            }
        }
        self.hears.clear();
        let command = json!({"type": "login", "uid": self.uid, "rooms": rooms, "resume": resume});
        self.ask(command, Asked::Join(resumes));
    }

    fn ask(&mut self, mut command: Value, asked: Asked) {
        self.seq += 1;
        command["seq"] = self.seq.into();
        self.asked.insert(self.seq, asked);
        self.client.say(command.to_string());
    }

    fn listen_for(&mut self, time: Duration) {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let socket = self.client.socket.get_mut();
            socket.set_read_timeout(Some(left)).unwrap();
            match self.client.socket.read() {
                Ok(Message::Text(text)) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    self.hear(&frame);
                }
                Ok(Message::Close(frame)) => panic!("closed with {frame:?}"),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("client {}: {error}", self.number),
            }
        }
    }

    fn hear(&mut self, frame: &Value) {
        match frame["type"].as_str().unwrap() {
            "hello" => {}
            "ok" => {
                let asked = self.asked.remove(&frame["seq"].as_u64().unwrap()).unwrap();
                self.answered(asked, frame);
            }
            "msg" => self.message(frame),
            "gap" => {
                let position = self.position_of(frame);
                let offset = frame["offset"].as_u64().unwrap();
                assert!(offset > position.offset, "{frame} at {position:?}");
                position.offset = offset;
                self.report.gaps += 1;
            }
            "joined" | "left" => {
                let room = frame["room"].as_str().unwrap();
                assert!(self.hears.contains(room), "client {}: {frame}", self.number);
            }
            _ => panic!("client {}: {frame}", self.number),
        }
    }

    fn position_of(&mut self, frame: &Value) -> &mut Position {
        let channel = frame["channel"].as_str().unwrap();
        assert!(
            self.hears.contains(channel),
            "client {} isn't there: {frame}",
            self.number
        );
        let position = self.positions.get_mut(channel).unwrap();
        assert_eq!(position.epoch, frame["epoch"], "{frame}");
        position
    }

    /// The next one of its channel, no other.
    fn message(&mut self, frame: &Value) {
        let channel = frame["channel"].as_str().unwrap();
        if frame["offset"].is_null() {
            let id = frame["id"].as_str().unwrap().to_owned();
            assert!(
                self.passing.insert(id),
                "client {}: twice: {frame}",
                self.number
            );
            self.report.passing += 1;
            return;
        }
        let number = self.number;
        let position = self.position_of(frame);
        position.offset += 1;
        assert_eq!(
            frame["offset"], position.offset,
            "client {number}: a hole or a repeat: {frame}"
        );
        if frame["data"] == END {
            self.ended.insert(channel.to_owned());
        }
        self.report.heard.push(Heard::of(frame, channel));
    }

    fn answered(&mut self, asked: Asked, ok: &Value) {
        match asked {
            Asked::Join(resumes) => {
                for (channel, welcome) in ok["channels"].as_object().unwrap() {
                    self.welcomed(channel, welcome, resumes.get(channel));
                }
            }
            Asked::Leave(room) => drop(self.hears.remove(&room)),
            Asked::Say(_) => {
                let is_duplicate = ok["duplicate"].as_bool().unwrap();
                self.report.duplicates += u64::from(is_duplicate);
            }
            Asked::History(room) => {
                for message in ok["messages"].as_array().unwrap() {
                    self.report.heard.push(Heard::of(message, &room));
                }
            }
        }
    }

    /// A resume is filled if and only if the ring holds what is missing.
    fn welcomed(&mut self, channel: &str, welcome: &Value, resume: Option<&Position>) {
        let newest = Position {
            epoch: welcome["epoch"].as_str().unwrap().to_owned(),
            offset: welcome["offset"].as_u64().unwrap(),
        };
        let recovered = welcome["recovered"].as_bool().unwrap();
        let position = match resume {
            None => newest,
            Some(resume) => {
                assert_eq!(resume.epoch, newest.epoch, "{channel} began anew");
                let is_kept = newest.offset - resume.offset <= self.run.kept_max;
                assert_eq!(recovered, is_kept, "{channel} from {resume:?}: {welcome}");
                if recovered {
                    self.report.recovered += 1;
                    resume.clone()
                } else {
                    self.report.unrecovered += 1;
                    newest
                }
            }
        };
        self.hears.insert(channel.to_owned());
        self.positions.insert(channel.to_owned(), position);
    }
}
