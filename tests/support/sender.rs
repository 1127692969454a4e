//! Senders, which send an unanswered message again under the same id, to any server that is there, or give
//! it up.

use std::collections::VecDeque;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::http::HttpClient;
use super::ledger::{GivenUp, Ledger, Told};
use super::parsed;
use super::place::{Place, hear};
use super::random::Random;
use super::websocket::WebSocketClient;

pub const ROOMS: u64 = 4;
pub const USERS: u64 = 4;

/// Messages of a WebSocket that wait for their answers.
const UNANSWERED_MAX: usize = 24;
/// Messages of a batch at most.
const BATCH_MAX: u64 = 40;

/// A message that has no `ok` yet.
struct Pending {
    message: Value,
    /// Whether each try was refused so far.
    refused: bool,
}

impl Pending {
    fn id(&self) -> &str {
        self.message["id"].as_str().unwrap()
    }

    /// Notes the outcome of a try; tells whether the message is done with.
    fn is_done(&mut self, told: Told, random: &mut Random, ledger: &Ledger) -> bool {
        self.refused &= told == Told::NotTaken;
        let done = told == Told::Ok || ledger.lets_give_up() && random.one_in(8);
        if done && told != Told::Ok {
            let how = match self.refused {
                true => GivenUp::Refused,
                false => GivenUp::Unknown,
            };
            ledger.give_up(self.id(), how);
        }
        done
    }
}

/// Makes one sender's messages, numbered.
pub struct Messages {
    uid: String,
    said: u64,
    random: Random,
}

impl Messages {
    pub fn new(uid: String, seed: u64) -> Self {
        let random = Random::new(seed);
        Self {
            uid,
            said: 0,
            random,
        }
    }

    /// The next message, to a room or to a user.
    fn next(&mut self) -> Pending {
        self.said += 1;
        let to = match self.random.below(4) {
            0 => json!({"user": format!("u{}", self.random.below(USERS))}),
            _ => json!({"room": format!("r{}", self.random.below(ROOMS))}),
        };
        let filler = "x".repeat(self.random.below(200) as usize);
        let data = json!({"by": self.uid, "n": self.said, "filler": filler});
        let id = format!("{}-{}", self.uid, self.said);
        Pending {
            message: json!({"to": to, "data": data, "id": id, "from": self.uid}),
            refused: true,
        }
    }
}

/// Posts single messages, or batches, each once the one before was answered. Gives how many.
pub fn by_http(place: &Place, ledger: &Ledger, mut messages: Messages, in_batches: bool) -> u64 {
    let _watch = place.watch();
    let mut http = None;
    while !place.is_over() {
        let count = if in_batches {
            1 + messages.random.below(BATCH_MAX)
        } else {
            1
        };
        let mut pending: Vec<Pending> = (0..count).map(|_| messages.next()).collect();
        let mut failed = false;
        while !pending.is_empty() {
            let address = place.address(&mut messages.random, failed);
            if messages.random.one_in(50) {
                http = None;
            }
            let outcomes = post(address, &mut http, &pending, ledger, !in_batches);
            failed = outcomes.iter().any(|told| *told != Told::Ok);
            let mut outcomes = outcomes.into_iter();
            pending.retain_mut(|one| {
                let told = outcomes.next().expect("an outcome each");
                !one.is_done(told, &mut messages.random, ledger)
            });
        }
    }
    messages.said
}

/// Sends messages in one request; what became of each.
fn post(
    address: SocketAddr,
    kept: &mut Option<HttpClient>,
    pending: &[Pending],
    ledger: &Ledger,
    in_turn: bool,
) -> Vec<Told> {
    let all = |told| vec![told; pending.len()];
    if kept.is_none() {
        *kept = HttpClient::try_connect(address).ok();
    }
    let Some(http) = kept else {
        // Nothing was sent.
        return all(Told::NotTaken);
    };
    let batch: Vec<&Value> = pending.iter().map(|one| &one.message).collect();
    let (path, body) = match batch[..] {
        [one] if in_turn => ("/v1/messages", one.clone()),
        _ => ("/v1/messages/batch", json!({ "messages": batch })),
    };
    let Ok(answer) = http.ask_with_json("POST", path, &body.to_string()) else {
        ledger.count("lost");
        *kept = None;
        return all(Told::Unknown);
    };
    if answer.closes {
        *kept = None;
    }
    let answer = parsed(&answer.body);
    let Some(results) = answer["results"].as_array() else {
        return all(told_by(&answer, ledger));
    };
    assert_eq!(results.len(), pending.len(), "{answer}");
    let each = pending.iter().zip(results);
    each.map(|(one, result)| match result["error"] {
        Value::Null => {
            ledger.promise(one.id(), result, in_turn);
            Told::Ok
        }
        _ => told_by(result, ledger),
    })
    .collect()
}

