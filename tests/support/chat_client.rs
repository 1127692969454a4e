//! A client of the chat, which speaks the native protocol.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::parsed;
use super::program::Program;
use super::websocket::{Heard, WebSocketClient};

/// A client with what it was told at the beginning.
pub struct ChatClient {
    pub client: WebSocketClient,
    pub hello: Value,
    seq: u64,
    /// What came before an answer, and is to be heard after it.
    waiting: VecDeque<Value>,
}

impl ChatClient {
    pub fn connect(server: &Program) -> Self {
        Self::on(server.websocket("/ws"))
    }

    /// A client on a WebSocket that has heard nothing yet.
    pub fn on(mut client: WebSocketClient) -> Self {
        let hello = parsed(&client.hear_text());
        assert_eq!(hello["type"], "hello");
        Self {
            client,
            hello,
            seq: 0,
            waiting: VecDeque::new(),
        }
    }

    /// A user in these rooms.
    pub fn login(server: &Program, uid: &str, rooms: &[&str]) -> Self {
        let mut client = Self::connect(server);
        client.ok(json!({"type": "login", "uid": uid, "rooms": rooms}));
        client
    }

    /// A client that logs in with these fields, and the `ok` of that.
    pub fn login_with(client: WebSocketClient, mut login: Value) -> (Self, Value) {
        let mut client = Self::on(client);
        login["type"] = "login".into();
        let ok = client.ok_keeping(login);
        (client, ok)
    }

    pub fn fd(&self) -> u64 {
        self.hello["fd"].as_u64().unwrap()
    }

    /// The next frame.
    #[track_caller]
    pub fn next(&mut self) -> Value {
        match self.waiting.pop_front() {
            Some(frame) => frame,
            None => parsed(&self.client.hear_text()),
        }
    }

    /// The next frame that is no presence.
    #[track_caller]
    pub fn hear(&mut self) -> Value {
        let heard = self.hear_or_close();
        heard.unwrap_or_else(|code| panic!("closed with {code}"))
    }

    /// The next frame that is no presence; an error is the code of the Close that came instead.
    #[track_caller]
    pub fn hear_or_close(&mut self) -> Result<Value, u16> {
        loop {
            let frame = match self.waiting.pop_front() {
                Some(frame) => frame,
                None => match self.client.hear() {
                    Heard::Text(text) => parsed(&text),
                    Heard::Close(code) => return Err(code),
                    other => panic!("a frame was to come, not {other:?}"),
                },
            };
            if !matches!(frame["type"].as_str(), Some("joined" | "left" | "presence")) {
                return Ok(frame);
            }
        }
    }

    /// What came before an answer and is to be heard after it.
    pub fn take_waiting(&mut self) -> impl Iterator<Item = Value> {
        self.waiting.drain(..)
    }

    /// Sends a command without waiting for its answer; gives its number.
    pub fn send(&mut self, mut command: Value) -> u64 {
        self.seq += 1;
        command["seq"] = self.seq.into();
        self.client.say(command.to_string());
        self.seq
    }

    /// Sends a command; gives its answer. What comes before that is passed over.
    #[track_caller]
    pub fn ask(&mut self, command: Value) -> Value {
        let seq = self.send(command);
        loop {
            let frame = self.next();
            if frame["seq"] == seq {
                return frame;
            }
        }
    }

    /// Sends a command; gives its answer. What comes before that is heard later.
    #[track_caller]
    pub fn ask_keeping(&mut self, command: Value) -> Value {
        let seq = self.send(command);
        loop {
            let frame = parsed(&self.client.hear_text());
            if frame["seq"] == seq {
                return frame;
            }
            self.waiting.push_back(frame);
        }
    }

    #[track_caller]
    pub fn ok(&mut self, command: Value) -> Value {
        is_ok(self.ask(command))
    }

    /// Like [`Self::ok`], but what comes before the answer is heard later.
    #[track_caller]
    pub fn ok_keeping(&mut self, command: Value) -> Value {
        is_ok(self.ask_keeping(command))
    }

    /// The code and the message of a refusal.
    #[track_caller]
    pub fn err(&mut self, command: Value) -> (String, String) {
        let answer = self.ask(command);
        assert_eq!(answer["type"], "err", "{answer}");
        let text = |field: &str| answer[field].as_str().unwrap().to_owned();
        (text("code"), text("message"))
    }

    /// The data of the next messages, which are those of the channel with these offsets.
    #[track_caller]
    pub fn hear_offsets(&mut self, channel: &str, offsets: RangeInclusive<u64>) -> Vec<Value> {
        let mut data = Vec::new();
        for offset in offsets {
            let mut frame = self.hear();
            let place = (&frame["type"], &frame["channel"], &frame["offset"]);
            let expected = (&json!("msg"), &json!(channel), &json!(offset));
            assert_eq!(place, expected, "{frame}");
            data.push(frame["data"].take());
        }
        data
    }

    /// The data of the next messages, which follow `position` without a hole, up to `newest`.
    #[track_caller]
    pub fn follow(&mut self, channel: &str, position: &mut Position, newest: u64) -> Vec<Value> {
        let mut data = Vec::new();
        while position.offset < newest {
            let mut frame = self.hear();
            assert_follows(&frame, channel, position);
            data.push(frame["data"].take());
        }
        data
    }
}

#[track_caller]
fn is_ok(answer: Value) -> Value {
    assert_eq!(answer["type"], "ok", "{answer}");
    answer
}

/// Where a message stands in its channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub epoch: String,
    pub offset: u64,
}

impl Position {
    pub fn of(value: &Value) -> Self {
        Self {
            epoch: value["epoch"].as_str().unwrap().to_owned(),
            offset: value["offset"].as_u64().unwrap(),
        }
    }

    /// The beginning of the same channel.
    pub fn beginning(&self) -> Self {
        Self {
            offset: 0,
            ..self.clone()
        }
    }

    /// What a resume asks for.
    pub fn json(&self) -> Value {
        json!({"epoch": self.epoch, "offset": self.offset})
    }
}

/// The next message of a channel, and nothing else.
#[track_caller]
pub fn assert_follows(frame: &Value, channel: &str, position: &mut Position) {
    let told = (&frame["type"], &frame["channel"], &frame["epoch"]);
    let expected = (&json!("msg"), &json!(channel), &json!(position.epoch));
    assert_eq!(told, expected, "after {position:?}: {frame}");
    let next = position.offset + 1;
    assert_eq!(frame["offset"], next, "after {position:?}: {frame}");
    position.offset = next;
}

/// A message to a room.
pub fn say(room: &str, text: &str) -> Value {
    json!({"type": "say", "to": {"room": room}, "data": {"text": text}})
}
