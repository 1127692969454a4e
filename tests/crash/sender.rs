//! The senders, which send an unanswered message again under the same id.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Condvar, Mutex};

use serde_json::{Value, json};

use crate::place::{MOMENT, Place, hear};
use crate::support::http::{Answer, HttpClient};
use crate::support::random::Random;
use crate::support::websocket::WebSocketClient;

pub const ROOMS: u64 = 4;
pub const USERS: u64 = 4;

/// Messages of a WebSocket that wait for their answers.
const UNANSWERED_MAX: usize = 24;
/// Messages of a batch at most.
const BATCH_MAX: u64 = 40;

/// A message that was answered: the server promised that it is there.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    pub channel: String,
    pub epoch: String,
    pub offset: u64,
    pub id: String,
    pub duplicate: bool,
}

/// What was acknowledged to all senders.
#[derive(Default)]
pub struct Promises {
    all: Mutex<Vec<Acknowledged>>,
    more: Condvar,
}

impl Promises {
    pub fn so_far(&self) -> Vec<Acknowledged> {
        self.all.lock().unwrap().clone()
    }

    /// Waits for the next one, but not for long.
    pub fn await_next(&self) {
        let all = self.all.lock().unwrap();
        drop(self.more.wait_timeout(all, MOMENT).unwrap());
    }

    fn note(&self, id: &str, told: &Value) {
        assert_eq!(told["id"], id, "{told}");
        let text = |field: &str| told[field].as_str().expect("a text").to_owned();
        self.all.lock().unwrap().push(Acknowledged {
            channel: text("channel"),
            epoch: text("epoch"),
            offset: told["offset"].as_u64().expect("an offset"),
            id: id.to_owned(),
            duplicate: told["duplicate"] == true,
        });
        self.more.notify_all();
    }
}

/// Makes one sender's messages, numbered.
struct Messages {
    uid: String,
    said: u64,
    random: Random,
}

impl Messages {
    fn new(uid: String, seed: u64) -> Self {
        let random = Random::new(seed);
        Self {
            uid,
            said: 0,
            random,
        }
    }

    /// The next message, to a room or to a user.
    fn next(&mut self) -> Value {
        self.said += 1;
        let to = match self.random.below(4) {
            0 => json!({"user": format!("u{}", self.random.below(USERS))}),
            _ => json!({"room": format!("r{}", self.random.below(ROOMS))}),
        };
        let filler = "x".repeat(self.random.below(200) as usize);
        let data = json!({"by": self.uid, "n": self.said, "filler": filler});
        json!({"to": to, "data": data, "id": format!("{}-{}", self.uid, self.said)})
    }
}

fn id_of(message: &Value) -> &str {
    message["id"].as_str().unwrap()
}

/// Posts single messages, or batches, each once the one before was answered. Gives how many.
pub fn by_http(
    place: &Place,
    promises: &Promises,
    (uid, seed): (String, u64),
    in_batches: bool,
) -> u64 {
    let _watch = place.watch();
    let mut messages = Messages::new(uid, seed);
    let mut http = None;
    while !place.is_over() {
        let count = if in_batches {
            1 + messages.random.below(BATCH_MAX)
        } else {
            1
        };
        let batch: Vec<Value> = (0..count)
            .map(|_| {
                let mut message = messages.next();
                message["from"] = messages.uid.clone().into();
                message
            })
            .collect();
        let (path, body) = match in_batches {
            true => ("/v1/messages/batch", json!({ "messages": batch })),
            false => ("/v1/messages", batch[0].clone()),
        };
        let answer = until_answered(place, &mut http, path, &body.to_string());
        let results = answer["results"].as_array().expect("results");
        assert_eq!(results.len(), batch.len());
        for (message, told) in batch.iter().zip(results) {
            promises.note(id_of(message), told);
        }
    }
    messages.said
}

fn until_answered(place: &Place, kept: &mut Option<HttpClient>, path: &str, body: &str) -> Value {
    let mut failed = false;
    loop {
        let address = place.address(failed);
        match post(address, kept, path, body) {
            Ok(answer) if answer.status == 200 => {
                return serde_json::from_str(&answer.body).unwrap();
            }
            Ok(answer) => panic!("{answer:?}"),
            Err(_) => *kept = None,
        }
        failed = true;
    }
}

fn post(
    address: SocketAddr,
    kept: &mut Option<HttpClient>,
    path: &str,
    body: &str,
) -> io::Result<Answer> {
    let http = match kept {
        Some(http) => http,
        None => {
            // Perhaps nobody listens.
            kept.insert(HttpClient::try_connect(address)?)
        }
    };
    http.ask_with_json("POST", path, body)
}

/// Says messages without waiting for each answer. Gives how many.
pub fn by_websocket(place: &Place, promises: &Promises, (uid, seed): (String, u64)) -> u64 {
    let _watch = place.watch();
    let mut messages = Messages::new(uid, seed);
    let mut unanswered: VecDeque<Value> = VecDeque::new();
    let mut failed = false;
    while !place.is_over() || !unanswered.is_empty() {
        if let Ok(mut client) = WebSocketClient::try_connect(place.address(failed), "/ws") {
            talk(place, promises, &mut messages, &mut unanswered, &mut client);
        }
        failed = true;
    }
    messages.said
}

/// Until it breaks, or everything is over and answered.
fn talk(
    place: &Place,
    promises: &Promises,
    messages: &mut Messages,
    unanswered: &mut VecDeque<Value>,
    client: &mut WebSocketClient,
) -> Option<()> {
    let login = json!({"type": "login", "uid": messages.uid});
    client.try_say(login.to_string()).ok()?;
    // In the order in which they were said first.
    let again: Vec<&Value> = unanswered.iter().collect();
    if !again.is_empty() {
        client.try_say(json!(again).to_string()).ok()?;
    }
    loop {
        let over = place.is_over();
        while !over && unanswered.len() < UNANSWERED_MAX {
            let mut command = messages.next();
            command["type"] = "say".into();
            command["seq"] = messages.said.into();
            let text = command.to_string();
            unanswered.push_back(command);
            client.try_say(text).ok()?;
        }
        if over && unanswered.is_empty() {
            return Some(());
        }
        let Some(frame) = hear(client).ok()? else {
            continue;
        };
        match frame["type"].as_str().unwrap() {
            "ok" => {
                let place = unanswered.iter().position(|one| one["seq"] == frame["seq"]);
                let said = unanswered.remove(place.expect("it was asked"));
                promises.note(id_of(&said.unwrap()), &frame);
            }
            "err" => panic!("{frame}"),
            _ => {}
        }
    }
}