fn told_by(error: &Value, ledger: &Ledger) -> Told {
    let code = error["error"]["code"].as_str();
    let code = code.unwrap_or_else(|| panic!("{error}"));
    ledger.refused(code, error)
}

/// Says messages without waiting for each answer. Gives how many.
pub fn by_websocket(place: &Place, ledger: &Ledger, messages: Messages) -> u64 {
    let _watch = place.watch();
    let mut speaker = Speaker {
        place,
        ledger,
        messages,
        unanswered: VecDeque::new(),
    };
    let mut failed = false;
    while !place.is_over() || !speaker.unanswered.is_empty() {
        let address = place.address(&mut speaker.messages.random, failed);
        if let Ok(mut client) = WebSocketClient::try_connect(address, "/ws")
            && speaker.talk(&mut client).is_none()
        {
            ledger.count("lost");
            for one in &mut speaker.unanswered {
                one.refused = false;
            }
        }
        failed = true;
    }
    speaker.messages.said
}

struct Speaker<'a> {
    place: &'a Place,
    ledger: &'a Ledger,
    messages: Messages,
    unanswered: VecDeque<Pending>,
}

impl Speaker<'_> {
    /// Until it breaks, or everything is over and answered.
    fn talk(&mut self, client: &mut WebSocketClient) -> Option<()> {
        let login = json!({"type": "login", "seq": 0, "uid": self.messages.uid});
        client.try_say(login.to_string()).ok()?;
        loop {
            self.place.is_over();
            let frame = hear(client).ok()?;
            match frame.as_ref().filter(|frame| frame["seq"] == 0) {
                Some(frame) if frame["type"] == "ok" => break,
                Some(frame) => {
                    assert_eq!(frame["retry"], true, "{frame}");
                    return None;
                }
                None => {}
            }
        }
        // In the order in which they were said first: at once, or one after the other.
        let again: Vec<Value> = self.unanswered.iter().map(command).collect();
        match self.messages.random.one_in(2) && !again.is_empty() {
            true => client.try_say(json!(again).to_string()).ok()?,
            false => {
                for one in again {
                    client.try_say(one.to_string()).ok()?;
                }
            }
        }
        let mut left: u64 = 10 + self.messages.random.below(2_000);
        loop {
            left = left.saturating_sub(1);
            let over = self.place.is_over();
            while !over && left > 0 && self.unanswered.len() < UNANSWERED_MAX {
                let next = self.messages.next();
                let text = command(&next).to_string();
                self.unanswered.push_back(next);
                client.try_say(text).ok()?;
            }
            if (over || left == 0) && self.unanswered.is_empty() {
                return Some(());
            }
            if let Some(frame) = hear(client).ok()? {
                self.answered(&frame, client)?;
            }
        }
    }

    fn answered(&mut self, frame: &Value, client: &mut WebSocketClient) -> Option<()> {
        let kind = frame["type"].as_str().unwrap();
        if kind != "ok" && kind != "err" {
            return Some(());
        }
        let is_it = |one: &Pending| one.message["data"]["n"] == frame["seq"];
        let at = self.unanswered.iter().position(is_it);
        let at = at.unwrap_or_else(|| panic!("nobody asked: {frame}"));
        let told = match kind {
            "ok" => {
                let id = self.unanswered[at].id();
                self.ledger.promise(id, frame, false);
                Told::Ok
            }
            _ => {
                let code = frame["code"].as_str().unwrap();
                self.ledger.refused(code, frame)
            }
        };
        let one = &mut self.unanswered[at];
        if one.is_done(told, &mut self.messages.random, self.ledger) {
            self.unanswered.remove(at);
            return Some(());
        }
        self.place.wait_a_moment();
        client.try_say(command(one).to_string()).ok()
    }
}

/// A message as a command.
fn command(one: &Pending) -> Value {
    let mut command = one.message.clone();
    let number = command["data"]["n"].take();
    command["data"]["n"] = number.clone();
    command["seq"] = number;
    command["type"] = "say".into();
    command.as_object_mut().unwrap().remove("from");
    command
}
