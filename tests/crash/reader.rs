//! The readers, which resume from their last position after each crash.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::support::place::{Place, hear};
use crate::support::random::Random;
use crate::support::sender::ROOMS;
use crate::support::websocket::WebSocketClient;

/// What one reader heard, by channel: the ids, from offset 1 on.
#[derive(Debug, Default)]
pub struct Heard {
    pub ids: HashMap<String, Vec<String>>,
    /// How often it came back.
    pub resumes: u64,
}

struct Reader<'a> {
    place: &'a Place,
    uid: String,
    random: Random,
    epochs: HashMap<String, String>,
    heard: Heard,
}

/// Hears all rooms and its own inbox until everything is over and heard.
pub fn read(place: &Place, uid: String, seed: u64) -> Heard {
    let _watch = place.watch();
    let rooms = (0..ROOMS).map(|number| format!("r{number}"));
    let channels = rooms.chain([format!("@{uid}")]);
    let ids = channels.map(|channel| (channel, Vec::new())).collect();
    let mut reader = Reader {
        place,
        uid,
        random: Random::new(seed),
        epochs: HashMap::new(),
        heard: Heard { ids, resumes: 0 },
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
        let resume: Map<String, Value> = (self.heard.ids.iter())
            .map(|(channel, ids)| {
                let position = match self.epochs.get(channel) {
                    Some(epoch) => json!({"epoch": epoch, "offset": ids.len()}),
                    None => json!({"offset": 0}),
                };
                (channel.clone(), position)
            })
            .collect();
        json!({"type": "login", "seq": 1, "uid": self.uid, "rooms": rooms, "resume": resume})
    }

    /// Until it breaks, or everything was heard; or, now and then, until it breaks it itself.
    fn listen(&mut self, client: &mut WebSocketClient) -> Option<Done> {
        client.try_say(self.login().to_string()).ok()?;
        let frames_max = self.random.below(20_000);
        for _ in 0..frames_max {
            let Some(frame) = hear(client).ok()? else {
                if self.is_done() {
                    return Some(Done);
                }
                continue;
            };
            match frame["type"].as_str().unwrap() {
                "ok" => self.welcomed(&frame),
                "msg" => self.hear(&frame),
                "gap" | "err" => panic!("{}: {frame}", self.uid),
                _ => {}
            }
        }
        None
    }

    fn welcomed(&mut self, ok: &Value) {
        for channel in self.heard.ids.keys() {
            let told = &ok["channels"][channel];
            assert_eq!(told["recovered"], true, "{}: {channel}: {ok}", self.uid);
            let epoch = told["epoch"].as_str().unwrap();
            let known = self.epochs.entry(channel.clone());
            assert_eq!(known.or_insert_with(|| epoch.into()), epoch, "{channel}");
        }
        self.heard.resumes += 1;
    }

    fn hear(&mut self, frame: &Value) {
        let channel = frame["channel"].as_str().unwrap();
        let Some(ids) = self.heard.ids.get_mut(channel) else {
            // Nothing is said to everyone here.
            panic!("{frame}");
        };
        let next = ids.len() as u64 + 1;
        assert_eq!(frame["offset"], next, "{}: {frame}", self.uid);
        assert_eq!(frame["epoch"], *self.epochs[channel], "{frame}");
        ids.push(frame["id"].as_str().unwrap().to_owned());
    }

    fn is_done(&self) -> bool {
        let Some(ends) = self.place.ends() else {
            return false;
        };
        let mut each = self.heard.ids.iter();
        each.all(|(channel, ids)| ids.len() as u64 == ends[channel].offset)
    }
}
