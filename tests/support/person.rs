//! Somebody who speaks the native protocol.

use serde_json::{Value, json};

use super::{Client, Program};

/// A client that is logged in, with what it was told on the way.
pub struct Person {
    pub client: Client,
    pub hello: Value,
    seq: u64,
}

impl Person {
    pub fn connect(server: &Program) -> Self {
        Self::on(server.websocket("/ws"))
    }

    /// On a WebSocket that has heard nothing yet.
    pub fn on(mut client: Client) -> Self {
        let hello = parsed(&client.hear());
        assert_eq!(hello["type"], "hello");
        Self {
            client,
            hello,
            seq: 0,
        }
    }

    /// Somebody of this name, in these rooms.
    pub fn login(server: &Program, uid: &str, rooms: &[&str]) -> Self {
        let mut person = Self::connect(server);
        person.ok(json!({"type": "login", "uid": uid, "rooms": rooms}));
        person
    }

    pub fn next(&mut self) -> Value {
        parsed(&self.client.hear())
    }

    /// The next frame that is no presence.
    pub fn hear(&mut self) -> Value {
        loop {
            let frame = self.next();
            if frame["type"] != "joined" && frame["type"] != "left" {
                return frame;
            }
        }
    }

    /// Sends a command; gives its answer, whatever comes before it.
    pub fn ask(&mut self, mut command: Value) -> Value {
        self.seq += 1;
        command["seq"] = self.seq.into();
        self.client.say(command.to_string());
        loop {
            let frame = self.next();
            if frame["seq"] == json!(self.seq) {
                return frame;
            }
        }
    }

    #[track_caller]
    pub fn ok(&mut self, command: Value) -> Value {
        let answer = self.ask(command);
        assert_eq!(answer["type"], "ok", "{answer}");
        answer
    }

    /// The code and the message of a refusal.
    #[track_caller]
    pub fn err(&mut self, command: Value) -> (String, String) {
        let answer = self.ask(command);
        assert_eq!(answer["type"], "err", "{answer}");
        let text = |field: &str| answer[field].as_str().unwrap().to_owned();
        (text("code"), text("message"))
    }
}

pub fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

pub fn say(room: &str, text: &str) -> Value {
    json!({"type": "say", "to": {"room": room}, "data": {"text": text}})
}
