//! A peer without a socket: what it sends, and what a connection makes of it.

use tidings::base::Tick;
use tidings::handover::{HandoverError, Section, SectionWriter};
use tidings::proto::connection::{
    CloseReason, Connection, ConnectionEvent, Input, Limits, Output, Rules, Verdict,
};
use tidings::proto::http::{Head, Response};
use tidings::proto::websocket::{Inflater, MessageKind};

pub use crate::support::frame::frame;

/// When every test begins.
pub const START: Tick = Tick(1_000_000);

pub const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// One thing that happened, as a test compares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Target and body of a request for the handler.
    Request(String, String),
    /// Status and body of an answer, and whether it says that the connection closes.
    Answer(u16, String, Goes),
    /// A 100 went out.
    Continue,
    /// The 101 went out.
    Switching,
    /// The target of the handshake.
    Opened(String),
    Text(String),
    Binary(Vec<u8>),
    PingSent,
    PongSent(Vec<u8>),
    /// Code of a Close frame that went out.
    CloseSent(Option<u16>),
    Closed(CloseReason),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goes {
    On,
    Away,
}

pub struct Peer {
    pub connection: Connection,
    pub now: Tick,
    pub limits: Limits,
    pub drain: Option<Tick>,
    pub room: Option<usize>,
    pub gate: fn(&Head) -> Verdict,
    /// Whether requests are answered the moment they are handed out, with their target.
    pub answers_at_once: bool,
    /// The serial numbers of the requests that were handed out.
    pub serials: Vec<u32>,
    seen: Vec<Seen>,
    closed: bool,
}

impl Peer {
    pub fn new() -> Self {
        Self::with_seed(0)
    }

    pub fn with_seed(seed: u32) -> Self {
        Self {
            connection: Connection::new(START, seed),
            now: START,
            limits: Limits::default(),
            drain: None,
            room: Some(usize::MAX),
            gate: |_| Verdict::Pass,
            answers_at_once: false,
            serials: Vec::new(),
            seen: Vec::new(),
            closed: false,
        }
    }

    /// A peer that shook hands already.
    pub fn open() -> Self {
        let mut peer = Self::new();
        peer.receive(UPGRADE);
        assert_eq!(peer.seen(), [Seen::Switching, Seen::Opened("/ws".into())]);
        peer
    }

    /// What another image gets to know of the connection.
    pub fn written(&self) -> SectionWriter {
        let mut section = SectionWriter::new();
        section.record(|record| self.connection.hand_over(record));
        section
    }

    /// Goes on with what another image makes of the connection.
    pub fn hand_over(&mut self) {
        let written = self.written();
        self.take_over(&written).expect("a connection that was");
        assert_eq!(self.written(), written, "it is the same");
    }

    /// Goes on with the connection that was written down.
    pub fn take_over(&mut self, written: &SectionWriter) -> Result<(), HandoverError> {
        let mut record = Section::of("connection", 1, written.as_bytes())
            .records()
            .needed()?;
        self.connection = Connection::take_over(&mut record)?;
        Ok(())
    }

    /// What happened since the last call.
    pub fn seen(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.seen)
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    pub fn receive(&mut self, bytes: impl AsRef<[u8]>) {
        self.connection.heard(self.now);
        self.pump(bytes.as_ref());
    }

    /// Answers the request that was handed out as number `request`, counted from 0.
    pub fn answer(&mut self, request: usize, response: Response) {
        self.connection.answer(self.serials[request], response);
        self.pump(b"");
    }

    /// The peer has taken some of what was sent to it, or has more waiting than before.
    pub fn room(&mut self, room: Option<usize>) {
        self.room = room;
        self.pump(b"");
    }

    pub fn half_close(&mut self) {
        let event = self.connection.half_close();
        self.note_event(event);
        self.pump(b"");
    }

    pub fn abort(&mut self, reason: CloseReason) {
        let event = self.connection.abort(reason);
        self.note_event(event);
        self.pump(b"");
    }

    pub fn close(&mut self, code: u16) {
        let rules = rules(self.now, &self.limits, &self.gate, self.drain, self.room);
        let output = self.connection.close(&rules, code, "");
        self.note_event(output.map(ConnectionEvent::Output));
        self.pump(b"");
    }

    /// Milliseconds until the deadline; `None` when there is none.
    pub fn waits_ms(&self) -> Option<u64> {
        let rules = rules(self.now, &self.limits, &self.gate, self.drain, self.room);
        let deadline = self.connection.deadline(&rules);
        (deadline != Tick::NEVER).then(|| deadline.since(self.now))
    }

    pub fn wait(&mut self, ms: u64) {
        self.now = self.now.after(ms);
    }

    /// Lets time pass until the deadline, shows that nothing happens before, and acts on it.
    pub fn wait_for_deadline(&mut self) {
        let waits_ms = self.waits_ms().expect("it has a deadline");
        if let Some(before_ms) = waits_ms.checked_sub(1) {
            self.wait(before_ms);
            self.expire();
            assert_eq!(self.seen, [], "before the deadline");
            self.wait(1);
        }
        self.expire();
    }

