//! A client that reads only when it is told to, and never waits longer than its patience.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tungstenite::{Error, Message, WebSocket};

use crate::program::PATIENCE;

/// How much a client's kernel takes for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// As much as the system likes.
    Usual,
    /// Next to nothing: where it doesn't read, the server has to wait.
    Narrow,
}

/// What a client hears.
#[derive(Debug, PartialEq)]
pub enum Heard {
    Frame(Value),
    Closed(u16),
}

/// A message's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    pub epoch: String,
    pub offset: u64,
}

impl Spot {
    pub fn of(value: &Value) -> Self {
        Self {
            epoch: value["epoch"].as_str().unwrap().to_owned(),
            offset: value["offset"].as_u64().unwrap(),
        }
    }

    pub fn json(&self) -> Value {
        json!({"epoch": self.epoch, "offset": self.offset})
    }
}

/// See the module.
pub struct Guest {
    socket: WebSocket<TcpStream>,
    seq: u64,
    /// What came while an answer was waited for.
    waiting: VecDeque<Value>,
    pub fd: u64,
}

impl Guest {
    pub fn connect(address: SocketAddr, width: Width) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        if width == Width::Narrow {
            socket.set_recv_buffer_size(4_096).unwrap();
        }
        socket.connect(&address.into()).unwrap();
        let stream: TcpStream = socket.into();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let url = format!("ws://{}/ws", address);
        let (socket, _) = tungstenite::client(url, stream).unwrap();
        let mut guest = Self {
            socket,
            seq: 0,
            waiting: VecDeque::new(),
            fd: 0,
        };
        guest.fd = guest.frame()["fd"].as_u64().expect("hello");
        guest
    }

    /// Somebody who is logged in, and the `ok` of that.
    pub fn login(address: SocketAddr, width: Width, mut command: Value) -> (Self, Value) {
        let mut guest = Self::connect(address, width);
        command["type"] = "login".into();
        let ok = guest.ok(command);
        (guest, ok)
    }

    pub fn say(&mut self, command: &Value) {
        let text = Message::text(command.to_string());
        self.socket.send(text).unwrap();
    }

    /// Sends a command without waiting for its answer; gives its number.
    pub fn send(&mut self, mut command: Value) -> u64 {
        self.seq += 1;
        command["seq"] = self.seq.into();
        self.say(&command);
        self.seq
    }

    /// Sends a command; gives its answer. What comes before it is heard later.
    pub fn ok(&mut self, command: Value) -> Value {
        let seq = self.send(command);
        let until = Instant::now() + PATIENCE;
        loop {
            let Heard::Frame(frame) = self.read(until) else {
                panic!("closed before the answer");
            };
            if frame["seq"] == seq {
                assert_eq!(frame["type"], "ok", "{frame}");
                return frame;
            }
            self.waiting.push_back(frame);
        }
    }

    /// The next frame that is no presence, or the end.
    pub fn hear(&mut self) -> Heard {
        let until = Instant::now() + PATIENCE;
        loop {
            let heard = match self.waiting.pop_front() {
                Some(frame) => Heard::Frame(frame),
                None => self.read(until),
            };
            match heard {
                Heard::Frame(frame) if frame["type"] == "joined" || frame["type"] == "left" => {}
                heard => return heard,
            }
        }
    }

    pub fn frame(&mut self) -> Value {
        match self.hear() {
            Heard::Frame(frame) => frame,
            Heard::Closed(code) => panic!("closed with {code}"),
        }
    }

    /// Hears messages, which follow `spot` without a hole, up to `newest`; their data.
    pub fn follow(&mut self, channel: &str, spot: &mut Spot, newest: u64) -> Vec<Value> {
        let mut data = Vec::new();
        while spot.offset < newest {
            let mut frame = self.frame();
            assert_follows(&frame, channel, spot);
            data.push(frame["data"].take());
        }
        data
    }

    /// The next frame or end, pings passed over: they are no reason to wait longer.
    fn read(&mut self, until: Instant) -> Heard {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nothing comes");
            let left = left.max(Duration::from_millis(1));
            self.socket.get_ref().set_read_timeout(Some(left)).unwrap();
            match self.socket.read() {
                Ok(Message::Text(text)) => return Heard::Frame(parsed(&text)),
                Ok(Message::Close(frame)) => {
                    return Heard::Closed(frame.expect("a Close with its code").code.into());
                }
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// The next message of a channel, and nothing else.
pub fn assert_follows(frame: &Value, channel: &str, spot: &mut Spot) {
    let told = (&frame["type"], &frame["channel"], &frame["epoch"]);
    let expected = (&json!("msg"), &json!(channel), &json!(spot.epoch));
    assert_eq!(told, expected, "behind {spot:?}: {frame}");
    assert_eq!(frame["offset"], spot.offset + 1, "behind {spot:?}: {frame}");
    spot.offset += 1;
}

pub fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
