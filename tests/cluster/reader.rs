//! The readers, which resume from their last position on a random node.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::record::{Epochs, Record};
use super::support::chat_client::Position;
use super::support::place::{Place, hear};
use super::support::random::Random;
use super::support::sender::ROOMS;
use super::support::websocket::WebSocketClient;

/// Numbers of a reader.
#[derive(Debug, Default, Clone, Copy)]
pub struct Heard {
    pub messages: u64,
    pub resumes: u64,
    /// Channels of which was told that something is missing.
    pub told: u64,
}

/// Where a reader is in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
enum At {
    /// Before the first message that there was.
    Start,
    /// The next message is behind this one.
    After(Position),
    /// The next message shows it: something was told to be missing.
    Anywhere,
}

struct Reader<'a> {
    place: &'a Place,
    record: &'a Record,
    epochs: Epochs,
    uid: String,
    random: Random,
    at: BTreeMap<String, At>,
    heard: Heard,
}

/// Hears all rooms and its own line until everything is over and heard.
pub fn read(place: &Place, record: &Record, epochs: Epochs, uid: String, seed: u64) -> Heard {
    let _watch = place.watch();
    let rooms = (0..ROOMS).map(|number| format!("r{number}"));
    let channels = rooms.chain([format!("@{uid}")]);
    let mut reader = Reader {
        place,
        record,
        epochs,
        uid,
        random: Random::new(seed),
        at: channels.map(|channel| (channel, At::Start)).collect(),
        heard: Heard::default(),
    };
    let mut failed = false;
    loop {
        let address = place.address(&mut reader.random, failed);
        if let Ok(mut client) = WebSocketClient::try_connect(address, "/ws")
            && reader.listen(&mut client) == Some(Done)
        {
            return reader.heard;
        }
        failed = true;
    }
}

/// Everything was heard.
#[derive(PartialEq, Eq)]
struct Done;

impl Reader<'_> {
    fn login(&self) -> Value {
        let rooms: Vec<_> = (0..ROOMS).map(|number| format!("r{number}")).collect();
        let resume = self.at.iter().filter_map(|(channel, at)| {
            let from = match at {
                At::Start => json!({"offset": 0}),
                At::After(position) => position.json(),
                At::Anywhere => return None,
            };
            Some((channel.clone(), from))
        });
        let resume: Map<String, Value> = resume.collect();
        json!({"type": "login", "seq": 1, "uid": self.uid, "rooms": rooms, "resume": resume})
    }

    /// Until it breaks, or everything was heard; or, now and then, until it breaks it itself.
    fn listen(&mut self, client: &mut WebSocketClient) -> Option<Done> {
        client.try_say(self.login().to_string()).ok()?;
        let mut frames_left = 1 + self.random.below(3_000);
        let mut logged_in = false;
        while frames_left > 0 {
            let Some(frame) = hear(client).ok()? else {
                if logged_in && self.is_done() {
                    return Some(Done);
                }
                continue;
            };
            frames_left -= u64::from(logged_in);
            match frame["type"].as_str().unwrap() {
                "ok" => {
                    self.welcomed(&frame);
                    logged_in = true;
                }
                "msg" => self.hear(&frame),
                "gap" => self.missed(&frame),
                "err" => {
                    let passes = matches!(&frame["code"], Value::String(code) if code == "unavailable" || code == "unsettled");
                    assert!(passes, "{}: {frame}", self.uid);
                    return None;
                }
                _ => {}
            }
        }
        None
    }

    fn may_miss(&mut self, frame: &Value) {
        let (uid, at) = (&self.uid, &self.at);
        assert_ne!(self.epochs, Epochs::Stay, "{uid}: {frame}; {at:?}");
        self.heard.told += 1;
    }

    fn welcomed(&mut self, ok: &Value) {
        self.heard.resumes += 1;
        for (channel, at) in self.at.clone() {
            let told = &ok["channels"][&channel];
            let now = Position::of(told);
            let next = match (told["recovered"] == true, at) {
                (true, At::Anywhere) => At::After(now),
                (true, At::Start) => At::After(now.beginning()),
                (true, At::After(before)) => {
                    assert_eq!(before.epoch, now.epoch, "{channel}: {ok}");
                    At::After(before)
                }
                (false, _) => {
                    self.may_miss(ok);
                    At::Anywhere
                }
            };
            self.at.insert(channel, next);
        }
    }

    fn hear(&mut self, frame: &Value) {
        let channel = frame["channel"].as_str().unwrap();
        let position = Position::of(frame);
        let Some(at) = self.at.get_mut(channel) else {
            // Nothing is said to everyone here.
            panic!("{frame}");
        };
        if let At::After(before) = at {
            let next = Position {
                epoch: before.epoch.clone(),
                offset: before.offset + 1,
            };
            assert_eq!(position, next, "{}: {channel}: {frame}", self.uid);
        }
        let id = frame["id"].as_str().unwrap();
        self.record.see(channel, &position, id);
        *at = At::After(position);
        self.heard.messages += 1;
    }

    fn missed(&mut self, gap: &Value) {
        self.may_miss(gap);
        let channel = gap["channel"].as_str().unwrap().to_owned();
        self.at.insert(channel, At::After(Position::of(gap)));
    }

    fn is_done(&self) -> bool {
        let Some(ends) = self.place.ends() else {
            return false;
        };
        self.at
            .iter()
            .all(|(channel, at)| match (ends.get(channel), at) {
                (Some(end), At::After(at)) => at == end,
                (Some(_), At::Start) => false,
                (Some(_), At::Anywhere) | (None, _) => true,
            })
    }
}