    pub fn expire(&mut self) {
        let rules = rules(self.now, &self.limits, &self.gate, self.drain, self.room);
        let event = self.connection.expire(&rules);
        self.note_event(event);
        self.pump(b"");
    }

    fn note_event(&mut self, event: Option<ConnectionEvent<'static>>) {
        if let Some(event) = event {
            let seen = saw(event, &mut self.serials);
            self.note(seen);
        }
    }

    fn note(&mut self, seen: Option<Seen>) {
        assert!(!self.closed, "{seen:?} after the end");
        self.closed |= matches!(seen, Some(Seen::Closed(_)));
        self.seen.extend(seen);
    }

    fn pump(&mut self, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        let mut inflater = Inflater::new();
        let mut input = Input::new(&mut bytes, &mut inflater);
        loop {
            let rules = rules(self.now, &self.limits, &self.gate, self.drain, self.room);
            let Some(event) = self.connection.next_event(&rules, &mut input) else {
                return;
            };
            let seen = saw(event, &mut self.serials);
            if let (true, Some(Seen::Request(target, _))) = (self.answers_at_once, &seen) {
                let serial = *self.serials.last().unwrap();
                let answer = Response::text(target.clone());
                self.connection.answer(serial, answer);
            }
            self.note(seen);
        }
    }
}

fn rules<'a>(
    now: Tick,
    limits: &'a Limits,
    gate: &'a fn(&Head) -> Verdict,
    drain: Option<Tick>,
    room: Option<usize>,
) -> Rules<'a> {
    Rules {
        now,
        limits,
        gate,
        date: "Sun, 06 Nov 1994 08:49:37 GMT",
        drain,
        room,
        is_secure: false,
    }
}

fn saw(event: ConnectionEvent<'_>, serials: &mut Vec<u32>) -> Option<Seen> {
    Some(match event {
        ConnectionEvent::Output(Output::Http(bytes)) => answer(&bytes),
        ConnectionEvent::Output(Output::Control(frame)) => control(frame.as_bytes()),
        ConnectionEvent::Request(request) => {
            serials.push(request.serial);
            let body = String::from_utf8_lossy(&request.body).into_owned();
            Seen::Request(request.head.target().into(), body)
        }
        ConnectionEvent::Opened(head) => Seen::Opened(head.target().into()),
        ConnectionEvent::Message { kind, payload } => match kind {
            MessageKind::Text => Seen::Text(String::from_utf8(payload.into_owned()).unwrap()),
            MessageKind::Binary => Seen::Binary(payload.into_owned()),
        },
        ConnectionEvent::Ignored => return None,
        ConnectionEvent::Closed(reason) => Seen::Closed(reason),
    })
}

fn answer(bytes: &[u8]) -> Seen {
    let text = String::from_utf8_lossy(bytes);
    let status = text["HTTP/1.1 ".len()..][..3].parse().unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let added = lines.find_map(|line| line.strip_prefix("X-For: "));
    let added = added.map_or(String::new(), |path| format!(" for {path}"));
    let goes = if head.contains("\r\nConnection: close") {
        Goes::Away
    } else {
        Goes::On
    };
    match status {
        100 => Seen::Continue,
        101 => Seen::Switching,
        _ => Seen::Answer(status, format!("{body}{added}"), goes),
    }
}

fn control(frame: &[u8]) -> Seen {
    match (frame[0], &frame[2..]) {
        (0x89, _) => Seen::PingSent,
        (0x8a, payload) => Seen::PongSent(payload.into()),
        (0x88, []) => Seen::CloseSent(None),
        (0x88, payload) => Seen::CloseSent(Some(u16::from_be_bytes([payload[0], payload[1]]))),
        (first, _) => panic!("no frame of a server begins with {first:#x}"),
    }
}

pub fn text(text: &str) -> Vec<u8> {
    frame(0x81, text.as_bytes())
}

pub fn ping(payload: &str) -> Vec<u8> {
    frame(0x89, payload.as_bytes())
}

pub fn pong() -> Vec<u8> {
    frame(0x8a, b"")
}

pub fn close(code: u16) -> Vec<u8> {
    frame(0x88, &code.to_be_bytes())
}

pub fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// A request with a length.
pub fn post(target: &str, fields: &str, body: &str) -> String {
    let size = body.len();
    format!("POST {target} HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: {size}\r\n\r\n{body}")
}

pub fn request(target: &str, body: &str) -> Seen {
    Seen::Request(target.into(), body.into())
}

pub fn answered(body: &str) -> Seen {
    Seen::Answer(200, body.into(), Goes::On)
}

pub fn answered_last(body: &str) -> Seen {
    Seen::Answer(200, body.into(), Goes::Away)
}

/// The status of an answer after which the connection closes.
pub fn refused(seen: &Seen) -> Option<u16> {
    match seen {
        Seen::Answer(status, _, Goes::Away) => Some(*status),
        _ => None,
    }
}
